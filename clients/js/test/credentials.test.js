// Tokens that end, are refused or are somebody else's, and proofs, on a fake socket and clock.
import assert from 'node:assert/strict'
import { generateKeyPairSync, verify, webcrypto } from 'node:crypto'
import { test } from 'node:test'
import { fakeClient, settle, snapshot, token } from './fakes.js'

const query = { entity: 'asset', limit: 3 }
const keys = (list) => list.entries.map((entry) => entry.key)
const refusal = { code: 'unauthenticated', message: 'the token has expired', retryable: false }

/** A client whose tokens come from a function; `asked` is what that was called with. */
async function signedIn(options = {}) {
  const asked = []
  const give = (how) => `t${asked.push(how)}`
  const fake = fakeClient({ token: give, ...options })
  const list = fake.client.live(query)
  await settle()
  await fake.socket.open()
  const errors = []
  fake.client.on('error', (error) => errors.push(error.code))
  return { fake, list, asked, errors, ends: (atMs) => fake.socket.reply('auth', { client_id: 'c', expires_at: new Date(atMs).toISOString() }) }
}
/** The same, with a list that is live. */
async function watching(options) {
  const signed = await signedIn(options)
  await signed.ends(100_000)
  await signed.fake.socket.reply('live.subscribe')
  await signed.fake.socket.deltas(1, snapshot('t1', 'a', 'b'))
  return signed
}
const refreshes = (socket) => socket.sent.filter((message) => message.event === 'auth.refresh')

test('a fresh token is shown in band before the one before ends, with jitter, again and again', async () => {
  for (const [random, share] of [[0, 0.75], [0.5, 0.8], [1, 0.85]]) {
    const { fake, list, asked } = await watching({ random: () => random })
    await fake.clock.advance(share * 100_000 - 1)
    assert.equal(refreshes(fake.socket).length, 0)
    await fake.clock.advance(1)
    assert.deepEqual(fake.socket.last('auth.refresh').data, { token: 't2' })
    assert.deepEqual(asked, [{ fresh: false }, { fresh: true }])
    await fake.socket.reply('auth.refresh', { client_id: 'c', expires_at: new Date(share * 100_000 + 1000).toISOString() })
    assert.deepEqual(fake.clock.waits, [share * 1000])
    await fake.clock.advance(share * 1000)
    assert.equal(fake.socket.last('auth.refresh').data.token, 't3')
    assert.deepEqual([fake.sockets.length, list.state], [1, 'live'])
  }
})

test('an end far away is no end at once, and who gives the same token again is not asked in a loop', async () => {
  const { fake, ends } = await signedIn()
  await ends(1e13)
  assert.deepEqual(fake.clock.waits, [2 ** 31 - 1])
  const same = await signedIn()
  await same.ends(100_000)
  for (let i = 0; i < 50 && same.fake.clock.waits.length > 0; i++) {
    await same.fake.clock.advance(same.fake.clock.waits[0])
    await same.fake.socket.reply('auth.refresh', { client_id: 'c', expires_at: new Date(100_000).toISOString() })
  }
  assert.ok(refreshes(same.fake.socket).length <= 5, `${refreshes(same.fake.socket).length} times`)
  assert.deepEqual([same.fake.clock.waits, same.fake.client.status], [[], 'online'])
})

test('without an end, with one in the past, or with a token of its own, nothing is refreshed', async () => {
  for (const [options, atMs] of [[{}, -1], [{ token: 'fixed' }, 100_000]]) {
    const { fake, ends } = await signedIn(options)
    await ends(atMs)
    assert.deepEqual([fake.client.status, fake.clock.waits], ['online', []])
  }
  const { fake } = await signedIn()
  await fake.socket.reply('auth', { client_id: 'c' })
  assert.deepEqual([fake.client.status, fake.clock.waits], ['online', []])
})

test('a refresh that fails is tried again while time is left, and then the close says the rest', async () => {
  let fails = false
  const { fake, list, errors } = await watching({ token: async () => (fails ? Promise.reject(new Error('offline')) : 't') })
  fails = true
  await fake.clock.advance(85_000)
  const waits = []
  while (fake.clock.waits.length > 0) {
    waits.push(fake.clock.waits[0])
    await fake.clock.advance(waits.at(-1))
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 3750, 1875, 937.5, 468.75, 250]) // another one would come too late
  assert.deepEqual([errors, list.state], [Array(10).fill('no_credentials'), 'live'])
})

