import { createTranslator } from '@factoryplus/kit'
import { en } from './en'

/** The app's text; a German file goes in as `{ de }`. */
export const t = createTranslator(en)

/** A word for a loss reason that the hub sends; an unknown one is shown as it is. */
export function reasonWord(code: string): string {
  const key = `reason.${code}`
  return key in en ? t(key as keyof typeof en) : code.replaceAll('_', ' ')
}
