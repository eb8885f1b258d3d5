// The counters above the list and the log of frames beside it.

const LOG_MAX = 200 // lines kept on the page
const SAMPLES_MAX = 500 // latencies kept for the median and p99
const SECONDS = 60 // of the little curve
const $ = (id) => document.getElementById(id)

export class Meters {
  #perSecond = new Array(SECONDS).fill(0)
  #current = 0
  #latenciesMs = []
  #newestSeen = ''

  constructor() {
    setInterval(() => this.#tick(), 1000)
  }

  /** Counts a batch. Latency is that of the newest change in it, which only a row never seen so new can be. */
  batch(frames) {
    this.#current += frames.length
    if (frames[0].op === 'reset') {
      // A snapshot holds old rows; only what comes after it says how long a change takes.
      for (const { row } of frames) if (row?.seen_at > this.#newestSeen) this.#newestSeen = row.seen_at
      return
    }
    let newest = ''
    for (const { op, row } of frames) if (op !== 'leave' && row?.seen_at > newest) newest = row.seen_at
    if (newest <= this.#newestSeen) return // a row that moved up from below the window
    this.#newestSeen = newest
    this.#latenciesMs.push(Math.max(0, Date.now() - Date.parse(newest)))
    if (this.#latenciesMs.length > SAMPLES_MAX) this.#latenciesMs.shift()
  }

  /** What came in one go after a cut says nothing about latency. */
  forget() {
    this.#latenciesMs = []
  }

  position(position) {
    $('m-position').textContent = position ?? '–'
  }

  /** How often the list came back after a cut, and how; and how often something was missing. */
  returns({ resumed, reset, gaps }) {
    $('m-resumes').textContent = resumed
    $('m-resets').textContent = reset
    $('m-gaps').textContent = gaps
  }

  #tick() {
    this.#perSecond.push(this.#current)
    this.#perSecond.shift()
    $('m-rate').textContent = this.#current
    this.#current = 0
    const sorted = [...this.#latenciesMs].sort((a, b) => a - b)
    const at = (share) => (sorted.length ? Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]) : '–')
    $('m-p50').textContent = at(0.5)
    $('m-p99').textContent = at(0.99)
    this.#curve()
  }

  #curve() {
    const canvas = $('spark')
    const { clientWidth: width, clientHeight: height } = canvas
    if (!width) return
    const scale = Math.min(2, devicePixelRatio || 1)
    Object.assign(canvas, { width: width * scale, height: height * scale })
    const draw = canvas.getContext('2d')
    const style = getComputedStyle(canvas)
    const most = Math.max(10, ...this.#perSecond)
    draw.scale(scale, scale)
    draw.beginPath()
    this.#perSecond.forEach((n, i) => draw.lineTo((i / (SECONDS - 1)) * width, height - 2 - (n / most) * (height - 6)))
    draw.strokeStyle = style.getPropertyValue('--accent')
    draw.lineWidth = 1.6
    draw.lineJoin = 'round'
    draw.stroke()
    draw.lineTo(width, height)
    draw.lineTo(0, height)
    draw.fillStyle = style.getPropertyValue('--glow')
    draw.fill()
  }
}

export class FrameLog {
  #list = $('log')
  #held = $('hold')
  #waiting = []
  #frame = 0

  batch(frames) {
    if (this.#held.checked) return
    for (const frame of frames) this.#waiting.push(frame)
    // A burst longer than the log can hold would only be built to be thrown away.
    if (this.#waiting.length > LOG_MAX) this.#waiting.splice(0, this.#waiting.length - LOG_MAX)
    this.#frame ||= requestAnimationFrame(() => this.#draw())
  }

  note(text) {
    this.#list.prepend(line('note', [text]))
  }

  #draw() {
    this.#frame = 0
    const lines = this.#waiting.reverse().map((frame) => {
      const { op, seq, agg_id: key = '', old_index: from = -1, new_index: to = -1, last } = frame
      const where = from < 0 && to < 0 ? '' : from < 0 ? `→ ${to}` : to < 0 ? `${from} →` : from === to ? `${from}` : `${from} → ${to}`
      const node = line(last || op === 'ready' ? 'last' : '', [seq, op, key, where])
      node.dataset.op = op
      return node
    })
    this.#waiting = []
    this.#list.prepend(...lines)
    while (this.#list.childElementCount > LOG_MAX) this.#list.lastElementChild.remove()
  }
}

function line(className, parts) {
  const node = document.createElement('li')
  node.className = className
  for (const [i, part] of parts.entries()) {
    const cell = document.createElement('span')
    const inner = i === 1 ? cell.appendChild(document.createElement('b')) : cell
    inner.textContent = part
    node.append(cell)
  }
  return node
}