test('a refused refresh is tried again with another token, and one that succeeds goes on as before', async () => {
  const { fake, errors } = await watching()
  await fake.clock.advance(85_000)
  await fake.socket.refuse('auth.refresh', refusal)
  assert.deepEqual([errors, fake.client.status, fake.clock.waits], [['unauthenticated'], 'online', [500]])
  await fake.clock.advance(500)
  assert.equal(fake.socket.last('auth.refresh').data.token, 't3')
  await fake.socket.reply('auth.refresh', { client_id: 'c', expires_at: new Date(185_500).toISOString() })
  assert.deepEqual(fake.clock.waits, [85_000])
})

test('a cut and a disconnect end the refreshing, even of a token that is on its way', async () => {
  let give
  let n = 0
  const { fake } = await watching({ token: () => (++n === 2 ? new Promise((done) => (give = done)) : `t${n}`) })
  const first = fake.socket
  await fake.clock.advance(85_000)
  fake.client.disconnect()
  give(token({ sub: 'late' })) // somebody else's even, for whom a connection is begun anew
  await settle()
  assert.deepEqual([refreshes(first).length, fake.clock.waits, fake.client.status], [0, [], 'idle'])
})

test('expired: a fresh token at once, and every list goes on where it was', async () => {
  const { fake, list, asked } = await watching()
  await fake.socket.cut(1008, 'expired')
  assert.deepEqual([fake.client.status, list.state, fake.clock.waits], ['waiting', 'stale', [0]])
  await fake.clock.advance(0)
  await fake.socket.open()
  assert.deepEqual(asked.at(-1), { fresh: true })
  assert.equal(fake.socket.last('auth').data.token, 't2')
  assert.ok(fake.socket.url.endsWith('?resume=true'))
  await fake.socket.reply('auth', { client_id: 'c' })
  assert.equal(fake.socket.last('live.subscribe').data.resume_from, 't1')
})

test('a fresh token that is refused too stops the client, and tokens that end at once are asked for ever more slowly', async () => {
  const { fake, list } = await watching()
  await fake.socket.cut(1008, 'expired')
  await fake.clock.advance(0)
  await fake.socket.open()
  await fake.socket.refuse('auth', refusal)
  assert.deepEqual([fake.client.status, fake.client.error.code, fake.clock.waits], ['stopped', 'unauthenticated', []])
  assert.deepEqual([list.state, list.error.code, keys(list).join('')], ['stale', 'unauthenticated', 'ab'])

  const short = await signedIn()
  const waits = []
  for (let i = 0; i < 4; i++) {
    await short.fake.socket.reply('auth', { client_id: 'c' })
    await short.fake.socket.cut(1008, 'expired')
    waits.push(short.fake.client.retryInMs)
    await short.fake.clock.advance(waits.at(-1))
    await short.fake.socket.open()
  }
  assert.deepEqual(waits, [0, 500, 1000, 2000])
})

test('a token from a cache that is refused is replaced once', async () => {
  const { fake, asked } = await signedIn()
  await fake.socket.refuse('auth', refusal)
  assert.equal(fake.client.status, 'waiting')
  await fake.clock.advance(250)
  await fake.socket.open()
  assert.deepEqual(asked, [{ fresh: false }, { fresh: true }])
  await fake.socket.reply('auth', { client_id: 'c' })
  assert.equal(fake.client.status, 'online')
})

test('expired with a token that cannot be replaced stops, until there is another', async () => {
  const { fake } = await watching({ token: 'fixed' })
  await fake.socket.cut(1008, 'expired')
  assert.deepEqual([fake.client.status, fake.client.error.code], ['stopped', 'expired'])
  await fake.client.refresh('next')
  fake.client.connect()
  await fake.socket.open()
  assert.equal(fake.socket.last('auth').data.token, 'next')
})

test('revoked: it stays away, says so, and lists keep their rows', async () => {
  const inBand = async ({ fake }) => {
    await fake.clock.advance(85_000)
    await fake.socket.refuse('auth.refresh', { code: 'revoked', message: 'sign in again', retryable: false })
  }
  const onReturn = async ({ fake }) => {
    await fake.socket.cut()
    await fake.clock.advance(250)
    await fake.socket.open()
    await fake.socket.refuse('auth', { code: 'revoked', message: 'sign in again', retryable: false })
  }
  for (const revoke of [({ fake }) => fake.socket.cut(1008, 'revoked'), inBand, onReturn]) {
    const signed = await watching()
    const { fake, list } = signed
    const told = []
    fake.client.on('stopped', (error) => told.push(error.code))
    const states = []
    list.subscribe(() => states.push([list.state, list.error?.code]))
    await revoke(signed)
    await fake.clock.advance(3_600_000)
    assert.deepEqual([fake.client.status, fake.client.error.code, told], ['stopped', 'revoked', ['revoked']])
    assert.deepEqual([states.at(-1), keys(list)], [['stale', 'revoked'], ['a', 'b']])
    const sockets = fake.sockets.length
    fake.client.live(query)
    await settle()
    assert.equal(fake.sockets.length, sockets)
  }
})

