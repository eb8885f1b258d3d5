//! What threads share. The test of such a module puts shuttle's in the place of these, which tries the orders out.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
