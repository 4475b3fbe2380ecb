import { expect, test } from 'vitest'
import { run } from '../../benchmarks/structured-streaming.ts'

// Spark's results are compared with the reference in there.
test('the benchmark beside Structured Streaming runs, and tells what Spark refuses', async () => {
  const said: string[] = []
  const report = await run({ events: 20_000, queries: ['q0', 'q4', 'q5'], say: (text) => said.push(text) })
  const [q0, q4, q5] = report['queries'] as Record<string, unknown>[]
  for (const [query, events] of [
    [q0, 18_400],
    [q5, 18_400],
  ] as const)
    expect(query).toMatchObject({
      events,
      spark_backlog_events_per_second: expect.any(Number) as number,
      spark_live_events_per_second: expect.any(Number) as number,
      factor: expect.any(Number) as number,
    })
  expect(q4).toMatchObject({ query: 'q4', refused: expect.stringContaining('Complete output mode') as string })
  expect(q4).not.toHaveProperty('factor')
  expect(said.join('\n')).toContain('Spark live/s')
})
