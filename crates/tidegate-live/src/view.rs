//! One view: its window, its log, who looks at it, and what it is waiting for.

use std::sync::{Arc, Weak};

use smallvec::SmallVec;
use tidegate_model::{Batch, BatchKind, Key, Mode, Op, Page, Position, Row, Token};

use crate::diff::{self, Deltas, Relation};
use crate::engine::{Subscriber, Subscribers};
use crate::linger::Resting;
use crate::log::{Bounds, Log};
use crate::window::{Fold, Held, Image, Window};
use crate::{Delivery, View};

/// A scan under way for a view, and what happened past the horizon since it was asked for.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) ticket: u64,
    /// Past which key the scan reads.
    pub(crate) after: Key,
    /// Rows that came and went past that key, by position: replayed onto an older page, dropped for a newer one.
    changes: Vec<(Position, Option<Key>, Option<Held>)>,
    /// The page, while it is ahead of the stream.
    pub(crate) page: Option<Page>,
    /// Too much happened to remember: the page will not fit.
    stale: bool,
    /// A page read before this position will not fit: the entity was reloaded there.
    floor: Position,
}

/// Most changes remembered for one scan; past it the scan is made again.
const FETCH_CHANGES_MAX: usize = 16_384;

/// The list that subscribers have, while changes are gathered that leave as one batch.
#[derive(Debug, Default)]
pub(crate) struct Before {
    rows: Vec<Held>,
    /// For each row, the position of its last change since; 0 for none.
    changed_at: Vec<u64>,
}

/// The list that subscribers have, while rows that belong into the new one are being fetched.
#[derive(Debug)]
pub(crate) struct HeldBack {
    before: Before,
    /// The last position that `before` is right for.
    pub(crate) position: Position,
}

/// What a transaction of several changes has done to a view so far.
#[derive(Debug, Default)]
struct Touched {
    before: Before,
    /// A delta for each row that matches: bounded because a transaction of too many rows comes as a reload.
    streamed: Deltas,
}

/// Boxed because few views have any. A subscriber whose set is replaced by a reload waits without a command.
type Waiting = Option<Box<SmallVec<[(Subscriber, Option<u64>); 1]>>>;

#[derive(Debug)]
pub(crate) struct ViewState {
    pub(crate) info: Arc<View>,
    /// The half of the query's fingerprint that tokens do not carry.
    pub(crate) fingerprint: u64,
    /// Columns whose change is worth a frame, a bit each; `None` is all of them.
    columns: Option<Box<u128>>,
    /// Number of its order within the partition.
    pub(crate) order: u32,
    /// Maintained: always. Streamed: while a snapshot is being read.
    pub(crate) window: Option<Window>,
    /// Its first snapshot was complete: the store has served it.
    pub(crate) ready: bool,
    pub(crate) log: Log,
    pub(crate) subscribers: Subscribers,
    /// Subscribers that wait for a snapshot, with the number of their command.
    pub(crate) waiting: Waiting,
    pub(crate) fetch: Option<Box<Fetch>>,
    /// Streamed: after a reload, while the snapshot that replaces the set is being read.
    pub(crate) held: Option<Box<HeldBack>>,
    touched: Option<Box<Touched>>,
    /// Shared by all who subscribe before the next change.
    pub(crate) snapshot: Weak<Batch>,
    /// Set while it lingers without subscribers.
    pub(crate) idle: Option<Box<Resting>>,
}

/// One changed row as a partition sees it.
#[derive(Clone, Copy)]
pub(crate) struct RowChange<'a> {
    pub(crate) position: Position,
    pub(crate) old: Option<Image<'a>>,
    pub(crate) new: Option<Image<'a>>,
    /// Columns that differ between the images, a bit each.
    pub(crate) columns: u128,
    /// More changes of the same transaction may come to this view.
    pub(crate) more: bool,
}

