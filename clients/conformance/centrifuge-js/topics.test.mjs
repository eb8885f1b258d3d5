// Publications, who is there, what was said, and what is asked of the application: in both encodings.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connected, encodings, eventually, fromData, heard, next, start, subscribed, toData, token } from './fixture.mjs'

const gateway = await start()

for (const encoding of encodings) {
  const to = (value) => toData(encoding, value)
  const from = (data) => fromData(encoding, data)
  const here = (name, run) => test(`${encoding}: ${name}`, run)
  const topic = (name) => `chat:${encoding}-${name}`

  here('what one publishes all subscribers are told, in order', async () => {
    const [ann, bob] = ['ann', 'bob'].map((sub) => gateway.client({ encoding, token: token({ sub }) }))
    await Promise.all([connected(ann), connected(bob)])
    const [mine, theirs] = [ann, bob].map((client) => client.newSubscription(topic('order')))
    await Promise.all([subscribed(mine), subscribed(theirs)])
    const told = [mine, theirs].map((subscription) => heard(subscription, 'publication'))
    const count = 50
    for (let i = 0; i < count; i++) await mine.publish(to({ i, text: 'grüße, 世界' }))
    for (const publications of told) {
      await eventually(() => assert.equal(publications.length, count))
      publications.forEach((publication, i) => {
        assert.deepEqual(from(publication.data), { i, text: 'grüße, 世界' })
        assert.equal(publication.offset, i + 1)
        assert.equal(publication.info.user, 'ann')
      })
    }
  })

  here('who is there, how many, and who comes and goes', async () => {
    const [ann, bob] = ['ann', 'bob'].map((sub) => gateway.client({ encoding, token: token({ sub }) }))
    const [{ client: first }, { client: second }] = await Promise.all([connected(ann), connected(bob)])
    const mine = ann.newSubscription(topic('presence'), { joinLeave: true })
    await subscribed(mine)
    const [joins, leaves] = [heard(mine, 'join'), heard(mine, 'leave')]
    const theirs = bob.newSubscription(topic('presence'))
    await subscribed(theirs)
    await eventually(() => assert.ok(joins.some(({ info }) => info.client === second && info.user === 'bob')))
    assert.deepEqual(Object.keys((await mine.presence()).clients).sort(), [first, second].sort())
    assert.deepEqual(await theirs.presenceStats(), { numClients: 2, numUsers: 2 })
    bob.disconnect()
    await eventually(() => assert.deepEqual(leaves.map(({ info }) => info.client), [second]))
    assert.deepEqual(await mine.presenceStats(), { numClients: 1, numUsers: 1 })
  })

  here('what was said: from the end, from the beginning, from a position', async () => {
    const client = gateway.client({ encoding })
    await connected(client)
    const subscription = client.newSubscription(topic('history'))
    await subscribed(subscription)
    for (let i = 1; i <= 5; i++) await subscription.publish(to({ i }))
    const said = async (options) => {
      const history = await subscription.history(options)
      return { ...history, publications: history.publications.map(({ data }) => from(data).i) }
    }
    const { epoch, offset, publications } = await said({ limit: 100 })
    assert.deepEqual([offset, publications], [5, [1, 2, 3, 4, 5]])
    assert.deepEqual((await said({ limit: 0 })).publications, [])
    assert.deepEqual((await said({ limit: 2, since: { offset: 2, epoch } })).publications, [3, 4])
    assert.deepEqual((await said({ limit: 2, reverse: true })).publications, [5, 4])
    await assert.rejects(said({ limit: 2, since: { offset: 2, epoch: 'another' } }), { code: 112 })
  })

  here('the application is asked, and answers or does not', async () => {
    const client = gateway.client({ encoding })
    await connected(client)
    const { data } = await client.rpc('echo', to({ hello: [1, 2] }))
    assert.deepEqual(from(data), { data: { hello: [1, 2] }, user: 'ann' })
    await assert.rejects(client.rpc('nothing', to({})), { code: 107, message: 'nothing' })
  })

  here('only what is allowed', async () => {
    const client = gateway.client({ encoding })
    await connected(client)
    await assert.rejects(client.publish('secret:plans', to(1)), { code: 103 })
    await assert.rejects(client.presence('short:x'), ({ code }) => code === 108)
    await assert.rejects(client.history('elsewhere', { limit: 1 }), { code: 103 })
  })

  here('a token brings channels from the start, which recover with the connection', async () => {
    const channel = topic('news')
    const line = await gateway.line()
    const client = gateway.client({ encoding, line, token: token({ sub: 'ann', channels: [channel] }) })
    const [told, positions] = [heard(client, 'publication'), heard(client, 'subscribed')]
    const begun = next(client, 'subscribed')
    await connected(client)
    const { channel: of, recoverable } = await begun
    assert.deepEqual([of, recoverable], [channel, true])
    await gateway.publish(channel, { i: 1 })
    await eventually(() => assert.equal(told.length, 1))
    line.isDown = true
    line.cut()
    await next(client, 'connecting')
    await gateway.publish(channel, { i: 2 })
    line.isDown = false
    await eventually(() => assert.deepEqual(told.map(({ data }) => from(data).i), [1, 2]))
    assert.deepEqual(positions.map(({ wasRecovering, recovered }) => [wasRecovering, recovered]), [[false, false], [true, true]])
  })

  here('a map is told value by value, and what changes in it from then on', async () => {
    const channel = `board:${encoding}`
    for (let i = 0; i < 5; i++) await gateway.publish(channel, { i }, { key: `k${i}` })
    await gateway.publish(channel, null, { key: 'k0', removed: true })
    const client = gateway.client({ encoding })
    await connected(client)
    const map = client.newMapSubscription(channel, { pageSize: 2 })
    const [synced, updates] = [next(map, 'sync'), heard(map, 'update')]
    map.subscribe()
    const { entries } = await synced
    assert.deepEqual(entries.map(({ key, data }) => [key, from(data).i]).sort(), [['k1', 1], ['k2', 2], ['k3', 3], ['k4', 4]])
    await gateway.publish(channel, { i: 20 }, { key: 'k2' })
    await gateway.publish(channel, null, { key: 'k3', removed: true })
    await eventually(() => assert.equal(updates.length, 2))
    assert.deepEqual([updates[0].key, from(updates[0].data).i, !!updates[0].removed], ['k2', 20, false])
    assert.deepEqual([updates[1].key, updates[1].removed], ['k3', true])
  })
}
