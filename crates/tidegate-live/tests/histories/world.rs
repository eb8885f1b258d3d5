//! A store, an engine and clients, driven step by step.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use proptest::sample::Index;
use tidegate_live::{Delivery, Engine, Limits, Metrics, Output, Request, View};
use tidegate_model::{
    Batch, BatchKind, Change, Entity, Key, Mode, Op, Page, Position, Query, Row, ScanRequest, SortKey, Tenant, Token,
    Transaction, Value,
};
use tidegate_testkit::model_client::{ExpectedSet, ModelClient};
use tidegate_testkit::naive;

use crate::plan::{Coverage, Plan, Step};

struct Client {
    subscriber: u64,
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
    /// The position of the snapshot that a streamed set began with.
    seeded_at: Position,
}

pub(crate) struct World<'a> {
    plan: &'a Plan,
    engine: Engine,
    now_ms: u64,
    /// Every state of the store, the newest last.
    states: Vec<(Position, Vec<Arc<Row>>)>,
    transactions: Vec<Transaction>,
    applied: usize,
    scans: Vec<(u64, ScanRequest)>,
    pages: Vec<(u64, Page)>,
    clients: Vec<Client>,
    /// By the terms of the order and the encoded anchor.
    cursors: HashMap<(Vec<SortKey>, Vec<u8>), Vec<Value>>,
    next_subscriber: u64,
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
        let mut rows = Vec::new();
        for cells in plan.pool.iter().take(plan.initial) {
            upsert(&plan.entity, &mut rows, Row::new(start, cells.clone()));
        }
        let mut world = World {
            plan,
            engine: Engine::new(limits, 7, start, Arc::new(Metrics::default())),
            now_ms: 0,
            states: vec![(start, rows)],
            transactions: Vec::new(),
            applied: 0,
            scans: Vec::new(),
            pages: Vec::new(),
            clients: Vec::new(),
            cursors: HashMap::new(),
            next_subscriber: 0,
            coverage: Coverage::default(),
        };
        for step in &plan.steps {
            world.step(step)?;
            world.collect();
            world.check_exact()?;
        }
        world.settle()?;
        Ok(world.coverage)
    }

    fn step(&mut self, step: &Step) -> Verdict {
        match step {
            Step::Commit(writes) => self.commit(writes),
            Step::Apply => self.apply(),
            Step::Scan { scan, cut, whole } if !self.scans.is_empty() => {
                self.scan(scan.index(self.scans.len()), 1 + cut.index(4), *whole);
            }
            Step::Page(page) if !self.pages.is_empty() => {
                let (ticket, page) = self.pages.remove(page.index(self.pages.len()));
                self.coverage.pages_ahead += u64::from(page.position > self.engine.position());
                self.coverage.pages_late += u64::from(page.position < self.engine.position());
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
            Step::Scan { .. } | Step::Page(_) => {}
        }
        Ok(())
    }

    /// Takes the engine's outputs to where they belong.
    fn collect(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Deliver(subscriber, delivery) => {
                    if let Some(client) = self.clients.iter_mut().find(|client| client.subscriber == subscriber) {
                        client.inbox.push_back(delivery);
                    }
                }
                Output::Scan(ticket, request) => self.scans.push((ticket, *request)),
            }
        }
    }

    fn newest(&self) -> &(Position, Vec<Arc<Row>>) {
        self.states.last().expect("there is a first state")
    }

    fn commit(&mut self, writes: &[(Index, Index, u8)]) {
        let entity = &self.plan.entity;
        let (position, before) = self.newest().clone();
        let position = Position(position.0 + 1);
        let mut after = before.clone();
        for (row, cells, kind) in writes {
            let cells = &self.plan.pool[cells.index(self.plan.pool.len())];
            match kind {
                0..=3 => upsert(entity, &mut after, Row::new(position, cells.clone())),
                4..=7 if !after.is_empty() => {
                    let at = row.index(after.len());
                    let mut values = after[at].values().to_vec();
                    for column in 0..values.len() as u16 {
                        if !entity.is_required(column) && (kind % 2 == 0 || column % 2 == 0) {
                            values[usize::from(column)] = cells[usize::from(column)].clone();
                        }
                    }
                    upsert(entity, &mut after, Row::new(position, values));
                }
                _ if !after.is_empty() => drop(after.swap_remove(row.index(after.len()))),
                _ => {}
            }
        }
        let mut changes: Vec<Change> = Vec::new();
        for old in &before {
            let new = after.iter().find(|row| same_row(entity, row, old)).cloned();
            if new.as_ref().is_none_or(|new| new.values() != old.values()) {
                changes.push(Change { entity: entity.id(), tenant: old.tenant(entity), old: Some(old.clone()), new });
            }
        }
        for new in &mut after {
            match before.iter().find(|row| same_row(entity, row, new)) {
                // A row that ends as it began keeps its version.
                Some(old) if old.values() == new.values() => *new = old.clone(),
                Some(_) => {}
                None => {
                    let tenant = new.tenant(entity);
                    changes.push(Change { entity: entity.id(), tenant, old: None, new: Some(new.clone()) });
                }
            }
        }
        self.transactions.push(Transaction { position, changes, reloads: Vec::new() });
        self.states.push((position, after));
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
        let (position, rows) = self.newest();
        let mut keyed: Vec<_> = rows
            .iter()
            .filter(|row| row.tenant(&self.plan.entity) == request.tenant)
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
        let entity = &self.plan.entity;
        let tenant = match entity.tenant() {
            Some(_) => Tenant::new(["a", "b", ""][tenant.index(3)]),
            None => Tenant::common(),
        };
        let plan = &self.plan.queries[plan.index(self.plan.queries.len())];
        let (query, cursor) = plan.settle(entity, &self.states[0].1);
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
            seeded_at: Position(0),
        });
        self.engine.subscribe(subscriber, request);
    }

    fn note_cursor(&mut self, query: &Query, cursor: Option<Vec<Value>>) {
        if let (Some(after), Some(cursor)) = (&query.after, cursor) {
            self.cursors.insert((query.order.terms().to_vec(), after.to_vec()), cursor);
        }
    }

    fn next_subscriber(&mut self) -> u64 {
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
        let rows = &self.newest().1;
        let client = &self.clients[at];
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
        self.engine.reanchor(client.subscriber, &query, client.request, self.now_ms);
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
            client.model.reanchored(Arc::new(view.query.clone()));
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
        self.coverage.streamed += u64::from(view.query.mode == Mode::Streamed && batch.kind == BatchKind::Logged);
        self.check(at, batch.position)
    }

    /// The client's list against the query run at a position.
    fn check(&self, at: usize, position: Position) -> Verdict {
        let client = &self.clients[at];
        let query = client.model.query();
        let rows_at = |position: Position| -> Vec<Arc<Row>> {
            let (_, rows) = &self.states[(position.0 - 1) as usize];
            rows.iter().filter(|row| row.tenant(&self.plan.entity) == client.tenant).cloned().collect()
        };
        let cursor_of = |after: &Key| &self.cursors[&(query.order.terms().to_vec(), after.to_vec())][..];
        let cursor = query.after.as_ref().map(cursor_of);
        let expected = match query.mode {
            Mode::Maintained => naive::expected(&rows_at(position), query, cursor),
            Mode::Streamed => {
                let page = naive::expected(&rows_at(client.seeded_at), query, cursor);
                let mut set = ExpectedSet::new(query.clone(), page);
                let since =
                    self.transactions.iter().filter(|t| t.position > client.seeded_at && t.position <= position);
                for change in since.flat_map(|t| &t.changes).filter(|change| change.tenant == client.tenant) {
                    set.change(change.old.as_ref(), change.new.as_ref());
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

fn same_row(entity: &Entity, a: &Row, b: &Row) -> bool {
    a.tenant(entity) == b.tenant(entity) && naive::same_key(entity, a, b)
}

fn upsert(entity: &Entity, rows: &mut Vec<Arc<Row>>, row: Arc<Row>) {
    match rows.iter().position(|other| same_row(entity, other, &row)) {
        Some(at) => rows[at] = row,
        None => rows.push(row),
    }
}
