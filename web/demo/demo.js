// The page of `tidegate demo`: what a person chooses becomes a live query; what comes back is drawn.
import { Tidegate } from './tidegate.js'
import { QuakeMap } from './demo-map.js'
import { FrameLog, Meters } from './demo-meters.js'
import { COLUMNS, Table } from './demo-table.js'

const SELECT = ['id', 'time', 'mag', 'place', 'depth', 'lat', 'lon', 'type', 'status', 'sig', 'felt', 'tsunami', 'seen_at']
const SPEEDS = [0, 60, 600, 1800, 3600, 7200, 14_400, 36_000, 86_400] // seconds of the week in one of ours
const TYPING_MS = 180 // a query per letter would only be work for nobody
const RECONNECT_MS = 3_000
const SLIDING_MS = 1_500
const COUNTING_MS = 600 // how long after a reconnect frames count as missed, where the server does not say
const $ = (id) => document.getElementById(id)

const client = new Tidegate(location.origin, { token: 'demo' })
const meters = new Meters()
const log = new FrameLog()
const map = new QuakeMap()
const table = new Table({ onWindow: showRange })

let sort = { column: 'time', desc: true }
let list = null
const returns = { resumed: 0, reset: 0, gaps: 0 }
let comeback = null // counts what comes after a reconnect

// ---- the query ----

function where() {
  const all = []
  const add = (column, op, value) => all.push({ column, op, value })
  if (Number($('mag').value) > Number($('mag').min)) add('mag', 'gte', Number($('mag').value))
  const place = $('place').value.trim()
  if (place) add('place', 'ilike', `%${place.replace(/[\\%_]/g, '\\$&')}%`)
  if ($('type').value) add('type', 'eq', $('type').value)
  if ($('depth-from').value !== '') add('depth', 'gte', Number($('depth-from').value))
  if ($('depth-to').value !== '') add('depth', 'lte', Number($('depth-to').value))
  return all
}
const query = () => ({ entity: 'quakes', where: where(), sort: [sort], limit: Number($('limit').value), select: SELECT })

function ask() {
  const next = query()
  list?.close()
  list = client.live(next)
  const mine = list
  list.onFrames((frames) => {
    if (mine !== list) return
    const reset = frames[0].op === 'reset'
    returned(frames, reset)
    meters.batch(frames)
    log.batch(frames)
    table.applied(reset)
    map.show(mine.entries, reset)
  })
  list.subscribe(() => mine === list && showState())
  table.show(list)
  showQuery()
  showHead()
}

let typing = 0
function askSoon() {
  showValues()
  clearTimeout(typing)
  typing = setTimeout(ask, TYPING_MS)
}

// ---- what is shown ----

function showState() {
  $('list').classList.toggle('stale', list.state !== 'live')
  $('list').setAttribute('aria-busy', list.state !== 'live')
  $('empty').hidden = list.state !== 'live' || list.entries.length > 0
  if (list.error && list.state === 'live') table.refused()
  if (list.error) say(`${list.error.code}: ${list.error.message}`)
  const newest = list.entries.reduce((most, entry) => Math.max(most, Number(entry.version)), 0)
  meters.position(Math.max(newest, Number(list.position ?? 0)) || null)
  if (JSON.stringify(list.query.cursor) !== shownCursor) showQuery()
}

function showRange({ base, count, more }) {
  $('range').textContent = count ? `rows ${base + 1} to ${base + count}${more ? ', more below' : ''}` : ''
}

let shownCursor
function showQuery() {
  const sent = list.query
  shownCursor = JSON.stringify(sent.cursor)
  $('query').textContent = JSON.stringify(sent, null, 1)
  const quoted = JSON.stringify(sent).replaceAll("'", "'\\''")
  $('curl').textContent = `curl -NG -H 'Authorization: Bearer demo' ${location.origin}/v1/live --data-urlencode 'query=${quoted}'`
}

function showValues() {
  const mag = Number($('mag').value)
  $('mag-out').textContent = mag > Number($('mag').min) ? mag.toFixed(1) : 'any'
  $('limit-out').textContent = `${$('limit').value} rows`
}

function showHead() {
  for (const cell of $('head').children) {
    const { column } = cell.dataset
    if (column === sort.column) cell.setAttribute('aria-sort', sort.desc ? 'descending' : 'ascending')
    else cell.removeAttribute('aria-sort')
    const arrow = cell.querySelector('i')
    if (arrow) arrow.textContent = column !== sort.column ? '' : sort.desc ? '↓' : '↑'
  }
}

