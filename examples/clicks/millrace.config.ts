import { defineConfig } from 'millrace'

export default defineConfig({
  name: 'clicks',
  // generate.ts is a program of its own.
  include: ['clicks.ts', 'tables.ts', 'endpoints.ts'],
})
