//! What the terminal shows: the list of a live query, kept by applying frames.

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::members::Members;

/// One frame as it comes over the wire.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame {
    #[serde(default)]
    pub(crate) seq: u64,
    pub(crate) op: String,
    /// Absent or null in `reset` and `ready`, as what follows.
    #[serde(default, deserialize_with = "or_default")]
    agg_id: String,
    #[serde(default, deserialize_with = "or_default")]
    version: u64,
    #[serde(default, deserialize_with = "or_default")]
    row: Members,
    #[serde(default = "nowhere")]
    old_index: i64,
    #[serde(default = "nowhere")]
    new_index: i64,
    pub(crate) stream_id: Option<String>,
    /// Of `error`.
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
}

fn nowhere() -> i64 {
    -1
}

fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What happened to a row last, so that it can be seen for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Part of the snapshot.
    Still,
    Entered,
    Changed,
    Left,
}

/// A row on the screen.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) cells: Vec<String>,
    pub(crate) mark: Mark,
    pub(crate) since: Instant,
}

/// A frame that does not fit the list: continuity is lost.
#[derive(Debug, thiserror::Error)]
#[error("frame {seq}: {what}")]
pub(crate) struct Inconsistent {
    seq: u64,
    what: String,
}

/// The list and what has happened to it.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) columns: Vec<String>,
    pub(crate) lines: Vec<Line>,
    /// Rows that left, and where they were.
    pub(crate) ghosts: Vec<(usize, Line)>,
    pub(crate) live: bool,
    pub(crate) position: u64,
    /// Frames since the beginning, snapshots not counted.
    pub(crate) deltas: u64,
    seq: u64,
}

/// Rows that left are kept to be shown; more of them than this tell nobody anything.
const GHOSTS_MAX: usize = 64;

impl List {
    /// A new connection numbers its frames anew.
    pub(crate) fn reconnected(&mut self) {
        self.seq = 0;
        self.live = false;
    }

    /// Applies one frame.
    pub(crate) fn apply(&mut self, frame: Frame, now: Instant) -> Result<(), Inconsistent> {
        let seq = frame.seq;
        let wrong = |what: &str| Inconsistent { seq, what: what.to_owned() };
        self.seq += 1;
        if seq != self.seq {
            return Err(wrong("is not the next one"));
        }
        self.position = self.position.max(frame.version);
        let mark = if self.live { Mark::Entered } else { Mark::Still };
        self.deltas += u64::from(self.live);
        match frame.op.as_str() {
            "reset" => {
                self.lines.clear();
                self.ghosts.clear();
                self.live = false;
            }
            "ready" => self.live = true,
            "enter" => {
                let to = index(frame.new_index, self.lines.len() + 1).ok_or_else(|| wrong("enters outside"))?;
                let line = self.line(frame, mark, now);
                self.ghosts.retain(|(_, ghost)| ghost.key != line.key);
                self.lines.insert(to, line);
            }
            "leave" => {
                let from = self.held(&frame).ok_or_else(|| wrong("leaves from where it is not"))?;
                self.remove(from, now);
            }
            "move" | "update" => {
                let from = self.held(&frame).ok_or_else(|| wrong("changes where it is not"))?;
                let to = index(frame.new_index, self.lines.len()).ok_or_else(|| wrong("moves outside"))?;
                self.lines.remove(from);
                let line = self.line(frame, Mark::Changed, now);
                self.lines.insert(to, line);
            }
            "match" => {
                let line = self.line(frame, mark, now);
                match self.lines.iter_mut().find(|other| other.key == line.key) {
                    Some(other) => *other = Line { mark: Mark::Changed, ..line },
                    None => self.lines.push(line),
                }
            }
            "unmatch" => {
                if let Some(from) = self.lines.iter().position(|line| line.key == frame.agg_id) {
                    self.remove(from, now);
                }
            }
            other => return Err(wrong(&format!("has the unknown op {other:?}"))),
        }
        Ok(())
    }

    /// Where the row of a frame is: at its index, or, in a streamed query, wherever it was put.
    fn held(&self, frame: &Frame) -> Option<usize> {
        let at = match frame.old_index {
            -1 => self.lines.iter().position(|line| line.key == frame.agg_id)?,
            at => index(at, self.lines.len())?,
        };
        (self.lines[at].key == frame.agg_id).then_some(at)
    }

    fn remove(&mut self, at: usize, now: Instant) {
        let line = self.lines.remove(at);
        if self.ghosts.len() == GHOSTS_MAX {
            self.ghosts.remove(0);
        }
        self.ghosts.push((at, Line { mark: Mark::Left, since: now, ..line }));
    }

    fn line(&mut self, frame: Frame, mark: Mark, since: Instant) -> Line {
        let Members(members) = frame.row;
        if !members.iter().map(|(name, _)| name).eq(&self.columns) {
            self.columns = members.iter().map(|(name, _)| name.clone()).collect();
        }
        let cells = members.iter().map(|(_, value)| shown(value)).collect();
        Line { key: frame.agg_id, cells, mark, since }
    }
}

fn index(at: i64, below: usize) -> Option<usize> {
    usize::try_from(at).ok().filter(|at| *at < below)
}

/// A cell for a person: strings without quotes, null as nothing, control characters as what they are not.
fn shown(value: &RawValue) -> String {
    let text = match value.get() {
        "null" => return String::new(),
        raw => serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()),
    };
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// The widths of columns: what is there, within a bound, and the widest give way until the whole fits.
pub(crate) fn widths(columns: &[String], lines: &[Line], total: usize) -> Vec<usize> {
    const CELL_MAX: usize = 40;
    let mut widths: Vec<usize> = columns.iter().map(|name| console::measure_text_width(name)).collect();
    let mut measured: HashMap<usize, usize> = HashMap::new();
    for (column, cell) in lines.iter().flat_map(|line| line.cells.iter().enumerate()) {
        let widest = measured.entry(column).or_default();
        *widest = (*widest).max(console::measure_text_width(cell));
    }
    for (column, width) in widths.iter_mut().enumerate() {
        *width = (*width).max(measured.get(&column).copied().unwrap_or_default()).min(CELL_MAX);
    }
    while widths.iter().sum::<usize>() + widths.len() * 2 > total {
        match widths.iter_mut().max() {
            Some(widest) if *widest > 4 => *widest -= 1,
            _ => break,
        }
    }
    widths
}
