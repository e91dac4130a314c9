import { en } from './en'
import { createTranslator } from './translate'

/** The kit's own text; a German file goes in as `{ de }`. */
export const text = createTranslator(en)
