// The reducer against a naive model: a list of keys that is edited as the frames say.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applyFrame, applyStreamed } from '../tidegate.js'
import { seeded } from './random.js'

const frame = (op, key, old_index, new_index, version = 1) => ({
  op,
  agg_id: key,
  version,
  row: { id: key, version },
  old_index,
  new_index,
  cursor: { values: [key] },
})
const keys = (entries) => entries.map((entry) => entry.key)
const of = (...names) => {
  const entries = []
  names.forEach((name, i) => applyFrame(entries, frame('enter', name, -1, i)))
  return entries
}

test('enter, leave, move and update do what they say', () => {
  const entries = of('a', 'b', 'c')
  applyFrame(entries, frame('enter', 'd', -1, 1))
  assert.deepEqual(keys(entries), ['a', 'd', 'b', 'c'])
  applyFrame(entries, frame('move', 'a', 0, 3, 2))
  assert.deepEqual(keys(entries), ['d', 'b', 'c', 'a'])
  assert.equal(entries[3].row.version, 2)
  applyFrame(entries, frame('move', 'a', 3, 1, 3))
  assert.deepEqual(keys(entries), ['d', 'a', 'b', 'c'])
  applyFrame(entries, frame('leave', 'b', 2, -1))
  assert.deepEqual(keys(entries), ['d', 'a', 'c'])
  applyFrame(entries, frame('update', 'c', 2, 2, 9))
  assert.deepEqual(entries[2], { key: 'c', version: 9, row: { id: 'c', version: 9 }, cursor: { values: ['c'] } })
  applyFrame(entries, { op: 'ready' })
  assert.equal(entries.length, 3)
  applyFrame(entries, { op: 'reset' })
  assert.deepEqual(entries, [])
})

test('a frame without a row keeps the row that was there', () => {
  const entries = of('a', 'b')
  applyFrame(entries, { op: 'move', agg_id: 'a', version: 2, old_index: 0, new_index: 1 })
  assert.deepEqual(entries[1], { key: 'a', version: 2, row: { id: 'a', version: 1 }, cursor: { values: ['a'] } })
})

test('an entry that no frame names keeps its identity', () => {
  const entries = of('a', 'b', 'c')
  const [, b] = entries
  applyFrame(entries, frame('enter', 'd', -1, 0))
  applyFrame(entries, frame('update', 'a', 1, 1, 2))
  assert.equal(entries[2], b)
})

test('a frame that cannot belong to the list is refused and changes nothing', () => {
  const wrong = [
    frame('leave', 'b', 0, -1),
    frame('leave', 'a', 3, -1),
    frame('leave', 'a', -1, -1),
    frame('update', 'x', 1, 1),
    frame('update', 'a', 0, 1),
    frame('move', 'a', 1, 0),
    frame('move', 'a', 0, 3),
    frame('move', 'a', 0, -1),
    frame('enter', 'd', -1, 4),
    frame('enter', 'd', -1, -1),
    frame('enter', 'd', -1, undefined),
    frame('enter', 'd', -1, 0.5),
    frame('shuffle', 'a', 0, 0),
  ]
  for (const bad of wrong) {
    const entries = of('a', 'b', 'c')
    assert.throws(() => applyFrame(entries, bad), { code: 'inconsistent', retryable: true }, JSON.stringify(bad))
    assert.deepEqual(keys(entries), ['a', 'b', 'c'])
  }
})

test('random histories give the list of a naive model', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seeded(seed)
    const entries = []
    let model = []
    let fresh = 0
    for (let step = 1; step <= 200; step++) {
      const op = model.length === 0 ? 'enter' : random.pick(['enter', 'enter', 'leave', 'move', 'move', 'update', 'reset'])
      if (op === 'reset' && random.below(10) > 0) continue
      if (op === 'enter') {
        const at = random.below(model.length + 1)
        const key = `k${fresh++}`
        model = [...model.slice(0, at), [key, step], ...model.slice(at)]
        applyFrame(entries, frame(op, key, -1, at, step))
      } else if (op === 'reset') {
        model = []
        applyFrame(entries, { op })
      } else {
        const from = random.below(model.length)
        const [key] = model[from]
        const rest = model.filter((_, i) => i !== from)
        const to = op === 'leave' ? -1 : op === 'update' ? from : random.below(rest.length + 1)
        model = op === 'leave' ? rest : [...rest.slice(0, to), [key, step], ...rest.slice(to)]
        applyFrame(entries, frame(op, key, from, to, step))
      }
      const seen = entries.map((entry) => [entry.key, entry.row.version])
      assert.deepEqual(seen, model, `seed ${seed}, step ${step}`)
    }
  }
})

test('one wrong index in a random history never passes in silence with a wrong row', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = seeded(seed)
    const entries = of(...Array.from({ length: 2 + random.below(20) }, (_, i) => `k${i}`))
    const from = random.below(entries.length)
    const lie = (from + 1 + random.below(entries.length - 1)) % entries.length
    const op = random.pick(['leave', 'move', 'update'])
    assert.throws(() => applyFrame(entries, frame(op, `k${from}`, lie, lie)), { code: 'inconsistent' }, `seed ${seed}`)
  }
})

test('a streamed query is a set', () => {
  const set = new Map()
  for (const f of [frame('enter', 'a'), { op: 'ready' }, frame('match', 'b'), frame('update', 'a', 0, 0, 4)]) applyStreamed(set, f)
  assert.deepEqual([...set].map(([key, entry]) => [key, entry.version]), [['a', 4], ['b', 1]])
  applyStreamed(set, frame('unmatch', 'a'))
  applyStreamed(set, frame('unmatch', 'never seen'))
  assert.deepEqual([...set.keys()], ['b'])
  applyStreamed(set, { op: 'reset' })
  assert.equal(set.size, 0)
})
