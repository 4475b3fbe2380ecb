import { check, source, sql, stream, t } from 'millrace'

/**
 * Invoice lines of a UK gift wholesaler. One row is one line of an invoice; a line of a credit note ("C" before the
 * invoice number) has a negative quantity and stays: it is a return, not an error.
 */
export const orders = stream('orders', {
  doc: 'Invoice lines as sold and returned.',
  columns: {
    invoice: t.string().doc('Six digits; C before them marks a credit note.'),
    stock_code: t.string().doc('Product, or a service such as POST (postage).'),
    description: t.string().nullable(),
    quantity: t.int().doc('Pieces; negative on credit notes.'),
    ordered_at: t.timestamp().doc('Time of the invoice, UTC.'),
    unit_price: t.decimal(10, 3).doc('Pounds sterling for one piece.'),
    customer_id: t.string().nullable().doc('Unknown for about a quarter of the lines.'),
    country: t.string(),
  },
  time: 'ordered_at',
  lateness: '1 day',
  // The till sometimes sends a line twice: a line equal in every column is the same line.
  unique: ['invoice', 'stock_code', 'description', 'quantity', 'ordered_at', 'unit_price', 'customer_id', 'country'],
  partitionBy: 'month',
  source: source.files({
    name: 'tills',
    path: 'data/*.csv',
    map: {
      invoice: 'InvoiceNo',
      stock_code: 'StockCode',
      description: 'Description',
      quantity: 'Quantity',
      ordered_at: 'InvoiceDate',
      unit_price: 'UnitPrice',
      // Delivered as 17850.0: it went through a spreadsheet.
      customer_id: sql`regexp_replace("CustomerID", '[.]0$', '')`,
      country: 'Country',
    },
  }),
  checks: [
    // "A…" are bookings that adjust bad debt: no invoice lines.
    check.matches('invoice', /^C?\d{6}$/),
    // Lines without a price are write-offs and samples: nobody bought them.
    check.predicate('priced', sql`unit_price > 0`),
    check.predicate('sign', sql`(quantity < 0) = (invoice like 'C%')`),
    check.matches('customer_id', /^\d{5}$/),
  ],
})