function buildHead() {
  for (const { name, label, sort: sortable, num } of COLUMNS) {
    const cell = document.createElement('div')
    cell.setAttribute('role', 'columnheader')
    cell.dataset.column = name
    if (num) cell.className = 'num'
    const inner = document.createElement(sortable ? 'button' : 'span')
    inner.textContent = label
    if (sortable) {
      inner.type = 'button'
      const arrow = inner.appendChild(document.createElement('i'))
      arrow.setAttribute('aria-hidden', 'true')
      inner.addEventListener('click', () => {
        // Places read from A; numbers and times are asked for from the top.
        sort = { column: name, desc: sort.column === name ? !sort.desc : name !== 'place' }
        ask()
      })
    }
    cell.append(inner)
    $('head').append(cell)
  }
}

let saying = 0
function say(text) {
  $('notice').textContent = text
  $('notice').classList.add('shown')
  clearTimeout(saying)
  saying = setTimeout(() => $('notice').classList.remove('shown'), 4_000)
}

// ---- the line ----

let reconnecting = 0
function cut() {
  clearTimeout(reconnecting)
  if (client.status === 'idle' || client.status === 'stopped' || client.status === 'waiting') return client.connect()
  client.disconnect()
  log.note('— the line is cut —')
  if ($('auto').checked) reconnecting = setTimeout(() => client.connect(), RECONNECT_MS)
}

const NAMES = { idle: 'cut', connecting: 'connecting', online: 'live', waiting: 'waiting to reconnect', stopped: 'refused' }
let wasCut = false
client.on('status', (status) => {
  $('status').dataset.status = status
  $('status').lastElementChild.textContent = NAMES[status]
  $('cut').textContent = status === 'online' || status === 'connecting' ? 'Cut the line' : 'Reconnect'
  if (status === 'idle' || status === 'waiting') wasCut = true
  if (status !== 'online' || !wasCut) return
  wasCut = false
  clearTimeout(comeback?.timer)
  comeback = { frames: 0, timer: setTimeout(() => tellComeback(false), COUNTING_MS) }
})
client.on('gap', (message) => {
  log.note(`gap: ${message}`)
  returns.gaps++
  meters.returns(returns)
})
client.on('error', (error) => say(`${error.code}: ${error.message}`))

function returned(frames, reset) {
  if (!comeback) return
  meters.forget()
  comeback.frames += frames.length
  if (reset) tellComeback(true)
}

function tellComeback(reset) {
  const { frames, timer } = comeback
  clearTimeout(timer)
  comeback = null
  returns[reset ? 'reset' : 'resumed']++
  meters.returns(returns)
  const text = reset ? `Reset: a fresh snapshot of ${Math.max(0, frames - 2)} rows` : `Resumed: ${frames} frames missed, none lost`
  say(text)
  log.note(text)
}

// ---- the replay ----

let slidAtMs = -Infinity
async function replay(path, options) {
  try {
    const response = await fetch(path, options)
    if (!response.ok) return
    const { speed, clock, rows } = await response.json()
    $('clock').textContent = `${clock.slice(0, 10)} ${clock.slice(11, 16)} UTC`
    $('total').textContent = `${rows.toLocaleString('en')} rows`
    if (performance.now() - slidAtMs < SLIDING_MS) return // the slider is in somebody's hand
    const nearest = SPEEDS.reduce((best, s, i) => (Math.abs(s - speed) < Math.abs(SPEEDS[best] - speed) ? i : best), 0)
    $('speed').value = nearest
    showSpeed(speed)
  } catch {
    // The server is away; the pill above says so already.
  }
}
function showSpeed(speed) {
  const text = speed === 0 ? 'paused' : speed < 3600 ? `${speed / 60} min a second` : `${speed / 3600} h a second`
  $('speed-out').textContent = text
  $('speed').setAttribute('aria-valuetext', text)
}
function setSpeed() {
  const speed = SPEEDS[Number($('speed').value)]
  showSpeed(speed)
  const body = JSON.stringify({ speed })
  replay('/demo/speed', { method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Bearer demo' }, body })
}

// ---- begin ----

buildHead()
for (const id of ['mag', 'place', 'type', 'depth-from', 'depth-to', 'limit']) $(id).addEventListener('input', askSoon)
$('controls').addEventListener('submit', (event) => event.preventDefault())
$('controls').addEventListener('reset', () => setTimeout(askSoon)) // the form empties itself after this event
$('speed').addEventListener('input', () => {
  slidAtMs = performance.now()
  showSpeed(SPEEDS[Number($('speed').value)])
})
$('speed').addEventListener('change', setSpeed)
$('cut').addEventListener('click', cut)
$('copy').addEventListener('click', async () => {
  await navigator.clipboard?.writeText($('curl').textContent)
  say('Copied')
})
showValues()
ask()
replay('/demo/state')
setInterval(() => document.hidden || replay('/demo/state'), 1_000)
