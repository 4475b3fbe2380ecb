/** An item of work that processes divide, in words: `orders/0`, `daily`, `on mail`. */
export function itemText(item: string): string {
  const [, stream, partition] = /^(.+)\/(\d+)$/.exec(item) ?? []
  if (stream !== undefined) return `Partition ${partition} of stream '${stream}'`
  return item.startsWith('on ') ? `Handler '${item.slice(3)}'` : `Table '${item}'`
}
