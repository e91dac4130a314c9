/** A long list read page by page as its rows come into view; few pages are kept. */
export interface Page<R> {
  readonly total: number
  readonly offset: number
  readonly rows: readonly R[]
}

type Load<R> = (search: string, offset: number, limit: number) => Promise<Page<R>>

export const PAGE_ROWS = 100
const PAGES_KEPT = 12

export class Pages<R> {
  total = $state(0)
  /** False until the first page of the present search came. */
  ready = $state(false)
  failed = $state(false)
  search = $state('')
  #pages = $state.raw<ReadonlyMap<number, readonly R[]>>(new Map())
  #asked = new Set<number>()
  #generation = 0
  readonly #load: Load<R>

  constructor(load: Load<R>) {
    this.#load = load
  }

  row(position: number): R | undefined {
    return this.#pages.get(Math.floor(position / PAGE_ROWS))?.[position % PAGE_ROWS]
  }

  /** Start over with another search text. What is shown stays until the first new page is here. */
  async find(search: string): Promise<void> {
    this.search = search
    this.#generation += 1
    this.#asked = new Set()
    this.ready = false
    await this.#fetch(0, true)
  }

  /** Read what the rows from `first` to `end` need. */
  ensure(first: number, end: number): void {
    if (!this.ready) return
    const last = Math.floor(Math.max(first, end - 1) / PAGE_ROWS)
    for (let page = Math.floor(first / PAGE_ROWS); page <= last; page += 1) {
      if (!this.#pages.has(page) && !this.#asked.has(page)) void this.#fetch(page, false)
    }
  }

  /** Read the pages in view again: names, units, qualities and the total may have changed. */
  async refresh(first: number, end: number): Promise<void> {
    if (!this.ready) return this.find(this.search)
    const pages = new Set([Math.floor(first / PAGE_ROWS), Math.floor(Math.max(first, end - 1) / PAGE_ROWS)])
    await Promise.all([...pages].map((page) => this.#fetch(page, false)))
  }

  async #fetch(page: number, alone: boolean): Promise<void> {
    const generation = this.#generation
    this.#asked.add(page)
    try {
      const answer = await this.#load(this.search, page * PAGE_ROWS, PAGE_ROWS)
      if (generation !== this.#generation) return
      const kept = alone || answer.total !== this.total ? [] : [...this.#pages].filter(([n]) => n !== page)
      this.#pages = new Map([...kept.slice(1 - PAGES_KEPT), [page, answer.rows]])
      this.total = answer.total
      this.ready = true
      this.failed = false
    } catch {
      // the connection banner tells; the page is asked for again when next needed
      if (generation === this.#generation) this.failed = true
    } finally {
      if (generation === this.#generation) this.#asked.delete(page)
    }
  }
}
