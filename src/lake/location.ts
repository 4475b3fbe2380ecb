/**
 * The one form in which the lake compares and stores the address of a file: a plain absolute path on a disk, `s3://bucket/key`
 * on an object store. Other writers spell the same place `file:/a`, `file:///a`, `s3a://b/k` or `s3n://b/k`.
 */
export function normalLocation(location: string): string {
  return location.replace(/^file:(?:\/\/(?:localhost)?)?(?=\/)/, '').replace(/^s3[an]:\/\//, 's3://')
}

/** Whether a file lies below a place; both in the normal form. A path that climbs lies nowhere. */
export function isBelow(location: string, place: string): boolean {
  return location.startsWith(`${place}/`) && !/\/\.{1,2}(?:\/|$)/.test(location)
}
