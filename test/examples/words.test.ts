import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const EXAMPLE = fileURLToPath(new URL('../../examples/words', import.meta.url))
const CHILD = fileURLToPath(new URL('./run-project.ts', import.meta.url))

/** Counted without the example's pattern, or anything else of it: letter by letter. */
function countWords(texts: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  const isLetter = (c: string | undefined) => c !== undefined && /\p{L}/u.test(c)
  for (const text of texts) {
    let word = ''
    const letters = [...Array.from(text), ' ']
    letters.forEach((letter, i) => {
      const joins = "'’-".includes(letter) && isLetter(letters[i - 1]) && isLetter(letters[i + 1])
      if (isLetter(letter) || joins) word += letter.toLowerCase()
      else if (word !== '') {
        counts.set(word, (counts.get(word) ?? 0) + 1)
        word = ''
      }
    })
  }
  return counts
}

test('the words of the example are those of its book, each as often as it stands there', async () => {
  const data = mkdtempSync(join(tmpdir(), 'millrace-words-'))
  onTestFinished(() => rmSync(data, { recursive: true, force: true }))
  const queries = [
    'SELECT word, n FROM {word_count} ORDER BY word',
    'SELECT word, n FROM {word_count} WHERE length(word) > 4 ORDER BY n DESC, word LIMIT 5',
    "SELECT len(chapters) AS n, chapters[1] AS most FROM {chapters_of_word} WHERE word = 'queequeg'",
    'SELECT sum(words)::INT AS words, count(*)::INT AS chapters FROM {chapter_lengths}',
    'SELECT sentence FROM {sentences} ORDER BY _partition, _offset, _index',
    'SELECT sentence FROM {whale_sentences} ORDER BY _partition, _offset, _index',
  ]
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=millrace-source', '--no-warnings', CHILD, EXAMPLE, data, JSON.stringify(queries)],
    { maxBuffer: 64 << 20 },
  )
  const { answers } = JSON.parse(stdout) as { answers: Record<string, unknown>[][] }
  const text = readFileSync(join(EXAMPLE, 'data/moby-dick.ndjson'), 'utf8')
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { chapter: string; text: string })
  const expected = countWords(lines.map((line) => line.text))
  const counted = new Map(answers[0]!.map(({ word, n }) => [String(word), Number(n)]))
  expect(counted.size).toBe(expected.size)
  expect(Object.fromEntries(counted)).toEqual(Object.fromEntries(expected))
  expect(answers[1]).toEqual([
    { word: 'whale', n: 965 },
    { word: 'there', n: 803 },
    { word: 'which', n: 648 },
    { word: 'their', n: 620 },
    { word: 'would', n: 428 },
  ])
  expect(answers[2]).toEqual([{ n: '41', most: '13' }])
  expect(answers[3]).toEqual([{ words: [...expected.values()].reduce((a, b) => a + b), chapters: 138 }])
  const sentences = answers[4]!.map(({ sentence }) => String(sentence))
  // A boolean, for a book is long to print.
  const bare = (texts: readonly string[]) => texts.join('').replaceAll(/\s+/g, '')
  expect(bare(sentences) === bare(lines.map((line) => line.text))).toBe(true)
  const ofWhales = sentences.filter((sentence) => {
    const words = countWords([sentence])
    return words.has('whale') || words.has('whales')
  })
  expect(answers[5]!.map(({ sentence }) => sentence)).toEqual(ofWhales)
})
