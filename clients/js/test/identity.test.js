// Tokens, revocation and proofs against the real server.
import assert from 'node:assert/strict'
import { createHmac, webcrypto } from 'node:crypto'
import { after, before, test } from 'node:test'
import { Tidegate } from '../tidegate.js'
import { eventually, startServer } from './server.js'

const binary = process.env.TIDEGATE_BIN
const missing = !binary ? 'TIDEGATE_BIN is not set' : !globalThis.WebSocket ? 'this Node has no WebSocket' : false
if (missing) console.error(`\n*** NOT RUN: identity against the real server, because ${missing} ***\n`)

const SECRET = 'a secret of the tests, long enough for HS256'
const TOML = `
[identity]
api_keys = ["k"]

[[identity.issuer]]
issuer = "tests"
algorithm = "HS256"
secret = "${SECRET}"

[[permission]]
roles = ["keeper"]
entities = ["asset"]
may = ["read"]
where = [{ column = "kind", op = "eq", value = "$claims.kind" }]

[[entity]]
name = "asset"
key = ["id"]
columns = { id = "text", kind = "text" }
`
const query = { entity: 'asset', sort: [{ column: 'id' }], limit: 10 }
let server
let proving

before(async () => {
  if (missing) return
  server = await startServer(binary, { toml: TOML })
  proving = await startServer(binary, { toml: `${TOML}\n[identity.proof]\nrequired = true\n` })
  for (const { url } of [server, proving]) {
    const changes = ['pump', 'valve'].map((kind) => ({ upsert: { id: `${kind}-1`, kind } }))
    await api(url, 'POST', '/v1/entities/asset/changes', { changes })
  }
})
after(async () => {
  await server?.stop()
  await proving?.stop()
})

async function api(url, method, path, body) {
  const headers = { 'X-API-Key': 'k', 'content-type': 'application/json' }
  const response = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) })
  assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`)
}
function token(claims, forMs = 3_600_000) {
  const now = Date.now()
  const all = { iss: 'tests', sub: 'ann', roles: ['keeper'], kind: 'pump', iat: Math.floor(now / 1000) - 1, exp: (now + forMs) / 1000, ...claims }
  const said = [{ alg: 'HS256', typ: 'JWT' }, all].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${said}.${createHmac('sha256', SECRET).update(said).digest('base64url')}`
}
async function withClient(options, use, { url } = server) {
  const client = new Tidegate(url, options)
  try {
    await use(client, client.live(query))
  } finally {
    client.disconnect()
  }
}
const ids = (list) => list.rows.map((row) => row.id)
const shows = (list, ...expected) =>
  eventually(() => assert.deepEqual([list.state, ids(list), list.error], ['live', expected, null]))

test('a connection outlives its tokens', { skip: missing, timeout: 60_000 }, async () => {
  let given = 0
  await withClient({ token: () => (given++, token({}, 4_000)) }, async (client, list) => {
    await shows(list, 'pump-1')
    await eventually(() => assert.ok(given >= 3))
    assert.deepEqual([client.stats.connects, client.status, list.state], [1, 'online', 'live'])
  })
})

test('a client whose clock is wrong is told when its token ends, and goes on with a fresh one', { skip: missing, timeout: 60_000 }, async () => {
  const asked = []
  const options = { token: (how) => (asked.push(how.fresh), token({}, asked.length === 1 ? 3_000 : 60_000)), now: () => Date.now() + 1e9 }
  await withClient(options, async (client, list) => {
    await shows(list, 'pump-1')
    await eventually(() => assert.equal(client.stats.connects, 2))
    await shows(list, 'pump-1')
    assert.deepEqual([asked, client.stats.resumes, client.stats.resets], [[false, true], 1, 1])
  })
})

test('tokens that have expired are asked for twice and no more', { skip: missing, timeout: 60_000 }, async () => {
  const asked = []
  await withClient({ token: (how) => (asked.push(how.fresh), token({}, -60_000)) }, async (client) => {
    await eventually(() => assert.equal(client.status, 'stopped'))
    assert.deepEqual([client.error.code, asked], ['unauthenticated', [false, true]])
  })
})

test('a refresh changes what is seen, in place, and takes it away', { skip: missing, timeout: 60_000 }, async () => {
  let claims = {}
  await withClient({ token: () => token(claims) }, async (client, list) => {
    await shows(list, 'pump-1')
    claims = { kind: 'valve' }
    assert.ok((await client.refresh()).expires_at)
    await shows(list, 'valve-1')
    assert.deepEqual([client.stats.connects, client.stats.gaps], [1, 0])
    claims = { roles: [] }
    await client.refresh()
    await eventually(() => assert.equal(list.state, 'closed'))
    assert.equal(list.error.retryable, false)
    assert.equal(client.status, 'online')
  })
})

test('a revoked session stays away, and another user starts with nothing of it', { skip: missing, timeout: 60_000 }, async () => {
  await api(server.url, 'PUT', '/v1/sessions/s-1', { user_id: 'ann', client_public_key: 'unused' })
  await withClient({ token: () => token({ sid: 's-1' }) }, async (client, list) => {
    const told = []
    client.on('stopped', (error) => told.push(error.code))
    await shows(list, 'pump-1')
    await api(server.url, 'POST', '/v1/sessions/s-1/revoke')
    await eventually(() => assert.equal(client.status, 'stopped'))
    assert.deepEqual([client.error.code, list.state, list.error.code, ids(list)], ['revoked', 'stale', 'revoked', ['pump-1']])
    client.connect()
    await eventually(() => assert.deepEqual([client.status, told], ['stopped', ['revoked', 'revoked']]))
    client.login(() => token({ sub: 'bob', kind: 'valve' }))
    assert.deepEqual([list.state, list.rows], ['closed', []])
    await shows(client.live(query), 'valve-1')
  })
})

test('a token of another user empties the list, and fills it anew', { skip: missing, timeout: 60_000 }, async () => {
  let claims = {}
  await withClient({ token: () => token(claims) }, async (client, list) => {
    await shows(list, 'pump-1')
    const seen = []
    list.subscribe(() => seen.push(ids(list).join('')))
    claims = { sub: 'bob', kind: 'valve' }
    await client.refresh()
    await shows(list, 'valve-1')
    assert.equal(client.stats.connects, 2)
    assert.ok(seen.indexOf('') >= 0 && !seen.slice(seen.indexOf('')).includes('pump-1'), `${seen}`)
  })
})

test('a session whose key is proven is let in and refreshed, another key is not', { skip: missing, timeout: 60_000 }, async () => {
  const make = () => webcrypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])
  const [own, other] = [await make(), await make()]
  const raw = Buffer.from(await webcrypto.subtle.exportKey('raw', own.publicKey)).toString('base64')
  await api(proving.url, 'PUT', '/v1/sessions/s%C3%A9-2', { user_id: 'ann', client_public_key: raw })
  const of = (prove, more) => ({ token: () => token({ sid: 'sé-2' }), prove, ...more })
  for (const handshake of [true, false]) {
    await withClient(of(own.privateKey, { handshake }), async (client, list) => {
      await shows(list, 'pump-1')
      assert.equal(client.clientId === null, handshake)
      assert.ok((await client.refresh()).expires_at)
      client.disconnect()
      client.connect()
      await shows(list, 'pump-1')
    }, proving)
  }
  for (const prove of [other.privateKey, undefined]) {
    await withClient(of(prove), async (client) => {
      await eventually(() => assert.equal(client.status, 'stopped'))
      assert.equal(client.error.code, prove ? 'unauthenticated' : 'proof_needed')
    }, proving)
  }
})
