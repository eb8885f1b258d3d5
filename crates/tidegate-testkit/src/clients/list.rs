//! A list kept by applying frames exactly as the contract says, and complaining about every rule they break.

use serde::Deserialize;
use serde_json::Value;

/// A frame of the live protocol.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// Its number in the subscription. Frames of the event protocol carry none.
    pub seq: Option<u64>,
    /// What it does.
    pub op: String,
    /// The row's key as text.
    pub agg_id: Option<String>,
    /// The position of the row's last change.
    pub version: Option<u64>,
    /// The row.
    pub row: Option<Value>,
    /// Where the row was.
    pub old_index: Option<i64>,
    /// Where the row is.
    pub new_index: Option<i64>,
    /// The row's place in the order.
    pub cursor: Option<Value>,
    /// Where to resume after this frame.
    pub stream_id: Option<String>,
    /// Ends a transaction.
    pub last: bool,
    /// Of a `synced`.
    pub position: Option<String>,
    /// Of an `error`.
    pub code: Option<String>,
    /// Of an `error`.
    pub message: Option<String>,
}

/// A row of a list or page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Entry {
    /// The row's key as text; a page may leave it out.
    #[serde(default)]
    pub agg_id: Option<String>,
    /// The position of the row's last change.
    pub version: u64,
    /// The selected columns.
    pub row: Value,
    /// The row's place in the order.
    #[serde(default)]
    pub cursor: Value,
}

/// A list (or, streamed, a set) as a client keeps it, over any number of connections.
#[derive(Debug, Clone, Default)]
pub struct ModelList {
    streamed: bool,
    entries: Vec<Entry>,
    seq: u64,
    token: Option<String>,
    seeding: bool,
    ready: bool,
    inside: bool,
    synced: Option<u64>,
    /// Resets seen.
    pub resets: usize,
    /// Frames seen.
    pub frames: usize,
}

impl ModelList {
    /// A list that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of a streamed subscription.
    #[must_use]
    pub fn streamed() -> Self {
        Self { streamed: true, ..Self::default() }
    }

