import { defineConfig } from 'millrace'

export default defineConfig({ name: '__name__' })
