/** One Vite configuration for both apps: strict-CSP output, hashed names, old panels served. */
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { fileURLToPath } from 'node:url'
import type { UserConfig } from 'vite'

/** Where the Python program serves the app from; the folder is emptied by each build. */
export function shared(app: 'gateway' | 'central'): UserConfig {
  const root = fileURLToPath(new URL(`./apps/${app}`, import.meta.url))
  const backend = process.env['BACKEND'] ?? 'http://127.0.0.1:8080'
  return {
    root,
    base: '/',
    plugins: [svelte({ configFile: false })],
    build: {
      outDir: fileURLToPath(new URL(`../${app}/web/static`, import.meta.url)),
      emptyOutDir: true,
      manifest: true,
      // data: addresses are refused by `default-src 'self'`
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      target: ['chrome100', 'firefox102', 'safari16'],
      // Lightning CSS lowers light-dark() for these, so that old panels get both themes
      cssTarget: ['chrome100', 'firefox102', 'safari16'],
      reportCompressedSize: false,
    },
    server: { host: '127.0.0.1', proxy: { '/api': { target: backend, ws: true } } },
  }
}