test('unverified, and a server that cannot find out, are waited for', async () => {
  const { fake, list, errors } = await watching()
  const waits = []
  for (let i = 0; i < 3; i++) {
    await fake.socket.cut(1013, 'unverified')
    waits.push(fake.client.retryInMs)
    await fake.clock.advance(waits.at(-1))
    await fake.socket.open()
  }
  await fake.socket.refuse('auth', { code: 'identity_unavailable', message: 'later', retryable: true })
  waits.push(fake.client.retryInMs)
  assert.deepEqual(waits, [250, 500, 1000, 2000])
  assert.deepEqual([fake.client.status, fake.client.error.code, errors, list.state], ['waiting', 'identity_unavailable', ['identity_unavailable'], 'stale'])
})

test('after a refresh a list may begin anew in the middle of its numbers, or end', async () => {
  const { fake, list } = await watching()
  const other = fake.client.live({ entity: 'secret' })
  const { sub } = fake.socket.last('live.subscribe').data
  await fake.socket.reply('live.subscribe')
  await fake.socket.deltas(1, snapshot('t1', 's'))
  const refreshed = fake.client.refresh()
  await settle()
  await fake.socket.reply('auth.refresh', { client_id: 'c' })
  assert.deepEqual(await refreshed, { client_id: 'c' })
  await fake.socket.receive('live.error', { sub, code: 'forbidden', message: 'no more', retryable: false })
  assert.deepEqual([other.state, other.error.code], ['closed', 'forbidden'])
  await fake.socket.deltas(5, snapshot('t2', 'b'), fake.socket.sent.find((message) => message.event === 'live.subscribe').data.sub)
  assert.deepEqual([keys(list).join(''), list.state, fake.client.stats.gaps], ['b', 'live', 0])
})

test('logout and login leave nothing of whoever was there', async () => {
  const { fake, list, asked } = await watching({ prove: undefined })
  const before = fake.socket
  assert.deepEqual([list.rows.length, list.byKey.size], [2, 2])
  fake.client.login('other')
  assert.equal(before.closedWith, 1000)
  assert.deepEqual([list.state, list.rows, list.byKey.size, list.position], ['closed', [], 0, null])
  const own = fake.client.live(query)
  await fake.socket.open()
  assert.deepEqual(fake.socket.last('auth').data, { token: 'other' })
  await fake.socket.reply('auth', { client_id: 'd' })
  assert.deepEqual(fake.socket.last('live.subscribe').data.resume_from, undefined)
  assert.deepEqual([fake.client.clientId, own.state, asked.length], ['d', 'loading', 1])
  assert.ok(!fake.socket.url.includes('resume'))
  fake.client.logout()
  await fake.clock.advance(3_600_000)
  assert.deepEqual([fake.sockets.length, fake.client.status, fake.client.clientId], [2, 'idle', null])
})

test('a token of another user empties the lists, whenever it comes', async () => {
  for (const how of ['reconnect', 'refresh', 'refused']) {
    let user = 'ann'
    const { fake, list } = await watching({ token: () => (how === 'refused' ? 'opaque' : token({ sub: user, n: Math.random() })) })
    const states = []
    list.subscribe(() => states.push(`${list.state} ${keys(list).join('')}`))
    await fake.clock.advance(85_000)
    if (how !== 'refused') assert.equal(fake.sockets.length, 1)
    await fake.socket.reply('auth.refresh', { client_id: 'c', expires_at: new Date(185_000).toISOString() })
    user = 'bob'
    if (how === 'reconnect') await fake.socket.cut()
    await fake.clock.advance(how === 'reconnect' ? 250 : 85_000)
    if (how === 'refused') {
      await fake.socket.refuse('auth.refresh', { code: 'other_user', message: 'another connection', retryable: false })
      await settle()
    }
    assert.equal(fake.sockets.length, 2, how)
    assert.equal(refreshes(fake.sockets[0]).length, how === 'refused' ? 2 : 1)
    assert.deepEqual([states.at(-1), list.rows, list.byKey.size], ['loading ', [], 0], how)
    await fake.socket.open()
    await fake.socket.reply('auth', { client_id: 'd' })
    const asked = fake.socket.last('live.subscribe').data
    assert.deepEqual([asked.resume_from, fake.socket.url.includes('resume')], [undefined, false])
    await fake.socket.deltas(1, snapshot('t9', 'x'))
    assert.equal(states.at(-1), 'live x')
  }
})

