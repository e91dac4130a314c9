import { describe, expect, it } from 'vitest'
import { answered, begin, failed, INTERVAL_MS, TIMEOUT_MS } from './connection'

const NOTICED_WITHIN_MS = 5000

/** When the page says lost, if the last good answer came at 0 and each try fails after `took_ms`. */
function lostAfter_ms(interval_ms: number, took_ms: number): number {
  let connection = answered(0, 0, interval_ms)
  let now_ms = 0
  while (!connection.lost) {
    now_ms = connection.next_ms + took_ms
    connection = failed(connection, now_ms)
  }
  return now_ms
}

describe('a connection', () => {
  it.each([1000, 2000])('polled every %i ms is known to be lost within 5 s', (interval_ms) => {
    expect(lostAfter_ms(interval_ms, 5)).toBeLessThan(NOTICED_WITHIN_MS)
    expect(lostAfter_ms(interval_ms, TIMEOUT_MS)).toBeLessThan(NOTICED_WITHIN_MS)
  })

  it('is not lost by one quick failure right after an answer', () => {
    const once = failed(answered(0, 0), INTERVAL_MS)
    expect(once.lost).toBe(false)
    expect(answered(once.next_ms, once.next_ms + 20).failures).toBe(0)
  })

  it('is asked for ever, at most 10 s apart', () => {
    let connection = begin(0)
    for (let i = 0; i < 20; i += 1) {
      const now_ms = connection.next_ms
      connection = failed(connection, now_ms)
      expect(connection.next_ms - now_ms).toBeLessThanOrEqual(10_000)
    }
    expect(connection.lost).toBe(true)
    expect(answered(0, 99_000).lost).toBe(false)
  })
})
