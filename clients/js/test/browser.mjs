// The demo page in a real browser, against the real server.
//
//   TIDEGATE_BIN        the binary; or TIDEGATE_URL, a demo that already runs
//   PLAYWRIGHT_DIR      a folder whose node_modules has playwright-core (default: where this is run)
//   CHROMIUM            the browser (default /usr/bin/chromium)
//   SCREENSHOTS         where pictures go (default: a new temporary folder)
//
// Ends with 0 where all is well, 1 where not, and 77 where something that it needs is missing.
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { startServer } from './server.js'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const LIMIT_MS = 15_000

function notRun(why) {
  console.error(`\n*** NOT RUN: the browser test, because ${why} ***\n`)
  process.exit(77)
}
if (!process.env.TIDEGATE_BIN && !process.env.TIDEGATE_URL) notRun('neither TIDEGATE_BIN nor TIDEGATE_URL is set')
if (!existsSync(executablePath)) notRun(`${executablePath} is missing`)
let chromium
try {
  ;({ chromium } = createRequire(join(resolve(process.env.PLAYWRIGHT_DIR ?? '.'), 'here.js'))('playwright-core'))
} catch {
  notRun('playwright-core is missing')
}
const shots = process.env.SCREENSHOTS ?? mkdtempSync(join(tmpdir(), 'tidegate-shots-'))
mkdirSync(shots, { recursive: true })

const server = process.env.TIDEGATE_URL ? { url: process.env.TIDEGATE_URL, stop() {} } : await startServer(process.env.TIDEGATE_BIN, { command: 'demo' })
const browser = await chromium.launch({ executablePath, args: ARGS })
let failures = 0

async function step(name, fn) {
  try {
    await fn()
    console.log(`ok      ${name}`)
  } catch (error) {
    failures++
    console.error(`FAILED  ${name}\n${error.stack}`)
  }
}

const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'light' })
const page = await context.newPage()
const troubles = []
const foreign = []
page.on('pageerror', (error) => troubles.push(error.message))
page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()))
page.on('request', (request) => {
  if (!/^(data|blob):/.test(request.url()) && new URL(request.url()).host !== new URL(server.url).host) foreign.push(request.url())
})

const shot = (name) => page.screenshot({ path: join(shots, `${name}.png`) })
const rows = () => page.locator('#rows .row:not(.leaving)').count()
const number = async (id) => Number((await page.textContent(id)).replace(/\D/g, ''))
const until = (fn, arg) => page.waitForFunction(fn, arg, { timeout: LIMIT_MS })
const QUERY = { entity: 'quakes', sort: [{ column: 'time', desc: true }], limit: 5 }

