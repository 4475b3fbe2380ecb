import { defineConfig } from 'millrace'

export default defineConfig({
  name: 'rides',
  // generate.ts is a program of its own.
  include: ['positions.ts', 'tables.ts', 'endpoints.ts'],
})
