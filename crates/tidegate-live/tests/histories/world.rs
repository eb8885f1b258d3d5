//! A store, an engine and clients, driven step by step.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::sample::Index;
use tidegate_live::{Delivery, EndReason, Engine, Limits, Metrics, Output, Request, Subscriber, View};
use tidegate_model::{
    Batch, BatchKind, Change, Entity, EntityId, Key, Mode, Op, Page, Position, Query, Row, ScanRequest, SortKey,
    Tenant, Token, Transaction, Value,
};
use tidegate_testkit::model_client::{ExpectedSet, ModelClient};
use tidegate_testkit::naive;

use crate::plan::{Coverage, Plan, Step, Table, Write};

/// The rows of each entity.
type Rows = [Vec<Arc<Row>>; 2];

struct Client {
    subscriber: Subscriber,
    connected: bool,
    tenant: Tenant,
    query: Arc<Query>,
    model: ModelClient,
    inbox: VecDeque<Delivery>,
    /// Deliveries before the `Started` of this command are of a list that was given up.
    awaiting: Option<u64>,
    request: u64,
    /// After the last frame applied, with the view it is of.
    last: Option<(Token, u64)>,
    /// A batch was the last thing it read: a snapshot now answers no command.
    undisturbed: bool,
    /// The position of the snapshot that a streamed set began with.
    seeded_at: Position,
}

pub(crate) struct World<'a> {
    plan: &'a Plan,
    engine: Engine,
    now_ms: u64,
    /// Every state of the store, the newest last.
    states: Vec<(Position, Rows)>,
    /// The source's rows of entities that are being copied.
    copies: [Option<Vec<Arc<Row>>>; 2],
    transactions: Vec<Transaction>,
    applied: usize,
    scans: Vec<(u64, ScanRequest)>,
    pages: Vec<(u64, Page)>,
    clients: Vec<Client>,
    /// By the entity, the terms of the order and the encoded anchor.
    cursors: HashMap<(EntityId, Vec<SortKey>, Vec<u8>), Vec<Value>>,
    next_subscriber: Subscriber,
    metrics: Arc<Metrics>,
    coverage: Coverage,
}

type Verdict<T = ()> = Result<T, String>;

impl<'a> World<'a> {
    pub(crate) fn run(plan: &'a Plan) -> Verdict<Coverage> {
        let limits = Limits {
            cushion: plan.cushion,
            log_batches: plan.log_batches,
            linger_ms: 2_000,
            linger_views: 3,
            ..Limits::default()
        };
        let start = Position(1);
        let rows = plan.tables.each_ref().map(|table| {
            let mut rows = Vec::new();
            for cells in table.pool.iter().take(table.initial) {
                upsert(&table.entity, &mut rows, Row::new(start, cells.clone()));
            }
            rows
        });
        let metrics = Arc::new(Metrics::default());
        let mut world = World {
            plan,
            engine: Engine::new(limits, 7, start, metrics.clone()),
            now_ms: 0,
            states: vec![(start, rows)],
            copies: [None, None],
            transactions: Vec::new(),
            applied: 0,
            scans: Vec::new(),
            pages: Vec::new(),
            clients: Vec::new(),
            cursors: HashMap::new(),
            next_subscriber: 0,
            metrics,
            coverage: Coverage::default(),
        };
        for step in &plan.steps {
            world.step(step)?;
            world.collect();
            world.check_exact()?;
        }
        world.settle()?;
        world.coverage.reloaded = world.metrics.views_reloaded.get();
        Ok(world.coverage)
    }

