//! The locks between those who give commands and the workers. Unit tests have the scheduler of `shuttle` decide who goes
//! first.

#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
