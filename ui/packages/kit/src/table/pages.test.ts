import { describe, expect, it, vi } from 'vitest'
import { Pages, PAGE_ROWS, type Page } from './pages.svelte'

function listOf(total: number) {
  return vi.fn(async (search: string, offset: number, limit: number): Promise<Page<string>> => {
    const found = Array.from({ length: total }, (_, i) => `tag ${i}`).filter((name) => name.includes(search))
    return { total: found.length, offset, rows: found.slice(offset, offset + limit) }
  })
}

describe('pages of a long list', () => {
  it('reads each page once, when its rows come into view', async () => {
    const load = listOf(20_000)
    const pages = new Pages(load)
    await pages.find('')
    expect(pages.total).toBe(20_000)
    pages.ensure(10_000, 10_020)
    pages.ensure(10_001, 10_021)
    await vi.waitFor(() => expect(pages.row(10_000)).toBe('tag 10000'))
    expect(load.mock.calls.map(([, offset]) => offset)).toEqual([0, 100 * PAGE_ROWS])
  })

  it('shows the newest search even when an older answer comes late', async () => {
    const late: (() => void)[] = []
    const pages = new Pages<string>(async (search) => {
      if (search === 'slow') await new Promise<void>((resolve) => late.push(resolve))
      return { total: 1, offset: 0, rows: [search] }
    })
    const slow = pages.find('slow')
    await pages.find('quick')
    late.forEach((release) => release())
    await slow
    expect(pages.row(0)).toBe('quick')
  })

  it('says that reading failed and reads again when asked', async () => {
    let broken = true
    const pages = new Pages<string>(async () => {
      if (broken) throw new Error('no answer')
      return { total: 1, offset: 0, rows: ['back'] }
    })
    await pages.find('')
    expect(pages.failed).toBe(true)
    broken = false
    await pages.refresh(0, 1)
    expect(pages.failed).toBe(false)
    expect(pages.row(0)).toBe('back')
  })
})
