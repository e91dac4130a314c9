import { describe, expect, it } from 'vitest'
import { append, EMPTY, gaps, held, prepend, sentence, statistics } from './series'

describe('a trend', () => {
  it('keeps its window and one point before it', () => {
    let series = EMPTY
    for (let t = 0; t < 10; t += 1) series = append(series, t, t * 2, t - 3)
    expect(series.time_s).toEqual([5, 6, 7, 8, 9])
    expect(append(series, 9, 99, 0)).toBe(series)
  })

  it('joins the past with what came live meanwhile, each point once', () => {
    const past = { time_s: [1, 2, 3], value: [1, 2, 3] }
    const live = { time_s: [2.5, 3, 3.5], value: [9, 9, 4] }
    expect(prepend(past, live)).toEqual({ time_s: [1, 2, 3, 3.5], value: [1, 2, 3, 4] })
    expect(prepend(past, EMPTY)).toBe(past)
  })

  it('holds a value that does not change, and never a bad one', () => {
    expect(held(EMPTY, 4, 10, [100, 400])).toEqual({ time_s: [100, 400], value: [4, 4] })
    expect(held({ time_s: [200], value: [7] }, 7, 200, [100, 400])).toEqual({ time_s: [200, 400], value: [7, 7] })
    expect(held({ time_s: [200], value: [null] }, null, 200, [100, 400]).time_s).toEqual([200])
    expect(held(EMPTY, null, 10, [100, 400])).toBe(EMPTY)
  })

  it('finds gaps, also at both ends', () => {
    expect(gaps({ time_s: [1, 2, 3, 4, 5, 6], value: [null, 2, null, null, 5, null] })).toEqual([
      [1, 2],
      [2, 5],
      [5, 6],
    ])
  })

  it('never takes a gap for zero', () => {
    const found = statistics({ time_s: [1, 2, 3], value: [5, null, 7] })
    expect(found).toEqual({ low: 5, high: 7, mean: 6, last: 7 })
    expect(statistics({ time_s: [1], value: [null] })).toBeUndefined()
  })

  it('is said in a sentence', () => {
    const series = { time_s: [1, 2, 3], value: [20, null, 22] }
    expect(sentence('Press/Temperature', '°C', series)).toBe(
      'Press/Temperature: between 20.00 °C and 22.00 °C in the time shown, mean 21.00 °C, last 22.00 °C; 1 gap.',
    )
    expect(sentence('Press/Temperature', '°C', EMPTY)).toContain('no good value')
  })
})