/// What a view has to have done for it after a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Deltas for the log and the subscribers, at once.
    pub(crate) deltas: Deltas,
    /// Call [`ViewState::finish`] at the end of the transaction.
    pub(crate) touched: bool,
    /// The bounds of the window moved, or a refill is due.
    pub(crate) moved: bool,
}

impl ViewState {
    pub(crate) fn new(info: Arc<View>, fingerprint: u64, order: u32, cushion: u32, floor: Position) -> Self {
        let query = &info.query;
        let all = query.select.len() == query.entity.columns().len();
        let selected = query.select.iter().fold(0, |set, column| set | 1 << column);
        let sorted = query.order.terms().iter().fold(0, |set, term| set | 1 << term.column);
        let columns = (!all).then(|| Box::new(selected | sorted | query.filter.columns()));
        let window = (query.mode == Mode::Maintained).then(|| Window::new(query.after.clone(), query.limit, cushion));
        Self {
            fingerprint,
            columns,
            order,
            window,
            ready: false,
            log: Log::new(floor),
            subscribers: SmallVec::new(),
            waiting: None,
            fetch: None,
            held: None,
            touched: None,
            snapshot: Weak::new(),
            idle: None,
            info,
        }
    }

    pub(crate) fn is_streamed(&self) -> bool {
        self.info.query.mode == Mode::Streamed
    }

    /// Whether both are windows on the same list.
    pub(crate) fn shows_rows_of(&self, other: &Self) -> bool {
        self.order == other.order && self.info.query.filter == other.info.query.filter
    }

    fn columns(&self) -> u128 {
        self.columns.as_deref().copied().unwrap_or(u128::MAX)
    }

    /// Whether any change of a row is worth a frame.
    pub(crate) fn shows_every_column(&self) -> bool {
        self.columns.is_none()
    }

    /// The position that the subscribers' list is right for, if that is behind the engine's.
    pub(crate) fn held_at(&self) -> Option<Position> {
        self.held.as_ref().map(|held| held.position)
    }

    /// Whether the subscribers' list is complete at the engine's position.
    pub(crate) fn is_exact(&self) -> bool {
        self.held.is_none() && self.ready
    }

    /// Folds one changed row in.
    pub(crate) fn change(&mut self, change: RowChange<'_>) -> Outcome {
        let filter = &self.info.query.filter;
        let Some(window) = &mut self.window else {
            let matches = |image: &Image<'_>| filter.matches(image.row);
            return self.stream(change.old.filter(matches), change.new.filter(matches), change);
        };
        let streamed = self.info.query.mode == Mode::Streamed;
        let beyond = self.fetch.as_ref().map(|fetch| &*fetch.after);
        let inner_old = change.old.filter(|image| window.covers(image.key) && filter.matches(image.row));
        let inner_new = change.new.filter(|image| window.covers(image.key) && filter.matches(image.row));
        if let Some(after) = beyond {
            let matches = |image: &Image<'_>| (after < image.key) && filter.matches(image.row);
            let (outer_old, outer_new) = (change.old.filter(matches), change.new.filter(matches));
            if let Some(fetch) = &mut self.fetch {
                fetch.remember(change.position, outer_old, outer_new);
            }
        }
        if streamed {
            window.fold(inner_old, inner_new);
            let matches = |image: &Image<'_>| filter.matches(image.row);
            return Outcome {
                moved: true,
                ..self.stream(change.old.filter(matches), change.new.filter(matches), change)
            };
        }
        if inner_old.is_none() && inner_new.is_none() {
            return Outcome::default();
        }
        // Several changes, or rows that may have to be fetched first: the deltas are the difference at the end.
        let slow = change.more
            || self.held.is_some()
            || (window.horizon.key().is_some() && window.rows.len() <= window.limit as usize);
        if slow && self.ready {
            let key_columns = self.info.query.entity.key();
            match (&mut self.held, inner_old) {
                (Some(held), Some(old)) => held.before.note(old, change.position, key_columns),
                (Some(_), None) => {}
                (None, old) => {
                    let touched = self.touched.get_or_insert_with(|| Touched::new(window.visible()));
                    if let Some(old) = old {
                        touched.before.note(old, change.position, &[]);
                    }
                }
            }
        }
        let columns = self.columns.as_deref().copied().unwrap_or(u128::MAX);
        let fold = window.fold(inner_old, inner_new);
        let mut outcome = Outcome { touched: slow || !self.ready, ..Outcome::default() };
        if !outcome.touched {
            outcome.deltas = deltas_of(window, &fold, change, columns);
        }
        outcome.moved = trim(window, self.fetch.is_some()) || window.wants_refill();
        outcome
    }

