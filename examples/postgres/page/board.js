// Ranks with bars: keyed rows that enter, move, flash and leave.

const DRAW_MS = 80 // between draws: more often than a move takes shows nobody more
const MOVE = { duration: 260, easing: 'cubic-bezier(.2,.8,.2,1)' }
const TWO_COLUMNS_PX = 640 // from this width on
const LINE_PX_MIN = 25
const LINE_PX_MAX = 34
const calm = matchMedia('(prefers-reduced-motion: reduce)')

export class Board {
  #rows
  #max
  #nodes = new Map() // key -> {node, place, amount}
  #entries = []
  #timer = 0
  #still = true

  /** `rows` is the element, `name(row)` and `amount(row)` are shown, `max` rows are expected. */
  constructor(rows, { name, amount, max }) {
    Object.assign(this, { name, amount })
    this.#rows = rows
    this.#max = max
    new ResizeObserver(() => this.show(this.#entries, true)).observe(rows.parentElement)
  }

  /** Draws a few times a second at most, however many batches come. `still`: without motion. */
  show(entries, still = false) {
    this.#entries = entries
    this.#still ||= still
    this.#timer ||= setTimeout(() => requestAnimationFrame(() => this.#draw()), DRAW_MS)
  }

  #draw() {
    const still = this.#still || calm.matches
    this.#timer = 0
    this.#still = false
    const { clientWidth, clientHeight } = this.#rows.parentElement
    const columns = clientWidth >= TWO_COLUMNS_PX ? 2 : 1
    const lines = Math.ceil(this.#max / columns)
    const linePx = Math.min(LINE_PX_MAX, Math.max(LINE_PX_MIN, Math.floor((clientHeight - 8) / lines)))
    const place = (index) => `translate(${Math.floor(index / lines) * 100}%, ${(index % lines) * linePx}px)`
    // Everything is read before anything is written: one layout, not one for each row.
    const from = new Map()
    this.#entries.forEach(({ key }, index) => {
      const shown = this.#nodes.get(key)
      // From where the row is on the screen now, even in the middle of another move.
      if (shown && shown.place !== place(index) && !still) from.set(key, getComputedStyle(shown.node).transform)
    })
    this.#rows.style.cssText = `--columns: ${columns}; --line-height: ${linePx}px; height: ${Math.min(lines, this.#entries.length) * linePx}px`
    const most = Math.max(1, ...this.#entries.map(({ row }) => Math.abs(this.amount(row))))
    const gone = new Map(this.#nodes)
    this.#entries.forEach((entry, index) => {
      gone.delete(entry.key)
      const amount = this.amount(entry.row)
      let shown = this.#nodes.get(entry.key)
      if (!shown) {
        shown = { node: this.#made(entry), amount }
        this.#nodes.set(entry.key, shown)
        this.#rows.append(shown.node)
        if (!still) flash(shown.node, '--enter')
      }
      this.#fill(shown, { index, amount, most, still })
      Object.assign(shown, { place: place(index), amount })
      shown.node.style.transform = shown.place
      if (from.has(entry.key)) shown.node.animate([{ transform: from.get(entry.key) }, { transform: shown.place }], MOVE)
    })
    for (const [key, { node }] of gone) {
      this.#nodes.delete(key)
      node.remove()
    }
  }

  #made({ key, row }) {
    const node = document.createElement('li')
    node.dataset.key = key
    node.innerHTML = '<span class="rank"></span><span></span><span class="bar-line" aria-hidden="true"><i></i></span><span class="amount"></span><span class="sign"></span>'
    node.children[1].textContent = this.name(row)
    return node
  }

  #fill({ node, amount: before }, { index, amount, most, still }) {
    const [rank, , bar, figure, sign] = node.children
    rank.textContent = index + 1
    rank.classList.toggle('first', index < 3)
    node.setAttribute('aria-posinset', index + 1)
    bar.firstChild.style.transform = `translateX(${(Math.abs(amount) / most - 1) * 100}%)`
    bar.classList.toggle('negative', amount < 0)
    figure.textContent = amount.toLocaleString('en')
    if (amount === before || still) return
    const up = amount > before
    sign.textContent = up ? '▲' : '▼'
    sign.className = `sign ${up ? 'up' : 'down'}`
    sign.animate([{ opacity: 1 }, { opacity: 1 }, { opacity: 0.15 }], { duration: 1500, fill: 'forwards' })
    flash(node, up ? '--enter' : '--leave')
  }
}

function flash(node, colour) {
  node.animate([{ backgroundColor: `color-mix(in srgb, var(${colour}) 20%, var(--card))` }, {}], { duration: 500, easing: 'ease-out' })
}
