//! What a history is made of, and how often the interesting things came up in all of them.

use std::sync::Arc;

use proptest::sample::Index;
use tidegate_model::{Entity, Value};
use tidegate_testkit::strategies::QueryPlan;

/// One thing that happens. Indexes choose among what there is at that moment.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The store commits a transaction: which row, which content, what is done with it.
    Commit(Vec<(Index, Index, u8)>),
    /// The engine takes the next committed transaction.
    Apply,
    /// The store answers a scan, with a page that may be cut short; it is on its way.
    Scan {
        scan: Index,
        cut: Index,
        whole: bool,
    },
    /// A page arrives.
    Page(Index),
    Subscribe {
        plan: Index,
        tenant: Index,
    },
    /// To another anchor, and to another limit where that is at least 3.
    Reanchor {
        client: Index,
        cursor: Index,
        limit: u32,
    },
    /// A client reads what was delivered to it.
    Read(Index),
    /// A client reads part of a batch and loses its connection.
    Cut {
        client: Index,
        frame: Index,
    },
    /// A client comes back with its token.
    Resume(Index),
    /// A client drops what it has not read and asks for the net.
    CatchUp {
        client: Index,
        reset: bool,
    },
    Unsubscribe(Index),
    /// Time passes, in milliseconds.
    Tick(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) entity: Arc<Entity>,
    pub(crate) queries: Vec<QueryPlan>,
    pub(crate) pool: Vec<Vec<Value>>,
    pub(crate) initial: usize,
    pub(crate) steps: Vec<Step>,
    pub(crate) cushion: Option<u32>,
    pub(crate) log_batches: usize,
}

/// How often the interesting things happened, so that a run which tests nothing fails.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Coverage {
    pub(crate) resumed: u64,
    pub(crate) resumed_inside: u64,
    pub(crate) resets: u64,
    pub(crate) nets: u64,
    pub(crate) pages_ahead: u64,
    pub(crate) pages_late: u64,
    pub(crate) held: u64,
    pub(crate) moves: u64,
    pub(crate) streamed: u64,
    pub(crate) batches: u64,
}

impl Coverage {
    pub(crate) fn add(&mut self, other: &Self) {
        self.resumed += other.resumed;
        self.resumed_inside += other.resumed_inside;
        self.resets += other.resets;
        self.nets += other.nets;
        self.pages_ahead += other.pages_ahead;
        self.pages_late += other.pages_late;
        self.held += other.held;
        self.moves += other.moves;
        self.streamed += other.streamed;
        self.batches += other.batches;
    }

    pub(crate) fn assert(&self, cases: u32) {
        let all = [
            self.resumed,
            self.resets,
            self.nets,
            self.pages_ahead,
            self.pages_late,
            self.held,
            self.moves,
            self.streamed,
            self.batches,
        ];
        eprintln!("{cases} histories: {self:?}");
        if cases >= 1_000 {
            assert!(all.iter().all(|count| *count > u64::from(cases) / 200), "hardly tested: {self:?}");
            assert!(self.resumed_inside > 0, "no resume inside a batch: {self:?}");
        }
    }
}
