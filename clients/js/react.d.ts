import type { Cursor, LiveList, Query, Row, Snapshot, Tidegate } from './tidegate.js'

export interface LiveStore<R = Row> {
  readonly list: LiveList<R> | null
  snapshot(): Snapshot<R>
  subscribe(fn: () => void): () => void
}
export function liveStore<R = Row>(client: Tidegate, query: Query | null): LiveStore<R>

export interface LiveResult<R = Row> extends Snapshot<R> {
  reanchor(window?: { cursor?: Cursor; limit?: number }): void
}

/** The two parts of React that are needed; pass React itself. */
export interface ReactParts {
  useMemo<T>(make: () => T, deps: readonly unknown[]): T
  useSyncExternalStore<T>(subscribe: (fn: () => void) => () => void, get: () => T, getServer?: () => T): T
}
export function createUseLiveQuery(
  react: ReactParts,
): <R = Row>(client: Tidegate, query: Query | null) => LiveResult<R>
