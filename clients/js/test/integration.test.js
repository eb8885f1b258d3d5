// The client against the real server, over a line that is cut in the middle of bursts.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Tidegate } from '../tidegate.js'
import { seeded } from './random.js'
import { eventually, startLine, startServer } from './server.js'

const binary = process.env.TIDEGATE_BIN
const missing = !binary ? 'TIDEGATE_BIN is not set' : !globalThis.WebSocket ? 'this Node has no WebSocket' : false
if (missing) console.error(`\n*** NOT RUN: the tests against the real server, because ${missing} ***\n`)

const TOML = `
[identity]
anonymous = true
api_keys = ["k"]

[[entity]]
name = "asset"
key = ["id"]
columns = { id = "text", name = "text", kind = "text", temp = "float" }
filterable = ["kind", "temp", "name"]
sortable = ["name", "temp"]
max_window = 500
`
const KINDS = ['pump', 'valve', 'tank']
let server

before(async () => {
  if (!missing) server = await startServer(binary, { toml: TOML })
})
after(() => server?.stop())

async function api(path, options = {}) {
  const headers = { 'X-API-Key': 'k', 'content-type': 'application/json' }
  const response = await fetch(server.url + path, { ...options, headers })
  assert.equal(response.status, 200, `${path}: ${await response.clone().text()}`)
  return response.json()
}
const write = (changes) => api('/v1/entities/asset/changes', { method: 'POST', body: JSON.stringify({ changes }) })
const read = (query) => api(`/v1/entities/asset?query=${encodeURIComponent(JSON.stringify(query))}`)

const entriesOf = (list) => list.entries.map(({ row, version, cursor }) => ({ row, version, cursor }))
async function assertSame(list, label) {
  await eventually(async () => {
    const { rows } = await read(list.query)
    assert.equal(list.state, 'live', label)
    assert.deepEqual(entriesOf(list), rows, label)
  })
}

/** A transaction of a few changes. The twins `twin-a` and `twin-b` always have temperatures that add up to 100. */
function transaction(random, alive) {
  const share = random.below(101)
  const twin = (id, temp) => ({ upsert: { id, name: id, kind: 'twin', temp } })
  const changes = new Map([['twin-a', twin('twin-a', share)], ['twin-b', twin('twin-b', 100 - share)]])
  for (let i = random.below(6); i >= 0; i--) {
    const id = `a-${random.below(120)}`
    if (alive.has(id) && random.below(4) === 0) {
      changes.set(id, { delete: { id } })
      continue
    }
    const temp = random.below(10) === 0 ? null : random.below(40) / 2
    changes.set(id, { upsert: { id, name: `name-${random.below(30)}`, kind: random.pick(KINDS), temp } })
  }
  for (const [id, change] of changes) change.delete ? alive.delete(id) : alive.add(id)
  return [...changes.values()]
}

const QUERIES = {
  'head by name': { entity: 'asset', sort: [{ column: 'name' }], limit: 20 },
  'hottest': { entity: 'asset', where: [{ column: 'temp', op: 'gt', value: 5 }], sort: [{ column: 'temp', desc: true }], limit: 10 },
  'one of a kind': { entity: 'asset', where: [{ column: 'kind', op: 'eq', value: 'pump' }], limit: 1 },
  'either': {
    entity: 'asset',
    where: [{ or: [{ column: 'kind', op: 'in', value: ['tank'] }, { column: 'temp', op: 'isnull' }] }],
    sort: [{ column: 'temp' }, { column: 'name', desc: true }],
    limit: 15,
  },
  'after a cursor': { entity: 'asset', sort: [{ column: 'name' }], cursor: { values: ['name-12', 'a-0'] }, limit: 12 },
  'everything': { entity: 'asset', limit: 500 },
}

