//! A count with a cap that several threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places, and no more.
#[derive(Debug)]
pub(crate) struct Cap {
    taken: AtomicUsize,
    places: usize,
}

impl Cap {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), places })
    }

    /// One place, if one is free.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Place> {
        // Not added first and taken back if it was too much: in between, others would be refused a place that is free.
        let one_more = |taken: usize| (taken < self.places).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place { of: self.clone() })
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A place that was taken. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub(crate) struct Place {
    of: Arc<Cap>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
