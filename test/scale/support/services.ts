/** The address of a service, as scripts/test-scale gives it. */
export function service(name: 'KAFKA_BROKERS' | 'POSTGRES_URL' | 'SPARK_URL' | 'S3_ENDPOINT'): string {
  const address = process.env[name]
  if (address === undefined || address === '')
    throw new Error(`${name} is not set: run the tests by npm run test:scale.`)
  return address
}
