// Three live queries over one connection: the top 50 accounts, all tellers, and the latest rows of the history, of which
// every commit writes one.
import { Tidegate } from './tidegate.js'
import { Board } from './board.js'
import { Meters } from './demo-meters.js'

const LIMIT = 50
const TYPING_MS = 180 // a query per letter would only be work for nobody
const CUT_MS = 1_000
const SETTLING_MS = 800 // after a reconnect, in which what was missed comes in
const HISTORY_MS = 250 // between draws: a hundred rows a second cannot be read anyway
const $ = (id) => document.getElementById(id)

const client = new Tidegate(location.origin)
const meters = new Meters()
const accounts = new Board($('rows'), { name: (row) => row.aid.toLocaleString('en'), amount: (row) => row.abalance, max: LIMIT })
const tellers = new Board($('tellers'), { name: (row) => `no. ${row.tid}`, amount: (row) => row.tbalance, max: 10 })

// ---- the top 50 ----

let list = null

function query() {
  const bound = (id, column, op) => ($(id).value === '' ? [] : [{ column, op, value: Number($(id).value) }])
  const where = [...bound('from', 'aid', 'gte'), ...bound('to', 'aid', 'lte'), ...bound('most', 'abalance', 'lte')]
  const sort = [{ column: 'abalance', desc: $('order').value === 'desc' }]
  return { entity: 'pgbench_accounts', ...(where.length && { where }), sort, limit: LIMIT, select: ['aid', 'abalance'] }
}

function ask() {
  list?.close()
  const mine = (list = client.live(query()))
  list.onFrames((frames) => mine === list && accounts.show(list.entries, frames[0].op === 'reset'))
  list.subscribe(() => mine === list && showState())
  $('command').textContent = `tidegate query '${JSON.stringify(list.query)}' --url ${location.origin}`
}

function showState() {
  const { state, error, entries } = list
  $('scroll').classList.toggle('stale', state !== 'live')
  $('rows').setAttribute('aria-busy', state !== 'live')
  $('empty').hidden = state !== 'live' || entries.length > 0
  $('range').textContent = entries.length ? `${entries.length} rows` : ''
  if (error) say(`${error.code}: ${error.message}`)
}

let typing = 0
function askSoon() {
  clearTimeout(typing)
  typing = setTimeout(ask, TYPING_MS)
}

// ---- tellers and history ----

const desk = client.live({ entity: 'pgbench_tellers', sort: [{ column: 'tbalance', desc: true }], limit: 10 })
desk.onFrames((frames) => tellers.show(desk.entries, frames[0].op === 'reset'))

const history = client.live({ entity: 'pgbench_history', sort: [{ column: 'hid', desc: true }], limit: 20 })
let settledAtMs = 0
history.onFrames((frames) => {
  const written = frames.filter(({ op, row }) => op === 'reset' || (op === 'enter' && row))
  if (written.length) meters.batch(written.map(({ op, row }) => ({ op, row: row && { seen_at: row.mtime } })))
  if (performance.now() < settledAtMs) meters.forget()
})
history.subscribe(() => {
  const position = history.entries.reduce((most, { version }) => (BigInt(version) > most ? BigInt(version) : most), 0n)
  $('m-lsn').textContent = position ? `${(position >> 32n).toString(16)}/${(position & 0xffffffffn).toString(16)}`.toUpperCase() : '–'
  $('m-transactions').textContent = transactions().toLocaleString('en')
})
const transactions = () => history.rows[0]?.hid ?? 0

function showHistory() {
  const lines = history.rows.map(({ hid, aid, tid, delta }) => {
    const node = document.createElement('li')
    node.className = delta < 0 ? 'down' : 'up'
    const amount = (delta > 0 ? '+' : '') + delta.toLocaleString('en')
    for (const text of [hid, `account ${aid.toLocaleString('en')}, no. ${tid}`, amount]) {
      node.append(Object.assign(document.createElement('span'), { textContent: text }))
    }
    return node
  })
  $('history').replaceChildren(...lines)
}
setInterval(() => document.hidden || showHistory(), HISTORY_MS)

// ---- the line ----

let cut = null // what was seen last before it
$('cut').addEventListener('click', () => {
  client.disconnect()
  setTimeout(() => client.connect(), CUT_MS)
})

const NAMES = { idle: 'cut', connecting: 'connecting', online: 'live', waiting: 'waiting to reconnect', stopped: 'refused' }
client.on('status', (status) => {
  $('status').dataset.status = status
  $('status').lastElementChild.textContent = NAMES[status]
  $('cut').disabled = status !== 'online'
  if (status === 'idle' || status === 'waiting') cut ??= { transactions: transactions(), resets: client.stats.resets }
  if (status !== 'online' || !cut) return
  settledAtMs = performance.now() + SETTLING_MS
  setTimeout(back, SETTLING_MS)
})

function back() {
  if (!cut || !client.online) return
  const missed = (transactions() - cut.transactions).toLocaleString('en')
  const how = client.stats.resets === cut.resets ? 'Resumed' : 'A fresh snapshot'
  cut = null
  say(`${how}: ${missed} transactions while away, none lost`)
}
client.on('gap', () => ($('m-gaps').textContent = client.stats.gaps))
client.on('error', (error) => say(`${error.code}: ${error.message}`))

let saying = 0
function say(text) {
  $('notice').textContent = text
  $('notice').classList.add('shown')
  clearTimeout(saying)
  saying = setTimeout(() => $('notice').classList.remove('shown'), 4_000)
}

// ---- begin ----

for (const id of ['from', 'to', 'most', 'order']) $(id).addEventListener('input', askSoon)
$('controls').addEventListener('submit', (event) => event.preventDefault())
$('controls').addEventListener('reset', () => setTimeout(ask)) // the form empties itself after this event
$('copy').addEventListener('click', async () => {
  await navigator.clipboard?.writeText($('command').textContent)
  say('Copied')
})
ask()
