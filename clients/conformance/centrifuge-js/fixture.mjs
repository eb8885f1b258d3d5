// npm's `centrifuge` as it is, and a gateway of its own for each file of tests.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { after } from 'node:test'
import { eventually, startLine, startServer } from '../../js/test/server.js'

// `CENTRIFUGE_JS` is a folder with the library below its `node_modules`.
const require = createRequire(`${process.env.CENTRIFUGE_JS}/`)
const json = require('centrifuge')
const protobuf = require('centrifuge/build/protobuf')
const ENCODINGS = { json: json.Centrifuge, protobuf: protobuf.Centrifuge }

export const { UnauthorizedError } = json
export const encodings = Object.keys(ENCODINGS)
export { eventually, startLine }

const SECRET = 'what the tests sign as Centrifugo does it'
const ISSUER_SECRET = 'what the issuer of the tests signs with'

const TOML = readFileSync(new URL('../gateway.toml', import.meta.url), 'utf8')

/** A gateway with an application behind it, and ways in. Ends with the file's tests. */
export async function start() {
  const application = await startApplication()
  const toml = `${TOML}\n[application]\nurl = "${application.url}"\nsecret = "what the application shares with the tests"\n`
  const server = await startServer(process.env.TIDEGATE_BIN, { toml })
  const clients = []
  const lines = []
  after(async () => {
    clients.forEach((client) => client.disconnect())
    lines.forEach((line) => line.stop())
    await server.stop()
    application.stop()
  })
  return {
    /** A client by this way in, not yet connected. */
    client({ line = server, encoding = 'json', ...options } = {}) {
      const url = `${line.url.replace('http', 'ws')}/connection/websocket`
      const quick = { minReconnectDelay: 10, maxReconnectDelay: 100 }
      const client = new ENCODINGS[encoding](url, { websocket: WebSocket, token: token({ sub: 'ann' }), ...quick, ...options })
      clients.push(client)
      return client
    },
    async line() {
      const line = await startLine(server.url)
      lines.push(line)
      return line
    },
    async post(path, body) {
      const headers = { 'X-API-Key': 'k', 'content-type': 'application/json' }
      const response = await fetch(server.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
      assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`)
      return response.json()
    },
    async get(path) {
      const response = await fetch(server.url + path, { headers: { 'X-API-Key': 'k' } })
      assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`)
      return response.json()
    },
    /** What a server publishes. */
    publish(topic, data, more) {
      return this.post(`/v1/topics/${encodeURIComponent(topic)}/publish`, { data, ...more })
    },
  }
}

/** An application that is asked about events: `echo` says what it was told and by whom, all else is an error. */
async function startApplication() {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request) body += part
    const { event, data, client } = JSON.parse(body)
    const answer = event === 'echo' ? { data: { data, user: client.user } } : { error: { code: 'no_such_thing', message: event } }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(answer))
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function signed(secret, claims) {
  const parts = [{ alg: 'HS256', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  const said = parts.join('.')
  return `${said}.${createHmac('sha256', secret).update(said).digest('base64url')}`
}

export const secondsFromNow = (seconds) => Math.floor(Date.now() / 1000) + seconds
/** A token as Centrifugo's applications sign it. */
export const token = (claims) => signed(SECRET, claims)
export const forgedToken = (claims) => signed('another secret altogether, of nobody', claims)
/** A token of the issuer that the configuration names. */
export const issuerToken = (claims) => signed(ISSUER_SECRET, { iss: 'tests', exp: secondsFromNow(600), ...claims })

/** The next time that something happens. Asked for before what makes it happen. */
export function next(emitter, event, limitMs = 20_000) {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no '${event}'`)), limitMs)
    emitter.once(event, (context) => {
      clearTimeout(timer)
      done(context)
    })
  })
}

/** All that is told from now on, as it comes. */
export function heard(emitter, event) {
  const all = []
  emitter.on(event, (context) => all.push(context))
  return all
}

/** Connects, and says what the server answered. */
export async function connected(client) {
  const answer = next(client, 'connected')
  client.connect()
  return answer
}

/** Subscribes, and says what the server answered. */
export async function subscribed(subscription) {
  const answer = next(subscription, 'subscribed')
  subscription.subscribe()
  return answer
}

const text = new TextDecoder()
const bytes = new TextEncoder()
/** Data goes as JSON in one encoding, and as its bytes in the other. */
export const toData = (encoding, value) => (encoding === 'json' ? value : bytes.encode(JSON.stringify(value)))
export const fromData = (encoding, data) => (encoding === 'json' ? data : JSON.parse(text.decode(data)))
