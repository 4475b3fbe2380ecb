import { lockDirectory } from '../../src/storage/lock.ts'

// Takes the lock on the directory given, says so, and holds it until told (`release`) or killed.
try {
  const lock = await lockDirectory(process.argv[2]!)
  console.log('locked')
  process.stdin.once('data', () => {
    void lock.release().then(() => {
      console.log('released')
      process.exit(0)
    })
  })
} catch (error) {
  console.log(JSON.stringify(error))
}
