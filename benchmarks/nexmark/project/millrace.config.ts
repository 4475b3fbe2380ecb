import { defineConfig } from 'millrace'

const named = process.env['NEXMARK_QUERIES']?.split(',')

/** NEXMARK_QUERIES=q1,q5 loads these alone. */
export default defineConfig({
  name: 'nexmark',
  include: ['streams.ts', ...(named?.map((query) => `${query}.ts`) ?? ['q*.ts'])],
})
