// Ranks with bars: keyed rows that enter, move, flash and leave.

const MOVE = { duration: 260, easing: 'cubic-bezier(.2,.8,.2,1)' }
const TWO_COLUMNS_PX = 640 // from this width on
const LINE_PX_MIN = 25
const LINE_PX_MAX = 34
const calm = matchMedia('(prefers-reduced-motion: reduce)')

export class Board {
  #rows
  #name
  #max
  #nodes = new Map() // key -> {node, place, amount}
  #entries = []
  #frame = 0
  #still = true

  /** `rows` is the element, `name(row)` and `amount(row)` are shown, `max` rows are expected. */
  constructor(rows, { name, amount, max }) {
    Object.assign(this, { name, amount })
    this.#rows = rows
    this.#max = max
    new ResizeObserver(() => this.show(this.#entries, true)).observe(rows.parentElement)
  }

  /** Draws at most once a frame of the screen, however many batches come. `still`: without motion. */
  show(entries, still = false) {
    this.#entries = entries
    this.#still ||= still
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0
      this.#draw(this.#still || calm.matches)
      this.#still = false
    })
  }

  #draw(still) {
    const { clientWidth, clientHeight } = this.#rows.parentElement
    const columns = clientWidth >= TWO_COLUMNS_PX ? 2 : 1
    const lines = Math.ceil(this.#max / columns)
    const linePx = Math.min(LINE_PX_MAX, Math.max(LINE_PX_MIN, Math.floor((clientHeight - 8) / lines)))
    this.#rows.style.cssText = `--columns: ${columns}; --line-height: ${linePx}px; height: ${Math.min(lines, this.#entries.length) * linePx}px`
    const most = Math.max(1, ...this.#entries.map(({ row }) => Math.abs(this.amount(row))))
    const gone = new Map(this.#nodes)
    this.#entries.forEach((entry, index) => {
      gone.delete(entry.key)
      const place = `translate(${Math.floor(index / lines) * 100}%, ${(index % lines) * linePx}px)`
      const amount = this.amount(entry.row)
      let shown = this.#nodes.get(entry.key)
      if (!shown) {
        shown = { node: this.#made(entry), place, amount }
        this.#nodes.set(entry.key, shown)
        this.#rows.append(shown.node)
        if (!still) {
          shown.node.animate([{ opacity: 0 }, { opacity: 1 }], MOVE)
          flash(shown.node, '--enter')
        }
      } else if (shown.place !== place && !still) {
        // From where the row is on the screen now, even in the middle of another move.
        shown.node.animate([{ transform: getComputedStyle(shown.node).transform }, { transform: place }], MOVE)
      }
      this.#fill(shown, { index, amount, most, still })
      Object.assign(shown, { place, amount })
      shown.node.style.transform = place
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
    bar.firstChild.style.transform = `scaleX(${Math.abs(amount) / most})`
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

function flash(node, variable) {
  const colour = getComputedStyle(node).getPropertyValue(variable)
  node.animate([{ backgroundColor: `color-mix(in srgb, ${colour} 20%, var(--card))` }, {}], { duration: 700, easing: 'ease-out' })
}