    fn stream(&mut self, old: Option<Image<'_>>, new: Option<Image<'_>>, change: RowChange<'_>) -> Outcome {
        let delta = match (old, new) {
            (None, None) => return Outcome::default(),
            (None, Some(new)) => diff::unplaced(Op::Match, new.row.version(), Some(new.row.clone())),
            (Some(old), None) => diff::unplaced(Op::Unmatch, change.position.0, Some(old.row.clone())),
            (Some(_), Some(_)) if change.columns & self.columns() == 0 => return Outcome::default(),
            (Some(_), Some(new)) => diff::unplaced(Op::Update, new.row.version(), Some(new.row.clone())),
        };
        if change.more {
            self.touched.get_or_insert_default().streamed.push(delta);
            return Outcome { touched: true, ..Outcome::default() };
        }
        let mut outcome = Outcome::default();
        outcome.deltas.push(delta);
        outcome
    }

    /// Ends a transaction (the one before was at `previous`): what it did to the list as a whole, unless rows have to be
    /// fetched first.
    pub(crate) fn finish(&mut self, previous: Position) -> Deltas {
        let touched = self.touched.take().map(|touched| *touched).unwrap_or_default();
        if self.is_streamed() {
            return touched.streamed;
        }
        let Some(window) = &self.window else { return Deltas::new() };
        if !self.ready {
            return Deltas::new();
        }
        if window.is_short() {
            self.held.get_or_insert_with(|| Box::new(HeldBack { before: touched.before, position: previous }));
            return Deltas::new();
        }
        let before = self.held.take().map_or(touched.before, |held| held.before);
        before.difference(window.visible(), self.info.query.entity.key(), self.columns())
    }

    /// Whether a page for this fetch, read at `position`, goes on where the window ends.
    pub(crate) fn fits(&self, fetch: &Fetch, position: Position) -> bool {
        let horizon = self.window.as_ref().and_then(|window| window.horizon.key());
        !fetch.stale && position >= fetch.floor && horizon == Some(&fetch.after)
    }

    /// Takes in a fetched page that fits: `rows` at `position`, which must not be ahead of the stream, complete up to
    /// `upto`.
    pub(crate) fn adopt(&mut self, fetch: Fetch, mut rows: Vec<Held>, upto: Option<Key>, position: Position) {
        let Some(window) = &mut self.window else { return };
        let inside = |key: &[u8]| upto.as_deref().is_none_or(|upto| key <= upto);
        for (_, old, new) in fetch.changes.into_iter().filter(|(at, ..)| *at > position) {
            if let Some(at) = old.and_then(|key| rows.binary_search_by(|held| held.key[..].cmp(&key)).ok()) {
                rows.remove(at);
            }
            if let Some(new) = new.filter(|new| inside(&new.key)) {
                match rows.binary_search_by(|held| held.key[..].cmp(&new.key)) {
                    Ok(at) => rows[at] = new,
                    Err(at) => rows.insert(at, new),
                }
            }
        }
        window.extend(rows, upto);
        window.trim(window.capacity());
    }

    /// Starts waiting for a scan of what lies past the horizon; returns the key to read after and how many rows.
    pub(crate) fn begin_fetch(&mut self, ticket: u64) -> Option<(Key, usize)> {
        let window = self.window.as_ref()?;
        let want = window.capacity().saturating_sub(window.rows.len()).max(1);
        let (after, changes): (Key, _) = (window.horizon.key()?.into(), Vec::new());
        let (stale, floor) = (false, Position(0));
        self.fetch = Some(Box::new(Fetch { ticket, after: after.clone(), changes, page: None, stale, floor }));
        Some((after, want))
    }

