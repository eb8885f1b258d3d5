// A socket and a clock that do only what a test tells them to.
import { Tidegate } from '../tidegate.js'

export class FakeClock {
  nowMs = 0
  timers = new Map()
  #next = 1
  setTimeout = (fn, ms) => {
    this.timers.set(this.#next, { fn, atMs: this.nowMs + ms })
    return this.#next++
  }
  clearTimeout = (id) => this.timers.delete(id)
  now = () => this.nowMs
  /** Milliseconds to each timer that is set. */
  get waits() {
    return [...this.timers.values()].map((timer) => timer.atMs - this.nowMs).sort((a, b) => a - b)
  }
  async advance(ms) {
    const endMs = this.nowMs + ms
    for (;;) {
      const due = [...this.timers].filter(([, timer]) => timer.atMs <= endMs).sort((a, b) => a[1].atMs - b[1].atMs)[0]
      if (!due) break
      this.timers.delete(due[0])
      this.nowMs = due[1].atMs
      due[1].fn()
      await settle()
    }
    this.nowMs = endMs
  }
}

/** Lets promises that are ready run. */
export const settle = () => new Promise((done) => setImmediate(done))

/** A client on fake sockets. `sockets` are all that it opened, `socket` the newest. */
export function fakeClient(options = {}) {
  const clock = new FakeClock()
  const sockets = []
  class FakeSocket {
    readyState = 0
    sent = []
    constructor(url, protocols) {
      Object.assign(this, { url, protocols })
      sockets.push(this)
    }
    send(text) {
      this.sent.push(JSON.parse(text))
    }
    close(code) {
      this.closedWith = code
      this.readyState = 3
    }
    // What the server and the line do:
    async open() {
      this.readyState = 1
      this.onopen({})
      await settle()
    }
    async receive(event, data, more = {}) {
      this.onmessage({ data: JSON.stringify({ event, data, ...more }) })
      await settle()
    }
    /** What Node does where a browser says that it is closed. */
    async fail() {
      this.readyState = 3
      this.onerror({})
      await settle()
    }
    async cut(code = 1006, reason = '') {
      this.readyState = 3
      this.onclose({ code, reason })
      await settle()
    }
    last(event) {
      return this.sent.filter((message) => message.event === event).at(-1)
    }
    /** Answers the newest request of that name. */
    reply(event, data = {}) {
      return this.receive('reply', data, { id: this.last(event).id })
    }
    refuse(event, error) {
      return this.receive('reply', undefined, { id: this.last(event).id, error })
    }
    deltas(seq, deltas, sub = this.last('live.subscribe').data.sub) {
      return this.receive('live.delta', { sub, seq, deltas })
    }
  }
  const { setTimeout, clearTimeout, now } = clock
  const client = new Tidegate('http://gate.test', {
    WebSocket: FakeSocket,
    random: () => 1,
    setTimeout,
    clearTimeout,
    now,
    ...options,
  })
  return { client, clock, sockets, get socket() { return sockets.at(-1) } }
}

/** A token that says this; nobody here verifies it. */
export const token = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`

const row = (key, version) => ({ id: key, version })
export const enter = (key, at, token, more) =>
  ({ op: 'enter', agg_id: key, version: 1, row: row(key, 1), old_index: -1, new_index: at, cursor: { values: [key] }, stream_id: token, ...more })
export const leave = (key, at, token, more) =>
  ({ op: 'leave', agg_id: key, version: 1, row: row(key, 1), old_index: at, new_index: -1, cursor: { values: [key] }, stream_id: token, ...more })
/** A snapshot at token `t`, as frames. */
export const snapshot = (t, ...keys) => [
  { op: 'reset', stream_id: `${t}~1` },
  ...keys.map((key, i) => enter(key, i, `${t}~${i + 2}`)),
  { op: 'ready', stream_id: t, last: true },
]
