/** A tag's value for people, by its data type (Sparkplug's names, in any case). */
import { decimal, integer } from './number'
import { dateTime } from './time'

export type Value = number | boolean | string | null | undefined
export type Kind = 'real' | 'integer' | 'boolean' | 'time' | 'text'

const KINDS: readonly (readonly [RegExp, Kind])[] = [
  [/_array$|^(string|text|uuid|bytes|file|dataset|template)$/, 'text'],
  [/^u?int|^s?byte$/, 'integer'],
  [/^boolean$/, 'boolean'],
  [/^datetime$/, 'time'],
]

export function kindOf(dataType: string): Kind {
  const name = dataType.toLowerCase()
  return KINDS.find(([pattern]) => pattern.test(name))?.[1] ?? 'real'
}

/** Text and moments have no line to draw. */
export function isPlottable(dataType: string): boolean {
  const kind = kindOf(dataType)
  return kind !== 'text' && kind !== 'time'
}

/** Values that jump rather than glide. */
export function isStepped(dataType: string): boolean {
  return kindOf(dataType) !== 'real'
}

/** The value as it is shown, without its unit; moments come as ms since 1970. */
export function tagValue(value: Value, dataType: string): string {
  if (value === null || value === undefined) return '\u2013'
  const kind = kindOf(dataType)
  if (kind === 'boolean') return String(Boolean(value))
  if (typeof value !== 'number') return String(value)
  if (kind === 'time') return dateTime(value)
  return kind === 'integer' ? integer(value) : decimal(value)
}
