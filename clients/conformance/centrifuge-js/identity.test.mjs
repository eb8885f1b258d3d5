// Who connects, with tokens of either kind, and for how long.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connected, eventually, forgedToken, heard, issuerToken, next, secondsFromNow, start, subscribed, token } from './fixture.mjs'

const gateway = await start()

test('a token of either kind says who connects', async () => {
  for (const [sub, signed] of [['ann', token({ sub: 'ann', info: { name: 'Ann' } })], ['bob', issuerToken({ sub: 'bob' })]]) {
    const client = gateway.client({ token: signed })
    const { client: name } = await connected(client)
    const subscription = client.newSubscription('chat:who')
    await subscribed(subscription)
    const { clients } = await subscription.presence()
    assert.equal(clients[name].user, sub)
    if (sub === 'ann') assert.deepEqual(clients[name].connInfo, { name: 'Ann' })
    client.disconnect()
  }
})

test('a token that is not good ends the connection for good', async () => {
  for (const bad of [forgedToken({ sub: 'ann' }), 'x', '']) {
    const client = gateway.client({ token: bad })
    const over = next(client, 'disconnected')
    client.connect()
    assert.equal((await over).code, 3500, bad)
  }
})

for (const [kind, make] of [['as Centrifugo has them', token], ['of an issuer', issuerToken]]) {
  test(`tokens ${kind} are replaced before they end, and the connection stays`, async () => {
    const fresh = () => make({ sub: 'ann', exp: secondsFromNow(4) })
    let asked = 0
    const getToken = async () => (asked++, fresh())
    const client = gateway.client({ token: fresh(), getToken })
    const begun = Date.now()
    const { client: name } = await connected(client)
    const [lost, again] = [heard(client, 'connecting'), heard(client, 'connected')]
    await eventually(() => assert.ok(asked >= 2 && Date.now() - begun > 4_500, `asked ${asked} times`), 30_000)
    const subscription = client.newSubscription('chat:refresh')
    await subscribed(subscription)
    assert.ok((await subscription.presence()).clients[name], 'it is the connection that it was')
    assert.deepEqual([lost, again], [[], []])
  })
}

test('a token that ended meanwhile is asked for anew', async () => {
  let asked = 0
  const getToken = async () => (asked++, token({ sub: 'ann' }))
  const client = gateway.client({ token: token({ sub: 'ann', exp: secondsFromNow(-5) }), getToken })
  await connected(client)
  assert.equal(asked, 1)
})

test('whoever does not come with another token is turned out, and may come again', async () => {
  let asked = 0
  // The first answer never comes.
  const getToken = () => (++asked === 1 ? new Promise(() => {}) : Promise.resolve(token({ sub: 'ann' })))
  const client = gateway.client({ token: token({ sub: 'ann', exp: secondsFromNow(2) }), getToken })
  await connected(client)
  const [lost, back] = [next(client, 'connecting'), next(client, 'connected')]
  assert.equal((await lost).code, 3005)
  await back
  assert.equal(asked, 2)
})

test('a subscription token lets in where permissions do not, for as long as it says', async () => {
  const client = gateway.client()
  await connected(client)
  const refused = client.newSubscription('secret:plans')
  const ended = next(refused, 'unsubscribed')
  refused.subscribe()
  assert.equal((await ended).code, 103)
  client.removeSubscription(refused)

  let asked = 0
  const getToken = async ({ channel }) => (asked++, token({ sub: 'ann', channel, exp: secondsFromNow(3) }))
  const subscription = client.newSubscription('secret:plans', { getToken })
  await subscribed(subscription)
  const [ends, begins] = [heard(subscription, 'unsubscribed'), heard(subscription, 'subscribing')]
  await eventually(() => assert.ok(asked >= 3, `asked ${asked} times`), 30_000)
  const told = next(subscription, 'publication')
  await gateway.publish('secret:plans', 'we leave at dawn')
  assert.equal((await told).data, 'we leave at dawn')
  assert.deepEqual([ends, begins], [[], []])
})

test('a subscription token of another channel or another user lets nobody in', async () => {
  const client = gateway.client()
  await connected(client)
  for (const wrong of [{ sub: 'ann', channel: 'secret:other' }, { sub: 'bob', channel: 'secret:plans' }]) {
    const subscription = client.newSubscription('secret:plans', { token: token(wrong) })
    const ended = next(subscription, 'unsubscribed')
    subscription.subscribe()
    assert.equal((await ended).code, 103)
    client.removeSubscription(subscription)
  }
})