try {
  await step('rows appear and the list is live', async () => {
    await page.goto(server.url)
    await until(() => document.querySelectorAll('#rows .row').length > 0)
    assert.equal(await page.textContent('#status span'), 'live')
    await page.waitForTimeout(2500)
    await shot('1-live')
  })

  await step('frames come in, and are counted and logged', async () => {
    await until(() => document.querySelectorAll('#log li[data-op=enter]').length > 0)
    await until(() => document.querySelector('#m-position').textContent !== '–')
    assert.equal(await number('#m-gaps'), 0)
  })

  await step('rows on the page are in the order of the query', async () => {
    const keys = await page.evaluate(() =>
      [...document.querySelectorAll('#rows .row:not(.leaving)')]
        .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
        .map((row) => row.querySelector('[data-column=time]').innerText.split('\n').reverse().join(' ')),
    )
    assert.deepEqual(keys, [...keys].sort().reverse())
  })

  await step('a native EventSource gets reset, enter and ready', async () => {
    const ops = await page.evaluate(
      (query) =>
        new Promise((done, fail) => {
          const source = new EventSource(`/v1/live?query=${encodeURIComponent(JSON.stringify(query))}`)
          const seen = []
          for (const op of ['reset', 'enter', 'ready']) {
            source.addEventListener(op, (event) => {
              seen.push([op, JSON.parse(event.data).op, event.lastEventId !== ''])
              if (op === 'ready') source.close(), done(seen)
            })
          }
          source.onerror = () => fail(new Error('the stream failed'))
        }),
      QUERY,
    )
    assert.deepEqual([ops[0], ops.at(-1)], [['reset', 'reset', true], ['ready', 'ready', true]])
    assert.ok(ops.slice(1, -1).every(([op]) => op === 'enter') && ops.length > 2)
  })

  await step('a native WebSocket gets the same on /v1/live/ws', async () => {
    const frames = await page.evaluate(
      (query) =>
        new Promise((done, fail) => {
          const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/v1/live/ws`, ['bearer.demo'])
          const seen = []
          socket.onopen = () => socket.send(JSON.stringify({ action: 'subscribe', query }))
          socket.onmessage = ({ data }) => {
            const { op, seq } = JSON.parse(data)
            seen.push([op, seq])
            if (op === 'ready') socket.close(), done(seen)
          }
          socket.onclose = ({ code }) => fail(new Error(`closed with ${code}`))
        }),
      QUERY,
    )
    assert.deepEqual(frames.map(([op]) => op), ['reset', ...Array(frames.length - 2).fill('enter'), 'ready'])
    assert.deepEqual(frames.map(([, seq]) => seq), frames.map((_, i) => i + 1))
  })

  await step('the filter is edited and the list follows', async () => {
    await page.fill('#place', 'alaska')
    await until(() => {
      const places = [...document.querySelectorAll('#rows .row:not(.leaving) [data-column=place]')]
      return places.length > 0 && places.every((place) => /alaska/i.test(place.textContent))
    })
    await page.locator('#mag').fill('2.5')
    await until(() => [...document.querySelectorAll('#rows .row:not(.leaving) .mag')].every((mag) => Number(mag.textContent) >= 2.5))
    assert.match(await page.textContent('#query'), /"gte"/)
    await page.waitForTimeout(700)
    await shot('2-filtered')
    await page.click('#controls button[type=reset]')
    await until(() => !document.querySelector('#query').textContent.includes('ilike'))
  })

  await step('the sort is changed by its column', async () => {
    await page.click('#head [data-column=mag] button')
    await until(() => {
      const shown = [...document.querySelectorAll('#rows .row:not(.leaving)')]
        .sort((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex'))
        .map((row) => Number(row.querySelector('.mag').textContent))
      return shown.length > 20 && shown.every((mag, i) => i === 0 || mag <= shown[i - 1])
    })
    assert.equal(await page.getAttribute('#head [data-column=mag]', 'aria-sort'), 'descending')
    await shot('3-sorted')
  })

  await step('the list scrolls past its window, and back to its head', async () => {
    const first = () => page.evaluate(() => Number(/rows (\d+)/.exec(document.querySelector('#range').textContent)?.[1]))
    for (let i = 0; i < 12 && (await first()) < 80; i++) {
      await page.evaluate(() => (document.querySelector('#scroll').scrollTop += 1200))
      await page.waitForTimeout(250)
    }
    assert.ok((await first()) >= 80, `the window begins at ${await first()}`)
    assert.ok((await rows()) > 20)
    await shot('4-scrolled')
    for (let i = 0; i < 40 && (await first()) > 1; i++) {
      await page.evaluate(() => (document.querySelector('#scroll').scrollTop -= 1200))
      await page.waitForTimeout(150)
    }
    assert.equal(await first(), 1)
  })

  await step('the line is cut, and the list resumes', async () => {
    await page.click('#head [data-column=time] button')
    await page.waitForTimeout(600)
    await page.uncheck('#auto')
    const resets = await number('#m-resets')
    await page.click('#cut')
    await until(() => document.querySelector('#status').dataset.status === 'idle')
    await page.waitForTimeout(1500)
    await shot('5-cut')
    assert.ok((await rows()) > 0, 'rows stay')
    await page.click('#cut')
    await until(() => /^Resumed: \d+ frames missed/.test(document.querySelector('#notice').textContent))
    await shot('6-resumed')
    assert.equal(await number('#m-resets'), resets)
    assert.ok((await number('#m-resumes')) >= 1)
  })

  await step('the replay is paused and goes on', async () => {
    const state = () => page.evaluate(async () => (await fetch('/demo/state')).json())
    const { speed } = await state()
    await page.locator('#speed').fill('0')
    await page.locator('#speed').dispatchEvent('change')
    await page.waitForTimeout(500)
    assert.equal((await state()).paused, true)
    await page.evaluate((body) => fetch('/demo/speed', { method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Bearer demo' }, body }), JSON.stringify({ speed }))
    assert.equal((await state()).paused, false)
  })

  await step('dark, and on a telephone', async () => {
    await page.emulateMedia({ colorScheme: 'dark' })
    await page.waitForTimeout(1200)
    await shot('7-dark')
    await page.setViewportSize({ width: 390, height: 844 })
    await page.waitForTimeout(600)
    await shot('8-telephone')
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'scrolls sideways')
  })

  await step('nothing went wrong on the page and nothing came from elsewhere', async () => {
    assert.deepEqual([troubles, foreign, await number('#m-gaps')], [[], [], 0])
  })
} finally {
  await browser.close()
  await server.stop()
}
console.log(`screenshots in ${shots}`)
process.exit(failures ? 1 : 0)
