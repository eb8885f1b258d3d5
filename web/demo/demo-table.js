// The list on the page: keyed rows that enter, move, flash and leave, and an endless scroll over a sliding window.
//
// Only the window's rows exist. Row `i` of the window lies at `(base + i) * ROW_PX`, where `base` is how many rows were
// scrolled past, so a window that slides under the reader moves nothing on the screen.

const ROW_PX = 44
const HEAD_PX = 36 // the head stays above the rows while they scroll
const EDGE_ROWS = 12 // re-anchor when the reader is this close to an end of the window
const calm = matchMedia('(prefers-reduced-motion: reduce)')

export const COLUMNS = [
  { name: 'mag', label: 'Mag', sort: true },
  { name: 'place', label: 'Place', sort: true },
  { name: 'time', label: 'Time (UTC)', sort: true },
  { name: 'depth', label: 'Depth', sort: true, num: true },
  { name: 'sig', label: 'Sig', sort: true, num: true },
  { name: 'status', label: 'Status' },
]

/** From cool to hot by magnitude; the number stands beside it, so colour is never the only sign. */
export function heat(mag) {
  const t = Math.max(0, Math.min(1, ((mag ?? 0) + 0.5) / 6.5))
  return `hsl(${Math.round(178 - 168 * t)} ${Math.round(45 + 35 * t)}% ${Math.round(46 + 6 * t)}%)`
}

export class Table {
  #scroll = document.querySelector('#scroll')
  #canvas = document.querySelector('#rows')
  #nodes = new Map() // key -> {node, index, version}
  #list = null
  #anchors = [] // cursor of each window left behind while scrolling down, and its base
  #base = 0
  #awaiting = null // what `base` becomes once the window that was asked for has come
  #clear = false // the next batch replaces another list
  #still = false
  #frame = 0

  constructor({ onWindow }) {
    this.onWindow = onWindow
    this.#scroll.addEventListener('scroll', () => this.#slide(), { passive: true })
  }

  /** Shows another list, from its head. */
  show(list) {
    this.#list = list
    this.#anchors = []
    this.#base = 0
    this.#awaiting = null
    this.#scroll.scrollTop = 0
    this.#clear = true
  }

