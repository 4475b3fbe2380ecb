import fc from 'fast-check'
import { expect, test } from 'vitest'
import { balance } from '../../src/state/balance.ts'

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

/** Items, members, and owners: members, some that have left, or nobody. */
const situation = fc
  .record({
    count: fc.integer({ min: 0, max: 20 }),
    members: fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 1 }),
  })
  .chain(({ count, members }) => {
    const items = Array.from({ length: count }, (_, i) => `i${i}`)
    const owner = fc.option(fc.constantFrom(...NAMES), { nil: undefined })
    return fc.array(owner, { minLength: count, maxLength: count }).map((owning) => {
      const owners = new Map(items.flatMap((item, i) => (owning[i] === undefined ? [] : [[item, owning[i]] as const])))
      return { items, members, owners }
    })
  })

const counted = (members: readonly string[], owners: ReadonlyMap<string, string>) =>
  members.map((member) => [...owners.values()].filter((owner) => owner === member).length)

test('every item goes to one member, evenly', () => {
  fc.assert(
    fc.property(situation, ({ items, members, owners }) => {
      const target = balance(items, members, owners)
      expect([...target.keys()].toSorted()).toEqual(items.toSorted())
      const counts = counted(members, target)
      expect(counts.reduce((sum, n) => sum + n, 0)).toBe(items.length)
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
    }),
  )
})

test('as many items stay as an even division lets', () => {
  fc.assert(
    fc.property(situation, ({ items, members, owners }) => {
      const target = balance(items, members, owners)
      const stayed = items.filter((item) => target.get(item) === owners.get(item)).length
      const even = Math.floor(items.length / members.length)
      const owned = counted(members, owners)
      const above = Math.min(items.length % members.length, owned.filter((n) => n > even).length)
      expect(stayed).toBe(owned.reduce((sum, n) => sum + Math.min(n, even), above))
    }),
  )
})

test('what is balanced stays as it is, whatever the order of the members', () => {
  fc.assert(
    fc.property(situation, ({ items, members, owners }) => {
      const target = balance(items, members, owners)
      expect(balance(items, members.toReversed(), target)).toEqual(target)
      expect(balance(items, members.toReversed(), owners)).toEqual(target)
    }),
  )
})

// Leases decide: a member gives back what is another's to have, and takes what is free. Each acts on what it saw some time ago.
test('members that act one after the other on old views converge', () => {
  const steps = fc.array(fc.record({ who: fc.nat(), looks: fc.boolean() }), { maxLength: 60 })
  fc.assert(
    fc.property(situation, steps, ({ items, members, owners: before }, acts) => {
      const owners = new Map(before)
      const seen = new Map(members.map((member) => [member, new Map(owners)]))
      const act = (member: string) => {
        const view = seen.get(member)!
        const target = balance(items, members, view)
        for (const item of items) {
          if (owners.get(item) === member && target.get(item) !== member) owners.delete(item)
          if (target.get(item) === member && !view.has(item) && !owners.has(item)) owners.set(item, member)
        }
      }
      for (const { who, looks } of acts) {
        const member = members[who % members.length]!
        if (looks) seen.set(member, new Map(owners))
        act(member)
      }
      // Those that left run out.
      for (const [item, owner] of owners) if (!members.includes(owner)) owners.delete(item)
      for (let round = 0; round < 3; round++)
        for (const member of members) {
          seen.set(member, new Map(owners))
          act(member)
        }
      expect(balance(items, members, owners)).toEqual(owners)
    }),
  )
})
