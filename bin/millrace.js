#!/usr/bin/env node
// Starts Millrace on a Node that is new enough: the one running, else the one of the npm package `node`.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const root = dirname(here)
// A checkout runs its sources, so that a build left behind is never taken for them.
const source = join(root, 'src', 'cli', 'main.ts')
const main = existsSync(source) ? source : join(root, 'dist', 'cli', 'main.js')

// Group commits wait in the thread pool, one thread each: four would make streams wait for each other.
process.env.UV_THREADPOOL_SIZE ??= '16'

// Request bodies arrive in buffers outside V8's heap. A small young generation is collected often, which frees them; with
// the default one they pile up until whole-heap collections start, which cost a quarter of the server's processor time.
const HEAP = '--max-semi-space-size=1'

// Node strips types, and reads CommonJS, with WebAssembly. V8 frees the wrappers of what that calls while another thread still uses
// them, now and then, and aborts (`Check failed: jit_page.has_value()`): https://github.com/nodejs/node/issues/64500
const WRAPPERS = '--no-wasm-generic-wrapper'

// A thread of a checkout starts in half the time when its files need not be stripped again.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'millrace-compile-cache')

const flags = isServer() ? [HEAP, WRAPPERS] : [WRAPPERS]
const missing = flags.filter((flag) => !process.execArgv.includes(flag))

if (isEnough(process.versions.node) && missing.length > 0 && canReplace()) {
  process.execve(
    process.execPath,
    [process.execPath, ...process.execArgv, ...missing, ...process.argv.slice(1)],
    process.env,
  )
} else if (isEnough(process.versions.node)) {
  const { runProcess } = await import(pathToFileURL(main).href)
  await runProcess()
} else {
  const node = bundledNode()
  if (node === undefined) {
    process.stderr.write(
      `error: Millrace needs Node 22.18 or newer, and this is ${process.versions.node}.\n` +
        '  hint  Install a newer Node, or put one beside Millrace with: npm install --save-dev node@24\n',
    )
    process.exit(1)
  }
  runWith(node)
}

/** Whether this process is to take records over HTTP. */
function isServer() {
  return process.argv[2] === 'start'
}

/** Whether the process can become another without its parent noticing. */
function canReplace() {
  return typeof process.execve === 'function' && process.platform !== 'win32' && process.send === undefined
}

function isEnough(version) {
  const [major, minor] = version.split('.').map(Number)
  return major > 22 || (major === 22 && minor >= 18)
}

/** The binary of the npm package `node`, looked for from here and from the working directory upwards. */
function bundledNode() {
  for (const start of [here, process.cwd()]) {
    for (let at = start; ; at = dirname(at)) {
      const manifest = join(at, 'node_modules', 'node', 'package.json')
      const binary = join(at, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
      if (existsSync(binary) && isEnough(JSON.parse(readFileSync(manifest, 'utf8')).version)) return binary
      if (at === dirname(at)) break
    }
  }
  return undefined
}

/**
 * Runs this file again; signals go through, and the exit code or signal comes back. A server sees by the channel that this
 * process was killed, and ends as well.
 */
function runWith(node) {
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc']
  const child = spawn(node, [...flags, fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'])
    process.on(signal, () => child.kill(signal))
  if (process.send) process.on('disconnect', () => child.disconnect())
  child.on('error', (error) => {
    process.stderr.write(`error: ${node} cannot be run: ${error.message}\n`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
