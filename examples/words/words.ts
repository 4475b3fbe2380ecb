import { endpoint, mapReduce, sql, t, table } from 'millrace'
import { lines } from './book.ts'

/** Letters, with apostrophes and hyphens inside: `Queequeg's`, `whale-ship`. */
const WORD = /\p{L}+(?:['’-]\p{L}+)*/gu

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(WORD) ?? []
}

/** How often each word stands in the book: the textbook's example. */
export const wordCount = mapReduce('word_count', {
  from: lines,
  columns: { word: t.string(), n: t.int() },
  map: (line) => wordsOf(line.text).map((word) => [word, 1]),
  combine: (_, ones) => ones.reduce((a, b) => a + b, 0),
  reduce: (word, counts) => {
    let n = 0
    for (const count of counts) n += count
    return { word, n }
  },
})

/** Where each word stands: for every word the chapters that have it, most often first. */
export const chaptersOfWord = mapReduce('chapters_of_word', {
  from: lines,
  columns: { word: t.string(), chapters: t.list(t.string()) },
  map: (line) => wordsOf(line.text).map((word) => [word, line.chapter]),
  reduce: (word, chapters) => {
    const counts = new Map<string, number>()
    for (const chapter of chapters) counts.set(chapter, (counts.get(chapter) ?? 0) + 1)
    return { word, chapters: [...counts].sort(([, a], [, b]) => b - a).map(([chapter]) => chapter) }
  },
})

/** The sentences of the book, one a row; a line is split once, when it comes. */
export const sentences = lines.flatMap('sentences', {
  columns: { chapter: t.string(), sentence: t.string(), words: t.int() },
  flatMap: ({ chapter, text }) =>
    [...new Intl.Segmenter('en', { granularity: 'sentence' }).segment(text)].map(({ segment }) => {
      const sentence = segment.trim()
      return { chapter, sentence, words: wordsOf(sentence).length }
    }),
})

/** What is said of the whale. */
export const whaleSentences = sentences.filter('whale_sentences', {
  filter: ({ sentence }) => wordsOf(sentence).some((word) => word === 'whale' || word === 'whales'),
})

export const chapterLengths = table('chapter_lengths', {
  sql: sql`
    select chapter, count(*) as sentences, sum(words) as words, max(words) as longest
    from ${sentences}
    group by chapter`,
})

export const topWords = endpoint('top-words', {
  params: { longer_than: t.int() },
  sql: sql`select word, n from ${wordCount} where length(word) > ${'longer_than'} order by n desc, word limit 20`,
})
