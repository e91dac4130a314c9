/** Numbers for people: grouped, with a fixed number of decimals so that moving figures stand still. */
import { locale } from '../i18n/translate'

const integers = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 })
const fixed = [0, 1, 2, 3].map(
  (digits) =>
    new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }),
)
const scientific = new Intl.NumberFormat(locale, { notation: 'scientific', minimumFractionDigits: 3, maximumFractionDigits: 3 })
const percents = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 })
const EXACT_MAX = 1e12
const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB']
const MINUS = '\u2212'

/** A whole number of a tag: all its digits while they fit a cell, else the size of it. */
export function integer(value: number): string {
  return Math.abs(value) < EXACT_MAX ? count(value) : scientific.format(value).replace('-', MINUS)
}

/** A whole number: 1,482,903,118. */
export function count(value: number): string {
  return integers.format(value).replace('-', MINUS)
}

/** A number with as many decimals as its size deserves; |x| < 10 three, < 1000 two, else one. */
export function decimal(value: number, digits?: 0 | 1 | 2 | 3): string {
  if (!Number.isFinite(value)) return String(value)
  const size = Math.abs(value)
  if (digits === undefined && size !== 0 && (size < 0.001 || size >= 1e9)) {
    return scientific.format(value).replace('-', MINUS)
  }
  const chosen = digits ?? (size < 10 ? 3 : size < 1000 ? 2 : 1)
  return (fixed[chosen] ?? integers).format(value).replace('-', MINUS)
}


/** A size in decimal units: 412.9 MB. */
export function bytes(value: number): string {
  let size = value
  let unit = 0
  while (size >= 1000 && unit < BYTE_UNITS.length - 1) {
    size /= 1000
    unit += 1
  }
  return `${unit === 0 ? count(size) : decimal(size, 1)} ${BYTE_UNITS[unit] ?? ''}`
}

/** A ratio (0 to 1) as per cent. */
export function percent(ratio: number): string {
  return percents.format(ratio)
}
