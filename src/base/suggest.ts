/** The candidate closest to a mistyped name (Levenshtein distance, at most a third of its length), or undefined. */
export function closest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** "Did you mean 'x'?" or a list of what there is. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const all = [...candidates]
  const near = closest(name, all)
  if (near !== undefined) return `Did you mean '${near}'?`
  if (all.length === 0) return 'There are none.'
  return `There are: ${all.slice(0, 12).join(', ')}${all.length > 12 ? ', …' : ''}.`
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(row[j - 1]! + 1, previous[j]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    previous = row
  }
  return previous[b.length]!
}