    fn step(&mut self, step: &Step) -> Verdict {
        match step {
            Step::Commit { writes, bulk } => self.commit(writes, *bulk),
            Step::Fill(table) => {
                let table = table.index(2);
                let rows = self.newest().1[table].clone();
                self.copies[table].get_or_insert(rows);
            }
            Step::Ready(table) => self.set_ready(table.index(2)),
            Step::EndEntity(table) if table.index(8) < 2 => {
                self.engine.end_entity(EntityId(table.index(8) as u32), &"gone".into());
            }
            Step::Apply => self.apply(),
            Step::Scan { scan, cut, whole } if !self.scans.is_empty() => {
                self.scan(scan.index(self.scans.len()), 1 + cut.index(4), *whole);
            }
            Step::Page(page) if !self.pages.is_empty() => {
                let (ticket, page) = self.pages.remove(page.index(self.pages.len()));
                self.coverage.pages_ahead += u64::from(page.position > self.engine.position());
                self.coverage.pages_late += u64::from(page.position < self.engine.position());
                let since = self.transactions[..self.applied].iter().filter(|t| t.position > page.position);
                self.coverage.outlived += u64::from(since.flat_map(|t| &t.reloads).next().is_some());
                self.engine.page(ticket, Ok(page));
            }
            Step::Subscribe { plan, tenant } => self.subscribe(plan, tenant),
            Step::Reanchor { client, cursor, limit } => self.reanchor(client, cursor, *limit),
            Step::Read(client) => {
                if let Some(at) = self.pick(client, true) {
                    return self.read(at);
                }
            }
            Step::Cut { client, frame } => {
                if let Some(at) = self.pick(client, true) {
                    return self.cut(at, frame);
                }
            }
            Step::Resume(client) => self.resume(client),
            Step::CatchUp { client, reset } => self.catch_up(client, *reset),
            Step::Unsubscribe(client) => {
                if let Some(at) = self.pick(client, true) {
                    let client = self.clients.swap_remove(at);
                    self.engine.unsubscribe(client.subscriber, self.now_ms);
                }
            }
            Step::Tick(ms) => {
                self.now_ms += ms;
                self.engine.tick(self.now_ms);
            }
            Step::Scan { .. } | Step::Page(_) | Step::EndEntity(_) => {}
        }
        Ok(())
    }

