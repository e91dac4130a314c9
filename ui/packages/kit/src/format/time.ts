/** Times and ages for people. The zone is the browser's until the plant's comes with the status. */
import { text } from '../i18n'
import { locale } from '../i18n/translate'
import { count, decimal } from './number'

const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const short = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const full = new Intl.DateTimeFormat(locale, {
  year: 'numeric', month: '2-digit', day: '2-digit',
  hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
})
const day = new Intl.DateTimeFormat(locale, { day: '2-digit', month: 'short' })
const MINUTE_S = 60
const HOUR_S = 3600
const DAY_S = 86_400

/** 14:02:11 */
export function clockTime(time_ms: number): string {
  return clock.format(time_ms)
}

/** 14:02 */
export function shortTime(time_ms: number): string {
  return short.format(time_ms)
}

/** 23 Nov */
export function dayName(time_ms: number): string {
  return day.format(time_ms)
}

/** 23/11/2026, 14:02:11 */
export function dateTime(time_ms: number): string {
  return full.format(time_ms)
}

/** The clock time today, else date and time. */
export function moment(time_ms: number, now_ms: number): string {
  return now_ms - time_ms < DAY_S * 1000 && new Date(time_ms).getDate() === new Date(now_ms).getDate()
    ? clockTime(time_ms)
    : dateTime(time_ms)
}

/** The zone that all times are shown in: Europe/London (GMT). */
export function zoneName(time_ms: number): string {
  const zone = new Intl.DateTimeFormat(locale).resolvedOptions().timeZone
  const parts = new Intl.DateTimeFormat(locale, { timeZoneName: 'short' }).formatToParts(time_ms)
  const offset = parts.find((part) => part.type === 'timeZoneName')?.value
  return offset === undefined || offset === zone ? zone : `${zone} (${offset})`
}

/** A duration in at most two units: 0.2 s, 12 s, 3 min 5 s, 2 h 14 min, 3 d 4 h. */
export function duration(seconds: number): string {
  const s = Math.max(0, seconds)
  if (s < 9.95 && !Number.isInteger(s)) return text('unit.s', { a: decimal(s, 1) })
  if (s < MINUTE_S) return text('unit.s', { a: count(s) })
  const pairs = [
    [DAY_S, HOUR_S, 'unit.d', 'unit.d_h'],
    [HOUR_S, MINUTE_S, 'unit.h', 'unit.h_min'],
    [MINUTE_S, 1, 'unit.min', 'unit.min_s'],
  ] as const
  for (const [big, small, alone, both] of pairs) {
    if (s < big) continue
    const a = Math.floor(s / big)
    const b = Math.floor((s % big) / small)
    return b === 0 ? text(alone, { a: count(a) }) : text(both, { a: count(a), b: count(b) })
  }
  return text('unit.s', { a: count(s) })
}

/** An age that moves once a second: "< 1 s", "12 s". */
export function age(seconds: number): string {
  return seconds < 1 ? text('unit.under_s') : duration(seconds < 10 ? Math.floor(seconds) : seconds)
}

/** An age: "12 s ago", "never", or "3 min ahead" for a time in the future. */
export function ago(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return text('age.never')
  if (seconds < -2) return text('age.ahead', { age: duration(-seconds) })
  return text('age.ago', { age: age(seconds) })
}
