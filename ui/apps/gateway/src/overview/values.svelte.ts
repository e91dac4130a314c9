/** The values of the tags in view, as they come over the live WebSocket, and the trend of one. */
import {
  answerOf, append, EMPTY, LiveSocket, prepend, qualityOf, STALE_AFTER_MS, type MachineClock, type QualityWord, type Series,
} from '@factoryplus/kit'
import { gateway, type LiveValue, type SourceStatus, type TagRow } from '@factoryplus/kit/api/gateway'

export const WINDOW_S = 300
const POINTS_MAX = 1200
const VALUES_KEPT = 400

export interface Shown {
  readonly value: TagRow['value']
  readonly quality: QualityWord
  readonly time_us: number
}

function plottable(value: TagRow['value'], status: number): number | null {
  if (qualityOf(status) === 'bad' || value === null || typeof value === 'string') return null
  return Number(value)
}

export class Values {
  /** The table stands still; the trend has its own pause. */
  paused = $state(false)
  selected = $state.raw<TagRow>()
  /** All points of the selected tag that are known. */
  series = $state.raw<Series>(EMPTY)
  complete = $state(true)
  trendFailed = $state(false)
  trendReady = $state(false)
  /** Which sources are up and have sent something lately; theirs is no old value, only an unchanged one. */
  heard = $state.raw<ReadonlySet<string>>(new Set())
  #values = $state.raw<ReadonlyMap<number, LiveValue>>(new Map())
  #inView: readonly number[] = []
  readonly #clock: MachineClock
  readonly #socket: LiveSocket<LiveValue>

  constructor(clock: MachineClock) {
    this.#clock = clock
    this.#socket = new LiveSocket<LiveValue>(
      '/api/live',
      ({ time_us, values }) => {
        clock.learn(time_us)
        this.#take(values)
      },
      () => void this.#readPast(),
    )
  }

  /** Learn from a status which sources can be heard. */
  hear(sources: readonly SourceStatus[]): void {
    const up = sources.filter(
      ({ state, last_value_age_s }) => state === 'up' && (last_value_age_s ?? Infinity) * 1000 < STALE_AFTER_MS,
    )
    const names = up.map(({ name }) => name)
    if (names.length !== this.heard.size || names.some((name) => !this.heard.has(name))) this.heard = new Set(names)
  }

  start(): () => void {
    return this.#socket.start()
  }

  /** What to show for a tag: the newest of list and live. */
  of(tag: TagRow): Shown {
    const live = this.#values.get(tag.index)
    if (live === undefined || live.time_us < tag.time_us) return tag
    return { value: live.value, quality: qualityOf(live.status), time_us: live.time_us }
  }

  /** The tags that are seen; others are not sent. */
  view(indexes: readonly number[]): void {
    this.#inView = indexes
    this.#want()
  }

  select(tag: TagRow): void {
    if (this.selected?.index === tag.index) return
    this.selected = tag
    this.series = EMPTY
    this.trendReady = false
    this.#want()
    void this.#readPast()
  }

  #want(): void {
    const { selected } = this
    const extra = selected === undefined || this.#inView.includes(selected.index) ? [] : [selected.index]
    this.#socket.want([...this.#inView, ...extra])
  }

  #take(values: readonly LiveValue[]): void {
    const { selected } = this
    if (!this.paused) {
      const kept = this.#values.size > VALUES_KEPT ? [] : this.#values
      this.#values = new Map([...kept, ...values.map((value) => [value.index, value] as const)])
    }
    const own = values.find((value) => value.index === selected?.index)
    if (own === undefined) return
    const from_s = this.#clock.peek_ms() / 1000 - WINDOW_S
    this.series = append(this.series, own.time_us / 1e6, plottable(own.value, own.status), from_s)
  }

  async #readPast(): Promise<void> {
    const { selected } = this
    if (selected === undefined) return
    try {
      const past = await answerOf(
        gateway.GET('/api/tags/{index}/trend', {
          params: { path: { index: selected.index }, query: { seconds: WINDOW_S, points: POINTS_MAX } },
        }),
      )
      if (this.selected !== selected) return
      const series = { time_s: past.time_ms.map((time_ms) => time_ms / 1000), value: past.value }
      this.series = prepend(series, this.series)
      this.complete = past.complete
      this.trendFailed = false
      this.trendReady = true
    } catch {
      if (this.selected === selected) this.trendFailed = true
    }
  }
}
