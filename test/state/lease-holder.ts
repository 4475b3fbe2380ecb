import { createInterface } from 'node:readline'
import { systemClock } from '../../src/base/clock.ts'
import { LeaseKeeper } from '../../src/state/lease-keeper.ts'
import { type StateTarget, openState } from '../../src/state/state.ts'
import type { HolderQuestion } from './holder-process.ts'

// A process of its own that does with leases what it is asked, a line of JSON each.
const state = await openState(JSON.parse(process.argv[2]!) as StateTarget, { clock: systemClock })
const say = (said: { answer: unknown } | { event: string }) => process.stdout.write(`${JSON.stringify(said)}\n`)
say({ answer: 'ready' })

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line) as HolderQuestion
  say({ answer: await answer(question) })
}

async function answer(question: HolderQuestion): Promise<unknown> {
  if (question.verb === 'acquire') return state.leases.acquire(question.name, question.holder, question.ttlMs)
  if (question.verb === 'renew') return state.leases.renew([question], question.ttlMs)
  const keeper = new LeaseKeeper({
    ...question,
    state,
    clock: systemClock,
    onAcquired: (item, { epoch }) => say({ event: `acquired ${item} at epoch ${epoch}` }),
    onRelease: async (item) => void say({ event: `released ${item}` }),
    onLost: (item) => say({ event: `lost ${item}` }),
  })
  keeper.start()
  return 'started'
}
