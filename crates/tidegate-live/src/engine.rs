//! The engine: every view of one worker, at one position. Pure: transactions, commands and pages go in, deliveries and
//! scans come out, time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap, HashTable};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use slab::Slab;
use smallvec::{SmallVec, smallvec};
use tidegate_model::{
    Change, EntityId, Page, Position, Predicate, Query, ScanError, ScanRequest, Tenant, Token, Transaction,
};

use crate::diff::Deltas;
use crate::limits::Limits;
use crate::log::Bounds;
use crate::metrics::Metrics;
use crate::partition::{Effects, Partition};
use crate::subscribers::SubscriberTable;
use crate::view::ViewState;
use crate::window::Window;
use crate::{Delivery, EndReason};

/// The number of a subscriber, given by whoever drives the engine. A table is kept by it: numbers are to be small, and
/// used again after [`Engine::unsubscribe`].
pub type Subscriber = u32;

/// One or many.
pub type Subscribers = SmallVec<[Subscriber; 4]>;

/// Something for the shell to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Hand this to each of them.
    Deliver(Subscribers, Delivery),
    /// Scan, and bring the page back with this ticket.
    Scan(u64, Box<ScanRequest>),
}

/// Records batches and hands them to subscribers.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    outputs: Vec<Output>,
    /// Subscribers that they are for, each as often as it is named.
    deliveries: usize,
    /// Batches and deltas since they were last added to the metrics.
    emitted: (u64, u64),
}

impl Emitter {
    pub(crate) fn push(&mut self, output: Output) {
        if let Output::Deliver(subscribers, _) = &output {
            self.deliveries += subscribers.len();
        }
        self.outputs.push(output);
    }

    pub(crate) fn deliver(&mut self, subscriber: Subscriber, delivery: Delivery) {
        self.push(Output::Deliver(smallvec![subscriber], delivery));
    }

    /// Nothing if there is nobody.
    pub(crate) fn deliver_to_all(&mut self, subscribers: Subscribers, delivery: Delivery) {
        if !subscribers.is_empty() {
            self.push(Output::Deliver(subscribers, delivery));
        }
    }

    /// Records a batch and hands it to every subscriber of the view.
    pub(crate) fn emit(&mut self, view: &mut ViewState, position: Position, deltas: Deltas, bounds: Bounds) {
        if deltas.is_empty() {
            return;
        }
        self.emitted.0 += 1;
        self.emitted.1 += deltas.len() as u64;
        let batch = view.record(position, deltas, bounds);
        self.deliver_to_all(Subscribers::from_slice(&view.subscribers), view.delivery(&batch, 0));
    }
}

/// What a subscriber asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The effective query.
    pub query: Arc<Query>,
    /// Whose rows.
    pub tenant: Tenant,
    /// Where the subscriber was.
    pub resume: Option<Token>,
    /// Whether it wants [`Delivery::Synced`] after every transaction.
    pub synced: bool,
    /// Comes back in [`Delivery::Started`].
    pub request: u64,
}

/// Where a view is: the number of its partition and its slot there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewRef {
    pub(crate) partition: u32,
    pub(crate) slot: u32,
}

/// The name of a partition, borrowed: looking one up clones nothing.
#[derive(Hash)]
struct PartitionName<'a>(EntityId, &'a Tenant);

impl Equivalent<(EntityId, Tenant)> for PartitionName<'_> {
    fn equivalent(&self, (entity, tenant): &(EntityId, Tenant)) -> bool {
        self.0 == *entity && self.1 == tenant
    }
}

/// See the [crate] page.
#[derive(Debug)]
pub struct Engine {
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) incarnation: u64,
    pub(crate) position: Position,
    pub(crate) partitions: Slab<Partition>,
    pub(crate) by_name: HashMap<(EntityId, Tenant), u32, FxBuildHasher>,
    /// By the fingerprint that each view keeps.
    pub(crate) by_fingerprint: HashTable<ViewRef>,
    pub(crate) subscribers: SubscriberTable,
    /// Subscribers that want to hear of every transaction.
    pub(crate) synced: FxHashSet<Subscriber>,
    /// Scans under way.
    pub(crate) tickets: FxHashMap<u64, ViewRef>,
    pub(crate) next_ticket: u64,
    /// Tickets of pages that are ahead of the stream.
    ahead: Vec<u64>,
    /// How many views have subscribers whose list is behind, and right for this position, while rows are fetched.
    held: BTreeMap<Position, usize>,
    pub(crate) idle: crate::linger::Idle,
    pub(crate) out: Emitter,
    bounds: Bounds,
    /// Reused from change to change.
    effects: Effects,
}

