//! A store, an engine and clients, moved by hand: what is committed, applied, read and delivered, and when.
//!
//! Rows are `(id, n, color)` with a color of 0, lists are ordered by `n`. Each client applies what it is handed strictly, and each batch is
//! compared with the query run on the store's state at the batch's position.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_live::{Delivery, EndReason, Engine, Limits, Metrics, Output, Request};
use tidegate_model::{
    Batch, Catalog, Change, EntityBuilder, Page, Position, Query, Row, ScanError, ScanRequest, Tenant, Token,
    Transaction, Type, Value,
};
use tidegate_testkit::model_client::ModelClient;
use tidegate_testkit::naive;

/// A write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write {
    Put(i64, i64),
    Delete(i64),
}

pub(crate) use Write::{Delete, Put};

/// What a query is made of: rows whose `n` is not negative, in the order of `n`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) limit: u32,
    /// `n` and `id` of the row that the window starts after.
    pub(crate) after: Option<(i64, i64)>,
    pub(crate) mode: &'static str,
    /// Whether to be told of every transaction.
    pub(crate) synced: bool,
}

pub(crate) fn head(limit: u32) -> Ask {
    Ask { limit, after: None, mode: "maintained", synced: false }
}

#[derive(Debug)]
pub(crate) struct Client {
    ask: Ask,
    pub(crate) model: ModelClient,
    /// The number of the last command; deliveries before its answer are of a list that was given up.
    awaiting: Option<u64>,
    commands: u64,
    /// Everything handed over since it was last looked at, as it came.
    pub(crate) inbox: Vec<Delivery>,
    pub(crate) token: Option<Token>,
    pub(crate) ended: Option<EndReason>,
}

type State = BTreeMap<i64, Arc<Row>>;

pub(crate) struct Scenario {
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    catalog: Catalog,
    /// By position, the first at 1.
    states: Vec<State>,
    committed: Vec<Transaction>,
    applied: usize,
    pub(crate) scans: Vec<(u64, ScanRequest)>,
    pub(crate) clients: Vec<Client>,
    pub(crate) now_ms: u64,
}

pub(crate) fn cushion(rows: u32) -> Limits {
    Limits { cushion: Some(rows), ..Limits::default() }
}

fn row(position: Position, id: i64, n: i64) -> Arc<Row> {
    Row::new(position, vec![Value::Int(id), Value::Int(n), Value::Int(0)])
}

fn id_of(row: &Row) -> i64 {
    match row.value(0) {
        Value::Int(id) => *id,
        other => panic!("an id that is {other:?}"),
    }
}

impl Scenario {
    /// A store with rows `1..=rows` whose `n` is ten times their id.
    pub(crate) fn new(limits: Limits, rows: i64) -> Self {
        let entity = EntityBuilder {
            name: "row".into(),
            columns: ["id", "n", "color"].map(|name| (name.into(), Type::Int)).into(),
            key: vec!["id".into()],
            ..EntityBuilder::default()
        };
        let metrics = Arc::<Metrics>::default();
        Self {
            engine: Engine::new(limits, 7, Position(1), metrics.clone()),
            metrics,
            catalog: Catalog::build(&[entity]).expect("a valid description"),
            states: vec![(1..=rows).map(|id| (id, row(Position(1), id, 10 * id))).collect()],
            committed: Vec::new(),
            applied: 0,
            scans: Vec::new(),
            clients: Vec::new(),
            now_ms: 0,
        }
    }

    fn query(&self, ask: Ask) -> Arc<Query> {
        let cursor = ask.after.map_or("null".to_owned(), |(n, id)| format!("{{\"values\":[{n},{id}]}}"));
        let text = format!(
            "{{\"entity\":\"row\",\"where\":[{{\"column\":\"n\",\"op\":\"gte\",\"value\":0}}],\
             \"sort\":[{{\"column\":\"n\"}}],\"limit\":{},\"cursor\":{cursor},\"mode\":\"{}\"}}",
            ask.limit, ask.mode
        );
        Arc::new(Query::from_json(&self.catalog, &text).expect("a valid query"))
    }

    /// The store commits; the engine has not seen it yet.
    pub(crate) fn commit(&mut self, writes: &[Write]) {
        let position = Position(self.states.len() as u64 + 1);
        let before = self.states.last().expect("there is a first state");
        let mut after = before.clone();
        for write in writes {
            match *write {
                Put(id, n) => drop(after.insert(id, row(position, id, n))),
                Delete(id) => drop(after.remove(&id)),
            }
        }
        let entity = self.catalog.entities()[0].id();
        let mut ids: Vec<i64> = writes.iter().map(|(Put(id, _) | Delete(id))| *id).collect();
        ids.dedup();
        let change = |id: &i64| Change {
            entity,
            tenant: Tenant::common(),
            old: before.get(id).cloned(),
            new: after.get(id).cloned(),
        };
        let cells = |row: &Option<Arc<Row>>| row.as_ref().map(|row| row.values().to_vec());
        let changes = ids.iter().map(change).filter(|change| cells(&change.old) != cells(&change.new)).collect();
        self.committed.push(Transaction { position, changes, reloads: Vec::new() });
        self.states.push(after);
    }

