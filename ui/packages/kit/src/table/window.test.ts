import { describe, expect, it } from 'vitest'
import { moveRow, rowWindow, scrollToShow } from './window'

describe('the row window', () => {
  it('draws only what is near the view of 20,000 rows', () => {
    const view = rowWindow(360_000, 720, 36, 20_000)
    expect(view).toEqual({ first: 9992, end: 10_028, firstSeen: 10_000, endSeen: 10_020 })
  })

  it('ends with the list', () => {
    expect(rowWindow(1e9, 720, 36, 50)).toMatchObject({ end: 50, endSeen: 50 })
    expect(rowWindow(0, 720, 36, 0)).toEqual({ first: 0, end: 0, firstSeen: 0, endSeen: 0 })
    expect(rowWindow(0, 720, 0, 50)).toMatchObject({ end: 0 })
  })

  it('scrolls as little as possible to show a row', () => {
    expect(scrollToShow(5, 0, 360, 36)).toBe(0)
    expect(scrollToShow(10, 0, 360, 36)).toBe(36)
    expect(scrollToShow(2, 360, 360, 36)).toBe(72)
  })

  it('moves by keys and stays inside', () => {
    expect(moveRow('ArrowDown', 3, 10, 5)).toBe(4)
    expect(moveRow('PageUp', 3, 10, 5)).toBe(0)
    expect(moveRow('End', 3, 10, 5)).toBe(9)
    expect(moveRow('x', 3, 10, 5)).toBeUndefined()
    expect(moveRow('ArrowDown', 0, 0, 5)).toBeUndefined()
  })
})
