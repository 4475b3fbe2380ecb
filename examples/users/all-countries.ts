import { readdirSync } from 'node:fs'
import type { Country } from './country.ts'

const folder = new URL('./countries/', import.meta.url)

/** Every country that has a file in `countries/`, by code. Adding a file adds the country to every stream and table. */
export const allCountries: readonly Country[] = await Promise.all(
  readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .toSorted()
    .map(async (name) => ((await import(new URL(name, folder).href)) as { default: Country }).default),
)
