//! The locks between those who ask and the workers.

pub(crate) use std::sync::{Mutex, MutexGuard};
