// A socket that is killed, and what its client knows afterwards.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connected, encodings, eventually, fromData, heard, next, start, subscribed } from './fixture.mjs'

const gateway = await start()

/** A subscriber whose line can be cut. */
async function subscriber(encoding, channel, options) {
  const line = await gateway.line()
  const client = gateway.client({ encoding, line })
  await connected(client)
  const subscription = client.newSubscription(channel, options)
  await subscribed(subscription)
  const told = heard(subscription, 'publication')
  return {
    client,
    line,
    subscription,
    returns: heard(subscription, 'subscribed'),
    numbers: () => told.map(({ data }) => fromData(encoding, data).i),
    /** Kills the socket and keeps it from coming back while something happens. */
    async without(run) {
      const lost = next(subscription, 'subscribing')
      line.isDown = true
      line.cut()
      await lost
      await run()
      const back = next(subscription, 'subscribed')
      line.isDown = false
      return back
    },
  }
}

const upTo = (count, from = 1) => Array.from({ length: count - from + 1 }, (_, i) => from + i)

for (const encoding of encodings) {
  const here = (name, run) => test(`${encoding}: ${name}`, run)
  const publish = async (channel, numbers) => {
    // Long enough for a difference to be shorter.
    for (const i of numbers) await gateway.publish(channel, { i, text: 'a sentence that stays the same from one to the next, nearly' })
  }

  for (const [prefix, options] of [['chat', {}], ['delta', { delta: 'fossil' }]]) {
    here(`${prefix}: after a killed socket nothing is missing and nothing comes twice`, async () => {
      const channel = `${prefix}:${encoding}-killed`
      const one = await subscriber(encoding, channel, options)
      await publish(channel, upTo(5))
      await eventually(() => assert.deepEqual(one.numbers(), upTo(5)))
      for (const [from, to] of [[6, 25], [26, 26], [27, 60]]) {
        const { wasRecovering, recovered } = await one.without(() => publish(channel, upTo(to, from)))
        assert.deepEqual([wasRecovering, recovered], [true, true])
      }
      await publish(channel, upTo(65, 61))
      await eventually(() => assert.deepEqual(one.numbers(), upTo(65)))
    })

    here(`${prefix}: sockets that are killed while there is much to tell`, async () => {
      const channel = `${prefix}:${encoding}-torrent`
      const one = await subscriber(encoding, channel, options)
      const total = 90
      for (let i = 1; i <= total; i += 15) {
        // In the middle of what follows, likely within a message.
        one.line.cutAfter(700)
        await publish(channel, upTo(i + 14, i))
      }
      await eventually(() => assert.deepEqual(one.numbers(), upTo(total)))
      assert.ok(one.line.cuts > 1, 'it was cut')
      assert.ok(one.returns.length > 0 && one.returns.every(({ recovered }) => recovered))
    })
  }

  here('a history that is too short is told', async () => {
    const channel = `short:${encoding}`
    const one = await subscriber(encoding, channel)
    await publish(channel, upTo(2))
    await eventually(() => assert.deepEqual(one.numbers(), upTo(2)))
    const { wasRecovering, recovered } = await one.without(() => publish(channel, upTo(9, 3)))
    assert.deepEqual([wasRecovering, recovered], [true, false])
    await publish(channel, [10])
    await eventually(() => assert.deepEqual(one.numbers(), [1, 2, 10]))
    const exact = await one.without(() => publish(channel, [11, 12]))
    assert.equal(exact.recovered, true)
    await eventually(() => assert.deepEqual(one.numbers(), [1, 2, 10, 11, 12]))
  })

  here('where a client asks how things stand, it goes on from there', async () => {
    const channel = `short:${encoding}-state`
    let asked = 0
    const getState = async () => {
      asked++
      const { epoch, offset } = await gateway.get(`/v1/topics/${encodeURIComponent(channel)}/history?limit=1`)
      return { epoch, offset }
    }
    await publish(channel, [1])
    const one = await subscriber(encoding, channel, { getState })
    assert.equal(asked, 1)
    await one.without(() => publish(channel, upTo(6, 2)))
    assert.equal(asked, 2)
    await publish(channel, [7])
    await eventually(() => assert.deepEqual(one.numbers(), [7]))
  })
}
