//! What a job may do: grants by namespace, a time that they end at, and budgets.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Something that an agent may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// `fs.read`: paths.
    FsRead,
    /// `fs.write`: paths.
    FsWrite,
    /// `net.fetch`: URLs.
    NetFetch,
    /// `tool.call`: names of tools.
    ToolCall,
    /// `agent.delegate`: names of agents.
    AgentDelegate,
    /// `model.use`: names of models.
    ModelUse,
}

/// Patterns by namespace, as they were written: `{"fs.read":["/workspace/**"],"cost.budget":["USD:5.00"]}`. In the order of
/// their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lease {
    pub(crate) grants: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// Until when a lease holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// In milliseconds since 1970; `None` is for ever.
    pub expires_at_ms: Option<u64>,
}

/// What is left, by currency. Decimals, never floats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub(crate) left: BTreeMap<Arc<str>, Decimal>,
}
