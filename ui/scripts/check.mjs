// Type-checks the workspace: tsc on the tools, svelte-check on every package, warnings included.
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'

const ui = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..')
const bin = join(ui, 'node_modules', 'svelte-check', 'bin', 'svelte-check')
const tsc = spawnSync(process.execPath, [join(ui, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', ui], {
  stdio: 'inherit',
})
let failed = tsc.status !== 0
for (const folder of ['packages/kit', 'apps/gateway', 'apps/central']) {
  console.log(folder)
  const run = spawnSync(
    process.execPath,
    [bin, '--workspace', join(ui, folder), '--tsconfig', join(ui, folder, 'tsconfig.json'), '--fail-on-warnings'],
    { stdio: 'inherit' },
  )
  failed ||= run.status !== 0
}
process.exit(failed ? 1 : 0)
