import { expect, test } from 'vitest'
import { t } from '../../src/project/columns.ts'
import { sql } from '../../src/project/sql.ts'
import { stream } from '../../src/project/stream.ts'
import { table } from '../../src/project/table.ts'
import { verify } from '../../src/runtime/verify.ts'
import { Home, send } from './home.ts'

const clicks = stream('clicks', { columns: { id: t.int() } })
const total = table('total', { sql: sql`select count(*)::int as rows from ${clicks}` })

test('a table whose inputs went on without it is told as behind', async () => {
  const home = await Home.make()
  const runtime = await home.open([clicks, total])
  await send(runtime, 'clicks', [{ id: 1 }])
  await runtime.settle()
  expect(await verify(runtime, 'total')).toMatchObject({ equal: true })
  runtime.scheduler.pause()
  await send(runtime, 'clicks', [{ id: 2 }])
  await runtime.stream('clicks').drain()
  const behind = await verify(runtime, 'total')
  expect(behind).toMatchObject({ equal: false, note: expect.stringContaining('millrace run') })
  runtime.scheduler.resume()
  await runtime.settle()
  expect(await verify(runtime, 'total')).toMatchObject({ equal: true })
})
