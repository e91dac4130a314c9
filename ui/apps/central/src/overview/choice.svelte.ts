/** What the reader has chosen: gateway, tag and range. It lives in the URL, so that it can be shared. */
export type RangeKey = '5m' | '1h' | '24h'
export const RANGES_S: Record<RangeKey, number> = { '5m': 300, '1h': 3600, '24h': 86_400 }

class Choice {
  gateway = $state('')
  tag = $state<number>()
  range = $state<RangeKey>('1h')

  constructor() {
    const query = new URLSearchParams(location.search)
    this.gateway = query.get('gateway') ?? ''
    const tag = Number(query.get('tag') ?? Number.NaN)
    this.tag = Number.isSafeInteger(tag) ? tag : undefined
    const range = query.get('range') ?? ''
    if (range in RANGES_S) this.range = range as RangeKey
  }

  set(choice: { gateway?: string; tag?: number | undefined; range?: RangeKey }): void {
    Object.assign(this, choice)
    const query = new URLSearchParams()
    if (this.gateway !== '') query.set('gateway', this.gateway)
    if (this.tag !== undefined) query.set('tag', String(this.tag))
    query.set('range', this.range)
    history.replaceState(null, '', `?${query}`)
  }
}

export const choice = new Choice()
