/**
 * Text comes from message files, one per language; English is complete, others may be partial.
 *
 * A message is a text with `{name}` places, or a plural pair chosen by the `count` parameter.
 */
export type Message = string | { readonly one: string; readonly other: string }
export type Catalogue = Readonly<Record<string, Message>>
export type Parameters = Readonly<Record<string, string | number>>
/** The shape that a translation must have: the same keys, any text. */
export type Translation<C extends Catalogue> = { readonly [K in keyof C]?: Message }

const DEFAULT_LOCALE = 'en-GB'
const LANGUAGES = ['en']

/** The locale for text, numbers and dates: the browser's first that we have text for. */
export function chooseLocale(wanted: readonly string[], languages: readonly string[] = LANGUAGES): string {
  return wanted.find((tag) => languages.includes(tag.split('-')[0] ?? '')) ?? DEFAULT_LOCALE
}

export const locale: string = chooseLocale(typeof navigator === 'undefined' ? [] : navigator.languages)

/** Fill the places of a message; an unknown place stays visible, so that it is found. */
export function fill(message: Message, parameters: Parameters = {}, tag: string = locale): string {
  let text: string
  if (typeof message === 'string') {
    text = message
  } else {
    const category = new Intl.PluralRules(tag).select(Number(parameters['count'] ?? 0))
    text = category === 'one' ? message.one : message.other
  }
  return text.replace(/\{(\w+)\}/g, (place, name: string) => {
    const value = parameters[name]
    if (value === undefined) return place
    return typeof value === 'number' ? new Intl.NumberFormat(tag).format(value) : value
  })
}

/** Make the `t()` of one app out of its message files. */
export function createTranslator<C extends Catalogue>(
  english: C,
  translations: Readonly<Record<string, Translation<C>>> = {},
): (key: keyof C & string, parameters?: Parameters) => string {
  const chosen = translations[locale.split('-')[0] ?? '']
  return (key, parameters) => fill(chosen?.[key] ?? english[key] ?? key, parameters)
}
