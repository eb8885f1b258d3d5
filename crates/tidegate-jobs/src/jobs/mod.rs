//! The jobs that there are: what becomes of each. A pure machine.

mod log;
mod stored;

pub use log::Log;
pub use stored::StoredJob;
