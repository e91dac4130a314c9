import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Poll } from './poll.svelte'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('a poll', () => {
  it('asks every second while visible, and stops when the page goes', async () => {
    const ask = vi.fn(async () => 1)
    const poll = new Poll(ask)
    const stop = poll.start()
    await vi.advanceTimersByTimeAsync(3500)
    expect(ask).toHaveBeenCalledTimes(4)
    expect(poll.data).toBe(1)
    stop()
    await vi.advanceTimersByTimeAsync(5000)
    expect(ask).toHaveBeenCalledTimes(4)
  })

  it('rests while the page is hidden', async () => {
    const ask = vi.fn(async () => 1)
    const visible = vi.spyOn(document, 'visibilityState', 'get').mockReturnValue('visible')
    const stop = new Poll(ask).start()
    await vi.advanceTimersByTimeAsync(1500)
    visible.mockReturnValue('hidden')
    document.dispatchEvent(new Event('visibilitychange'))
    const before = ask.mock.calls.length
    await vi.advanceTimersByTimeAsync(60_000)
    expect(ask).toHaveBeenCalledTimes(before)
    visible.mockReturnValue('visible')
    document.dispatchEvent(new Event('visibilitychange'))
    await vi.advanceTimersByTimeAsync(10)
    expect(ask).toHaveBeenCalledTimes(before + 1)
    stop()
  })

  it('says lost within 5 s when the machine hangs, keeps the old data, and comes back', async () => {
    let hangs = false
    const poll = new Poll((signal) =>
      hangs
        ? new Promise<string>((_, refuse) => signal.addEventListener('abort', () => refuse(signal.reason)))
        : Promise.resolve('figures'),
    )
    const stop = poll.start()
    await vi.advanceTimersByTimeAsync(100)
    hangs = true
    await vi.advanceTimersByTimeAsync(5000)
    expect(poll.lost).toBe(true)
    expect(poll.data).toBe('figures')
    hangs = false
    await vi.advanceTimersByTimeAsync(15_000)
    expect(poll.lost).toBe(false)
    stop()
  })
})
