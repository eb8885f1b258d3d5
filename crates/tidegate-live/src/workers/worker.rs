//! What runs on a worker's thread: one engine, its turns, and the handing over at the end of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tidegate_model::{Page, ScanError};

use super::{Command, Mailbox, Progress};
use crate::dispatch::Dispatch;
use crate::engine::{Engine, Output};
use crate::metrics::Metrics;
use crate::scans::{PageAnswer, RETRY, Scans};
use crate::transactions::TransactionQueue;

/// How often idle views are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Most commands and most transactions of one turn: enough that handing over costs little beside them, few enough that
/// neither makes the other wait long.
const COMMANDS_MAX: usize = if cfg!(test) { 2 } else { 256 };
pub(super) const TRANSACTIONS_MAX: usize = if cfg!(test) { 3 } else { 64 };

/// From so many outputs, or so many subscribers that they are for (16 bytes each), on a turn takes no more transactions.
const OUTPUTS_MAX: usize = if cfg!(test) { 2 } else { 1_024 };
const DELIVERIES_MAX: usize = 65_536;

pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) engine: Engine,
    pub(super) dispatch: Dispatch,
    pub(super) transactions: Arc<TransactionQueue>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Commands of the turn; empty between turns.
    pub(super) taken: Vec<Command>,
    pub(super) scans: Scans,
    pub(super) metrics: Arc<Metrics>,
    pub(super) progress: Arc<Progress>,
    pub(super) started: Instant,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.mailbox.commands.close();
        self.transactions.close();
    }
}

impl Worker {
    pub(super) fn run(mut self, committed: &Receiver<()>, commanded: &Receiver<()>, pages: &Receiver<PageAnswer>) {
        let mut last_tick = Instant::now();
        loop {
            crossbeam_channel::select! {
                recv(committed) -> _ => if !self.transactions() {
                    return;
                },
                recv(commanded) -> _ => self.commands(),
                recv(pages) -> answer => {
                    if let Ok((ticket, page)) = answer {
                        self.page(ticket, page);
                    }
                },
                default(if self.scans.is_retrying() { RETRY } else { TICK }) => {}
            }
            if last_tick.elapsed() >= TICK {
                last_tick = Instant::now();
                let now_ms = self.now_ms();
                self.engine.tick(now_ms);
            }
            self.act();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Folds in some of the transactions that wait. False if there are none and none will come.
    pub(super) fn transactions(&mut self) -> bool {
        let (engine, metrics) = (&mut self.engine, &self.metrics);
        self.transactions.take(TRANSACTIONS_MAX, |transaction| {
            metrics.transactions.add(1);
            engine.apply(transaction);
            let (outputs, deliveries) = engine.outputs();
            outputs < OUTPUTS_MAX && deliveries < DELIVERIES_MAX
        })
    }

    pub(super) fn page(&mut self, ticket: u64, page: Result<Page, ScanError>) {
        if let Some(page) = self.scans.answered(ticket, page) {
            self.engine.page(ticket, page);
        }
    }

    /// Takes some of the commands that wait.
    pub(super) fn commands(&mut self) {
        let now_ms = self.now_ms();
        let mut taken = std::mem::take(&mut self.taken);
        self.mailbox.commands.take(COMMANDS_MAX, &mut taken);
        for command in taken.drain(..) {
            self.command(command, now_ms);
        }
        self.taken = taken;
    }

    fn command(&mut self, command: Command, now_ms: u64) {
        match command {
            Command::Subscribe { subscriber, request, address, sink } => {
                self.dispatch.enter(subscriber, address, sink);
                self.engine.subscribe(subscriber, *request);
            }
            Command::Reanchor { subscriber, query, request } => {
                self.engine.reanchor(subscriber, query, request, now_ms);
            }
            Command::CatchUp { subscriber, sent, reset, request } => {
                self.engine.catch_up(subscriber, sent, reset, request);
            }
            Command::Unsubscribe { subscriber } => {
                self.dispatch.leave(subscriber);
                self.engine.unsubscribe(subscriber, now_ms);
                // Whoever is given the number now is heard of in a later turn: nothing of this one can be taken for its.
                self.mailbox.numbers.give_back([subscriber].into_iter());
            }
            Command::EndEntity { entity, reason } => self.engine.end_entity(entity, &reason),
        }
    }

    /// Does what the engine asks for, then says how far it is.
    pub(super) fn act(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Deliver(subscribers, delivery) => self.dispatch.put(&subscribers, &delivery),
                Output::Scan(ticket, request) => self.scans.push(ticket, request),
            }
        }
        self.dispatch.send();
        self.scans.start(&self.engine);
        self.progress.report(self.number, self.engine.exact());
    }
}
