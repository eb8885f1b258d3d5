// Connecting, backing off and being refused, on a fake socket and clock.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Tidegate } from '../tidegate.js'
import { fakeClient, settle, snapshot } from './fakes.js'

const query = { entity: 'asset', limit: 3 }

test('the address of the server becomes that of its endpoint', () => {
  const of = (url) => new Tidegate(url, { WebSocket: class {} }).url
  assert.equal(of('http://gate.test:8470'), 'ws://gate.test:8470/ws')
  assert.equal(of('https://gate.test/'), 'wss://gate.test/ws')
  assert.equal(of('wss://gate.test/live/ws'), 'wss://gate.test/live/ws')
})

test('the token is the first message, and nothing is asked before it is accepted', async () => {
  const fake = fakeClient({ token: 'secret' })
  const list = fake.client.live(query)
  await fake.socket.open()
  assert.deepEqual(fake.socket.sent.map((message) => [message.event, message.data]), [['auth', { token: 'secret' }]])
  assert.equal(fake.client.status, 'connecting')
  await fake.socket.reply('auth', { client_id: 'c_1' })
  assert.equal(fake.client.clientId, 'c_1')
  assert.equal(fake.client.status, 'online')
  assert.deepEqual(fake.socket.last('live.subscribe').data.query, query)
  assert.equal(list.state, 'loading')
})

test('a function gives a token to each connection', async () => {
  let n = 0
  const fake = fakeClient({ token: async () => `t${++n}` })
  fake.client.live(query)
  await settle()
  await fake.socket.open()
  assert.equal(fake.socket.last('auth').data.token, 't1')
  await fake.socket.cut()
  await fake.clock.advance(250)
  await fake.socket.open()
  assert.equal(fake.socket.last('auth').data.token, 't2')
})

test('a refused token stops the client until somebody connects again', async () => {
  const fake = fakeClient({ token: 'old' })
  fake.client.live(query)
  await fake.socket.open()
  await fake.socket.refuse('auth', { code: 'unauthenticated', message: 'expired', retryable: false })
  assert.equal(fake.client.status, 'stopped')
  assert.equal(fake.client.error.code, 'unauthenticated')
  assert.deepEqual(fake.clock.waits, [])
  await fake.client.refresh('new')
  fake.client.connect()
  await fake.socket.open()
  assert.equal(fake.socket.last('auth').data.token, 'new')
})

test('close codes that mean a refusal stop the client, others do not', async () => {
  for (const code of [1008, 4000, 4401, 4999]) {
    const fake = fakeClient()
    fake.client.live(query)
    await fake.socket.open()
    await fake.socket.cut(code, 'revoked')
    assert.equal(fake.client.status, 'stopped', `code ${code}`)
    assert.equal(fake.client.error.closeCode, code)
    assert.deepEqual(fake.clock.waits, [])
  }
  for (const code of [1000, 1001, 1006, 1011, 1012, 1013]) {
    const fake = fakeClient()
    fake.client.live(query)
    await fake.socket.open()
    await fake.socket.cut(code)
    assert.equal(fake.client.status, 'waiting', `code ${code}`)
  }
})

test('the backoff doubles to its cap and has jitter', async () => {
  for (const [random, factor] of [[1, 1], [0, 0.5]]) {
    const fake = fakeClient({ random: () => random })
    fake.client.live(query)
    const waits = []
    for (let i = 0; i < 9; i++) {
      await fake.socket.cut()
      waits.push(fake.client.retryInMs)
      await fake.clock.advance(fake.client.retryInMs)
    }
    assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000].map((ms) => ms * factor))
  }
})

test('only a connection that lasted resets the backoff', async () => {
  const fake = fakeClient()
  fake.client.live(query)
  const cutAfter = async (ms) => {
    await fake.socket.open()
    await fake.clock.advance(ms)
    await fake.socket.cut()
    const waited = fake.client.retryInMs
    await fake.clock.advance(waited)
    return waited
  }
  assert.equal(await cutAfter(10), 250)
  assert.equal(await cutAfter(10), 500)
  assert.equal(await cutAfter(5000), 250)
})

const goingAway = (ms) => `going_away; reconnect_after_ms=${ms}`

test('a server that stops says when to come back, and is believed up to a minute', async () => {
  for (const [said, waited] of [[1370, 1370], [0, 0], [60_000, 60_000], [60_001, 60_000], [999_999_999, 60_000]]) {
    const fake = fakeClient()
    fake.client.live(query)
    await fake.socket.open()
    await fake.clock.advance(5_000)
    await fake.socket.cut(1001, goingAway(said))
    assert.equal(fake.client.status, 'waiting')
    assert.deepEqual([fake.client.retryInMs, fake.clock.waits], [waited, [waited]], `after ${said}`)
    await fake.clock.advance(waited)
    assert.equal(fake.sockets.length, 2)
  }
  const hasty = fakeClient({ reconnectAfterMaxMs: 100 })
  hasty.client.live(query)
  await hasty.socket.open()
  await hasty.clock.advance(5_000)
  await hasty.socket.cut(1001, goingAway(1370))
  assert.equal(hasty.client.retryInMs, 100)
})