    /// The same, told in bulk.
    pub(crate) fn commit_reload(&mut self, writes: &[Write]) {
        self.commit(writes);
        self.tell_in_bulk();
    }

    /// A write that is told in bulk and that the engine sees at once; scans stay unanswered.
    pub(crate) fn reload(&mut self, writes: &[Write]) {
        self.commit_reload(writes);
        self.apply();
    }

    /// A reload that leaves a row as it was, its version too, but for its color.
    pub(crate) fn reload_with_color(&mut self, id: i64, color: i64) {
        self.commit_reload(&[]);
        let state = self.states.last_mut().expect("just committed");
        if let Some(row) = state.get_mut(&id) {
            let mut values = row.values().to_vec();
            values[2] = Value::Int(color);
            *row = Row::new(Position(row.version()), values);
        }
        self.apply();
    }

    fn tell_in_bulk(&mut self) {
        let transaction = self.committed.last_mut().expect("just committed");
        transaction.changes.clear();
        transaction.reloads.push(self.catalog.entities()[0].id());
    }

    /// The oldest scan is refused.
    pub(crate) fn refuse_scan(&mut self, error: ScanError) {
        let (ticket, _) = self.scans.remove(0);
        self.engine.page(ticket, Err(error));
        self.collect();
    }

    /// The entity is not served any more.
    pub(crate) fn end_entity(&mut self, reason: &str) {
        self.engine.end_entity(self.catalog.entities()[0].id(), &reason.into());
        self.collect();
    }

    /// The engine takes the next committed transaction, if there is one.
    pub(crate) fn apply(&mut self) {
        if let Some(transaction) = self.committed.get(self.applied) {
            self.engine.apply(transaction);
            self.applied += 1;
        }
        self.collect();
    }

    /// A write that the engine sees at once; scans stay unanswered.
    pub(crate) fn write(&mut self, writes: &[Write]) {
        self.commit(writes);
        self.apply();
    }

