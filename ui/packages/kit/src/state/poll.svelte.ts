/** Asks the machine every second while the page is visible, and knows when it is lost. */
import { answered, begin, failed, TIMEOUT_MS, type Connection } from './connection'

export class Poll<T> {
  data = $state.raw<T>()
  lost = $state(false)
  trying = $state(false)
  /** Browser times. */
  good_ms = $state(0)
  next_ms = $state(0)

  readonly #ask: (signal: AbortSignal) => Promise<T>
  readonly #interval_ms: number
  #connection: Connection = begin(0)
  #timer: ReturnType<typeof setTimeout> | undefined
  #abort: AbortController | undefined

  constructor(ask: (signal: AbortSignal) => Promise<T>, interval_ms: 1000 | 2000 = 1000) {
    this.#ask = ask
    this.#interval_ms = interval_ms
  }

  /** Start; returns what stops it. */
  start(): () => void {
    const watch = () => (document.visibilityState === 'visible' ? this.#resume() : this.#pause())
    document.addEventListener('visibilitychange', watch)
    watch()
    return () => {
      document.removeEventListener('visibilitychange', watch)
      this.#pause()
    }
  }

  retry(): void {
    if (this.trying) return
    clearTimeout(this.#timer)
    void this.#run()
  }

  #resume(): void {
    const { lost } = this
    this.#connection = { ...begin(Date.now()), lost, good_ms: lost ? this.good_ms : Date.now() }
    this.#pause()
    void this.#run()
  }

  #pause(): void {
    clearTimeout(this.#timer)
    this.#abort?.abort()
    this.#abort = undefined
    this.trying = false
  }

  async #run(): Promise<void> {
    const abort = new AbortController()
    this.#abort = abort
    const started_ms = Date.now()
    const late = setTimeout(() => abort.abort(), TIMEOUT_MS)
    this.trying = true
    try {
      const data = await this.#ask(abort.signal)
      if (this.#abort !== abort) return
      this.data = data
      this.#connection = answered(started_ms, Date.now(), this.#interval_ms)
    } catch {
      // no answer, or one that is no status: either way nothing is known now
      if (this.#abort !== abort) return
      this.#connection = failed(this.#connection, Date.now())
    } finally {
      clearTimeout(late)
      if (this.#abort === abort) this.trying = false
    }
    this.lost = this.#connection.lost
    this.good_ms = this.#connection.good_ms
    this.next_ms = this.#connection.next_ms
    this.#timer = setTimeout(() => void this.#run(), this.next_ms - Date.now())
  }
}
