// A small world: equirectangular, the rows of the window as dots sized by magnitude, new ones with a ring.
import { heat } from './demo-table.js'

// Coasts drawn by hand to a few degrees, as longitude and latitude by turns: enough to know where one is.
const LAND = [
  [-168, 66, -156, 71, -128, 70, -110, 68, -95, 72, -82, 68, -94, 59, -82, 53, -78, 62, -65, 59, -56, 52, -66, 45, -70, 42, -76, 35, -81, 31, -80, 25, -84, 30, -97, 28, -97, 20, -87, 21, -88, 16, -83, 10, -77, 8, -85, 10, -95, 16, -105, 20, -113, 31, -109, 23, -115, 30, -120, 34, -124, 42, -123, 49, -134, 58, -150, 60, -164, 54, -158, 59, -166, 62],
  [-77, 8, -62, 11, -50, 1, -35, -6, -39, -15, -48, -26, -57, -36, -65, -42, -68, -54, -75, -50, -71, -30, -70, -18, -81, -5, -78, 2],
  [-6, 36, 10, 37, 11, 33, 32, 31, 43, 12, 51, 11, 40, -4, 35, -24, 26, -34, 18, -33, 12, -17, 9, 4, -8, 4, -17, 14, -13, 28],
  [-9, 37, -9, 43, -1, 44, -4, 48, 8, 54, 10, 58, 12, 55, 21, 55, 29, 60, 18, 60, 24, 65, 17, 61, 11, 59, 5, 61, 15, 69, 27, 71, 42, 67, 60, 69, 72, 73, 105, 77, 140, 73, 170, 70, 180, 68, 180, 65, 163, 60, 157, 51, 155, 59, 136, 54, 141, 52, 128, 41, 129, 35, 121, 39, 122, 30, 108, 21, 109, 12, 100, 13, 104, 1, 98, 8, 92, 22, 80, 15, 77, 8, 73, 20, 66, 25, 56, 27, 48, 30, 59, 22, 44, 13, 35, 28, 36, 36, 27, 37, 23, 37, 19, 42, 13, 45, 18, 40, 12, 43, 3, 42, 0, 38],
  [114, -22, 122, -18, 131, -12, 137, -16, 142, -11, 146, -19, 153, -27, 150, -37, 141, -38, 131, -32, 115, -34],
  [-46, 60, -22, 70, -20, 81, -45, 83, -68, 77, -52, 68],
  [131, 31, 136, 34, 141, 36, 142, 43, 145, 44, 141, 45, 139, 38, 132, 35],
  [95, 5, 105, -5, 115, -8, 105, -7, 97, 2], [109, 1, 118, 6, 116, -4, 110, -3], [131, -1, 141, -3, 150, -10, 138, -8],
  [119, 0, 125, 1, 121, -5], [120, 18, 126, 8, 122, 12], [173, -35, 178, -38, 171, -44, 167, -46, 172, -41],
  [44, -25, 50, -15, 47, -25], [-5, 50, 1, 52, -3, 58, -6, 57], [-10, 52, -6, 55, -6, 52], [-24, 65, -14, 65, -20, 63],
  [-85, 22, -75, 20, -82, 23], [-73, 20, -68, 19, -73, 18],
  [-180, -84, -180, -78, -150, -77, -100, -73, -65, -66, -60, -75, -20, -73, 30, -69, 90, -66, 160, -70, 180, -78, 180, -84],
]
const FADE_MS = 420
const RING_MS = 1800

export class QuakeMap {
  #canvas = document.querySelector('#map')
  #dots = new Map() // key -> {row, bornMs, goneMs}
  #land = null
  #frame = 0
  #calm = matchMedia('(prefers-reduced-motion: reduce)')

