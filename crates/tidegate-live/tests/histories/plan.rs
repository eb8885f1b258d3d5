//! What a history is made of, and how often the interesting things came up in all of them.

use std::sync::Arc;

use proptest::sample::Index;
use tidegate_model::{Entity, Value};
use tidegate_testkit::strategies::QueryPlan;

/// One thing that happens. Indexes choose among what there is at that moment.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The store commits a transaction. `bulk`: the number of the entity whose changes are not told row by row, if that
    /// is one.
    Commit {
        writes: Vec<Write>,
        bulk: usize,
    },
    /// The store copies an entity anew: it tells no change of it and its scans wait.
    Fill(Index),
    /// The copy is there.
    Ready(Index),
    /// An entity can't be served for a moment.
    EndEntity(Index),
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

/// One write of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// To the second entity.
    pub(crate) second: bool,
    pub(crate) row: Index,
    pub(crate) cells: Index,
    /// What is done.
    pub(crate) kind: u8,
}

/// An entity with what is asked of it and written to it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) entity: Arc<Entity>,
    pub(crate) queries: Vec<QueryPlan>,
    pub(crate) pool: Vec<Vec<Value>>,
    /// How many rows of the pool are there at the beginning.
    pub(crate) initial: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) tables: [Table; 2],
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
    /// Lists read anew while their subscribers had them, and sets replaced.
    pub(crate) reloaded: u64,
    pub(crate) replaced: u64,
    /// Pages read before a reload that arrived after it.
    pub(crate) outlived: u64,
    pub(crate) not_ready: u64,
    pub(crate) ended: u64,
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
        self.reloaded += other.reloaded;
        self.replaced += other.replaced;
        self.outlived += other.outlived;
        self.not_ready += other.not_ready;
        self.ended += other.ended;
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
            self.reloaded,
            self.replaced,
            self.outlived,
            self.not_ready,
            self.ended,
            self.batches,
        ];
        eprintln!("{cases} histories: {self:?}");
        if cases >= 1_000 {
            assert!(all.iter().all(|count| *count > u64::from(cases) / 200), "hardly tested: {self:?}");
            assert!(self.resumed_inside > 0, "no resume inside a batch: {self:?}");
        }
    }
}