impl Engine {
    /// An engine without views at `position`.
    #[must_use]
    pub fn new(limits: Limits, incarnation: u64, position: Position, metrics: Arc<Metrics>) -> Self {
        let bounds = Bounds { batches: limits.log_batches, bytes: limits.log_bytes };
        Self {
            limits,
            metrics,
            incarnation,
            position,
            partitions: Slab::new(),
            by_name: HashMap::default(),
            by_fingerprint: HashTable::new(),
            subscribers: SubscriberTable::default(),
            synced: FxHashSet::default(),
            tickets: FxHashMap::default(),
            next_ticket: 0,
            ahead: Vec::new(),
            held: BTreeMap::new(),
            idle: crate::linger::Idle::default(),
            out: Emitter::default(),
            bounds,
            effects: Effects::default(),
        }
    }

    /// The position of the last transaction folded in.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The position up to which every subscriber has been handed everything: behind [`Engine::position`] only while
    /// rows are being fetched for a list.
    #[must_use]
    pub fn exact(&self) -> Position {
        self.held.first_key_value().map_or(self.position, |(held, _)| *held)
    }

    /// How much is to be done: outputs, and subscribers that they are for.
    pub(crate) fn outputs(&self) -> (usize, usize) {
        (self.out.outputs.len(), self.out.deliveries)
    }

