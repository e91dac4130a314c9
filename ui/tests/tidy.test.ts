/** Rules of the front end that no compiler checks: sizes of files, nothing unsafe, nothing foreign. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'

const UI = resolve(process.cwd())
const LINES_MAX = 400

const files = ['packages/kit/src', 'apps/gateway', 'apps/central']
  .flatMap((folder) =>
    readdirSync(join(UI, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|svelte|css|html)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)),
  )
  .filter((path) => !/node_modules|generated|\.test\.ts$/.test(path))
  .map((path) => ({ name: relative(UI, path), text: readFileSync(path, 'utf8') }))

function breaking(pattern: RegExp): string[] {
  return files.filter(({ text }) => pattern.test(text)).map(({ name }) => name)
}

describe('every source file', () => {
  it('was found', () => expect(files.length).toBeGreaterThan(30))

  it('has at most 400 lines', () => {
    expect(files.filter(({ text }) => text.split('\n').length > LINES_MAX).map(({ name }) => name)).toEqual([])
  })

  it('writes no HTML from text', () => {
    expect(breaking(/\{@html|innerHTML|insertAdjacentHTML|document\.write/)).toEqual([])
  })

  it('has no inline style or script, which the CSP refuses', () => {
    expect(breaking(/<[^>]*\sstyle="(?!\{)|\son[a-z]+="|setAttribute\('style'/)).toEqual([])
  })

  it('names no other origin', () => {
    expect(breaking(/https?:\/\/(?!www\.w3\.org)|@import url|url\(\s*['"]?\/\//)).toEqual([])
  })

  it('keeps nothing in browser storage but how the page is displayed', () => {
    expect(breaking(/localStorage|sessionStorage|indexedDB|document\.cookie/)).toEqual([
      'packages/kit/src/state/display.svelte.ts',
    ])
  })
})
