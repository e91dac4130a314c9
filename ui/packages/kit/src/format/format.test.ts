import { describe, expect, it } from 'vitest'
import { chooseLocale, createTranslator, fill } from '../i18n/translate'
import { bytes, count, decimal } from './number'
import { age, ago, duration } from './time'
import { isPlottable, isStepped, tagValue } from './value'

describe('figures', () => {
  it('stand still: decimals by size, grouped, with a true minus', () => {
    expect(count(1_482_903_118)).toBe('1,482,903,118')
    expect(decimal(3.14159)).toBe('3.142')
    expect(decimal(-72.1)).toBe('\u221272.10')
    expect(decimal(1482.34)).toBe('1,482.3')
    expect(decimal(0.0000123)).toMatch(/^1\.230E/)
    expect(bytes(412_876_800)).toBe('412.9 MB')
  })

  it('are shown by data type', () => {
    expect(tagValue(1450, 'INT16')).toBe('1,450')
    expect(tagValue(9007199254740992, 'UINT64')).toBe('9.007E15')
    expect(tagValue(1, 'BOOLEAN')).toBe('true')
    expect(tagValue(1767225728000, 'DATETIME')).toMatch(/2026/)
    expect(tagValue('[1, 2]', 'DOUBLE_ARRAY')).toBe('[1, 2]')
    expect(tagValue(1450, 'Double')).toBe('1,450.0')
    expect(tagValue(false, 'Boolean')).toBe('false')
    expect(tagValue('<img onerror>', 'String')).toBe('<img onerror>')
    expect(tagValue(null, 'Double')).toBe('–')
  })
})

describe('trends', () => {
  it('are drawn for numbers, in steps unless they glide', () => {
    expect(['DOUBLE', 'UINT8', 'BOOLEAN', 'DATETIME', 'STRING', 'DOUBLE_ARRAY'].map(isPlottable)).toEqual([
      true, true, true, false, false, false,
    ])
    expect(['FLOAT', 'INT64', 'BOOLEAN'].map(isStepped)).toEqual([false, true, true])
  })
})

describe('durations', () => {
  it('take at most two units', () => {
    expect(duration(0.21)).toBe('0.2 s')
    expect(duration(12.4)).toBe('12 s')
    expect(duration(185)).toBe('3 min 5 s')
    expect(duration(3600)).toBe('1 h')
    expect(duration(266_400)).toBe('3 d 2 h')
  })

  it('tell an age that moves once a second, and the future', () => {
    expect(age(0.4)).toBe('< 1 s')
    expect(age(7.8)).toBe('7 s')
    expect(ago(null)).toBe('never')
    expect(ago(-180)).toBe('3 min ahead')
  })
})

describe('messages', () => {
  it('fill places, choose plurals, and show a missing place', () => {
    const holes = { one: '1 hole', other: '{count} holes' }
    expect(fill(holes, { count: 1 })).toBe('1 hole')
    expect(fill(holes, { count: 2000 })).toBe('2,000 holes')
    expect(fill('to {place}')).toBe('to {place}')
  })

  it('fall back to English where a translation is missing', () => {
    const t = createTranslator({ a: 'A', b: 'B' }, { en: { a: 'Ä' } })
    expect(t('a')).toBe('Ä')
    expect(t('b')).toBe('B')
    expect(chooseLocale(['de-DE', 'en-US'])).toBe('en-US')
    expect(chooseLocale(['fr'])).toBe('en-GB')
    expect(chooseLocale(['fr', 'de-AT'], ['en', 'de'])).toBe('de-AT')
  })
})