    /// Takes what is to be done, in order.
    pub fn take_outputs(&mut self) -> std::vec::Drain<'_, Output> {
        let (batches, deltas) = std::mem::take(&mut self.out.emitted);
        self.metrics.batches.add(batches);
        self.metrics.deltas.add(deltas);
        self.out.deliveries = 0;
        self.out.outputs.drain(..)
    }

    /// Folds a transaction in. Transactions come in order of position; those not after [`Engine::position`] are skipped.
    pub fn apply(&mut self, transaction: &Transaction) {
        if transaction.position <= self.position {
            return;
        }
        let previous = std::mem::replace(&mut self.position, transaction.position);
        match &transaction.changes[..] {
            [] => {}
            [change] => {
                if let Some(partition) = self.by_name.get(&PartitionName(change.entity, &change.tenant)) {
                    self.apply_partition(*partition, &[change], previous);
                }
            }
            changes => {
                for (partition, changes) in self.by_partition(changes) {
                    self.apply_partition(partition, &changes, previous);
                }
            }
        }
        if !transaction.reloads.is_empty() {
            self.reload(&transaction.reloads, previous);
        }
        self.adopt_pages();
        self.deliver_synced();
    }

    fn by_partition<'a>(&self, changes: &'a [Change]) -> Vec<(u32, Vec<&'a Change>)> {
        let mut groups: Vec<(u32, Vec<&Change>)> = Vec::new();
        let mut group_of: FxHashMap<u32, usize> = FxHashMap::default();
        let mut last: Option<(&Change, usize)> = None;
        for change in changes {
            if let Some((other, group)) = last
                && other.entity == change.entity
                && other.tenant == change.tenant
            {
                groups[group].1.push(change);
                continue;
            }
            let Some(partition) = self.by_name.get(&PartitionName(change.entity, &change.tenant)) else { continue };
            let group = *group_of.entry(*partition).or_insert_with(|| {
                groups.push((*partition, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(change);
            last = Some((change, group));
        }
        groups
    }

    fn apply_partition(&mut self, partition: u32, changes: &[&Change], previous: Position) {
        let more = changes.len() > 1;
        let mut effects = std::mem::take(&mut self.effects);
        for change in changes {
            let views = &mut self.partitions[partition as usize];
            views.change(self.position, change, more, self.bounds, &mut self.out, &mut effects);
            effects.compact(self.partitions[partition as usize].views.len());
        }
        let Effects { touched, low } = &mut effects;
        if more {
            touched.sort_unstable();
            touched.dedup();
        }
        for slot in touched.drain(..) {
            let at = ViewRef { partition, slot };
            let view = &mut self.partitions[partition as usize].views[slot as usize];
            let was = view.held_at();
            let deltas = view.finish(previous);
            let is = view.held_at();
            self.note_held(was, is);
            self.emit(at, deltas);
            low.push(slot);
        }
        for slot in low.drain(..) {
            // Asking twice is no harm: the second finds the scan under way.
            self.refill(ViewRef { partition, slot });
        }
        self.effects = effects;
    }

    pub(crate) fn view(&mut self, at: ViewRef) -> &mut ViewState {
        &mut self.partitions[at.partition as usize].views[at.slot as usize]
    }

    /// Keeps the count of held views in step with a view's state: [`ViewState::held_at`] before and now.
    pub(crate) fn note_held(&mut self, was: Option<Position>, is: Option<Position>) {
        if was == is {
            return;
        }
        if let Some(is) = is {
            *self.held.entry(is).or_default() += 1;
        }
        if let Some(was) = was
            && let Some(count) = self.held.get_mut(&was)
        {
            *count -= 1;
            if *count == 0 {
                self.held.remove(&was);
            }
        }
    }

    fn emit(&mut self, at: ViewRef, deltas: Deltas) {
        let view = &mut self.partitions[at.partition as usize].views[at.slot as usize];
        self.out.emit(view, self.position, deltas, self.bounds);
    }

    /// Asks for rows past the horizon where the window wants them and no scan is under way.
    pub(crate) fn refill(&mut self, at: ViewRef) {
        let ticket = self.next_ticket;
        let Partition { tenant, views, .. } = &mut self.partitions[at.partition as usize];
        let view = &mut views[at.slot as usize];
        let due = view
            .window
            .as_ref()
            .is_some_and(|window| if view.is_streamed() { window.is_short() } else { window.wants_refill() });
        if !due || view.fetch.is_some() {
            return;
        }
        let Some((after, want)) = view.begin_fetch(ticket) else { return };
        let query = &view.info.query;
        let request = ScanRequest {
            entity: query.entity.id(),
            tenant: tenant.clone(),
            order: query.order.clone(),
            predicate: Arc::new(Predicate::new(query.filter.clone())),
            after: (!after.is_empty()).then_some(after),
            want,
        };
        self.next_ticket += 1;
        self.tickets.insert(ticket, at);
        self.metrics.scans.add(1);
        self.partitions[at.partition as usize].refresh(at.slot);
        self.out.push(Output::Scan(ticket, Box::new(request)));
    }

    /// Whether the answer to a scan is still wanted.
    #[must_use]
    pub fn awaits(&self, ticket: u64) -> bool {
        self.tickets.contains_key(&ticket)
    }

    /// Scans whose answer is wanted.
    #[must_use]
    pub fn scans(&self) -> usize {
        self.tickets.len()
    }

    /// Takes the answer to a scan. A page ahead of the stream waits for it; a failed scan ends the view's subscriptions.
    pub fn page(&mut self, ticket: u64, page: Result<Page, ScanError>) {
        let Some(at) = self.tickets.get(&ticket).copied() else { return };
        match page {
            Err(error) => {
                let reason = match error {
                    ScanError::Unavailable(reason) => EndReason::Unavailable(reason),
                    error => {
                        let entity = self.view(at).info.query.entity.name();
                        tracing::error!(%error, %entity, "scan failed; its subscriptions end");
                        EndReason::StoreFailed
                    }
                };
                self.end_view(at, &reason);
            }
            Ok(page) => {
                let ahead = page.position > self.position;
                if let Some(fetch) = &mut self.view(at).fetch {
                    fetch.page = Some(page);
                }
                if ahead {
                    self.ahead.push(ticket);
                } else {
                    self.adopt(ticket);
                }
            }
        }
    }

    fn adopt_pages(&mut self) {
        for ticket in std::mem::take(&mut self.ahead) {
            let Some(at) = self.tickets.get(&ticket).copied() else { continue };
            let position = self.position;
            let page = self.view(at).fetch.as_ref().and_then(|fetch| fetch.page.as_ref());
            if page.is_some_and(|page| page.position > position) {
                self.ahead.push(ticket);
            } else {
                self.adopt(ticket);
            }
        }
    }

    fn adopt(&mut self, ticket: u64) {
        let Some(at) = self.tickets.remove(&ticket) else { return };
        let view = self.view(at);
        let Some(mut fetch) = view.fetch.take() else { return };
        let Some(page) = fetch.page.take() else { return };
        if view.fits(&fetch, page.position) {
            let order = view.order;
            let rows = self.partitions[at.partition as usize].share(order, page.rows);
            self.view(at).adopt(*fetch, rows, page.upto, page.position);
        } else {
            self.metrics.scans_repeated.add(1);
        }
        self.partitions[at.partition as usize].refresh(at.slot);
        self.settle(at);
        if self.partitions[at.partition as usize].views.contains(at.slot as usize) {
            self.refill(at);
        }
    }

    /// After rows arrived: completes a first snapshot, lets frames that were held back go.
    pub(crate) fn settle(&mut self, at: ViewRef) {
        let position = self.position;
        let view = self.view(at);
        if view.window.as_ref().is_none_or(Window::is_short) {
            return;
        }
        let was = view.held_at();
        if was.is_some() && !view.is_streamed() {
            let deltas = view.finish(position);
            let is = view.held_at();
            self.note_held(was, is);
            self.emit(at, deltas);
            self.deliver_synced_of(at);
        }
        self.complete(at);
    }
}