    /// Takes the engine's outputs to where they belong.
    fn collect(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Deliver(subscribers, delivery) => {
                    for client in self.clients.iter_mut().filter(|client| subscribers.contains(&client.subscriber)) {
                        client.inbox.push_back(delivery.clone());
                        if let Some(Delivery::Ended(EndReason::Unavailable(_))) = client.inbox.back() {
                            // What it has not read is dropped; it may come back.
                            client.inbox.clear();
                            client.connected = false;
                            self.coverage.ended += 1;
                        }
                    }
                }
                Output::Scan(ticket, request) => self.scans.push((ticket, *request)),
            }
        }
    }

    fn newest(&self) -> &(Position, Rows) {
        self.states.last().expect("there is a first state")
    }

    fn commit(&mut self, writes: &[Write], bulk: usize) {
        let (position, before) = self.newest().clone();
        let position = Position(position.0 + 1);
        let mut transaction = Transaction { position, changes: Vec::new(), reloads: Vec::new() };
        let mut state = before.clone();
        for (number, table) in self.plan.tables.iter().enumerate() {
            let mut after = self.copies[number].clone().unwrap_or_else(|| before[number].clone());
            for write in writes.iter().filter(|write| usize::from(write.second) == number) {
                apply_write(table, &mut after, write, position);
            }
            match &mut self.copies[number] {
                Some(copy) => *copy = after,
                None => {
                    if bulk == number {
                        transaction.reloads.push(table.entity.id());
                    } else {
                        transaction.changes.extend(changes(&table.entity, &before[number], &mut after));
                    }
                    state[number] = after;
                }
            }
        }
        self.transactions.push(transaction);
        self.states.push((position, state));
    }

    /// The copy of an entity takes the place of its rows.
    fn set_ready(&mut self, number: usize) {
        let Some(copy) = self.copies[number].take() else { return };
        let (position, mut state) = self.newest().clone();
        let position = Position(position.0 + 1);
        state[number] = copy.iter().map(|row| Row::new(position, row.values().to_vec())).collect();
        let reloads = vec![self.plan.tables[number].entity.id()];
        self.transactions.push(Transaction { position, changes: Vec::new(), reloads });
        self.states.push((position, state));
    }

    fn apply(&mut self) {
        if let Some(transaction) = self.transactions.get(self.applied) {
            self.engine.apply(transaction);
            self.applied += 1;
            self.coverage.held += u64::from(self.engine.exact() < self.engine.position());
        }
    }

    /// Answers a scan as the store would, at the newest committed state.
    fn scan(&mut self, at: usize, cut: usize, whole: bool) {
        let (ticket, request) = self.scans.remove(at);
        let number = request.entity.0 as usize;
        if self.copies[number].is_some() {
            // Asked again, as the shell does, until the entity is there.
            self.coverage.not_ready += 1;
            self.scans.push((ticket, request));
            return;
        }
        let (position, rows) = self.newest();
        let rows = &rows[number];
        let mut keyed: Vec<_> = rows
            .iter()
            .filter(|row| row.tenant(&self.plan.tables[number].entity) == request.tenant)
            .map(|row| (request.order.key(row), row.clone()))
            .filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after))
            .collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        let scanned_most = if whole { usize::MAX } else { cut };
        let mut page = Page { rows: Vec::new(), upto: None, position: *position };
        for (scanned, (key, row)) in keyed.into_iter().enumerate() {
            if page.rows.len() == request.want || scanned == scanned_most {
                break;
            }
            page.upto = Some(key.clone());
            if naive::matches(request.predicate.filter(), &row) {
                page.rows.push((key, row));
            }
        }
        let end = page.rows.len() < request.want && scanned_most > rows.len();
        if end {
            page.upto = None;
        } else if page.upto.is_none() {
            // Nothing lies after the key: that is the end too.
            page.rows.clear();
        }
        self.pages.push((ticket, page));
    }

    fn subscribe(&mut self, plan: &Index, tenant: &Index) {
        let plans = self.plan.tables.iter().enumerate();
        let plans: Vec<_> = plans.flat_map(|(number, table)| table.queries.iter().map(move |q| (number, q))).collect();
        let (number, plan) = plans[plan.index(plans.len())];
        let entity = &self.plan.tables[number].entity;
        let tenant = match entity.tenant() {
            Some(_) => Tenant::new(["a", "b", ""][tenant.index(3)]),
            None => Tenant::common(),
        };
        let (query, cursor) = plan.settle(entity, &self.states[0].1[number]);
        let query = Arc::new(query);
        self.note_cursor(&query, cursor);
        let subscriber = self.next_subscriber();
        let request = Request { query: query.clone(), tenant: tenant.clone(), resume: None, synced: false, request: 0 };
        self.clients.push(Client {
            subscriber,
            connected: true,
            tenant,
            model: ModelClient::new(query.clone()),
            query,
            inbox: VecDeque::new(),
            awaiting: Some(0),
            request: 0,
            last: None,
            undisturbed: false,
            seeded_at: Position(0),
        });
        self.engine.subscribe(subscriber, request);
    }

    fn note_cursor(&mut self, query: &Query, cursor: Option<Vec<Value>>) {
        if let (Some(after), Some(cursor)) = (&query.after, cursor) {
            self.cursors.insert((query.entity.id(), query.order.terms().to_vec(), after.to_vec()), cursor);
        }
    }

    fn next_subscriber(&mut self) -> Subscriber {
        self.next_subscriber += 1;
        self.next_subscriber
    }

    fn pick(&self, index: &Index, connected: bool) -> Option<usize> {
        let fitting: Vec<usize> =
            (0..self.clients.len()).filter(|at| self.clients[*at].connected == connected).collect();
        (!fitting.is_empty()).then(|| fitting[index.index(fitting.len())])
    }

    fn reanchor(&mut self, client: &Index, cursor: &Index, limit: u32) {
        let Some(at) = self.pick(client, true) else { return };
        let client = &self.clients[at];
        let rows = &self.newest().1[client.query.entity.id().0 as usize];
        let row = (!rows.is_empty() && cursor.index(3) > 0).then(|| &rows[cursor.index(rows.len())]);
        let cursor = row.map(|row| naive::cursor_at(row, client.query.order.terms()));
        let after = cursor.as_ref().map(|values| client.query.order.key_of_values(values));
        let limit = if limit < 3 { client.query.limit } else { limit };
        let query = Arc::new(Query { after, limit, ..(*client.query).clone() });
        self.note_cursor(&query, cursor);
        let client = &mut self.clients[at];
        client.request += 1;
        client.awaiting = Some(client.request);
        client.query = query.clone();
        self.engine.reanchor(client.subscriber, query, client.request, self.now_ms);
    }

    fn resume(&mut self, client: &Index) {
        let Some(at) = self.pick(client, false) else { return };
        let subscriber = self.next_subscriber();
        let client = &mut self.clients[at];
        client.subscriber = subscriber;
        client.connected = true;
        client.request += 1;
        client.awaiting = Some(client.request);
        let request = Request {
            query: client.query.clone(),
            tenant: client.tenant.clone(),
            resume: client.last.map(|(token, _)| token),
            synced: false,
            request: client.request,
        };
        self.engine.subscribe(subscriber, request);
    }

    fn catch_up(&mut self, client: &Index, reset: bool) {
        let Some(at) = self.pick(client, true) else { return };
        let client = &mut self.clients[at];
        client.inbox.clear();
        client.request += 1;
        client.awaiting = Some(client.request);
        let current = client.query.fingerprint(&client.tenant) as u64;
        let whole = client.last.filter(|(token, view)| *view == current && token.frame.is_none());
        let sent = whole.map(|(token, _)| token.position);
        self.engine.catch_up(client.subscriber, sent, reset, client.request);
        self.coverage.nets += u64::from(sent.is_some() && !reset);
    }

    /// A client reads everything that was delivered to it.
    fn read(&mut self, at: usize) -> Verdict {
        while let Some(delivery) = self.clients[at].inbox.pop_front() {
            self.take(at, delivery)?;
        }
        Ok(())
    }

    fn take(&mut self, at: usize, delivery: Delivery) -> Verdict {
        let client = &mut self.clients[at];
        match delivery {
            Delivery::Started { request, resumed, .. } => {
                client.undisturbed = false;
                if client.awaiting == Some(request) {
                    client.awaiting = None;
                    self.coverage.resumed += u64::from(resumed);
                    self.coverage.resets += u64::from(!resumed);
                }
                Ok(())
            }
            Delivery::Batch { view, batch, from } => {
                if client.awaiting.is_some() {
                    return Ok(());
                }
                self.coverage.resumed_inside += u64::from(from > 0);
                self.coverage.moves += batch.deltas.iter().filter(|delta| delta.op == Op::Move).count() as u64;
                self.coverage.batches += 1;
                self.apply_batch(at, &view, &batch, from)
            }
            Delivery::Synced { .. } => Ok(()),
            Delivery::Ended(reason) => Err(format!("ended: {reason}")),
        }
    }

    fn apply_batch(&mut self, at: usize, view: &View, batch: &Batch, from: usize) -> Verdict {
        let client = &mut self.clients[at];
        let reset = batch.deltas.first().is_some_and(|delta| delta.op == Op::Reset);
        if reset {
            self.coverage.replaced += u64::from(batch.kind == BatchKind::Own && client.undisturbed);
            client.model.reanchored(view.query.clone());
            client.seeded_at = batch.position;
        }
        if let Some((token, _)) = client.last
            && !reset
            && token.frame.is_none()
            && token.position >= batch.position
        {
            return Err(format!("a batch at {} after one at {}", batch.position, token.position));
        }
        client.model.apply(batch, from)?;
        client.last = Some((view.token(batch, batch.deltas.len()), view.fingerprint));
        client.undisturbed = true;
        self.coverage.streamed += u64::from(view.query.mode == Mode::Streamed && batch.kind == BatchKind::Logged);
        self.check(at, batch.position)
    }

    /// The client's list against the query run at a position.
    fn check(&self, at: usize, position: Position) -> Verdict {
        let client = &self.clients[at];
        let query = client.model.query();
        let entity = &query.entity;
        let rows_at = |position: Position| -> Vec<Arc<Row>> {
            let rows = &self.states[(position.0 - 1) as usize].1[entity.id().0 as usize];
            rows.iter().filter(|row| row.tenant(entity) == client.tenant).cloned().collect()
        };
        let cursor_of = |after: &Key| &self.cursors[&(entity.id(), query.order.terms().to_vec(), after.to_vec())][..];
        let cursor = query.after.as_ref().map(cursor_of);
        let expected = match query.mode {
            Mode::Maintained => naive::expected(&rows_at(position), query, cursor),
            Mode::Streamed => {
                let page = naive::expected(&rows_at(client.seeded_at), query, cursor);
                let mut set = ExpectedSet::new(query.clone(), page);
                let since =
                    self.transactions.iter().filter(|t| t.position > client.seeded_at && t.position <= position);
                for transaction in since {
                    if transaction.reloads.contains(&entity.id()) {
                        return Err(format!("at {position}: a set from {} outlived a reload", client.seeded_at));
                    }
                    let changes = transaction.changes.iter();
                    for change in changes.filter(|c| c.entity == entity.id() && c.tenant == client.tenant) {
                        set.change(change.old.as_ref(), change.new.as_ref());
                    }
                }
                set.rows().to_vec()
            }
        };
        client.model.check(&expected).map_err(|difference| format!("at {position}: {difference}"))
    }

    /// A client with nothing unread has the list of the engine's position, unless rows are still being fetched for it.
    fn check_exact(&self) -> Verdict {
        if self.engine.exact() < self.engine.position() {
            return Ok(());
        }
        for (at, client) in self.clients.iter().enumerate() {
            let whole = client.last.is_some_and(|(token, _)| token.frame.is_none());
            if client.connected && client.inbox.is_empty() && client.awaiting.is_none() && whole {
                self.check(at, self.engine.position())?;
            }
        }
        Ok(())
    }

    fn cut(&mut self, at: usize, frame: &Index) -> Verdict {
        // Everything but the last batch is read whole.
        while self.clients[at].inbox.len() > 1 {
            let delivery = self.clients[at].inbox.pop_front().expect("not empty");
            self.take(at, delivery)?;
        }
        let client = &mut self.clients[at];
        if let (Some(Delivery::Batch { view, batch, from }), None) = (client.inbox.pop_front(), client.awaiting)
            && batch.deltas.len() > from + 1
        {
            let applied = from + 1 + frame.index(batch.deltas.len() - from - 1);
            let token = view.token(&batch, applied);
            let snapshot = batch.deltas[0].op == Op::Reset;
            if !snapshot {
                let part = Batch::new(batch.position, batch.kind, batch.deltas[..applied].iter().cloned().collect());
                client.model.apply(&part, from)?;
            }
            client.last = Some((token, view.fingerprint));
        }
        client.connected = false;
        client.inbox.clear();
        self.engine.unsubscribe(client.subscriber, self.now_ms);
        Ok(())
    }

    /// Lets everything arrive and compares every list once more.
    fn settle(&mut self) -> Verdict {
        let whole = Step::Tick(0);
        self.step(&whole)?;
        self.set_ready(0);
        self.set_ready(1);
        loop {
            self.collect();
            for at in 0..self.clients.len() {
                self.read(at)?;
            }
            if let Some((ticket, page)) = self.pages.pop() {
                self.engine.page(ticket, Ok(page));
            } else if !self.scans.is_empty() {
                self.scan(0, 0, true);
            } else if self.applied < self.transactions.len() {
                self.apply();
            } else {
                break;
            }
        }
        if self.engine.exact() != self.engine.position() {
            return Err("frames are held back though every page has arrived".to_owned());
        }
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| client.connected) {
            if client.awaiting.is_some() {
                return Err(format!("client {at} was never answered"));
            }
            self.check(at, self.engine.position())?;
        }
        Ok(())
    }
}