    /// The store reads a page for the oldest scan, at its newest state.
    pub(crate) fn read_page(&mut self) -> (u64, Page) {
        let (ticket, request) = self.scans.remove(0);
        let state = self.states.last().expect("there is a first state");
        let mut rows: Vec<_> =
            naive::matching(&state.values().cloned().collect::<Vec<_>>(), request.predicate.filter())
                .into_iter()
                .map(|row| (request.order.key(&row), row))
                .filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after))
                .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let more = rows.len() > request.want;
        rows.truncate(request.want);
        let upto = if more { rows.last().map(|(key, _)| key.clone()) } else { None };
        (ticket, Page { rows, upto, position: Position(self.states.len() as u64) })
    }

    /// A page arrives at the engine.
    pub(crate) fn give(&mut self, (ticket, page): (u64, Page)) {
        self.engine.page(ticket, Ok(page));
        self.collect();
    }

    /// The oldest scan fails.
    pub(crate) fn fail_scan(&mut self) {
        self.refuse_scan(ScanError::Store("broken".into()));
    }

    /// Everything under way arrives, and every list is compared with the query run on the newest state.
    pub(crate) fn settle(&mut self) {
        loop {
            if !self.scans.is_empty() {
                let page = self.read_page();
                self.give(page);
            } else if self.applied < self.committed.len() {
                self.apply();
            } else {
                break;
            }
        }
        for client in self.clients.iter().filter(|client| client.ended.is_none() && client.commands > 0) {
            assert_eq!(client.awaiting, None, "a command was never answered");
            if client.ask.mode == "maintained" {
                self.check(client, self.engine.position());
            }
        }
    }

    /// A client subscribes, perhaps coming back with a token; its number.
    pub(crate) fn subscribe_with(&mut self, ask: Ask, resume: Option<Token>) -> usize {
        let query = self.query(ask);
        let model = match resume.and_then(|token| self.clients.iter().find(|client| client.token == Some(token))) {
            Some(before) => before.model.clone(),
            None => ModelClient::new(query.clone()),
        };
        let at = self.clients.len();
        self.clients.push(Client {
            ask,
            model,
            awaiting: Some(1),
            commands: 1,
            inbox: Vec::new(),
            token: resume,
            ended: None,
        });
        let request = Request { query, tenant: Tenant::common(), resume, synced: ask.synced, request: 1 };
        self.engine.subscribe(at as u32, request);
        self.collect();
        at
    }

    pub(crate) fn subscribe(&mut self, ask: Ask) -> usize {
        self.subscribe_with(ask, None)
    }

    /// A client that subscribes and has its first snapshot; what it was handed so far is forgotten.
    pub(crate) fn settled(&mut self, ask: Ask) -> usize {
        let client = self.subscribe(ask);
        self.settle();
        self.clients[client].inbox.clear();
        client
    }

    pub(crate) fn reanchor(&mut self, client: usize, ask: Ask) {
        let query = self.query(ask);
        let request = self.command(client);
        self.clients[client].ask = ask;
        self.engine.reanchor(client as u32, query, request, self.now_ms);
        self.collect();
    }

    /// A client drops what it was handed after `sent` and asks for the net of it.
    pub(crate) fn catch_up(&mut self, client: usize, sent: Option<Position>, reset: bool) {
        let request = self.command(client);
        self.engine.catch_up(client as u32, sent, reset, request);
        self.collect();
    }

    pub(crate) fn unsubscribe(&mut self, client: usize) {
        self.clients[client].commands = 0;
        self.engine.unsubscribe(client as u32, self.now_ms);
        self.collect();
    }

    fn command(&mut self, client: usize) -> u64 {
        let client = &mut self.clients[client];
        client.commands += 1;
        client.awaiting = Some(client.commands);
        client.commands
    }

    fn collect(&mut self) {
        for output in self.engine.take_outputs().collect::<Vec<_>>() {
            match output {
                Output::Scan(ticket, request) => self.scans.push((ticket, *request)),
                Output::Deliver(subscribers, delivery) => {
                    subscribers.iter().for_each(|subscriber| self.take(*subscriber as usize, delivery.clone()));
                }
            }
        }
    }

    fn take(&mut self, at: usize, delivery: Delivery) {
        let client = &mut self.clients[at];
        client.inbox.push(delivery.clone());
        match delivery {
            Delivery::Started { request, .. } if client.awaiting == Some(request) => client.awaiting = None,
            Delivery::Batch { view, batch, from } if client.awaiting.is_none() => {
                client.model.reanchored(view.query.clone());
                client.model.apply(&batch, from).expect("frames that fit the list");
                client.token = Some(view.token(&batch, batch.deltas.len()));
                let client = &self.clients[at];
                if client.ask.mode == "maintained" {
                    self.check(client, batch.position);
                }
            }
            Delivery::Ended(reason) => client.ended = Some(reason),
            Delivery::Started { .. } | Delivery::Batch { .. } | Delivery::Synced { .. } => {}
        }
    }

    fn check(&self, client: &Client, position: Position) {
        let state = &self.states[position.0 as usize - 1];
        let rows: Vec<_> = state.values().cloned().collect();
        let cursor = client.ask.after.map(|(n, id)| vec![Value::Int(n), Value::Int(id)]);
        let expected = naive::expected(&rows, client.model.query(), cursor.as_deref());
        client.model.check(&expected).expect("the list of the batch's position");
    }

    /// Lets the store's history go, but for the newest state.
    pub(crate) fn forget_history(&mut self) {
        let newest = self.states.len() - 1;
        self.states[..newest].iter_mut().for_each(BTreeMap::clear);
        self.committed.iter_mut().for_each(|transaction| transaction.changes.clear());
    }

    /// Lets every row of the store go: what is alive now, the engine holds.
    pub(crate) fn forget_store(&mut self) {
        self.forget_history();
        self.states.iter_mut().for_each(BTreeMap::clear);
        self.clients.clear();
    }

    /// The ids that a client shows.
    pub(crate) fn list(&self, client: usize) -> Vec<i64> {
        self.clients[client].model.rows().iter().map(|row| id_of(row)).collect()
    }

    /// The batches a client was handed since this was last asked.
    pub(crate) fn batches(&mut self, client: usize) -> Vec<Arc<Batch>> {
        let taken = std::mem::take(&mut self.clients[client].inbox);
        let batch = |delivery| match delivery {
            Delivery::Batch { batch, .. } => Some(batch),
            _ => None,
        };
        taken.into_iter().filter_map(batch).collect()
    }

    /// The frames in them, as `op id old>new`.
    pub(crate) fn frames(&mut self, client: usize) -> Vec<String> {
        let batches = self.batches(client);
        let deltas = batches.iter().flat_map(|batch| batch.deltas.iter());
        let frame = |delta: &tidegate_model::Delta| match &delta.row {
            Some(row) => format!("{} {} {}>{}", delta.op.name(), id_of(row), delta.old_index, delta.new_index),
            None => delta.op.name().to_owned(),
        };
        deltas.map(frame).collect()
    }
}