  /** Called with each whole batch. `reset` says that the batch was a snapshot. */
  applied(reset) {
    if (reset && this.#awaiting !== null) {
      this.#base = this.#awaiting
      this.#awaiting = null
      this.#clear = false
      this.draw({ still: true })
      this.#slide()
      return
    }
    this.draw({ still: this.#clear })
    this.#clear = false
  }

  /** The server refused the last re-anchor: the window stays where it was. */
  refused() {
    if (this.#awaiting > this.#base) this.#anchors.pop()
    this.#awaiting = null
  }

  /** Draws at most once a frame of the screen, however many batches come. */
  draw({ still = false } = {}) {
    this.#still ||= still
    if (this.#frame) return
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0
      this.#render(this.#still || calm.matches)
      this.#still = false
    })
  }

  #render(still) {
    const { entries, query } = this.#list
    const seen = new Set()
    const above = this.#scroll.scrollTop - ROW_PX
    const below = above + this.#scroll.clientHeight + 2 * ROW_PX
    entries.forEach((entry, i) => {
      const index = this.#base + i
      const y = index * ROW_PX
      seen.add(entry.key)
      let shown = this.#nodes.get(entry.key)
      const inView = (at) => at >= above && at <= below
      if (!shown) {
        shown = { node: rowOf(entry), y, version: entry.version }
        this.#nodes.set(entry.key, shown)
        this.#canvas.append(shown.node)
        if (!still && inView(y)) {
          // Below the others, so that it shows as they make room instead of shining through them.
          const at = (px) => ({ zIndex: -1, transform: `translateY(${px}px)` })
          shown.node.animate([{ ...at(y - 8), opacity: 0 }, { ...at(y), opacity: 1 }], { duration: 240, easing: 'ease-out' })
          flash(shown.node, '--enter')
        }
      } else if (shown.version !== entry.version) {
        shown.version = entry.version
        fill(shown.node, entry)
        if (inView(y) && !still) flash(shown.node, shown.y === y ? '--update' : '--move')
      }
      // First, last, invert, play: from where the row is on the screen now, even in the middle of another move.
      if (shown.y !== y && !still && (inView(shown.y) || inView(y))) {
        const from = getComputedStyle(shown.node).transform
        shown.node.animate([{ transform: from }, { transform: `translateY(${y}px)` }], { duration: 240, easing: 'cubic-bezier(.2,.8,.2,1)' })
      }
      shown.y = y
      shown.node.style.transform = `translateY(${y}px)`
      shown.node.setAttribute('aria-rowindex', index + 2)
    })
    for (const [key, { node }] of this.#nodes) {
      if (seen.has(key)) continue
      this.#nodes.delete(key)
      if (still) node.remove()
      else {
        node.classList.add('leaving')
        node.setAttribute('aria-hidden', 'true')
        setTimeout(() => node.remove(), 260)
      }
    }
    this.#canvas.style.height = `${(this.#base + entries.length) * ROW_PX}px`
    this.onWindow({ base: this.#base, count: entries.length, more: entries.length >= query.limit })
  }

  #slide() {
    const list = this.#list
    if (!list || this.#awaiting !== null || list.state !== 'live') return
    const { entries, query } = list
    const inSight = (this.#scroll.clientHeight - HEAD_PX) / ROW_PX
    const top = this.#scroll.scrollTop / ROW_PX - this.#base
    // A step must leave the reader outside the edge at the other end, or the window would slide to and fro for ever.
    const edge = Math.min(EDGE_ROWS, Math.floor((query.limit - inSight) / 4))
    const step = Math.floor(Math.min(query.limit - inSight - edge, top) - edge) - 1
    if (top + inSight > entries.length - edge && entries.length >= query.limit && step > 0) {
      this.#anchors.push({ cursor: query.cursor, base: this.#base })
      this.#awaiting = this.#base + step
      list.reanchor({ cursor: entries[step - 1].cursor })
    } else if (top < edge && this.#anchors.length > 0) {
      const { cursor, base } = this.#anchors.pop()
      this.#awaiting = base
      list.reanchor({ cursor })
    }
  }
}

function rowOf(entry) {
  const node = document.createElement('div')
  node.className = 'row'
  node.setAttribute('role', 'row')
  for (const { name, num } of COLUMNS) {
    const cell = document.createElement('div')
    cell.className = num ? 'cell num' : 'cell'
    cell.setAttribute('role', 'cell')
    cell.dataset.column = name
    node.append(cell)
  }
  node.children[0].append(Object.assign(document.createElement('span'), { className: 'mag' }))
  node.children[1].append(document.createElement('span'), document.createElement('small'))
  node.children[2].append(document.createElement('span'), document.createElement('small'))
  fill(node, entry)
  return node
}

function fill(node, { key, row }) {
  const [mag, place, time, depth, sig, status] = node.children
  node.dataset.key = key
  mag.firstChild.textContent = row.mag === null ? '–' : row.mag.toFixed(1)
  mag.firstChild.style.setProperty('--heat', heat(row.mag))
  place.firstChild.textContent = row.place
  place.title = row.place
  const felt = row.felt ? `felt by ${row.felt}` : ''
  place.lastChild.textContent = [row.type === 'earthquake' ? '' : row.type, felt, row.tsunami ? 'tsunami' : ''].filter(Boolean).join(' · ')
  time.firstChild.textContent = row.time.slice(11, 19)
  time.lastChild.textContent = row.time.slice(0, 10)
  depth.textContent = row.depth === null ? '–' : `${row.depth.toFixed(1)} km`
  sig.textContent = row.sig ?? '–'
  status.textContent = row.status
}

function flash(node, variable) {
  const colour = getComputedStyle(node).getPropertyValue(variable)
  node.animate([{ backgroundColor: `color-mix(in srgb, ${colour} 22%, var(--card))` }, {}], { duration: 900, easing: 'ease-out' })
}