test('what is no such hint leaves the wait to the backoff', async () => {
  const strange = ['', 'going_away', goingAway(''), goingAway(-1), goingAway('1e9'), goingAway('1370 '), goingAway('9'.repeat(10)), `x ${goingAway(1)}`]
  const closes = [...strange.map((reason) => [1001, reason]), [1000, goingAway(1370)], [1006, goingAway(1370)]]
  for (const [code, reason] of closes) {
    const fake = fakeClient()
    fake.client.live(query)
    await fake.socket.open()
    await fake.socket.cut(code, reason)
    assert.equal(fake.client.retryInMs, 250, `${code} ${reason}`)
  }
})

test('the backoff goes on where the hint has led to a server that is not back yet', async () => {
  const fake = fakeClient()
  fake.client.live(query)
  await fake.socket.open()
  await fake.clock.advance(5_000)
  await fake.socket.cut(1001, goingAway(1370))
  const waits = []
  for (let i = 0; i < 4; i++) {
    waits.push(fake.client.retryInMs)
    await fake.clock.advance(fake.client.retryInMs)
    await fake.socket.cut(1006) // refused with a 503, or by nobody there
  }
  assert.deepEqual(waits, [1370, 250, 500, 1000])
  await fake.clock.advance(fake.client.retryInMs)
  await fake.socket.open()
  assert.equal(fake.client.status, 'online')
})

test('a server that stops each time is asked ever more slowly, however soon it says', async () => {
  const fake = fakeClient()
  fake.client.live(query)
  const waits = []
  for (const said of [0, 0, 3_000, 0]) {
    await fake.socket.open()
    await fake.socket.cut(1001, goingAway(said))
    waits.push(fake.client.retryInMs)
    await fake.clock.advance(fake.client.retryInMs)
  }
  assert.deepEqual(waits, [250, 500, 3_000, 2_000])
})

test('who has something to resume says so in the address, and nobody else does', async () => {
  const fake = fakeClient()
  fake.client.url = 'ws://gate.test/ws?tenant=a'
  const list = fake.client.live(query)
  await fake.socket.cut()
  await fake.clock.advance(250)
  await fake.socket.open()
  await fake.socket.reply('live.subscribe')
  await fake.socket.deltas(1, snapshot('t1', 'a'))
  await fake.socket.cut()
  await fake.clock.advance(fake.client.retryInMs)
  await fake.socket.open()
  await fake.socket.cut()
  list.close()
  await fake.clock.advance(fake.client.retryInMs)
  const [plain, resumed] = ['ws://gate.test/ws?tenant=a', 'ws://gate.test/ws?tenant=a&resume=true']
  assert.deepEqual(fake.sockets.map((socket) => socket.url), [plain, plain, resumed, plain])
})

test('an attempt that nobody answers is given up, and its socket ignored from then on', async () => {
  const fake = fakeClient()
  fake.client.live(query)
  const silent = fake.socket
  await fake.clock.advance(10_000)
  assert.equal(fake.client.status, 'waiting')
  assert.equal(silent.closedWith, 1000)
  await fake.clock.advance(250)
  assert.equal(fake.sockets.length, 2)
  await silent.open()
  await silent.cut(4001)
  assert.equal(fake.client.status, 'connecting')
})

test('a handshake that fails is one failure, however often that is told', async () => {
  const fake = fakeClient()
  fake.client.live(query)
  await fake.socket.fail()
  await fake.socket.cut()
  assert.deepEqual([fake.client.status, fake.client.retryInMs], ['waiting', 250])
  await fake.clock.advance(250)
  await fake.socket.open()
  fake.socket.onerror({})
  assert.equal(fake.client.status, 'online')
})

test('disconnect stays off, keeps the rows as stale, and connect resumes', async () => {
  const fake = fakeClient()
  const list = fake.client.live(query)
  await fake.socket.open()
  await fake.socket.reply('live.subscribe')
  await fake.socket.deltas(1, snapshot('t1', 'a', 'b'))
  fake.client.disconnect()
  assert.equal(list.state, 'stale')
  assert.equal(list.rows.length, 2)
  await fake.clock.advance(60_000)
  assert.equal(fake.sockets.length, 1)
  fake.client.connect()
  await fake.socket.open()
  assert.equal(fake.socket.last('live.subscribe').data.resume_from, 't1')
})

test('logout closes the lists and forgets the token', async () => {
  const fake = fakeClient({ token: 'secret' })
  const list = fake.client.live(query)
  await fake.socket.open()
  await fake.socket.reply('auth')
  fake.client.logout()
  assert.equal(list.state, 'closed')
  fake.client.connect()
  await fake.socket.open()
  assert.deepEqual(fake.socket.sent, [])
})

test('requests get their replies, and are rejected when the line goes', async () => {
  const fake = fakeClient()
  await assert.rejects(fake.client.request('topic.publish', {}), { code: 'disconnected', retryable: true })
  fake.client.connect()
  await fake.socket.open()
  const seen = []
  fake.client.on('topic.message', (data) => seen.push(data))
  const good = fake.client.request('topic.publish', { topic: 'demo:a', data: 1 })
  await fake.socket.reply('topic.publish', { offset: 7 })
  assert.deepEqual(await good, { offset: 7 })
  const lost = fake.client.request('topic.publish', {})
  const outcome = assert.rejects(lost, { code: 'disconnected' })
  await fake.socket.receive('topic.message', { topic: 'demo:a', data: 1 })
  fake.socket.onmessage({ data: 'not json' })
  fake.socket.onmessage({ data: new ArrayBuffer(3) })
  await fake.socket.cut()
  await outcome
  await settle()
  assert.deepEqual(seen, [{ topic: 'demo:a', data: 1 }])
})
