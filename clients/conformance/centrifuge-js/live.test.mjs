// Live queries, as channels: the list that a client builds is the list that the gateway has.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applyFrame } from '../../js/tidegate.js'
import { seeded } from '../../js/test/random.js'
import { connected, encodings, eventually, fromData, heard, next, start, subscribed, toData } from './fixture.mjs'

const gateway = await start()

const write = (changes) => gateway.post('/v1/entities/asset/changes', { changes })
const read = async (query) => (await gateway.get(`/v1/entities/asset?query=${encodeURIComponent(JSON.stringify(query))}`)).rows
const asset = (n, temp) => ({ upsert: { id: `a-${n}`, name: `asset ${n}`, temp } })

/** A list that follows a channel. */
function follow(client, encoding, name, query) {
  const subscription = client.newSubscription(`live:asset:${name}`, { data: toData(encoding, query) })
  const list = { subscription, query, entries: [], batches: 0 }
  const apply = (data) => {
    for (const frame of fromData(encoding, data).deltas) applyFrame(list.entries, frame)
  }
  subscription.on('subscribed', ({ data, recovered }) => {
    if (!recovered) apply(data)
  })
  subscription.on('publication', ({ data }) => {
    list.batches++
    apply(data)
  })
  list.settles = () =>
    eventually(async () => {
      const rows = await read(list.query)
      assert.deepEqual(list.entries.map(({ row, version, cursor }) => ({ row, version, cursor })), rows)
    })
  return list
}

for (const encoding of encodings) {
  const here = (name, run) => test(`${encoding}: ${name}`, run)
  const query = { entity: 'asset', where: [{ column: 'temp', op: 'gte', value: 20 }], sort: [{ column: 'temp' }], limit: 20 }

  here('a list follows what is written, exactly, whatever becomes of the socket', async () => {
    const random = seeded(7)
    const line = await gateway.line()
    const client = gateway.client({ encoding, line })
    await write(Array.from({ length: 40 }, (_, n) => asset(n, n)))
    await connected(client)
    const list = follow(client, encoding, 'all', query)
    await subscribed(list.subscription)
    assert.equal(list.entries.length, 20)
    await list.settles()
    const returns = heard(list.subscription, 'subscribed')
    for (let round = 0; round < 8; round++) {
      line.cutAfter(random.below(2_000))
      for (let i = 0; i < 12; i++) {
        const changes = new Map(Array.from({ length: 3 }, () => random.below(60)).map((n) => [n, asset(n, random.below(60))]))
        const gone = random.below(60)
        await write([...changes.values(), ...(changes.has(gone) ? [] : [{ delete: { id: `a-${gone}` } }])])
      }
      await list.settles()
    }
    assert.ok(line.cuts > 2, 'it was cut')
    assert.ok(returns.length > 0 && returns.every(({ recovered }) => recovered))
  })

  here('what was missed while away comes batch by batch', async () => {
    const line = await gateway.line()
    const client = gateway.client({ encoding, line })
    await connected(client)
    const list = follow(client, encoding, 'away', query)
    await subscribed(list.subscription)
    const lost = next(list.subscription, 'subscribing')
    line.isDown = true
    line.cut()
    await lost
    for (let i = 0; i < 10; i++) await write([asset(100, 100 + i)])
    const back = next(list.subscription, 'subscribed')
    line.isDown = false
    const { wasRecovering, recovered } = await back
    assert.deepEqual([wasRecovering, recovered], [true, true])
    await list.settles()
  })

  here('a window is moved', async () => {
    const client = gateway.client({ encoding })
    await write(Array.from({ length: 10 }, (_, n) => asset(n, 30 + n)))
    await connected(client)
    const list = follow(client, encoding, 'moved', { ...query, limit: 3 })
    await subscribed(list.subscription)
    await list.settles()
    const { cursor } = list.entries[2]
    await client.rpc('live.reanchor', toData(encoding, { channel: list.subscription.channel, cursor, limit: 4 }))
    list.query = { ...query, limit: 4, cursor }
    await list.settles()
  })

  here('a query that cannot be is refused, and so is an entity that is not shown', async () => {
    const client = gateway.client({ encoding })
    await connected(client)
    for (const [channel, data] of [['live:asset:x', { entity: 'asset', sort: [{ column: 'nothing' }] }], ['live:order:x', query]]) {
      const subscription = client.newSubscription(channel, { data: toData(encoding, data) })
      const ended = next(subscription, 'unsubscribed')
      subscription.subscribe()
      assert.ok((await ended).code > 100)
    }
  })
}