test('every list equals its query, over writes, cuts and re-anchors', { skip: missing, timeout: 180_000 }, async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e9)
  console.error(`seed ${seed} (set SEED to run it again)`)
  const random = seeded(seed)
  const line = await startLine(server.url)
  const client = new Tidegate(line.url, { backoffMinMs: 5, backoffMaxMs: 40, connectTimeoutMs: 500 })
  try {
    const lists = Object.entries(QUERIES).map(([name, query]) => [name, client.live(query)])
    const whole = lists.at(-1)[1]
    const halves = [] // collected, since what a listener throws is only reported
    whole.subscribe(() => {
      const twins = whole.rows.filter((row) => row.kind === 'twin')
      if (twins.length && twins.reduce((sum, row) => sum + row.temp, 0) !== 100) halves.push(twins)
    })
    const alive = new Set()
    for (let round = 0; round < 25; round++) {
      line.cutAfter(random.below(random.pick([50, 1000, 20_000])) + 1)
      for (let i = 5 + random.below(15); i > 0; i--) await write(transaction(random, alive))
      if (random.below(3) === 0) {
        const [, list] = random.pick(lists.slice(0, -1))
        const entry = list.entries[random.below(list.entries.length)]
        list.reanchor(random.below(2) ? { cursor: entry?.cursor, limit: 5 + random.below(20) } : {})
      }
      if (round % 5 === 4) {
        line.cutAfter(Infinity)
        for (const [name, list] of lists) await assertSame(list, `${name}, round ${round}, seed ${seed}`)
      }
    }
    console.error(`cuts ${line.cuts}`, client.stats)
    assert.ok(line.cuts > 5, 'the line was cut')
    assert.ok(client.stats.resumes > 0, 'lists were resumed')
    assert.deepEqual(halves, [], `half a transaction was seen, seed ${seed}`)
    assert.equal(client.stats.gaps, 0, 'no frame was missing or wrong')
  } finally {
    client.disconnect()
    line.stop()
  }
})

test('a short cut is a resume without a reset', { skip: missing, timeout: 60_000 }, async () => {
  const client = new Tidegate(server.url)
  try {
    const list = client.live({ entity: 'asset', where: [{ column: 'kind', op: 'eq', value: 'twin' }], limit: 5 })
    await eventually(() => assert.equal(list.state, 'live'))
    const { resets } = client.stats
    client.disconnect()
    for (let i = 1; i <= 5; i++) await write([{ upsert: { id: 'twin-c', name: `${i}`, kind: 'twin', temp: 0 } }])
    client.connect()
    await assertSame(list, 'after the cut')
    assert.equal(client.stats.resets, resets)
    assert.equal(list.byKey.get('twin-c').row.name, '5')
    await write([{ delete: { id: 'twin-c' } }])
    await assertSame(list, 'after the delete')
  } finally {
    client.disconnect()
  }
})

test('a streamed query holds every matching row', { skip: missing, timeout: 60_000 }, async () => {
  const line = await startLine(server.url)
  const client = new Tidegate(line.url, { backoffMinMs: 5, backoffMaxMs: 40, connectTimeoutMs: 500 })
  const random = seeded(7)
  try {
    // The page is larger than the matching rows, so that the set is all of them.
    const query = { entity: 'asset', where: [{ column: 'kind', op: 'eq', value: 'pump' }], limit: 500 }
    const list = client.live({ ...query, mode: 'streamed' })
    const alive = new Set()
    for (let i = 0; i < 60; i++) {
      if (i % 15 === 5) line.cutAfter(1 + random.below(2000))
      await write(transaction(random, alive))
    }
    line.cutAfter(Infinity)
    await eventually(async () => {
      const { rows } = await read(query)
      const ids = (all) => all.map((row) => `${row.id} ${row.name} ${row.temp}`).sort()
      assert.deepEqual(ids(list.rows), ids(rows.map(({ row }) => row)))
    })
  } finally {
    client.disconnect()
    line.stop()
  }
})

test('a query that the server refuses says why', { skip: missing, timeout: 30_000 }, async () => {
  const client = new Tidegate(server.url)
  try {
    const list = client.live({ entity: 'nope' })
    await eventually(() => assert.equal(list.state, 'closed'))
    assert.ok(list.error.code)
    assert.equal(list.error.retryable, false)
  } finally {
    client.disconnect()
  }
})