    /// The list that subscribers have and the position it is right for; `None` before the first snapshot.
    pub(crate) fn list(&self, position: Position) -> Option<(&[Held], Position)> {
        match (&self.held, &self.window) {
            (Some(held), _) => Some((&held.before.rows, held.position)),
            (None, Some(window)) if self.ready && !self.is_streamed() => Some((window.visible(), position)),
            _ => None,
        }
    }

    /// The list from `reset` to `ready`.
    pub(crate) fn snapshot(&mut self, position: Position) -> Option<Arc<Batch>> {
        if let Some(shared) = self.snapshot.upgrade() {
            return Some(shared);
        }
        let (rows, position) = self.list(position)?;
        let batch = Arc::new(diff::snapshot(position, rows.iter().map(|held| &held.row)));
        self.snapshot = Arc::downgrade(&batch);
        Some(batch)
    }

    /// Writes a batch to the log and returns it.
    pub(crate) fn record(&mut self, position: Position, deltas: Deltas, bounds: Bounds) -> Arc<Batch> {
        let batch = Arc::new(Batch::new(position, BatchKind::Logged, deltas));
        self.log.push(batch.clone(), bounds);
        self.snapshot = Weak::new();
        batch
    }

    /// What a subscriber that comes back with `token` has missed, if token and log prove it.
    pub(crate) fn resume(&self, token: &Token, position: Position) -> Option<(Vec<Arc<Batch>>, usize)> {
        let same = token.incarnation == self.info.incarnation && token.fingerprint == self.info.fingerprint;
        (same && self.ready && token.position <= position).then(|| self.log.resume(token))?
    }

    /// The net of everything after `sent`, for a subscriber that dropped it; `None` if the log does not reach.
    pub(crate) fn net_since(&self, sent: Position, position: Position) -> Option<Batch> {
        let key = self.info.query.entity.key();
        if self.is_streamed() {
            return Some(Batch::new(position, BatchKind::Own, diff::net(self.log.after(sent)?, key)));
        }
        let (rows, position) = self.list(position)?;
        let then = diff::undo(rows.iter().map(|held| &held.row), self.log.after(sent)?);
        let before: Vec<&Arc<Row>> = then.iter().map(|then| &then.row).collect();
        let after: Vec<&Arc<Row>> = rows.iter().map(|held| &held.row).collect();
        let deltas = diff::diff(&before, &after, key, |from, _| then[from].relation, |from| then[from].version);
        Some(Batch::new(position, BatchKind::Own, deltas))
    }

    /// A delivery of `batch` from the delta at `from` on.
    pub(crate) fn delivery(&self, batch: &Arc<Batch>, from: usize) -> Delivery {
        Delivery::Batch { view: self.info.clone(), batch: batch.clone(), from }
    }
}

impl Fetch {
    /// The entity was reloaded at `position`: what happened before is in the page or the page will not fit.
    pub(crate) fn start_over(&mut self, position: Position) {
        self.changes = Vec::new();
        self.stale = false;
        self.floor = position;
    }

    /// Takes note of images past the horizon.
    fn remember(&mut self, position: Position, old: Option<Image<'_>>, new: Option<Image<'_>>) {
        if self.stale || (old.is_none() && new.is_none()) {
            return;
        }
        if self.changes.len() == FETCH_CHANGES_MAX {
            self.stale = true;
            self.changes = Vec::new();
            return;
        }
        let new = new.map(|image| image.held());
        self.changes.push((position, old.map(|image| image.key.into()), new));
    }
}

