// Tidegate's client: live queries and topics over one WebSocket (`GET /ws`), without dependencies.
//
//   socket ──message──► Tidegate ──live.delta──► LiveList ──whole batches only──► applyFrame ──► entries ──► listeners
//                               └──topic.*─────► LiveTopic ──in order, each once──► onMessage, onJoin, onLeave
//
// - A batch (the frames of one transaction, or a snapshot from `reset` to `ready`) is gathered first and applied in
//   one go, so nobody ever sees half a transaction.
// - What is gathered survives a cut: a list resumes after the last frame it took in, even in the middle of a batch.
// - A connection that comes back to go on with something says so (`?resume=true`), and a busy server lets it in first. A
//   server that stops says when to come back (`going_away; reconnect_after_ms=1370`), so that not all come at once.
// - Who is there is shown before anything is asked, and again before it ends: a function that gives tokens is asked for a
//   fresh one in time, so that a connection outlives its tokens. What another user saw is dropped, never shown to the next.
// - Whatever can't be right (a gap in the numbers, an index that names another row) costs a fresh snapshot, never a
//   wrong list.

const DEFAULTS = {
  backoffMinMs: 250, // the first retry is quick: most cuts are a network change
  backoffMaxMs: 15_000, // past this, waiting longer only annoys the person
  stableMs: 5_000, // a connection that lived this long counts as good and resets the backoff
  reconnectAfterMaxMs: 60_000, // the longest wait that a stopping server may ask for
  connectTimeoutMs: 10_000, // a black hole would otherwise hold a connection attempt for minutes
}
const TIMER_MAX_MS = 2 ** 31 - 1 // a longer timer would go off at once

/** An error that the server answered with, or that the line produced. `retryable` says whether trying again can help. */
export class TidegateError extends Error {
  constructor({ code = 'error', message = code, retryable = false, close_code: closeCode } = {}) {
    super(message)
    Object.assign(this, { name: 'TidegateError', code, retryable, ...(closeCode && { closeCode }) })
  }
}
const inconsistent = (message) => new TidegateError({ code: 'inconsistent', message, retryable: true })
// What the application's own functions throw.
const known = (error) => (error instanceof TidegateError ? error : needed('no_credentials', String(error?.message ?? error)))
const needed = (code, message, retryable = true) => new TidegateError({ code, message, retryable })
const disconnected = () => new TidegateError({ code: 'disconnected', message: 'no connection', retryable: true })

/**
 * Applies one frame of a maintained query to `entries` in place. The index of a frame means the list as the frames
 * before left it; `new_index` of a move is where the row ends up once it has been taken out.
 * Throws `TidegateError('inconsistent')` where the frame can't belong to this list.
 */
export function applyFrame(entries, frame) {
  const { op, agg_id: key, old_index: from, new_index: to } = frame
  if (op === 'ready') return
  if (op === 'reset') return void (entries.length = 0)
  if (!['enter', 'leave', 'move', 'update'].includes(op)) throw inconsistent(`unknown op ${op}`)
  const was = op === 'enter' ? undefined : entries[from]
  if (op !== 'enter' && was?.key !== key) throw inconsistent(`${op} of ${key} at ${from}, which is ${was?.key}`)
  // Where the row lands is checked before anything moves: `splice` would quietly clamp a wrong index.
  const length = entries.length - (op === 'move' ? 1 : 0)
  const fits = op === 'update' ? to === from : Number.isInteger(to) && to >= 0 && to <= length
  if (op !== 'leave' && !fits) throw inconsistent(`${op} of ${key} to ${to} in a list of ${length}`)
  if (op !== 'enter') entries.splice(from, 1)
  if (op !== 'leave') entries.splice(to, 0, entryOf(frame, was))
}

/** Applies one frame of a streamed query to a `Map` of key to entry: a set without an order. */
export function applyStreamed(set, frame) {
  if (frame.op === 'reset') set.clear()
  else if (frame.op === 'unmatch' || frame.op === 'leave') set.delete(frame.agg_id)
  else if (frame.op !== 'ready') set.set(frame.agg_id, entryOf(frame, set.get(frame.agg_id)))
}

const entryOf = ({ agg_id: key, version, row, cursor }, was) =>
  ({ key, version, row: row ?? was?.row, cursor: cursor ?? was?.cursor })

