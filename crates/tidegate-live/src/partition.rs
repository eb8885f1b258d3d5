//! The views of one (tenant, entity): which of them a change concerns, and what it does to them.

use std::cell::OnceCell;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;
use slab::Slab;
use tidegate_model::{Change, Key, Order, Position, Row, Tenant};

use crate::View;
use crate::engine::Emitter;
use crate::index::{Index, places};
use crate::log::Bounds;
use crate::view::{RowChange, ViewState};
use crate::window::{Held, Image, Keyed, prefix};

/// Column lists remembered for sharing; past it they are forgotten.
const SELECTS_MAX: usize = 16;

/// What is looked at before a view itself: 24 bytes a view in one array.
#[derive(Debug, Clone, Copy, Default)]
struct Hot {
    /// The lookup that named the view last.
    stamp: u32,
    order: u32,
    /// The first bytes of anchor and horizon: a key outside is outside the window.
    low: u64,
    high: u64,
}

/// An order that some view uses, with the keys of the change at hand.
#[derive(Debug)]
struct OrderState {
    order: Arc<Order>,
    views: usize,
    stamp: u32,
    old: Vec<u8>,
    new: Vec<u8>,
    old_shared: OnceCell<Held>,
    new_shared: OnceCell<Held>,
    /// Rows of pages, so that windows which hold the same row share it. An entry may be out of date; rows that no window
    /// holds any more are swept out when the table has doubled or half of the views have gone.
    rows: HashTable<Held>,
    /// What there was after the last sweep.
    rows_swept: usize,
    views_swept: usize,
}

/// What is left to do at the end of a transaction, by slot.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// [`ViewState::finish`] is due; a slot may come again.
    pub(crate) touched: Vec<u32>,
    /// A refill may be due.
    pub(crate) low: Vec<u32>,
}