fn apply_write(table: &Table, rows: &mut Vec<Arc<Row>>, write: &Write, position: Position) {
    let entity = &table.entity;
    let cells = &table.pool[write.cells.index(table.pool.len())];
    match write.kind {
        0..=3 => upsert(entity, rows, Row::new(position, cells.clone())),
        4..=7 if !rows.is_empty() => {
            let at = write.row.index(rows.len());
            let mut values = rows[at].values().to_vec();
            for column in 0..values.len() as u16 {
                if !entity.is_required(column) && (write.kind.is_multiple_of(2) || column.is_multiple_of(2)) {
                    values[usize::from(column)] = cells[usize::from(column)].clone();
                }
            }
            upsert(entity, rows, Row::new(position, values));
        }
        _ if !rows.is_empty() => drop(rows.swap_remove(write.row.index(rows.len()))),
        _ => {}
    }
}

/// What leads from `before` to `after`, row by row. A row that ends as it began keeps its version.
fn changes(entity: &Entity, before: &[Arc<Row>], after: &mut [Arc<Row>]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for old in before {
        let new = after.iter().find(|row| same_row(entity, row, old)).cloned();
        if new.as_ref().is_none_or(|new| new.values() != old.values()) {
            changes.push(Change { entity: entity.id(), tenant: old.tenant(entity), old: Some(old.clone()), new });
        }
    }
    for new in after {
        match before.iter().find(|row| same_row(entity, row, new)) {
            Some(old) if old.values() == new.values() => *new = old.clone(),
            Some(_) => {}
            None => {
                let tenant = new.tenant(entity);
                changes.push(Change { entity: entity.id(), tenant, old: None, new: Some(new.clone()) });
            }
        }
    }
    changes
}

fn same_row(entity: &Entity, a: &Row, b: &Row) -> bool {
    a.tenant(entity) == b.tenant(entity) && naive::same_key(entity, a, b)
}

fn upsert(entity: &Entity, rows: &mut Vec<Arc<Row>>, row: Arc<Row>) {
    match rows.iter().position(|other| same_row(entity, other, &row)) {
        Some(at) => rows[at] = row,
        None => rows.push(row),
    }
}
