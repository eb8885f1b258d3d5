//! The locks between those who give commands or transactions and the workers. Unit tests have the scheduler of `shuttle` decide who goes
//! first.

#[cfg(not(test))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
