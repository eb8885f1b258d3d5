// Tidegate for React: one hook on `useSyncExternalStore`.
//
// React is handed in rather than imported, so that this file serves any copy and any bundler, and tests without one:
//
//   import * as React from 'react'
//   import { createUseLiveQuery } from 'tidegate-client/react'
//   export const useLiveQuery = createUseLiveQuery(React)

const NOTHING = Object.freeze({ rows: Object.freeze([]), entries: Object.freeze([]), state: 'loading', error: null })

/** A live query that is open exactly while somebody listens: what React's strict mode and its retries need. */
export function liveStore(client, query) {
  const listeners = new Set()
  let list = null
  let snapshot = NOTHING
  return {
    get list() {
      return list
    },
    snapshot: () => snapshot,
    subscribe(fn) {
      listeners.add(fn)
      if (query && !list) {
        list = client.live(query)
        list.subscribe(() => {
          snapshot = list?.snapshot() ?? snapshot
          for (const listener of [...listeners]) listener()
        })
      }
      return () => {
        listeners.delete(fn)
        if (listeners.size > 0 || !list) return
        const ended = list
        list = null
        ended.close()
      }
    },
  }
}

/** Makes `useLiveQuery(client, query)` from a copy of React. A query of null waits, without a subscription. */
export function createUseLiveQuery({ useMemo, useSyncExternalStore }) {
  return function useLiveQuery(client, query) {
    // By content, not identity: a query written inline must not subscribe anew at each render.
    const text = query ? JSON.stringify(query) : null
    const store = useMemo(() => liveStore(client, text && JSON.parse(text)), [client, text])
    const snapshot = useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot)
    return useMemo(() => ({ ...snapshot, reanchor: (window) => store.list?.reanchor(window) }), [snapshot, store])
  }
}
