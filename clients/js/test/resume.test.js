// What a list does over cuts, gaps, re-anchors and refusals, on a fake socket and clock.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { liveStore } from '../react.js'
import { enter, fakeClient, leave, settle, snapshot } from './fakes.js'

const query = { entity: 'asset', limit: 3 }
const keys = (list) => list.entries.map((entry) => entry.key)

async function live(...names) {
  const fake = fakeClient()
  const list = fake.client.live(query)
  await fake.socket.open()
  await fake.socket.reply('live.subscribe')
  await fake.socket.deltas(1, snapshot('t1', ...names))
  return { fake, list }
}
async function reconnect(fake) {
  await fake.clock.advance(fake.client.retryInMs)
  await fake.socket.open()
  return fake.socket.last('live.subscribe').data
}

test('listeners are told once per batch and see whole batches only', async () => {
  const { fake, list } = await live('a', 'b')
  const seen = []
  list.subscribe(() => seen.push(keys(list).join('')))
  const { rows } = list
  await fake.socket.deltas(5, [leave('a', 0, 't2~1')])
  assert.equal(list.rows, rows)
  await fake.socket.deltas(6, [enter('c', 1, 't2', { last: true }), enter('d', 2, 't3', { last: true })])
  assert.deepEqual(seen, ['bc', 'bcd'])
  assert.deepEqual(rows.map((row) => row.id), ['a', 'b'])
  assert.equal(list.rows, list.rows)
  assert.equal(list.snapshot(), list.snapshot())
  assert.equal(list.rows[0], rows[1])
})

test('raw batches come numbered', async () => {
  const { fake, list } = await live('a')
  const batches = []
  list.onFrames((frames) => batches.push(frames.map((frame) => [frame.seq, frame.op])))
  await fake.socket.deltas(4, [leave('a', 0, 't2~1'), enter('b', 0, 't2', { last: true })])
  assert.deepEqual(batches, [[[4, 'leave'], [5, 'enter']]])
})

test('a resume starts after the last frame, and its numbers at 1', async () => {
  const { fake, list } = await live('a', 'b')
  await fake.socket.cut()
  assert.equal(list.state, 'stale')
  const asked = await reconnect(fake)
  assert.equal(asked.resume_from, 't1')
  await fake.socket.reply('live.subscribe')
  assert.equal(list.state, 'live')
  await fake.socket.deltas(1, [enter('c', 2, 't2', { last: true })])
  assert.deepEqual(keys(list), ['a', 'b', 'c'])
  assert.deepEqual([fake.client.stats.resumes, fake.client.stats.gaps], [1, 0])
})

test('a cut in the middle of a batch goes on in the middle of it', async () => {
  const { fake, list } = await live('a', 'b')
  await fake.socket.deltas(5, [leave('a', 0, 't2~1')])
  await fake.socket.cut()
  assert.equal((await reconnect(fake)).resume_from, 't2~1')
  await fake.socket.reply('live.subscribe')
  assert.deepEqual([keys(list).join(''), list.state], ['ab', 'stale'])
  await fake.socket.deltas(1, [enter('c', 1, 't2', { last: true })])
  assert.deepEqual([keys(list).join(''), list.state], ['bc', 'live'])
})

test('a cut in the middle of a snapshot goes on in it, or begins again with a reset', async () => {
  for (const again of [false, true]) {
    const fake = fakeClient()
    const list = fake.client.live(query)
    await fake.socket.open()
    await fake.socket.reply('live.subscribe')
    const whole = snapshot('t1', 'a', 'b', 'c')
    await fake.socket.deltas(1, whole.slice(0, 3))
    assert.equal(list.state, 'loading')
    await fake.socket.cut()
    assert.equal((await reconnect(fake)).resume_from, 't1~3')
    await fake.socket.reply('live.subscribe')
    assert.equal(list.state, 'loading')
    await fake.socket.deltas(1, again ? snapshot('t5', 'x', 'y') : whole.slice(3))
    assert.deepEqual(keys(list), again ? ['x', 'y'] : ['a', 'b', 'c'])
    assert.equal(list.state, 'live')
  }
})

test('old rows stay until a new snapshot is complete', async () => {
  const { fake, list } = await live('a', 'b')
  await fake.socket.deltas(5, snapshot('t2', 'x').slice(0, 2))
  assert.deepEqual(keys(list), ['a', 'b'])
  await fake.socket.deltas(7, snapshot('t2', 'x').slice(2))
  assert.deepEqual(keys(list), ['x'])
})

test('a gap in the numbers costs a fresh snapshot and is counted', async () => {
  const { fake, list } = await live('a', 'b')
  const old = fake.socket.last('live.subscribe').data.sub
  await fake.socket.deltas(6, [enter('c', 2, 't3', { last: true })])
  assert.deepEqual([fake.client.stats.gaps, list.state, keys(list).join('')], [1, 'stale', 'ab'])
  assert.equal(fake.socket.last('live.unsubscribe').data.sub, old)
  await fake.clock.advance(0)
  const fresh = fake.socket.last('live.subscribe').data
  assert.notEqual(fresh.sub, old)
  assert.equal(fresh.resume_from, undefined)
  await fake.socket.deltas(7, [enter('d', 0, 't4', { last: true })], old) // still under way when we left
  await fake.socket.deltas(1, snapshot('t5', 'z'))
  assert.deepEqual([keys(list).join(''), list.state], ['z', 'live'])
})

test('a frame that names another row costs a fresh snapshot, and nobody sees the half that was applied', async () => {
  const { fake, list } = await live('a', 'b')
  await fake.socket.deltas(5, [enter('c', 2, 't2~1'), leave('a', 1, 't2', { last: true })])
  assert.deepEqual([fake.client.stats.gaps, keys(list).join('')], [1, 'ab'])
  await fake.clock.advance(0)
  assert.equal(fake.socket.last('live.subscribe').data.resume_from, undefined)
})