    /// Its rows.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The last `stream_id`: where to resume.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether a whole snapshot and whole transactions are what it shows.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ready && !self.inside && !self.seeding
    }

    /// The position of the last `synced`.
    #[must_use]
    pub fn synced(&self) -> Option<u64> {
        self.synced
    }

    /// Compares with a page: same rows, versions and cursors, in the same order. A streamed set is compared as one.
    ///
    /// # Errors
    /// Both, where they differ.
    pub fn check(&self, page: &[Entry]) -> Result<(), String> {
        let plain = |entries: &[Entry]| {
            let mut plain: Vec<_> =
                entries.iter().map(|entry| (entry.version, entry.row.to_string(), entry.cursor.to_string())).collect();
            if self.streamed {
                plain.sort();
            }
            plain
        };
        match (self.is_whole(), plain(&self.entries) == plain(page)) {
            (true, true) => Ok(()),
            (true, false) => Err(format!("the list {:#?}\nis not the page {page:#?}", self.entries)),
            (false, _) => Err(format!("the list is in the middle of something: {self:?}")),
        }
    }

    /// A new connection: numbers start again at 1. What comes first is a `reset` or goes on from the token.
    pub fn reconnected(&mut self) {
        self.seq = 0;
        self.synced = None;
    }

    /// Applies one frame that carries its own number.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn apply(&mut self, frame: &Frame) -> Result<(), String> {
        if frame.op == "synced" {
            return self.synced_to(frame);
        }
        let seq = frame.seq.ok_or_else(|| format!("a frame without seq: {frame:?}"))?;
        self.apply_numbered(seq, frame)
    }

    /// Takes note of a `synced`, which is between the frames and has no number.
    ///
    /// # Errors
    /// Where it names no position, or goes back.
    pub fn synced_to(&mut self, frame: &Frame) -> Result<(), String> {
        let position = frame.position.as_deref().and_then(|position| position.parse().ok());
        match position.filter(|position| Some(*position) >= self.synced && !self.inside && frame.seq.is_none()) {
            Some(position) => self.synced = Some(position),
            None => return Err(format!("no synced of this moment: {frame:?} for {self:?}")),
        }
        Ok(())
    }

    /// Applies one frame that is the `seq`-th of its subscription.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn apply_numbered(&mut self, seq: u64, frame: &Frame) -> Result<(), String> {
        let wrong = |rule: &str| Err(format!("{rule}: frame {frame:?} after {} of {:?}", self.seq, self.entries));
        if seq != self.seq + 1 {
            return wrong("a gap in seq");
        }
        if frame.op == "error" {
            return wrong("an error");
        }
        if let Err(rule) = self.step(frame) {
            return Err(format!("{rule}: frame {frame:?} after {} of {:?}", self.seq, self.entries));
        }
        self.seq = seq;
        self.frames += 1;
        let token = frame.stream_id.as_ref().ok_or_else(|| format!("a frame without stream_id: {frame:?}"))?;
        // Only the last frame of a batch may stand for its whole position.
        self.inside = token.contains('~');
        if self.inside == (frame.last || frame.op == "ready") {
            return Err(format!("the token of the last frame, and only it, has no ~: {frame:?}"));
        }
        self.token = Some(token.clone());
        Ok(())
    }

    fn step(&mut self, frame: &Frame) -> Result<(), &'static str> {
        match &*frame.op {
            "reset" => {
                self.entries.clear();
                (self.seeding, self.ready) = (true, false);
                self.resets += 1;
                return Ok(());
            }
            "ready" if !self.seeding => return Err("ready without a reset"),
            "ready" => {
                (self.seeding, self.ready) = (false, true);
                return Ok(());
            }
            _ if !self.ready && !self.seeding => return Err("a frame before the first reset"),
            op if self.seeding && op != "enter" => return Err("a snapshot is made of enters"),
            _ => {}
        }
        if self.streamed { self.step_set(frame) } else { self.step_list(frame) }
    }

    fn entry(&self, frame: &Frame) -> Result<(Option<usize>, Entry), &'static str> {
        let id = frame.agg_id.as_deref().ok_or("a row without agg_id")?;
        let known = self.entries.iter().position(|entry| entry.agg_id.as_deref() == Some(id));
        let version = frame.version.ok_or("a row without version")?;
        let row = frame.row.clone().ok_or("a frame without its row")?;
        Ok((
            known,
            Entry { agg_id: Some(id.to_owned()), version, row, cursor: frame.cursor.clone().unwrap_or_default() },
        ))
    }

    fn step_list(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let (known, entry) = self.entry(frame)?;
        let index = |index: Option<i64>| index.and_then(|index| usize::try_from(index).ok());
        let (old, new) = (index(frame.old_index), index(frame.new_index));
        match (&*frame.op, known, old, new) {
            ("enter", None, None, Some(new)) if self.seeding && new != self.entries.len() => {
                return Err("a snapshot comes in order");
            }
            ("enter", None, None, Some(new)) if new <= self.entries.len() => self.entries.insert(new, entry),
            ("leave", Some(known), Some(old), None) if known == old => drop(self.entries.remove(old)),
            ("update", Some(known), Some(old), Some(new)) if known == old && old == new => self.entries[old] = entry,
            ("move", Some(known), Some(old), Some(new)) if known == old && new < self.entries.len() => {
                self.entries.remove(old);
                self.entries.insert(new, entry);
            }
            _ => return Err("the op does not fit the row's place in the list"),
        }
        Ok(())
    }

    fn step_set(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let (known, entry) = self.entry(frame)?;
        match (&*frame.op, known) {
            ("enter", None) if self.seeding => self.entries.push(entry),
            ("match", None) => self.entries.push(entry),
            ("update", Some(known)) => self.entries[known] = entry,
            // The snapshot is one page: what matches beyond it becomes known as it changes.
            ("update", None) => self.entries.push(entry),
            ("unmatch", Some(known)) => drop(self.entries.remove(known)),
            ("unmatch", None) => {}
            _ => return Err("the op does not fit what is known of the row"),
        }
        Ok(())
    }
}
