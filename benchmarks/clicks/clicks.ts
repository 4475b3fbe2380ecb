import { check, stream, t } from 'millrace'

export const clicks = stream('clicks', {
  columns: {
    event_id: t.string(),
    user_id: t.string(),
    page: t.string(),
    action: t.string(),
    at: t.timestamp(),
    duration_ms: t.int(),
    price: t.decimal(10, 2),
    ref: t.string(),
  },
  time: 'at',
  lateness: '10 minutes',
  unique: { columns: ['event_id'], horizon: '1 hour' },
  partitionBy: 'day',
  checks: [check.range('duration_ms', { min: 0 }), check.oneOf('action', ['view', 'click', 'buy'])],
})
