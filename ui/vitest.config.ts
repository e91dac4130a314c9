import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [svelte({ configFile: false })],
  // without 'browser' Svelte resolves its server build
  resolve: { conditions: ['browser'] },
  test: {
    environment: 'happy-dom',
    include: ['tests/*.test.ts', 'packages/kit/src/**/*.test.ts', 'apps/*/src/**/*.test.ts'],
    restoreMocks: true,
  },
})
