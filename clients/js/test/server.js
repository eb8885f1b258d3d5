// The real server as a child process, a line to it that can be cut after any byte, and waiting for either.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Starts `binary command` on a free port with an own data directory; `toml` is its configuration, if any. */
export async function startServer(binary, { command = 'serve', toml, startMs = 20_000 } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'tidegate-js-'))
  const args = [command, '--listen', '127.0.0.1:0', '--data-dir', join(dir, 'data')]
  if (toml) {
    writeFileSync(join(dir, 'tidegate.toml'), toml)
    args.push('--config', join(dir, 'tidegate.toml'))
  }
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((done) => child.once('exit', done))
      child.kill('SIGKILL')
      await gone
    }
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    const url = await new Promise((done, fail) => {
      setTimeout(() => fail(new Error('the server did not say where it listens')), startMs).unref()
      child.once('error', fail)
      child.once('exit', (code) => fail(new Error(`the server ended with ${code} before it listened`)))
      createInterface({ input: child.stdout }).once('line', (line) => {
        const match = /^listening on (http:\/\/\S+)/.exec(line)
        match ? done(match[1]) : fail(new Error(`first line: ${line}`))
      })
    })
    child.stdout.resume()
    return { url, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/**
 * A line to `target` that is cut for everyone: by `cut()`, or once `cutAfter(bytes)` more bytes came from the server. While it is
 * `isDown`, nobody gets through.
 */
export async function startLine(target) {
  const { hostname, port } = new URL(target)
  const sockets = new Set()
  let left = Infinity
  let cuts = 0
  let isDown = false
  const cut = () => {
    cuts++
    for (const socket of sockets) socket.destroy()
  }
  const server = net.createServer((near) => {
    if (isDown) return near.destroy()
    const far = net.connect(Number(port), hostname)
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    near.pipe(far)
    far.on('data', (bytes) => {
      if (bytes.length < left) {
        left -= bytes.length
        near.write(bytes)
      } else {
        // What comes before the cut still arrives; the end of it may be half a message.
        near.write(bytes.subarray(0, left), () => cut())
        left = Infinity
        far.pause()
      }
    })
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut,
    cutAfter: (bytes) => (left = bytes),
    set isDown(is) {
      isDown = is
    },
    get cuts() {
      return cuts
    },
    stop() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** Waits until `check` no longer throws; fails with what it threw last. */
export async function eventually(check, limitMs = 15_000) {
  const endMs = Date.now() + limitMs
  for (;;) {
    try {
      return await check()
    } catch (error) {
      if (Date.now() > endMs) throw error
      await new Promise((done) => setTimeout(done, 20))
    }
  }
}
