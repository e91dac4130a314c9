// Regenerates packages/kit/src/api/generated/{gateway,central}.ts from the programs' OpenAPI.
//   npm run api                                     asks the Python programs
//   npm run api -- gateway=openapi.json             takes a file instead
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const ui = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..')
const repository = resolve(ui, '..')
const python =
  process.env['PYTHON'] ?? [join(repository, '.venv/bin/python'), 'python3'].find((path) => existsSync(path)) ?? 'python3'
const given = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split('=', 2)))
const generated = join(ui, 'packages', 'kit', 'src', 'api', 'generated')
const scratch = mkdtempSync(join(tmpdir(), 'factoryplus-openapi-'))
mkdirSync(generated, { recursive: true })

function document(program) {
  if (given[program]) return readFileSync(resolve(process.cwd(), given[program]), 'utf8')
  const run = spawnSync(python, ['-m', program, 'openapi'], { cwd: repository, encoding: 'utf8' })
  if (run.status !== 0) throw new Error(`python -m ${program} openapi failed:\n${run.stderr}`)
  return run.stdout
}

try {
  const programs = Object.keys(given).length > 0 ? Object.keys(given) : ['gateway', 'central']
  for (const program of programs) {
    const source = join(scratch, `${program}.json`)
    const text = document(program)
    JSON.parse(text)
    writeFileSync(source, text)
    const bin = join(ui, 'node_modules', 'openapi-typescript', 'bin', 'cli.js')
    const target = join(generated, `${program}.ts`)
    const run = spawnSync(process.execPath, [bin, source, '-o', target], { stdio: 'inherit' })
    if (run.status !== 0) process.exit(run.status ?? 1)
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
