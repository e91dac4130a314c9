/** A trend's points as parallel columns; `null` is a gap (bad quality, or nothing known), never 0. */
import { text } from '../i18n'
import { decimal } from '../format/number'

export interface Series {
  /** Seconds since 1970, ascending. */
  readonly time_s: readonly number[]
  readonly value: readonly (number | null)[]
  /** The band around a mean; absent for raw points. */
  readonly low?: readonly (number | null)[]
  readonly high?: readonly (number | null)[]
}

export const EMPTY: Series = { time_s: [], value: [] }

/** Add a point and let go of those before `from_s`; one older than the last changes nothing. */
export function append(series: Series, time_s: number, value: number | null, from_s: number): Series {
  const last = series.time_s.at(-1)
  if (last !== undefined && time_s <= last) return series
  // one point before the window stays, so that the line enters at its left edge
  let cut = 0
  while (cut + 1 < series.time_s.length && (series.time_s[cut + 1] ?? Infinity) < from_s) cut += 1
  return {
    time_s: [...series.time_s.slice(cut), time_s],
    value: [...series.value.slice(cut), value],
  }
}

/** Put the past in front of what came live in the meantime. */
export function prepend(past: Series, live: Series): Series {
  const end = past.time_s.at(-1) ?? -Infinity
  const from = live.time_s.findIndex((time_s) => time_s > end)
  if (from < 0) return past
  return {
    time_s: [...past.time_s, ...live.time_s.slice(from)],
    value: [...past.value, ...live.value.slice(from)],
  }
}

/**
 * Hold the last value to `end_s`: the source is heard from, and it would have told of a change.
 *
 * `value` since `since_s` is the newest known; it may be older than all points.
 */
export function held(
  series: Series,
  value: number | null,
  since_s: number,
  range: readonly [number, number],
): Series {
  const [from_s, end_s] = range
  const last_s = series.time_s.at(-1)
  if (last_s === undefined || last_s < from_s) {
    if (value === null || since_s > end_s) return series
    return { time_s: [Math.max(from_s, since_s), end_s], value: [value, value] }
  }
  const last = series.value.at(-1)
  return last === null || last === undefined ? series : append(series, end_s, last, from_s)
}

/** Where the line is broken: from the last good point before to the first good one after. */
export function gaps(series: Series): readonly (readonly [number, number])[] {
  const found: [number, number][] = []
  const { time_s, value } = series
  let start: number | undefined
  for (let i = 0; i < value.length; i += 1) {
    if (value[i] === null) {
      start ??= time_s[Math.max(0, i - 1)]
    } else if (start !== undefined) {
      found.push([start, time_s[i] ?? start])
      start = undefined
    }
  }
  const end = time_s.at(-1)
  if (start !== undefined && end !== undefined) found.push([start, end])
  return found
}

export interface Summary {
  readonly low: number
  readonly high: number
  readonly mean: number
  readonly last: number
}

/** Statistics of the good points; undefined when there is none. */
export function statistics(series: Series): Summary | undefined {
  let low = Infinity
  let high = -Infinity
  let sum = 0
  let good = 0
  let last = 0
  series.value.forEach((value, i) => {
    if (value === null) return
    low = Math.min(low, series.low?.[i] ?? value)
    high = Math.max(high, series.high?.[i] ?? value)
    sum += value
    good += 1
    last = value
  })
  return good === 0 ? undefined : { low, high, mean: sum / good, last }
}

/** The trend in one sentence, for who cannot see it. */
export function sentence(name: string, unit: string, series: Series): string {
  const found = statistics(series)
  if (found === undefined) return text('trend.summary.none', { name })
  const show = (value: number) => (unit === '' ? decimal(value) : `${decimal(value)} ${unit}`)
  return text('trend.summary', {
    name,
    low: show(found.low),
    high: show(found.high),
    mean: show(found.mean),
    last: show(found.last),
    gaps: text('trend.summary.gaps', { count: gaps(series).length }),
  })
}
