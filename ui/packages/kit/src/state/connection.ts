/**
 * When is the machine lost, and when to try again: a state machine without timers.
 *
 * A page that shows values must say within 5 s that they are old. Polls come every one or two
 * seconds and give up after `TIMEOUT_MS`; so a failure `LOST_AFTER_MS` after the last good answer,
 * quick or slow, is in time.
 */
export const INTERVAL_MS = 1000
export const TIMEOUT_MS = 2500
export const LOST_AFTER_MS = 1500
const RETRY_DELAYS_MS = [1000, 2000, 3000, 5000, 10_000]

export interface Connection {
  /** When the last good answer came, or watching began again. */
  readonly good_ms: number
  readonly lost: boolean
  readonly failures: number
  /** When to ask next. */
  readonly next_ms: number
}

export function begin(now_ms: number): Connection {
  return { good_ms: now_ms, lost: false, failures: 0, next_ms: now_ms }
}

export function answered(started_ms: number, now_ms: number, interval_ms = INTERVAL_MS): Connection {
  return { good_ms: now_ms, lost: false, failures: 0, next_ms: Math.max(now_ms, started_ms + interval_ms) }
}

export function failed(before: Connection, now_ms: number): Connection {
  const lost = before.lost || now_ms - before.good_ms >= LOST_AFTER_MS
  const failures = before.failures + 1
  const step = lost ? Math.min(failures - 1, RETRY_DELAYS_MS.length - 1) : 0
  return { ...before, lost, failures, next_ms: now_ms + (RETRY_DELAYS_MS[step] ?? INTERVAL_MS) }
}