/// Lets the tail past the capacity go; says whether the horizon moved. While a scan reads from the horizon on, the
/// window may grow to twice its capacity; a horizon that moved then makes the page unfit, and the scan is made again.
fn trim(window: &mut Window, fetching: bool) -> bool {
    let capacity = window.capacity();
    let over = window.rows.len() > if fetching { 2 * capacity } else { capacity };
    if over {
        window.trim(capacity);
    }
    over
}

/// The deltas of a single change. The window has not been trimmed yet.
#[inline]
fn deltas_of(window: &Window, fold: &Fold, change: RowChange<'_>, columns: u128) -> Deltas {
    let limit = window.limit as usize;
    let rows = &window.rows;
    let row = |at: usize| rows[at].row.clone();
    let mut deltas = Deltas::new();
    match fold {
        Fold::Replaced { at } if *at < limit && change.columns & columns != 0 => {
            deltas.push(diff::update(row(*at), *at));
        }
        Fold::Inserted { to } if *to < limit => {
            if rows.len() > limit {
                deltas.push(diff::leave(row(limit), limit - 1, rows[limit].row.version()));
            }
            deltas.push(diff::enter(row(*to), *to));
        }
        Fold::Removed { from, to: Some(to), .. } if *from < limit && *to < limit => {
            deltas.push(diff::shift(row(*to), *from, *to));
        }
        Fold::Removed { from, old, .. } if *from < limit => {
            deltas.push(diff::leave(old.row.clone(), *from, change.position.0));
            if rows.len() >= limit {
                deltas.push(diff::enter(row(limit - 1), limit - 1));
            }
        }
        Fold::Removed { to: Some(to), .. } if *to < limit => {
            deltas.push(diff::leave(row(limit), limit - 1, rows[limit].row.version()));
            deltas.push(diff::enter(row(*to), *to));
        }
        _ => {}
    }
    deltas
}

impl Touched {
    fn new(visible: &[Held]) -> Box<Self> {
        Box::new(Self { before: Before::new(visible), streamed: Deltas::new() })
    }
}

impl HeldBack {
    /// Subscribers have the rows of `visible`, right for `position`.
    pub(crate) fn new(visible: &[Held], position: Position) -> Box<Self> {
        Box::new(Self { before: Before::new(visible), position })
    }

    /// Any of the rows may have changed at `position`, and those that will be found gone went there.
    pub(crate) fn reloaded(&mut self, position: Position) {
        self.before.changed_at.fill(position.0);
    }
}

impl Before {
    fn new(visible: &[Held]) -> Self {
        Self { rows: visible.to_vec(), changed_at: vec![0; visible.len()] }
    }

    /// Remembers that a row was changed, to tell a row that is gone from one that was pushed out. `key_columns` are
    /// given where the row may have moved since, and so have another key than it had.
    fn note(&mut self, old: Image<'_>, position: Position, key_columns: &[u16]) {
        let by_key = self.rows.binary_search_by(|held| held.key[..].cmp(old.key)).ok();
        let by_identity = || self.rows.iter().position(|held| diff::same_key(&held.row, old.row, key_columns));
        let at = if key_columns.is_empty() { by_key } else { by_key.or_else(by_identity) };
        if let Some(at) = at {
            self.changed_at[at] = position.0;
        }
    }

    fn difference(&self, after: &[Held], key_columns: &[u16], columns: u128) -> Deltas {
        let relation = |from: usize, to: usize| {
            let (old, new) = (&self.rows[from], &after[to]);
            if Arc::ptr_eq(old, new) {
                Relation::Same
            } else if old.key != new.key {
                Relation::Moved
            } else if old.row.difference(&new.row) & columns == 0 {
                Relation::Same
            } else {
                Relation::Changed
            }
        };
        let left = |from: usize| self.changed_at[from].max(self.rows[from].row.version());
        let rows: Vec<&Arc<Row>> = self.rows.iter().map(|held| &held.row).collect();
        let after: Vec<&Arc<Row>> = after.iter().map(|held| &held.row).collect();
        diff::diff(&rows, &after, key_columns, relation, left)
    }
}