test('a server that is wrong each time is asked ever more slowly', async () => {
  const { fake } = await live('a')
  const waits = []
  for (let i = 0; i < 4; i++) {
    await fake.socket.deltas(99, [enter('c', 2, 't2', { last: true })])
    waits.push(fake.clock.waits[0])
    await fake.clock.advance(waits.at(-1))
  }
  assert.deepEqual(waits, [0, 500, 1000, 2000])
})

test('a listener that throws is reported and harms nobody', async (t) => {
  const { fake, list } = await live('a')
  const reported = t.mock.method(globalThis.reportError ? globalThis : console, globalThis.reportError ? 'reportError' : 'error', () => {})
  list.onFrames(() => {
    throw new Error('mine')
  })
  await fake.socket.deltas(4, [enter('b', 1, 't2', { last: true }), enter('c', 2, 't3', { last: true })])
  assert.equal(reported.mock.calls[0].arguments[0].message, 'mine')
  assert.deepEqual(keys(list), ['a', 'b', 'c'])
})

test('a re-anchor keeps the numbers, replaces the window, and drops the token of the old one', async () => {
  const { fake, list } = await live('a', 'b', 'c')
  list.reanchor({ cursor: { values: ['b'] }, limit: 2 })
  const sent = fake.socket.last('live.reanchor').data
  assert.deepEqual([sent.cursor, sent.limit], [{ values: ['b'] }, 2])
  await fake.socket.deltas(6, [leave('a', 0, 't2', { last: true })]) // of the old window, still under way
  assert.deepEqual(keys(list), ['b', 'c'])
  await fake.socket.cut()
  const asked = await reconnect(fake)
  assert.deepEqual([asked.resume_from, asked.query.cursor, asked.query.limit], [undefined, { values: ['b'] }, 2])
  await fake.socket.reply('live.subscribe')
  await fake.socket.deltas(1, snapshot('t9', 'c', 'd'))
  list.reanchor()
  assert.deepEqual(list.query, { entity: 'asset', limit: 2 })
  await fake.socket.reply('live.reanchor')
  await fake.socket.deltas(5, snapshot('t10', 'a', 'b'))
  assert.deepEqual([keys(list).join(''), fake.client.stats.gaps], ['ab', 0])
  await fake.socket.cut()
  assert.equal((await reconnect(fake)).resume_from, 't10')
})

test('a refused re-anchor is told, and the window before stays', async () => {
  const { fake, list } = await live('a')
  list.reanchor({ cursor: { values: [1, 2, 3] } })
  await fake.socket.refuse('live.reanchor', { code: 'bad_cursor', message: 'three values', retryable: false })
  assert.deepEqual([list.error.code, list.state, list.query], ['bad_cursor', 'live', query])
})

test('a refusal ends the list, or is retried where that can help', async () => {
  const fake = fakeClient()
  const list = fake.client.live(query)
  await fake.socket.open()
  await fake.socket.refuse('live.subscribe', { code: 'overloaded', message: 'later', retryable: true })
  assert.deepEqual([list.error.code, list.state], ['overloaded', 'loading'])
  await fake.clock.advance(250)
  await fake.socket.reply('live.subscribe')
  await fake.socket.deltas(1, snapshot('t1', 'a'))
  assert.deepEqual([list.error, list.state], [null, 'live'])
  const { sub } = fake.socket.last('live.subscribe').data
  await fake.socket.receive('live.error', { sub, code: 'entity_gone', message: 'dropped', retryable: false })
  assert.deepEqual([list.error.code, list.state], ['entity_gone', 'closed'])
  await fake.socket.cut()
  await fake.clock.advance(250)
  await fake.socket.open()
  assert.equal(fake.socket.last('live.subscribe'), undefined)
})

test('closing ends the subscription and ignores what comes after', async () => {
  const { fake, list } = await live('a')
  list.close()
  assert.ok(fake.socket.last('live.unsubscribe'))
  await fake.socket.deltas(4, [enter('b', 0, 't2', { last: true })])
  assert.deepEqual([keys(list).join(''), list.state], ['a', 'closed'])
})

test('a streamed query changes as a whole too', async () => {
  const fake = fakeClient()
  const list = fake.client.live({ entity: 'asset', mode: 'streamed' })
  await fake.socket.open()
  await fake.socket.deltas(1, snapshot('t1', 'a'))
  const before = list.byKey
  await fake.socket.deltas(4, [{ ...enter('b', -1, 't2~1'), op: 'match' }])
  assert.deepEqual(keys(list), ['a'])
  await fake.socket.deltas(5, [{ ...leave('a', -1, 't2'), op: 'unmatch', last: true }])
  assert.deepEqual([keys(list).join(''), [...before.keys()].join('')], ['b', 'a'])
})

test('synced tells the position', async () => {
  const { fake, list } = await live('a')
  await fake.socket.receive('live.synced', { position: '17' })
  assert.equal(list.position, '17')
})

test('the store for React opens with its first listener and closes with its last', async () => {
  const fake = fakeClient()
  const store = liveStore(fake.client, query)
  assert.equal(fake.sockets.length, 0)
  let calls = 0
  const stop = store.subscribe(() => calls++)
  await fake.socket.open()
  await fake.socket.deltas(1, snapshot('t1', 'a'))
  assert.equal(store.snapshot(), store.snapshot())
  assert.deepEqual([store.snapshot().rows.length, store.snapshot().state, calls], [1, 'live', 1])
  stop()
  assert.ok(fake.socket.last('live.unsubscribe'))
  await settle()
  assert.equal(store.list, null)
})
