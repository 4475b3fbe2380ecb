import { source, stream, t } from 'millrace'

/** A novel, line by line. */
export const lines = stream('lines', {
  doc: 'Moby-Dick by Herman Melville, a paragraph a line.',
  columns: {
    chapter: t.string().doc('Its number; Etymology, Extracts and Epilogue stand outside the count.'),
    line: t.int().doc('Place in the chapter, from 1.'),
    text: t.string(),
  },
  unique: ['chapter', 'line'],
  source: source.files({ name: 'book', path: 'data/*.ndjson' }),
})
