import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [svelte()],
  base: '/',
  build: {
    target: 'es2022',
    // The first browsers with light-dark().
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // Nothing becomes a data: address, which the server's content security policy refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
  server: {
    proxy: { '/api': process.env['CORRIDOR_API'] ?? 'http://127.0.0.1:8420' },
  },
  // Svelte's browser build is wanted in unit tests of modules that hold runes.
  resolve: process.env['VITEST'] ? { conditions: ['browser'] } : {},
})
