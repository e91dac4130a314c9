/** The one vocabulary of states, in both apps; the programs send these words. */
export type StateWord = 'OK' | 'Attention' | 'Fault' | 'Off' | 'Unknown'

const ORDER: readonly StateWord[] = ['OK', 'Off', 'Unknown', 'Attention', 'Fault']

/** The state that matters most. */
export function worst(states: readonly StateWord[]): StateWord {
  return states.reduce<StateWord>(
    (found, state) => (ORDER.indexOf(state) > ORDER.indexOf(found) ? state : found),
    'OK',
  )
}

export type QualityWord = 'good' | 'uncertain' | 'bad' | 'never'
export type Freshness = QualityWord | 'stale' | 'old'

/** Without a known publishing interval a value is stale after this. */
export const STALE_AFTER_MS = 30_000
const INTERVALS_UNTIL_STALE = 3
const BAD = 0x80000000
const UNCERTAIN = 0x40000000

/** What an OPC UA status code says about the value. */
export function qualityOf(status: number): QualityWord {
  if ((status & BAD) !== 0) return 'bad'
  return (status & UNCERTAIN) !== 0 ? 'uncertain' : 'good'
}

/**
 * How a value is shown: its quality, or Stale when its age says that it is not of now.
 *
 * A source sends changes only. While it is heard from (`heard`), an old value is one that has not
 * changed, however old; when it is not, nothing says so any more.
 */
export function freshness(
  quality: QualityWord,
  age_ms: number,
  heard: boolean,
  interval_ms?: number,
): Freshness {
  if (quality === 'never' || quality === 'bad' || heard) return quality
  const limit_ms = interval_ms === undefined ? STALE_AFTER_MS : INTERVALS_UNTIL_STALE * interval_ms
  return age_ms > limit_ms ? 'stale' : quality
}