impl Effects {
    /// A slot comes once a change, and a transaction may have a million of them.
    pub(crate) fn compact(&mut self, views: usize) {
        for slots in [&mut self.touched, &mut self.low] {
            if slots.len() > 2 * views + 1_024 {
                slots.sort_unstable();
                slots.dedup();
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) tenant: Tenant,
    pub(crate) views: Slab<ViewState>,
    hot: Vec<Hot>,
    index: Index,
    orders: Vec<OrderState>,
    /// Column lists of late, to share.
    selects: Vec<Arc<[u16]>>,
    stamp: u32,
    candidates: Vec<u32>,
    scratch: Vec<u8>,
}

impl Partition {
    pub(crate) fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            views: Slab::new(),
            hot: Vec::new(),
            index: Index::default(),
            orders: Vec::new(),
            selects: Vec::new(),
            stamp: 0,
            candidates: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds a view that knows nothing yet. What its query has in common with others is kept once.
    pub(crate) fn insert(&mut self, mut view: View, fingerprint: u64, cushion: u32, floor: Position) -> u32 {
        let order = self.use_order(&view.query.order);
        // A query that the subscriber keeps is in memory once as it is.
        if let Some(query) = Arc::get_mut(&mut view.query) {
            query.order = self.orders[order as usize].order.clone();
            query.select = self.share_select(&query.select);
        }
        let places = places(&view.query.filter);
        let view = ViewState::new(Arc::new(view), fingerprint, order, cushion, floor);
        let slot = self.views.insert(view) as u32;
        if self.hot.len() <= slot as usize {
            self.hot.resize(slot as usize + 1, Hot::default());
        }
        self.hot[slot as usize].order = order;
        self.index.insert(slot, &places);
        self.refresh(slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> ViewState {
        let mut view = self.views.remove(slot as usize);
        view.window = None;
        view.held = None;
        self.index.remove(slot, &places(&view.info.query.filter));
        let order = &mut self.orders[view.order as usize];
        order.views -= 1;
        if 2 * order.views < order.views_swept {
            order.sweep();
        }
        view
    }

    fn share_select(&mut self, select: &Arc<[u16]>) -> Arc<[u16]> {
        if let Some(known) = self.selects.iter().find(|known| *known == select) {
            return known.clone();
        }
        if self.selects.len() == SELECTS_MAX {
            self.selects.clear();
        }
        self.selects.push(select.clone());
        select.clone()
    }

    fn use_order(&mut self, order: &Arc<Order>) -> u32 {
        let known = self.orders.iter().position(|state| state.order == *order);
        let at = known.or_else(|| self.orders.iter().position(|state| state.views == 0));
        let fresh = OrderState::new(order.clone());
        let at = match at {
            Some(at) => {
                if known.is_none() {
                    self.orders[at] = fresh;
                }
                at
            }
            None => {
                self.orders.push(fresh);
                self.orders.len() - 1
            }
        };
        self.orders[at].views += 1;
        at as u32
    }

    /// Takes over the bounds of a view after its window moved or its scan began or ended.
    pub(crate) fn refresh(&mut self, slot: u32) {
        let view = &self.views[slot as usize];
        let hot = &mut self.hot[slot as usize];
        (hot.low, hot.high) = match &view.window {
            Some(window) if !view.is_streamed() => {
                let low = window.anchor.as_deref().map_or(0, prefix);
                let high = window.horizon.key().filter(|_| view.fetch.is_none()).map_or(u64::MAX, prefix);
                (low, high)
            }
            _ => (0, u64::MAX),
        };
    }

    /// The rows of a page in the form that the windows of an order keep.
    pub(crate) fn share(&mut self, order: u32, rows: Vec<(Key, Arc<Row>)>) -> Vec<Held> {
        self.orders[order as usize].share(rows)
    }

    /// Forgets the shared rows of pages: after a reload other content may go by the same key and version.
    pub(crate) fn forget_rows(&mut self) {
        self.orders.iter_mut().for_each(|order| order.rows = HashTable::new());
    }

    /// Folds one change into every view that it concerns. `more`: the transaction has other changes here.
    pub(crate) fn change(
        &mut self,
        position: Position,
        change: &Change,
        more: bool,
        bounds: Bounds,
        out: &mut Emitter,
        effects: &mut Effects,
    ) {
        let (old_row, new_row) = (change.old.as_ref(), change.new.as_ref());
        self.next_stamp();
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        {
            let (hot, stamp) = (&mut self.hot, self.stamp);
            self.index.find(change.old.as_deref(), change.new.as_deref(), &mut self.scratch, &mut |slot| {
                let hot = &mut hot[slot as usize];
                if hot.stamp != stamp {
                    hot.stamp = stamp;
                    candidates.push(slot);
                }
            });
        }
        let mut difference = None;
        for slot in candidates.iter().copied() {
            let hot = self.hot[slot as usize];
            let order = &mut self.orders[hot.order as usize];
            order.encode(self.stamp, old_row, new_row);
            let near = |image: &Image<'_>| (hot.low..=hot.high).contains(&prefix(image.key));
            let old = old_row.map(|row| Image { key: &order.old, row, shared: &order.old_shared }).filter(near);
            let new = new_row.map(|row| Image { key: &order.new, row, shared: &order.new_shared }).filter(near);
            if old.is_none() && new.is_none() {
                continue;
            }
            let view = &mut self.views[slot as usize];
            let columns = match old_row.zip(new_row) {
                Some((old, new)) if !view.shows_every_column() => {
                    *difference.get_or_insert_with(|| old.difference(new))
                }
                // Some column differs, or the row would not be in the transaction.
                _ => u128::MAX,
            };
            let outcome = view.change(RowChange { position, old, new, columns, more });
            out.emit(view, position, outcome.deltas, bounds);
            if outcome.touched {
                effects.touched.push(slot);
            }
            if outcome.moved {
                self.refresh(slot);
                effects.low.push(slot);
            }
        }
        self.candidates = candidates;
    }

    fn next_stamp(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            // Once in four billion changes: old stamps must not look new.
            self.hot.iter_mut().for_each(|hot| hot.stamp = 0);
            self.orders.iter_mut().for_each(|order| order.stamp = 0);
            self.stamp = 1;
        }
    }
}

impl OrderState {
    fn new(order: Arc<Order>) -> Self {
        Self {
            order,
            views: 0,
            stamp: 0,
            old: Vec::new(),
            new: Vec::new(),
            old_shared: OnceCell::new(),
            new_shared: OnceCell::new(),
            rows: HashTable::new(),
            rows_swept: 0,
            views_swept: 0,
        }
    }

    fn sweep(&mut self) {
        let hash = |held: &Held| FxBuildHasher.hash_one(&held.key[..]);
        self.rows.retain(|held| Arc::strong_count(held) > 1);
        self.rows.shrink_to(2 * self.rows.len(), hash);
        (self.rows_swept, self.views_swept) = (self.rows.len(), self.views);
    }

    /// The rows of a page in the form that windows keep, those taken that other windows have already.
    fn share(&mut self, rows: Vec<(Key, Arc<Row>)>) -> Vec<Held> {
        let hash = |key: &[u8]| FxBuildHasher.hash_one(key);
        if self.rows.len() > 2 * self.rows_swept + 1_024 {
            self.sweep();
        }
        self.views_swept = self.views_swept.max(self.views);
        let share = |(key, row): (Key, Arc<Row>)| {
            let entry = self.rows.entry(hash(&key), |held| held.key[..] == *key, |held| hash(&held.key));
            let fresh = |row| Keyed::new(&key, row);
            match entry {
                Entry::Occupied(mut entry) => {
                    if entry.get().row.version() != row.version() {
                        *entry.get_mut() = fresh(row);
                    }
                    entry.get().clone()
                }
                Entry::Vacant(entry) => entry.insert(fresh(row)).get().clone(),
            }
        };
        rows.into_iter().map(share).collect()
    }

    fn encode(&mut self, stamp: u32, old: Option<&Arc<Row>>, new: Option<&Arc<Row>>) {
        if self.stamp == stamp {
            return;
        }
        self.stamp = stamp;
        self.old_shared.take();
        self.new_shared.take();
        for (row, key) in [(old, &mut self.old), (new, &mut self.new)] {
            key.clear();
            if let Some(row) = row {
                self.order.encode(row, key);
            }
        }
    }
}
