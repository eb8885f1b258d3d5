//! A job as the store has it.

use std::sync::Arc;

use super::Log;
use crate::{Entry, Kept, Record};

/// A job as the store has it: all that its effects have said.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// As it began.
    pub record: Arc<Record>,
    /// What was kept last; the default if nothing ever was.
    pub kept: Kept,
    /// What is kept of its log, its end included.
    pub log: Log,
    /// Its end, if it has ended: the last of its log.
    pub ending: Option<Arc<Entry>>,
}