/** One live query. Made by `client.live(query)`; it lives, across reconnects, until `close()`. */
export class LiveList {
  #client
  #set = new Map() // streamed mode only
  #entries = []
  #rows = null
  #byKey = null
  #snapshot = null
  #listeners = new Set()
  #frameListeners = new Set()
  #sub = null // the name of the running subscription, null while there is none
  #pending = [] // frames of a batch whose end has not come yet
  #token = null // stream_id of the last frame taken in
  #anchoring = false // a re-anchor was asked for and its reset is not here yet
  #nextSeq = 1
  #attempts = 0
  #retryTimer = null

  constructor(client, query) {
    this.#client = client
    Object.assign(this, { query, state: 'loading', error: null, position: null, streamed: query.mode === 'streamed' })
  }

  /** The entries `{key, version, row, cursor}` in order; the same array until something changes. */
  get entries() {
    return (this.#entries ??= [...this.#set.values()])
  }
  /** The rows in order; the same array until something changes. */
  get rows() {
    return (this.#rows ??= this.entries.map((entry) => entry.row))
  }
  /** A `Map` from key to entry, in either mode. */
  get byKey() {
    return (this.#byKey ??= new Map(this.entries.map((entry) => [entry.key, entry])))
  }
  /** `{rows, entries, state, error}` as one value whose identity changes exactly when listeners are called. */
  snapshot() {
    return (this.#snapshot ??= { rows: this.rows, entries: this.entries, state: this.state, error: this.error })
  }
  /** Calls `fn(list)` after each whole batch and each change of state. Returns how to stop that. */
  subscribe(fn) {
    return enlist(this.#listeners, fn)
  }
  /** Calls `fn(frames, list)` with every batch, raw and numbered, after it was applied and before the listeners. */
  onFrames(fn) {
    return enlist(this.#frameListeners, fn)
  }

  /** Moves the window: rows strictly after `cursor` (absent = the head), `limit` of them (absent = as before). */
  reanchor({ cursor, limit } = {}) {
    if (this.state === 'closed') return
    const before = this.query
    const sub = this.#sub
    const window = { ...(cursor && { cursor }), ...(limit && { limit }) }
    const { cursor: _, ...rest } = before
    this.query = { ...rest, ...window }
    // The token belongs to the window that is being left; frames of that window still come in until the reset.
    this.#token = null
    this.#anchoring = true
    if (!sub || !this.#client.online) return // the next subscribe carries the new window
    const asked = this.query
    this.#client.request('live.reanchor', { sub, ...window }).catch((error) => {
      if (sub !== this.#sub) return
      // The server still serves the window before, unless another re-anchor was asked for since.
      if (this.query === asked) Object.assign(this, { query: before })
      this.#anchoring = false
      this.#tell({ error })
    })
  }

  /** Ends the query. */
  close() {
    if (this.state === 'closed') return
    this.#unsubscribe()
    this.#end(null)
  }

  // ---- called by the client ----

  /** Whether the next subscribe goes on from somewhere. */
  get _resumable() {
    return this.#token !== null
  }

  /** Subscribes anew on the present connection, from the token where there is one. */
  _start() {
    this.#client._clearTimeout(this.#retryTimer)
    this.#unsubscribe()
    // A new name each time: what is still under way for an older subscription can't be mistaken for this one's.
    const sub = (this.#sub = this.#client._route(this))
    const resuming = this.#token !== null
    if (!resuming) this.#pending = []
    this.#nextSeq = 1
    this.#anchoring = false
    const query = { sub, query: this.query, ...(resuming && { resume_from: this.#token }) }
    if (resuming) this.#client.stats.resumes++
    this.#client.request('live.subscribe', query).then(
      () => {
        // Nothing missed means that no frame needs to come. If a reset does come, its `ready` says the rest.
        if (sub === this.#sub && resuming && this.#pending.length === 0) this.#tell({ state: 'live', error: null })
      },
      (error) => sub === this.#sub && this._fail(error),
    )
  }

  /** The line is gone; for good, if an error says why. */
  _stale(error = null) {
    this.#client._clearTimeout(this.#retryTimer)
    this.#sub = null
    const state = this.state === 'live' ? 'stale' : this.state
    if (error || state !== this.state) this.#tell({ state, error: error ?? this.error })
  }

  /** Drops all that was seen: it is somebody else's. */
  _empty() {
    this.#token = null
    this.#pending = []
    this.#entries = []
    this.#set.clear()
    this.#rows = this.#byKey = null
    this.#tell({ state: 'loading', error: null, position: null })
  }

  _deltas(seq, frames) {
    if (seq !== this.#nextSeq) return this.#gap(`frame ${seq} where ${this.#nextSeq} was due`)
    this.#nextSeq += frames.length
    const sub = this.#sub
    for (const [k, frame] of frames.entries()) {
      if (frame.op === 'error') return this._fail(new TidegateError(frame))
      if (frame.op === 'reset') {
        this.#pending = []
        this.#anchoring = false
        this.#client.stats.resets++
      }
      this.#pending.push({ ...frame, seq: seq + k })
      if (!this.#anchoring && frame.stream_id) this.#token = frame.stream_id
      // Inside a snapshot only `ready` ends the batch: half a window is no window.
      const ends = frame.op === 'ready' || (frame.last && this.#pending[0].op !== 'reset')
      if (ends) this.#publish()
      if (sub !== this.#sub) return // inconsistent, or a listener closed this list
    }
  }

  _synced(position) {
    this.#tell({ position })
  }

  /** The server ended the subscription. */
  _fail(error) {
    this.#client._unroute(this.#sub)
    this.#sub = null
    if (!error.retryable) return this.#end(error)
    this.#tell({ error, state: this.state === 'live' ? 'stale' : this.state })
    this.#retry(this.#client._backoffMs(this.#attempts++))
  }

  #publish() {
    const frames = this.#pending
    this.#pending = []
    try {
      const next = this.streamed ? null : this.#entries.slice() // the old array is in people's hands
      for (const frame of frames) this.streamed ? applyStreamed(this.#set, frame) : applyFrame(next, frame)
      this.#entries = next
    } catch (error) {
      return this.#gap(error.message)
    }
    this.#rows = this.#byKey = null
    this.#attempts = 0
    Object.assign(this, { state: 'live', error: null })
    call(this.#frameListeners, frames, this)
    this.#tell({})
  }

  #gap(message) {
    this.#client.stats.gaps++
    this.#client._note('gap', message)
    this.#token = null
    this.#pending = []
    this.#unsubscribe()
    // At once the first time, but a server that is wrong each time must not be asked in a tight loop.
    const attempt = this.#attempts++
    this.#retry(attempt === 0 ? 0 : this.#client._backoffMs(attempt))
    if (this.state === 'live') this.#tell({ state: 'stale' })
  }

  #retry(delayMs) {
    this.#client._clearTimeout(this.#retryTimer)
    this.#retryTimer = this.#client._setTimeout(() => this.#client.online && this._start(), delayMs)
  }

  #unsubscribe() {
    if (this.#sub === null) return
    this.#client._unroute(this.#sub)
    this.#client.emit('live.unsubscribe', { sub: this.#sub })
    this.#sub = null
  }

  #end(error) {
    this.#client._clearTimeout(this.#retryTimer)
    this.#client._forget(this)
    this.#token = null
    this.#tell({ error, state: 'closed' })
  }

  #tell(fields) {
    Object.assign(this, fields)
    this.#snapshot = null
    call(this.#listeners, this)
  }
}

/** One topic. Made by `client.topic(name, options)`; it is subscribed to, across reconnects, until `close()`. */
export class LiveTopic {
  #client
  #on
  #since // where it has been seen up to: {epoch, offset}, or null where there is nothing to go on from
  #early = null // what came behind the reply before that was looked at; null when it has been
  #attempt = 0
  #attempts = 0
  #retryTimer = null

  constructor(client, name, { since = null, ...on } = {}) {
    this.#client = client
    this.#since = since
    this.#on = on
    Object.assign(this, { name, state: 'loading', error: null })
    const ask = (event, data) => client.request(event, { topic: name, ...data })
    /** State that ends with this connection: `payload` is bytes or text, `list()` gives bytes. */
    this.ephemeral = {
      set: (key, payload, { ttlMs } = {}) => ask('ephemeral.set', { key, payload: base64Of(payload), ttl_ms: ttlMs }),
      clear: (key) => ask('ephemeral.clear', { key }),
      list: async () => {
        const { entries } = await ask('ephemeral.list')
        return entries.map((entry) => ({ ...entry, payload: bytesOf(atob(entry.payload)) }))
      },
    }
  }

  /** Up to where the topic has been seen, to be given as `since` by who comes back another day; null without history. */
  get position() {
    return this.#since
  }
  /** Resolves with `{epoch, offset}`. The same `idempotencyKey` is published once. */
  publish(data, { key, removed, tags, idempotencyKey } = {}) {
    const message = { topic: this.name, data, key, removed, tags, idempotency_key: idempotencyKey }
    return this.#client.request('topic.publish', message)
  }
  /** Who is there: `{since, after, limit}`; a `limit` of 0 asks for the counts alone. */
  presence(ask) {
    return this.#client.request('topic.presence', { topic: this.name, ...ask })
  }
  /** What was published: `{since, limit, reverse}`. */
  history(ask) {
    return this.#client.request('topic.history', { topic: this.name, ...ask })
  }
  /** The last of each key: `{after, limit}`. */
  values(ask) {
    return this.#client.request('topic.values', { topic: this.name, ...ask })
  }

  /** Ends the subscription. */
  close() {
    if (this.state === 'closed') return
    if (this.#client.online) this.#client.emit('topic.unsubscribe', { topic: this.name })
    this.#end(null)
  }

  // ---- called by the client ----

  get _resumable() {
    return this.#since !== null
  }

  _start() {
    this.#client._clearTimeout(this.#retryTimer)
    const attempt = ++this.#attempt
    const since = this.#since
    this.#early = []
    if (since) this.#client.stats.resumes++
    this.#client.request('topic.subscribe', { topic: this.name, ...(since && { since }) }).then(
      (reply) => attempt === this.#attempt && this.#joined(reply),
      (error) => attempt === this.#attempt && this._fail(error),
    )
  }

  _stale(error = null) {
    this.#client._clearTimeout(this.#retryTimer)
    this.#attempt++
    this.#tell(this.state === 'live' ? 'stale' : this.state, error ?? this.error)
  }

  _empty() {
    this.#since = null
    this.#tell('loading', null)
  }

  _told(event, data) {
    if (event === 'topic.error') return this._fail(new TidegateError(data))
    if (this.#early) return void this.#early.push([event, data])
    if (event === 'topic.message') this.#message(data)
    else if (event === 'topic.join') this.#call('onJoin', data)
    else if (event === 'topic.leave') this.#call('onLeave', data)
    else if (event === 'topic.dropped') this.#call('onDropped', data.count)
  }

  /** The server refused, or ended the subscription. */
  _fail(error) {
    this.#attempt++
    this.#early = null
    if (!error.retryable) return this.#end(error)
    this.#tell(this.state === 'live' ? 'stale' : this.state, error)
    const delayMs = this.#client._backoffMs(this.#attempts++)
    this.#retryTimer = this.#client._setTimeout(() => this.#client.online && this._start(), delayMs)
  }

  #joined({ epoch, offset, recovered, messages, data }) {
    this.#attempts = 0
    // What was missed and cannot be had any more is said before anything newer.
    this.#call('onSubscribed', { recovered: recovered ?? null, epoch, offset, data })
    for (const message of messages) this.#message(message)
    if (this.state === 'closed') return
    this.#since = epoch ? { epoch, offset } : null
    const early = this.#early ?? []
    this.#early = null
    this.#tell('live', null)
    for (const [event, told] of early) this._told(event, told)
  }

  #message(message) {
    if (this.state === 'closed') return
    if (message.offset && this.#since) this.#since = { ...this.#since, offset: message.offset }
    this.#call('onMessage', message)
  }

  #end(error) {
    this.#attempt++
    this.#client._clearTimeout(this.#retryTimer)
    this.#client._forgetTopic(this)
    this.#tell('closed', error)
  }

  #tell(state, error) {
    const isSame = state === this.state && error === this.error
    Object.assign(this, { state, error })
    if (!isSame) this.#call('onState', state, error)
  }

  #call(name, ...args) {
    if (this.#on[name]) call([this.#on[name]], ...args)
  }
}

/** One connection to a Tidegate, kept up until `disconnect()`, and the live queries on it. */
export class Tidegate {
  #options
  #socket = null
  #lists = new Set() // and topics
  #topics = new Map() // name -> topic
  #routes = new Map() // sub -> list
  #replies = new Map() // id -> {resolve, reject}
  #handlers = new Map() // event -> Set of fn
  #nextId = 1
  #attempts = 0
  #onlineSinceMs = 0
  #timer = null // for the connection attempt, or for the next one
  #renewal = null // timer of the next `auth.refresh`
  #who = null // whose rows the lists hold, as far as tokens tell
  #refused = false // the newest token has expired or was refused: only a fresh one is worth showing
  #shownInVain = false // in the newest handshake, that can't say why it failed; the first message can

  /** `url` is that of the server (`http://host`) or of its endpoint (`ws://host/ws`). Connects at the first need. */
  constructor(url, options = {}) {
    this.#options = {
      WebSocket: globalThis.WebSocket,
      random: Math.random,
      now: () => Date.now(),
      fetch: (...request) => globalThis.fetch(...request),
      handshake: Boolean(options.prove),
      setTimeout: (fn, ms) => globalThis.setTimeout(fn, ms),
      clearTimeout: (timer) => globalThis.clearTimeout(timer),
      ...DEFAULTS,
      ...options,
    }
    this.url = endpoint(url)
    /** `idle`, `connecting`, `online`, `waiting` (for the next try) or `stopped` (refused: `connect()` tries again). */
    this.status = 'idle'
    this.error = null
    this.clientId = null
    this.retryInMs = null
    this.stats = { connects: 0, resumes: 0, resets: 0, gaps: 0, frames: 0 }
  }

  get online() {
    return this.status === 'online'
  }

  /** Opens a live query. */
  live(query) {
    const list = new LiveList(this, query)
    this.#lists.add(list)
    if (this.online) list._start()
    else if (this.stats.connects === 0) this.connect()
    return list
  }

  /**
   * Subscribes to a topic: `{onMessage, onJoin, onLeave, onDropped, onSubscribed, onState, since}`. After a reconnect it goes
   * on from the last message; `onSubscribed({recovered})` says false where that was not possible.
   */
  topic(name, options) {
    if (this.#topics.has(name)) throw needed('already_subscribed', `the topic ${name} is open already; close it first`, false)
    const topic = new LiveTopic(this, name, options)
    this.#topics.set(name, topic)
    this.#lists.add(topic)
    if (this.online) topic._start()
    else if (this.stats.connects === 0) this.connect()
    return topic
  }

  /** Connects now, whatever the backoff says. */
  connect() {
    if (this.#socket) return
    this._clearTimeout(this.#timer)
    Object.assign(this, { error: null, retryInMs: null })
    this.stats.connects++
    const { token, prove, connectTimeoutMs } = this.#options
    // Holds the place of the socket while credentials are fetched.
    const place = (this.#socket = { close() {} })
    const dial = (shown) => this.#socket === place && this.#dial(shown)
    this.#timer = this._setTimeout(() => this.#abandon(), connectTimeoutMs)
    this.#become('connecting')
    if (typeof token !== 'function' && !prove) return dial(token ? { token } : null)
    this.#credentials(this.#refused).then(dial).catch((error) => this.#socket === place && this.#notKnown(error))
  }

  /** Cuts the line and stays off until `connect()`. Lists keep their rows, as `stale`. */
  disconnect() {
    this.#attempts = 0
    this.#release()?.close(1000)
    this.#become('idle')
  }

  /** Forgets who we are and everything we were looking at. */
  logout() {
    Object.assign(this.#options, { token: undefined, prove: undefined, session: undefined })
    Object.assign(this, { clientId: null, error: null })
    this.#who = null
    this.#refused = this.#shownInVain = false
    this.disconnect()
    for (const list of [...this.#lists]) {
      list._empty()
      list.close()
    }
  }

  /** Connects as somebody else, of whom `token` tells (and `prove` and `session`), with nothing left of whoever was there. */
  login(token, { prove, session } = {}) {
    this.logout()
    Object.assign(this.#options, { token, prove, session })
    this.connect()
  }

  /** Replaces the token, on the present connection too. Without one, the function that gives tokens is asked now. */
  async refresh(token) {
    const before = this.#options.token
    if (token !== undefined) this.#options.token = token
    if (!this.online) return
    try {
      return await this.#renew()
    } catch (error) {
      // The connection is still that of the token before.
      const isFinal = error instanceof TidegateError && !error.retryable
      if (isFinal && this.#options.token === token) this.#options.token = before
      throw error
    }
  }

  /** Sends an event and resolves with its reply. Rejects with `disconnected` if the line goes first. */
  request(event, data) {
    return new Promise((resolve, reject) => {
      const id = String(this.#nextId++)
      if (!this.#send({ event, data, id })) return reject(disconnected())
      this.#replies.set(id, { resolve, reject })
    })
  }

  /** Sends an event that needs no reply. False if there is no connection. */
  emit(event, data) {
    return this.#send({ event, data })
  }

  /** Calls `fn(data)` for each event of that name; `status`, `gap`, `error`, `stopped` and `synced` are told the same way. */
  on(event, fn) {
    if (!this.#handlers.has(event)) this.#handlers.set(event, new Set())
    return enlist(this.#handlers.get(event), fn)
  }

  // ---- the connection ----

  #send(message) {
    if (this.#socket?.readyState !== 1) return false
    this.#socket.send(JSON.stringify(message))
    return true
  }

  #dial(shown) {
    const who = identity(shown?.token)
    if (who !== (this.#who ?? who)) for (const list of [...this.#lists]) list._empty()
    this.#who = who
    const { WebSocket, handshake } = this.#options
    const resumes = [...this.#lists].some((list) => list._resumable)
    const inHandshake = Boolean(shown && handshake && !this.#shownInVain)
    this.#shownInVain = inHandshake // until it opens
    const entries = inHandshake && [`bearer.${shown.token}`, ...(shown.proof ? [`proof.${shown.proof}`] : [])]
    const socket = new WebSocket(resumes ? resuming(this.url) : this.url, ...(entries ? [entries] : []))
    this.#socket = socket
    // Each handler asks whether its socket is still the one in use, so one that was given up can do no harm later.
    const current = (fn) => (event) => this.#socket === socket && fn(event)
    let isOpen = false
    socket.onopen = current(() => {
      isOpen = true
      this.#opened(socket, shown, inHandshake)
    })
    socket.onmessage = current((event) => this.#received(event.data))
    socket.onclose = current((event) => this.#closed(event.code, event.reason))
    // A close follows, and it knows more; but where the handshake failed nothing is known, and Node tells no close.
    socket.onerror = current(() => isOpen || this.#closed(1006))
  }

  async #opened(socket, shown, isShown) {
    try {
      const reply = shown && !isShown ? await this.request('auth', shown) : null
      if (this.#socket !== socket) return
      this.clientId = reply?.client_id ?? null
      this.#renewBefore(endOf(reply, shown?.token))
    } catch (error) {
      return this.#socket === socket && this.#notKnown(error)
    }
    this._clearTimeout(this.#timer)
    this.#refused = this.#shownInVain = false
    this.#onlineSinceMs = this.#options.now()
    this.#become('online')
    for (const list of [...this.#lists]) list._start()
  }

  /** What to show: `{token, proof}`, or null for a stranger. */
  async #credentials(fresh) {
    const { token: given, prove, session, fetch } = this.#options
    const token = typeof given === 'function' ? await given({ fresh }) : given
    if (!token) return null
    if (!prove) return { token }
    return { token, proof: await proofOf(prove, session ?? claimsOf(token).sid, this.url, fetch) }
  }

  /** Who we are could not be shown, or was refused. */
  #notKnown(error) {
    if (error instanceof TidegateError && !error.retryable) {
      // A token that was refused stays refused: asking again in a loop would only look like an attack. Who gives tokens may
      // have given one from a cache, and is asked once more.
      const mayRenew = ['unauthenticated', 'expired'].includes(error.code) && typeof this.#options.token === 'function'
      if (this.#refused || !mayRenew) return this.#stop(error)
      this.#refused = true
    }
    this._note('error', known(error))
    this.#abandon(known(error))
  }

  /** Shows a fresh token on the present connection. */
  async #renew() {
    const socket = this.#socket
    const shown = await this.#credentials(true)
    if (this.#socket !== socket) throw disconnected()
    // A connection never changes hands.
    if (identity(shown?.token) !== this.#who) return this.#startOver()
    if (!shown) return
    try {
      const reply = await this.request('auth.refresh', shown)
      if (this.#socket === socket) this.#renewBefore(endOf(reply, shown.token))
      return reply
    } catch (error) {
      if (error.code !== 'other_user') throw error
      this.#who = '' // only the server could tell
      this.#startOver()
    }
  }

  /** Shows a fresh token before `endMs`. Where that fails, or our clock is wrong, the server ends the connection as `expired`. */
  #renewBefore(endMs, attempt = 0) {
    this._clearTimeout(this.#renewal)
    const { token, random, now, backoffMinMs } = this.#options
    const leftMs = endMs - now()
    // Around 80 % of what is left; then ever more slowly, but for as long as there is time.
    const dueMs = attempt ? Math.min(this._backoffMs(attempt), leftMs / 2) : leftMs * (0.75 + random() / 10)
    const waitMs = Math.max(backoffMinMs, dueMs)
    if (typeof token !== 'function' || !(waitMs < leftMs)) return
    const socket = this.#socket
    const failed = (error) => {
      if (this.#socket !== socket) return
      if (error.code === 'revoked') return this.#stop(error)
      this._note('error', known(error))
      this.#renewBefore(endMs, attempt + 1)
    }
    this.#renewal = this._setTimeout(() => this.#renew().catch(failed), Math.min(waitMs, TIMER_MAX_MS))
  }

  #startOver() {
    this.#release()?.close(1000)
    this.connect()
  }

  #received(text) {
    let message
    try {
      message = JSON.parse(text) // binary messages mean nothing here and fail too
    } catch {
      return
    }
    const { event, id, error } = message
    const data = message.data ?? {}
    if (event === 'reply') {
      const waiting = this.#replies.get(String(id))
      this.#replies.delete(String(id))
      error ? waiting?.reject(new TidegateError(error)) : waiting?.resolve(message.data)
    } else if (event === 'live.delta') {
      this.stats.frames += data.deltas.length
      this.#routes.get(data.sub)?._deltas(data.seq, data.deltas)
    } else if (event === 'live.synced') {
      for (const [sub, list] of [...this.#routes]) if (sub === (data.sub ?? sub)) list._synced(data.position)
      this._note('synced', data)
    } else if (event === 'live.error' || event === 'error') {
      // The former ends one subscription, the latter is about a message that could not be read.
      const failure = new TidegateError(error ?? data)
      if (event === 'live.error') this.#routes.get(data.sub)?._fail(failure)
      this._note('error', failure)
    } else {
      this.#topics.get(data.topic)?._told(event, data)
      this._note(event, message.data)
    }
  }

  #closed(code, reason, error = null) {
    const livedMs = this.online ? this.#options.now() - this.#onlineSinceMs : 0
    const hasExpired = code === 1008 && reason === 'expired' && typeof this.#options.token === 'function'
    // Policy and the application's own codes (4000–4999) say "not you": only a person or a new token changes that.
    if (!hasExpired && (code === 1008 || (code >= 4000 && code < 5000))) {
      const message = reason || `closed with ${code}`
      const named = code === 1008 && /^[a-z_]+$/.test(reason) // one of the server's own reasons
      return this.#stop(new TidegateError({ code: named ? reason : 'refused', message, close_code: code }))
    }
    this.#release()
    const lasted = livedMs >= this.#options.stableMs
    if (lasted) this.#attempts = 0
    // A handshake that was refused (a 503) looks to a WebSocket like any other failure: the backoff waits for all of them.
    // A hint may only shorten that for a connection that lasted, or a server that stops each time would be asked in a loop.
    const hintMs = this.#hintMs(code, reason)
    if (lasted && hintMs !== null) this.retryInMs = hintMs
    // A fresh token is welcome at once; where each ends as soon as it is shown, they are asked for ever more slowly.
    else if (hasExpired && this.#attempts === 0) [this.retryInMs, this.#attempts] = [0, 1]
    else this.retryInMs = Math.max(hintMs ?? 0, this._backoffMs(this.#attempts++))
    this.#refused ||= hasExpired
    this.error = error
    this.#timer = this._setTimeout(() => this.connect(), this.retryInMs)
    this.#become('waiting')
  }

  /** How long a server that stops wants this client to stay away; null if it says nothing that can be believed. */
  #hintMs(code, reason) {
    const said = code === 1001 && /^going_away; reconnect_after_ms=(\d{1,9})$/.exec(reason ?? '')
    return said ? Math.min(Number(said[1]), this.#options.reconnectAfterMaxMs) : null
  }

  /** Gives a socket up and tries again; to wait for a close handshake on a dead line could take minutes. */
  #abandon(error) {
    const socket = this.#socket
    this.#closed(1006, '', error)
    socket?.close(1000)
  }

  #stop(error) {
    this.error = error
    this.#release(error)?.close(1000)
    this.#become('stopped')
    this._note('error', error)
    this._note('stopped', error)
  }

  /** Lets go of the socket and of all that hung on it; `error` says that nobody will be back. */
  #release(error) {
    const socket = this.#socket
    this.#socket = null
    this.status = 'idle'
    this._clearTimeout(this.#timer)
    this._clearTimeout(this.#renewal)
    this.#routes.clear()
    for (const { reject } of this.#replies.values()) reject(disconnected())
    this.#replies.clear()
    for (const list of [...this.#lists]) list._stale(error)
    return socket
  }

  #become(status) {
    this.status = status
    this._note('status', status)
  }

  // ---- for the lists ----

  _route(list) {
    const sub = `q${this.#nextId++}`
    this.#routes.set(sub, list)
    return sub
  }
  _unroute(sub) {
    this.#routes.delete(sub)
  }
  _forget(list) {
    this.#lists.delete(list)
  }
  _forgetTopic(topic) {
    this.#lists.delete(topic)
    this.#topics.delete(topic.name)
  }
  _note(event, data) {
    call(this.#handlers.get(event) ?? [], data)
  }
  _setTimeout(fn, ms) {
    return this.#options.setTimeout(fn, ms)
  }
  _clearTimeout(timer) {
    if (timer !== null) this.#options.clearTimeout(timer)
  }
  /** Between half of the step and all of it: clients cut together do not come back together. */
  _backoffMs(attempt) {
    const { backoffMinMs, backoffMaxMs, random } = this.#options
    const stepMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(attempt, 30))
    return Math.round(stepMs * (0.5 + random() / 2))
  }
}

function enlist(set, fn) {
  set.add(fn)
  return () => set.delete(fn)
}

// A listener that throws is reported, but must not stop the frames behind it from being applied: that would be a gap.
function call(listeners, ...args) {
  for (const fn of [...listeners]) {
    try {
      fn(...args)
    } catch (error) {
      ;(globalThis.reportError ?? console.error)(error)
    }
  }
}

function resuming(url) {
  const parsed = new URL(url)
  parsed.searchParams.set('resume', 'true')
  return parsed.href
}

function endpoint(url) {
  const parsed = new URL(url, globalThis.location?.href)
  parsed.protocol = parsed.protocol.replace('http', 'ws')
  if (parsed.pathname === '/') parsed.pathname = '/ws'
  return parsed.href
}

// A token is only read here, to sign what it names and to know when it ends; it is the server that verifies it.
function claimsOf(token) {
  try {
    const text = atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))
    return JSON.parse(new TextDecoder().decode(bytesOf(text))) ?? {}
  } catch {
    return {}
  }
}

/** Who a token is of; the same for all that can't be read. */
function identity(token) {
  const { sub, tenant } = claimsOf(token)
  return JSON.stringify([Boolean(token), sub, tenant])
}

/** When a connection ends, in milliseconds: as the server says, else as the token does; NaN where nobody does. */
const endOf = (reply, token) => (reply?.expires_at ? Date.parse(reply.expires_at) : claimsOf(token).exp * 1000)

/** Proof that we hold the key of a session: a challenge of the server's, and a signature over it. */
async function proofOf(prove, session, url, fetch) {
  if (!session) throw needed('no_session', 'neither `session` nor the token says which session to prove', false)
  const response = await fetch(new URL('v1/challenge', url.replace('ws', 'http')).href, { method: 'POST' })
  const { challenge, error } = await response.json().catch(() => ({}))
  if (!challenge) throw error ? new TidegateError(error) : needed('no_challenge', `no challenge came, but ${response.status}`)
  const encoder = new TextEncoder()
  const bytes = encoder.encode(`tidegate-proof:v1:${encoder.encode(session).length}:${session}:${challenge}`)
  const signed = await (typeof prove === 'function' ? prove(bytes) : crypto.subtle.sign('Ed25519', prove, bytes))
  const text = btoa(String.fromCharCode(...new Uint8Array(signed)))
  return `${challenge}.${text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`
}

function base64Of(payload) {
  const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}

const bytesOf = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0))
