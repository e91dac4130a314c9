// Builds both apps into their Python packages, pre-compresses them, and holds the size budgets.
import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const here = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname)
const ui = resolve(here, '..')
const FIRST_LOAD_GZIP_BYTES_MAX = { gateway: 80_000, central: 100_000 }
const CHUNK_GZIP_BYTES_MAX = 240_000

/** Every file that the browser fetches before the first page shows. */
function firstLoad(manifest, key, seen = new Set()) {
  const chunk = manifest[key]
  if (!chunk || seen.has(chunk.file)) return seen
  seen.add(chunk.file)
  for (const file of [...(chunk.css ?? []), ...(chunk.assets ?? [])]) seen.add(file)
  for (const name of chunk.imports ?? []) firstLoad(manifest, name, seen)
  return seen
}

function compress(folder) {
  const sizes = {}
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(html|js|css|svg|json)$/.test(entry.name)) continue
    const path = join(entry.parentPath ?? entry.path, entry.name)
    const bytes = readFileSync(path)
    const gzip = gzipSync(bytes, { level: 9 })
    const brotli = brotliCompressSync(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    })
    sizes[path.slice(folder.length + 1)] = { gzip: gzip.length, brotli: brotli.length }
    if (bytes.length < 512) continue
    writeFileSync(`${path}.gz`, gzip)
    writeFileSync(`${path}.br`, brotli)
  }
  return sizes
}

const only = process.argv[2]
let failed = false
for (const app of ['gateway', 'central']) {
  if (only && only !== app) continue
  const vite = join(ui, 'node_modules', 'vite', 'bin', 'vite.js')
  const run = spawnSync(process.execPath, [vite, 'build', '--logLevel', 'warn'], {
    cwd: join(ui, 'apps', app),
    stdio: 'inherit',
  })
  if (run.status !== 0) process.exit(run.status ?? 1)
  const folder = resolve(ui, '..', app, 'web', 'static')
  const manifest = JSON.parse(readFileSync(join(folder, '.vite', 'manifest.json'), 'utf8'))
  rmSync(join(folder, '.vite'), { recursive: true })
  const sizes = compress(folder)
  const files = ['index.html', ...firstLoad(manifest, 'index.html')]
  const sum = (kind) => files.reduce((total, file) => total + (sizes[file]?.[kind] ?? 0), 0)
  const [gzip, brotli, max] = [sum('gzip'), sum('brotli'), FIRST_LOAD_GZIP_BYTES_MAX[app]]
  const kB = (bytes) => (bytes / 1000).toFixed(1)
  console.log(`${app}: first load ${kB(gzip)} kB gz (${kB(brotli)} kB br), budget ${kB(max)} kB gz`)
  for (const file of files) console.log(`  ${file}  ${kB(sizes[file]?.gzip ?? 0)} kB gz`)
  if (gzip > max) {
    console.error(`${app}: the first load is over its budget`)
    failed = true
  }
  for (const [file, size] of Object.entries(sizes)) {
    if (size.gzip <= CHUNK_GZIP_BYTES_MAX) continue
    console.error(`${app}: ${file} is over ${kB(CHUNK_GZIP_BYTES_MAX)} kB gz`)
    failed = true
  }
}
process.exit(failed ? 1 : 0)