  constructor() {
    const redraw = () => {
      this.#land = null
      this.#wake()
    }
    new ResizeObserver(redraw).observe(this.#canvas)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
  }

  /** Shows these entries. `quiet` ones (a snapshot) come without a ring. */
  show(entries, quiet) {
    const nowMs = performance.now()
    const keys = new Set()
    for (const { key, row } of entries) {
      keys.add(key)
      const dot = this.#dots.get(key)
      if (dot && dot.goneMs === null) dot.row = row
      else this.#dots.set(key, { row, bornMs: nowMs, goneMs: null, quiet: quiet || this.#calm.matches })
    }
    for (const [key, dot] of this.#dots) if (!keys.has(key)) dot.goneMs ??= nowMs
    this.#wake()
  }

  #wake() {
    this.#frame ||= requestAnimationFrame(() => this.#draw())
  }

  #draw() {
    this.#frame = 0
    const { clientWidth: width, clientHeight: height } = this.#canvas
    if (!width) return
    const scale = Math.min(2, devicePixelRatio || 1)
    if (!this.#land) {
      Object.assign(this.#canvas, { width: width * scale, height: height * scale })
      this.#land = landOf(width, height, scale)
    }
    const draw = this.#canvas.getContext('2d')
    draw.setTransform(1, 0, 0, 1, 0, 0)
    draw.drawImage(this.#land, 0, 0)
    draw.setTransform(scale, 0, 0, scale, 0, 0)
    const nowMs = performance.now()
    let moving = false
    for (const [key, { row, bornMs, goneMs, quiet }] of this.#dots) {
      const fadeOut = goneMs === null ? 1 : 1 - (nowMs - goneMs) / FADE_MS
      if (fadeOut <= 0) {
        this.#dots.delete(key)
        continue
      }
      const ageMs = nowMs - bornMs
      const x = ((row.lon + 180) / 360) * width
      const y = ((90 - row.lat) / 180) * height
      const radius = 1.8 + Math.max(0, row.mag ?? 0) ** 1.5 * 0.55
      const shade = heat(row.mag)
      draw.globalAlpha = Math.min(1, ageMs / FADE_MS) * fadeOut * 0.75
      disc(draw, x, y, radius, shade, true)
      if (!quiet && ageMs < RING_MS) {
        const t = ageMs / RING_MS
        draw.globalAlpha = (1 - t) * 0.9 * fadeOut
        disc(draw, x, y, radius + 16 * t, shade, false)
      }
      moving ||= fadeOut < 1 || ageMs < FADE_MS || (!quiet && ageMs < RING_MS)
    }
    draw.globalAlpha = 1
    if (moving) this.#wake()
  }
}

function disc(draw, x, y, radius, shade, full) {
  draw.beginPath()
  draw.arc(x, y, radius, 0, 2 * Math.PI)
  draw[full ? 'fillStyle' : 'strokeStyle'] = shade
  draw.lineWidth = 1.4
  full ? draw.fill() : draw.stroke()
}

function landOf(width, height, scale) {
  const canvas = Object.assign(document.createElement('canvas'), { width: width * scale, height: height * scale })
  const draw = canvas.getContext('2d')
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name)
  draw.scale(scale, scale)
  draw.fillStyle = colour('--sea')
  draw.fillRect(0, 0, width, height)
  draw.fillStyle = draw.strokeStyle = colour('--land')
  draw.lineJoin = 'round'
  draw.lineWidth = 2
  for (const coast of LAND) {
    draw.beginPath()
    for (let i = 0; i < coast.length; i += 2) draw.lineTo(((coast[i] + 180) / 360) * width, ((90 - coast[i + 1]) / 180) * height)
    draw.closePath()
    draw.fill()
    draw.stroke()
  }
  draw.strokeStyle = colour('--line')
  draw.lineWidth = 1
  draw.setLineDash([2, 4])
  for (const y of [0.25, 0.5, 0.75]) {
    draw.beginPath()
    draw.moveTo(0, Math.round(height * y) + 0.5)
    draw.lineTo(width, Math.round(height * y) + 0.5)
    draw.stroke()
  }
  return canvas
}
