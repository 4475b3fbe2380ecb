/**
 * Who should have what: every item goes to one member, members differ by one item at most, and as many items as that
 * allows stay where they are. The same for everybody who sees the same, so members agree without talking; where they see
 * differently, leases keep an item from having two owners meanwhile.
 *
 * `owners` may name some that are no members: what they have is given to members.
 */
export function balance(
  items: readonly string[],
  members: readonly string[],
  owners: ReadonlyMap<string, string>,
): Map<string, string> {
  const target = new Map<string, string>()
  const free = freeShares(items, members, owners)
  const unplaced: string[] = []
  for (const item of items) {
    const owner = owners.get(item)
    const left = owner === undefined ? 0 : (free.get(owner) ?? 0)
    if (left === 0) {
      unplaced.push(item)
      continue
    }
    free.set(owner!, left - 1)
    target.set(item, owner!)
  }
  const takers = [...free].flatMap(([member, left]) => Array<string>(left).fill(member))
  for (const [i, item] of unplaced.entries()) if (takers[i] !== undefined) target.set(item, takers[i])
  return target
}

/** How many items each member should have: the ones left over by an even division go to those that have the most, so that they may keep them. */
function freeShares(
  items: readonly string[],
  members: readonly string[],
  owners: ReadonlyMap<string, string>,
): Map<string, number> {
  const owned = new Map<string, number>()
  for (const item of items) {
    const owner = owners.get(item)
    if (owner !== undefined) owned.set(owner, (owned.get(owner) ?? 0) + 1)
  }
  const byOwned = members.toSorted((a, b) => (owned.get(b) ?? 0) - (owned.get(a) ?? 0) || (a < b ? -1 : 1))
  const even = Math.floor(items.length / members.length)
  const leftOver = items.length % members.length
  return new Map(byOwned.map((member, i) => [member, even + (i < leftOver ? 1 : 0)]))
}
