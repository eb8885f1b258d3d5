// Types of the Tidegate client.

export type Value = null | boolean | number | string | Value[] | { [name: string]: Value }
export type Row = { [column: string]: Value }

export type Op =
  | 'eq' | 'ne' | 'gt' | 'gte' | 'lt' | 'lte' | 'in' | 'notin' | 'contains' | 'overlaps' | 'like' | 'ilike' | 'isnull' | 'isnotnull'

export type Condition =
  | { column: string; op: Op; value?: Value }
  | { or: Condition[] }
  | { and: Condition[] }
  | { not: Condition }

/** One value per sort key, then the key. */
export interface Cursor {
  values: Value[]
}

export interface Query {
  entity: string
  where?: Condition[]
  sort?: { column: string; desc?: boolean }[]
  limit?: number
  cursor?: Cursor
  select?: string[]
  mode?: 'maintained' | 'streamed'
}

export interface Frame<R = Row> {
  op: 'enter' | 'leave' | 'move' | 'update' | 'reset' | 'ready' | 'match' | 'unmatch'
  agg_id?: string
  version?: number | string
  row?: R | null
  old_index?: number
  new_index?: number
  cursor?: Cursor
  stream_id?: string
  last?: boolean
  /** Filled in by the client. */
  seq?: number
}

export interface Entry<R = Row> {
  readonly key: string
  readonly version: number | string
  readonly row: R
  readonly cursor: Cursor
}

export type ListState = 'loading' | 'live' | 'stale' | 'closed'
export type Status = 'idle' | 'connecting' | 'online' | 'waiting' | 'stopped'

export class TidegateError extends Error {
  constructor(fields?: { code?: string; message?: string; retryable?: boolean; close_code?: number })
  readonly code: string
  readonly retryable: boolean
  readonly closeCode?: number
}

export interface Snapshot<R = Row> {
  readonly rows: readonly R[]
  readonly entries: readonly Entry<R>[]
  readonly state: ListState
  readonly error: TidegateError | null
}

export interface LiveList<R = Row> extends Snapshot<R> {
  /** The query as it stands; a re-anchor changes its `cursor` and `limit`. */
  readonly query: Query
  readonly streamed: boolean
  readonly byKey: ReadonlyMap<string, Entry<R>>
  /** From the last `live.synced`, or null. */
  readonly position: string | null
  snapshot(): Snapshot<R>
  subscribe(fn: (list: LiveList<R>) => void): () => void
  onFrames(fn: (frames: Frame<R>[], list: LiveList<R>) => void): () => void
  reanchor(window?: { cursor?: Cursor; limit?: number }): void
  close(): void
}

export interface TopicPosition {
  epoch: string
  offset: number
}
export interface TopicMessage {
  topic?: string
  data: any
  /** `data` is bytes that are no JSON. */
  encoding?: 'base64'
  offset?: number
  client_id?: string
  key?: string
  removed?: true
  tags?: { [name: string]: string }
  /** Of one that was missed, or read. */
  time_ms?: number
}
export interface Member {
  client_id: string
  user: string
  conn_info?: any
  chan_info?: any
}
export interface TopicOptions {
  onMessage?: (message: TopicMessage) => void
  onJoin?: (member: Member & { topic: string }) => void
  onLeave?: (member: Member & { topic: string }) => void
  /** So many messages were dropped before the next, because this client was too slow. */
  onDropped?: (count: number) => void
  /** `recovered` is null the first time, and false where messages may be missing. */
  onSubscribed?: (answer: TopicPosition & { recovered: boolean | null; data?: any }) => void
  onState?: (state: ListState, error: TidegateError | null) => void
  since?: TopicPosition | null
}
export interface TopicPage extends TopicPosition {
  messages: TopicMessage[]
}
export interface Presence {
  version: number
  clients: number
  users: number
  members?: Member[]
  next?: string
  joined?: Member[]
  left?: string[]
}
export interface LiveTopic {
  readonly name: string
  readonly state: ListState
  readonly error: TidegateError | null
  readonly position: TopicPosition | null
  publish(data: any, more?: { key?: string; removed?: boolean; tags?: { [name: string]: string }; idempotencyKey?: string }): Promise<TopicPosition>
  presence(ask?: { since?: number; after?: string; limit?: number }): Promise<Presence>
  history(ask?: { since?: TopicPosition; limit?: number; reverse?: boolean }): Promise<TopicPage>
  values(ask?: { after?: string; limit?: number }): Promise<TopicPage & { next?: string }>
  readonly ephemeral: {
    set(key: string, payload: string | Uint8Array, more?: { ttlMs?: number }): Promise<unknown>
    clear(key: string): Promise<unknown>
    list(): Promise<{ key: string; payload: Uint8Array; client_id: string; expires_in_ms: number }[]>
  }
  close(): void
}