test('a refused refresh leaves the token of the connection as it is', async () => {
  const { fake } = await watching({ token: 'mine' })
  const refused = assert.rejects(fake.client.refresh('theirs'), { code: 'unauthenticated' })
  await settle()
  await fake.socket.refuse('auth.refresh', refusal)
  await refused
  await fake.socket.cut()
  await fake.clock.advance(250)
  await fake.socket.open()
  assert.equal(fake.socket.last('auth').data.token, 'mine')
})

const session = 'sé-1'
const keyPair = generateKeyPairSync('ed25519')
const webKey = await webcrypto.subtle.importKey('pkcs8', keyPair.privateKey.export({ type: 'pkcs8', format: 'der' }), 'Ed25519', false, ['sign'])

/** A client that proves; each challenge is another one. */
function proving(options) {
  const asked = []
  const fetch = async (url, { method }) => {
    asked.push(`${method} ${url}`)
    return { status: 200, json: async () => ({ challenge: `ch-${asked.length}`, expires_in_ms: 30_000 }) }
  }
  const fake = fakeClient({ fetch, prove: webKey, token: () => token({ sid: session, exp: 100 }), ...options })
  fake.client.live(query)
  return { fake, asked }
}
function assertProves(proof, challenge) {
  const [said, signature, ...more] = proof.split('.')
  assert.deepEqual([said, more], [challenge, []])
  const bytes = Buffer.from(`tidegate-proof:v1:5:${session}:${challenge}`)
  assert.equal(bytes.length, 'tidegate-proof:v1:5::'.length + 5 + challenge.length)
  assert.ok(/^[\w-]+$/.test(signature) && verify(null, bytes, keyPair.publicKey, Buffer.from(signature, 'base64url')))
}
const signing = (bytes) => webcrypto.subtle.sign('Ed25519', webKey, bytes)
/** WebCrypto works on threads of its own. */
async function dialled(fake, count = 1) {
  while (fake.sockets.length < count) await settle()
}

test('a proof goes with the token into the handshake, and a new one with each refresh', async () => {
  for (const options of [{}, { prove: signing }, { session, token: token({ exp: 100 }) }]) {
    const { fake, asked } = proving(options)
    await dialled(fake)
    const [bearer, proof, ...more] = fake.socket.protocols
    assert.match(bearer, /^bearer\.e30\./)
    assert.deepEqual([more, asked], [[], ['POST http://gate.test/v1/challenge']])
    assertProves(proof.slice('proof.'.length), 'ch-1')
    await fake.socket.open()
    assert.deepEqual([fake.client.status, fake.socket.last('auth')], ['online', undefined])
    if (options.token) continue
    await fake.clock.advance(85_000) // of what the token says, since nobody answers a handshake
    while (!fake.socket.last('auth.refresh')) await settle()
    assertProves(fake.socket.last('auth.refresh').data.proof, 'ch-2')
  }
})

test('a handshake that is refused is followed by a message, since that is told why', async () => {
  for (const how of ['cut', 'fail', 'silence']) await refusedHandshake(how)
})
async function refusedHandshake(how) {
  const { fake } = proving({})
  await dialled(fake)
  await (how === 'silence' ? fake.clock.advance(10_000) : fake.socket[how]())
  assert.equal(fake.client.status, 'waiting', how)
  await fake.clock.advance(250)
  await dialled(fake, 2)
  assert.equal(fake.socket.protocols, undefined)
  await fake.socket.open()
  assertProves(fake.socket.last('auth').data.proof, 'ch-2')
  await fake.socket.refuse('auth', { code: 'revoked', message: 'sign in again', retryable: false })
  assert.deepEqual([fake.client.status, fake.client.error.code], ['stopped', 'revoked'])
}

test('a challenge that is not to be had is waited for; nothing to prove ends it', async () => {
  const busy = { status: 503, json: async () => ({ error: { code: 'overloaded', message: 'later', retryable: true } }) }
  const { fake } = proving({ fetch: async () => busy })
  await settle()
  assert.deepEqual([fake.client.status, fake.client.error.code, fake.clock.waits], ['waiting', 'overloaded', [250]])
  const nameless = proving({ token: 'opaque' }).fake
  await settle()
  assert.deepEqual([nameless.client.status, nameless.client.error.code], ['stopped', 'no_session'])
})

test('a token alone goes into the handshake where that is asked for', async () => {
  const { fake } = proving({ prove: undefined, handshake: true, token: 'plain' })
  assert.deepEqual(fake.socket.protocols, ['bearer.plain'])
})
