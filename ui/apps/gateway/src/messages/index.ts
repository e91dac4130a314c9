import { createTranslator } from '@factoryplus/kit'
import { en } from './en'

/** The app's text; a German file goes in as `{ de }`. */
export const t = createTranslator(en)

export type Key = keyof typeof en

/** A word for a code that the gateway sends; an unknown code is shown as it is. */
export function word(family: 'reason' | 'sink' | 'sinkstate' | 'sourcestate', code: string): string {
  const key = `${family}.${code}`
  return key in en ? t(key as Key) : code.replaceAll('_', ' ')
}