/** `fresh` asks for one that no cache gives: the last one has expired, was refused, or ends soon. Nothing means a stranger. */
export type Token = string | ((asked: { fresh: boolean }) => string | null | undefined | Promise<string | null | undefined>)
/** An Ed25519 private key of WebCrypto, or what signs these bytes with one. */
export type Prove = CryptoKey | ((bytes: Uint8Array) => ArrayBuffer | Uint8Array | Promise<ArrayBuffer | Uint8Array>)

export interface Options {
  /** Shown to each connection; a function is asked again before its token ends. */
  token?: Token
  /** Proves that this device holds the key of its session. */
  prove?: Prove
  /** The id of that session; default: the token's `sid`. */
  session?: string
  /** Whether credentials go into the handshake, as subprotocols, rather than into the first message. Default: with `prove`. */
  handshake?: boolean
  backoffMinMs?: number
  backoffMaxMs?: number
  stableMs?: number
  /** The longest wait that a stopping server may ask for: 60,000. */
  reconnectAfterMaxMs?: number
  connectTimeoutMs?: number
  /** For tests, and for places without a global one. */
  WebSocket?: new (url: string, protocols?: string[]) => any
  fetch?: (url: string, init: { method: string }) => Promise<{ status: number; json(): Promise<any> }>
  random?: () => number
  now?: () => number
  setTimeout?: (fn: () => void, ms: number) => any
  clearTimeout?: (timer: any) => void
}

export class Tidegate {
  constructor(url: string, options?: Options)
  readonly url: string
  readonly status: Status
  readonly online: boolean
  readonly error: TidegateError | null
  /** What the server calls this connection; null where credentials went into the handshake. */
  readonly clientId: string | null
  /** How long until the next attempt, while `waiting`. */
  readonly retryInMs: number | null
  readonly stats: { connects: number; resumes: number; resets: number; gaps: number; frames: number }
  live<R = Row>(query: Query): LiveList<R>
  topic(name: string, options?: TopicOptions): LiveTopic
  connect(): void
  disconnect(): void
  /** Forgets token, key and lists; closed lists keep no rows. */
  logout(): void
  /** The same, then connects as whoever this is. */
  login(token: Token, more?: { prove?: Prove; session?: string }): void
  /** Shows another token; without one, asks the function that gives them now. */
  refresh(token?: Token): Promise<unknown>
  request<T = unknown>(event: string, data?: unknown): Promise<T>
  emit(event: string, data?: unknown): boolean
  on(event: 'status', fn: (status: Status) => void): () => void
  on(event: 'gap', fn: (message: string) => void): () => void
  on(event: 'error', fn: (error: TidegateError) => void): () => void
  /** It stays off until `connect()` or `login()`; `error.code` says why: `revoked`, `expired`, `unauthenticated`, `forbidden`… */
  on(event: 'stopped', fn: (error: TidegateError) => void): () => void
  on(event: 'synced', fn: (data: { sub?: string; position: string }) => void): () => void
  on(event: string, fn: (data: any) => void): () => void
}

export function applyFrame<R = Row>(entries: Entry<R>[], frame: Frame<R>): void
export function applyStreamed<R = Row>(set: Map<string, Entry<R>>, frame: Frame<R>): void
