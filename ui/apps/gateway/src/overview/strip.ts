import { ago, type StripCell } from '@factoryplus/kit'
import type { GatewayStatus } from '@factoryplus/kit/api/gateway'
import { t } from '../messages'

export const HOPS = ['source', 'buffer', 'broker', 'hub'] as const
export type Hop = (typeof HOPS)[number]

/** The four cells as the strip shows them. */
export function stripCells(status: GatewayStatus): StripCell[] {
  return HOPS.map((key) => {
    const cell = status.strip[key]
    const never = cell.acknowledged_age_s === null || cell.acknowledged_age_s === undefined
    const fine = never ? t('note.none') : t(`note.${key}`, { age: ago(cell.acknowledged_age_s) })
    const note = cell.reason !== '' ? cell.reason : cell.state === 'Off' ? '' : fine
    return { key, label: t(`cell.${key}`), state: cell.state, figure: cell.figure, note }
  })
}

/** What read = stored + filtered + dropped + in flight leaves over; 0 is right. */
export function unaccounted(counters: GatewayStatus['counters']): number {
  const { read, stored, filtered, dropped, in_flight } = counters
  return read - stored - filtered - dropped - in_flight
}
