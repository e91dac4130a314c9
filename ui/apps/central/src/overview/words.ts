/** Data types and completeness of the hub, in words. */
import { tagValue } from '@factoryplus/kit'
import type { Completeness, Epoch, Tag } from '@factoryplus/kit/api/central'

/** Sparkplug 3.0 data types by number; arrays and everything else are shown as text. */
const NAMES = [
  '', 'INT8', 'INT16', 'INT32', 'INT64', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'FLOAT', 'DOUBLE', 'BOOLEAN',
  'STRING', 'DATETIME', 'TEXT',
]

export function dataTypeName(data_type: number): string {
  return NAMES[data_type] || 'TEXT'
}

/** The value as the kit shows it: the hub keeps moments in µs, the kit takes ms. */
export function shownValue({ tag, last }: Tag): string {
  const name = dataTypeName(tag.data_type)
  const value = last?.value as number | string | boolean | null | undefined
  return tagValue(name === 'DATETIME' && typeof value === 'number' ? value / 1000 : value, name)
}

/** The epoch that is being written now. */
export function newestEpoch(report: Completeness | undefined): Epoch | undefined {
  return report?.epochs.at(-1)
}

/** Up to when all is here, over all epochs; undefined while an older epoch has a hole. */
export function completeTo_us(report: Completeness | undefined): number | undefined {
  const broken = report?.epochs.find((epoch) => epoch.unexplained_count > 0)
  return (broken ?? newestEpoch(report))?.complete_to_time_us ?? undefined
}

/** Holes of all epochs, explained or not, as far as they are listed. */
export function holesCount(report: Completeness | undefined): number {
  return (report?.epochs ?? []).reduce((sum, epoch) => sum + epoch.holes.length, 0)
}
