// The example's page in a real browser, while run.sh writes: is what it shows what PostgreSQL has?
//
//   TIDEGATE_BIN, PLAYWRIGHT_DIR, CHROMIUM, SCREENSHOTS    as in clients/js/test/browser.mjs
//   SECONDS_OF_WRITES    how long pgbench writes (default 8)
//
// Ends with 0 where all is well, 1 where not, and 77 where something that it needs is missing.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const LIMIT_MS = 60_000
const SECONDS = process.env.SECONDS_OF_WRITES ?? '8'
const TOP = 'select aid, abalance from pgbench_accounts order by abalance desc, aid limit 50'
const TELLERS = 'select tid, tbalance from pgbench_tellers order by tbalance desc, tid'

function notRun(why) {
  console.error(`\n*** NOT RUN: the page of examples/postgres, because ${why} ***\n`)
  process.exit(77)
}
if (!existsSync(executablePath)) notRun(`${executablePath} is missing`)
let chromium
try {
  ;({ chromium } = createRequire(join(resolve(process.env.PLAYWRIGHT_DIR ?? '.'), 'here.js'))('playwright-core'))
} catch {
  notRun('playwright-core is missing')
}
const shots = process.env.SCREENSHOTS ?? mkdtempSync(join(tmpdir(), 'tidegate-shots-'))
mkdirSync(shots, { recursive: true })

const script = new URL('./run.sh', import.meta.url).pathname
const run = spawn(script, ['--seconds', SECONDS, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] })
const ended = new Promise((done) => run.once('exit', done))
const said = []
const waiting = new Set()
createInterface({ input: run.stdout }).on('line', (line) => {
  said.push(line)
  for (const look of waiting) look()
})
/** The first group of what the script says, as soon as it has said it. */
function says(pattern) {
  return new Promise((done, fail) => {
    const look = () => {
      const match = pattern.exec(said.join('\n'))
      if (match) done(match[1]), waiting.delete(look)
    }
    waiting.add(look)
    look()
    ended.then((code) => fail(new Error(`run.sh ended with ${code}: ${said.join('\n')}`)))
    setTimeout(() => fail(new Error(`run.sh does not say ${pattern}: ${said.join('\n')}`)), LIMIT_MS + SECONDS * 1_000).unref()
  })
}

let browser
let failed = false
try {
  const url = await says(/In a browser\s+(\S+)/)
  const [psql, database] = (await says(/In SQL\s+(.+)/)).split(' ')
  const select = (sql) => execFileSync(psql, ['-XAtF', ' ', '-c', sql, database], { encoding: 'utf8' }).trimEnd().split('\n')

  browser = await chromium.launch({ executablePath, args: ARGS })
  const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'light' })).newPage()
  const troubles = []
  page.on('pageerror', (error) => troubles.push(error.message))
  page.on('console', (message) => message.type() === 'error' && troubles.push(message.text()))
  const shot = (name) => page.screenshot({ path: join(shots, `postgres-${name}.png`) })
  const text = (id) => page.textContent(id)
  /** What a list shows, in the order of its ranks. */
  const shown = (id) =>
    page.$$eval(`${id} li`, (rows) =>
      rows.sort((a, b) => a.ariaPosInSet - b.ariaPosInSet).map((row) => `${row.dataset.key} ${row.querySelector('.amount').textContent.replaceAll(',', '')}`),
    )
  const same = async (id, sql) => {
    const right = select(sql)
    for (const until = Date.now() + 10_000; ; await page.waitForTimeout(100)) {
      const rows = await shown(id)
      if (rows.join() === right.join() || Date.now() > until) return assert.deepEqual(rows, right, id)
    }
  }

  await page.goto(url)
  await page.waitForFunction(() => document.querySelectorAll('#rows li').length === 50)
  await page.waitForFunction(() => Number(document.querySelector('#m-p50').textContent) >= 0)
  await page.click('#cut')
  await page.waitForFunction(() => /^(Resumed|A fresh snapshot): [\d,]+ transactions/.test(document.querySelector('#notice').textContent))
  await shot('1-back')
  await page.waitForTimeout(SECONDS * 400)
  await shot('2-live')
  console.log(`${await text('#notice')}; ${await text('#m-p50')} ms, p99 ${await text('#m-p99')} ms`)

  console.log(await says(/(\d+ frames later .*)/))
  await same('#rows', TOP)
  await same('#tellers', TELLERS)
  console.log('the page shows what PostgreSQL has')

  await page.fill('#from', '1000')
  await page.fill('#to', '20000')
  await page.selectOption('#order', 'asc')
  await page.waitForFunction(() => document.querySelector('#command').textContent.includes('20000'))
  await same('#rows', 'select aid, abalance from pgbench_accounts where aid between 1000 and 20000 order by abalance, aid limit 50')
  await shot('3-filtered')
  console.log('so does the filtered list')

  await page.click('#controls button[type=reset]')
  await page.emulateMedia({ colorScheme: 'dark' })
  await page.waitForTimeout(800)
  await shot('4-dark')
  await page.setViewportSize({ width: 390, height: 844 })
  await page.waitForTimeout(600)
  await shot('5-telephone')
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'scrolls sideways')
  assert.deepEqual([troubles, await text('#m-gaps')], [[], '0'])
} catch (error) {
  failed = true
  console.error(error)
} finally {
  await browser?.close()
  run.kill('SIGTERM')
  await ended
}
console.log(`screenshots in ${shots}`)
process.exit(failed ? 1 : 0)
