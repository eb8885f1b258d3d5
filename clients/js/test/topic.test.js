// Topics, on a fake socket and clock.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeClient, settle } from './fakes.js'

/** A client on a topic that answers `joined`, and all that it was told. */
async function subscribed(joined = { epoch: 'e', offset: 3, messages: [] }, options = {}) {
  const fake = fakeClient()
  const told = []
  const tell = (name) => (...args) => told.push([name, ...args])
  const names = ['onMessage', 'onJoin', 'onLeave', 'onDropped', 'onSubscribed', 'onState']
  const handlers = Object.fromEntries(names.map((name) => [name, tell(name)]))
  const topic = fake.client.topic('chat:7', { ...handlers, ...options })
  await fake.socket.open()
  await fake.socket.reply('topic.subscribe', joined)
  const taken = () => told.splice(0)
  return { fake, topic, taken, told: (name) => taken().filter(([other]) => other === name).map(([, ...args]) => args[0]) }
}

test('a topic is subscribed to once the line is there, and told in order', async () => {
  const { fake, topic, taken } = await subscribed()
  assert.deepEqual(fake.socket.last('topic.subscribe').data, { topic: 'chat:7' })
  assert.equal(topic.state, 'live')
  assert.deepEqual(taken().map(([name]) => name), ['onSubscribed', 'onState'])
  await fake.socket.receive('topic.message', { topic: 'chat:7', data: 'a', offset: 4 })
  await fake.socket.receive('topic.join', { topic: 'chat:7', client_id: 'c_1', user: 'ann' })
  await fake.socket.receive('topic.leave', { topic: 'chat:7', client_id: 'c_1', user: 'ann' })
  await fake.socket.receive('topic.dropped', { topic: 'chat:7', count: 5 })
  await fake.socket.receive('topic.message', { topic: 'chat:8', data: 'not ours' })
  assert.deepEqual(taken().map(([name, what]) => [name, what.data ?? what.user ?? what]), [
    ['onMessage', 'a'],
    ['onJoin', 'ann'],
    ['onLeave', 'ann'],
    ['onDropped', 5],
  ])
  assert.deepEqual(topic.position, { epoch: 'e', offset: 4 })
  assert.throws(() => fake.client.topic('chat:7'), { code: 'already_subscribed' })
})

test('after a reconnect it goes on from the last message', async () => {
  const { fake, topic, taken, told } = await subscribed()
  await fake.socket.receive('topic.message', { topic: 'chat:7', data: 'a', offset: 4 })
  await fake.socket.cut()
  assert.equal(topic.state, 'stale')
  await fake.clock.advance(250)
  assert.match(fake.socket.url, /resume=true/)
  taken()
  await fake.socket.open()
  assert.deepEqual(fake.socket.last('topic.subscribe').data.since, { epoch: 'e', offset: 4 })
  const messages = [{ data: 'b', offset: 5 }, { data: 'c', offset: 6 }]
  await fake.socket.reply('topic.subscribe', { epoch: 'e', offset: 6, recovered: true, messages })
  assert.deepEqual(taken().map(([name, what]) => [name, what.recovered ?? what.data ?? what]), [
    ['onSubscribed', true],
    ['onMessage', 'b'],
    ['onMessage', 'c'],
    ['onState', 'live'],
  ])
  await fake.socket.cut()
  await fake.clock.advance(500)
  await fake.socket.open()
  assert.deepEqual(fake.socket.last('topic.subscribe').data.since, { epoch: 'e', offset: 6 })
  await fake.socket.reply('topic.subscribe', { epoch: 'f', offset: 1, recovered: false, messages: [] })
  assert.equal(told('onSubscribed')[0].recovered, false)
  assert.deepEqual(topic.position, { epoch: 'f', offset: 1 })
})

test('what comes in one piece with the reply is not told before it', async () => {
  const { fake, taken } = await subscribed()
  await fake.socket.cut()
  await fake.clock.advance(250)
  await fake.socket.open()
  taken()
  const { socket } = fake
  const id = socket.last('topic.subscribe').id
  const reply = { epoch: 'e', offset: 4, recovered: true, messages: [{ data: 'a', offset: 4 }] }
  // Nothing that waits for a promise runs between the two.
  socket.onmessage({ data: JSON.stringify({ event: 'reply', id, data: reply }) })
  socket.onmessage({ data: JSON.stringify({ event: 'topic.message', data: { topic: 'chat:7', data: 'b', offset: 5 } }) })
  await settle()
  const messages = taken().filter(([name]) => name === 'onMessage')
  assert.deepEqual(messages.map(([, message]) => message.data), ['a', 'b'])
})

test('a subscription that the server ends is taken up again, or closed', async () => {
  const { fake, topic } = await subscribed()
  const error = { topic: 'chat:7', code: 'insufficient_state', message: 'x', retryable: true }
  await fake.socket.receive('topic.error', error)
  assert.equal(topic.state, 'stale')
  fake.socket.sent.length = 0
  await fake.clock.advance(250)
  assert.deepEqual(fake.socket.last('topic.subscribe').data.since, { epoch: 'e', offset: 3 })
  await fake.socket.refuse('topic.subscribe', { code: 'forbidden', message: 'no', retryable: false })
  assert.equal(topic.state, 'closed')
  assert.equal(topic.error.code, 'forbidden')
  assert.deepEqual(fake.clock.waits, [])
})

test('publishing, asking, ephemeral state, and the end', async () => {
  const { fake, topic, taken } = await subscribed()
  const published = topic.publish({ a: 1 }, { idempotencyKey: 'once' })
  assert.deepEqual(fake.socket.last('topic.publish').data, { topic: 'chat:7', data: { a: 1 }, idempotency_key: 'once' })
  await fake.socket.reply('topic.publish', { epoch: 'e', offset: 4 })
  assert.deepEqual(await published, { epoch: 'e', offset: 4 })
  for (const [name, ask] of [['presence', { limit: 0 }], ['history', { reverse: true }], ['values', { after: 'k' }]]) {
    topic[name](ask)
    assert.deepEqual(fake.socket.last(`topic.${name}`).data, { topic: 'chat:7', ...ask })
  }
  topic.ephemeral.set('k', 'é', { ttlMs: 5 })
  assert.deepEqual(fake.socket.last('ephemeral.set').data, { topic: 'chat:7', key: 'k', payload: 'w6k=', ttl_ms: 5 })
  const listed = topic.ephemeral.list()
  await fake.socket.reply('ephemeral.list', { entries: [{ key: 'k', payload: 'w6k=', client_id: 'c', expires_in_ms: 1 }] })
  assert.deepEqual((await listed)[0].payload, new TextEncoder().encode('é'))
  topic.close()
  assert.deepEqual(fake.socket.last('topic.unsubscribe').data, { topic: 'chat:7' })
  taken()
  await fake.socket.receive('topic.message', { topic: 'chat:7', data: 'late', offset: 9 })
  assert.deepEqual(taken(), [])
  fake.client.topic('chat:7')
  assert.deepEqual(fake.socket.last('topic.subscribe').data, { topic: 'chat:7' })
})

test('nothing of one user is left to the next', async () => {
  const { fake, topic } = await subscribed()
  fake.client.logout()
  assert.equal(topic.state, 'closed')
  assert.equal(topic.position, null)
})
