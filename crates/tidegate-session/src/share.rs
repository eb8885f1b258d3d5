//! A cap on subscriptions that several sessions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all sessions of one user, or of one tenant, may have together.
#[derive(Debug)]
pub struct Share {
    whose: &'static str,
    max: usize,
    taken: AtomicUsize,
}

impl Share {
    /// `whose`: `user` or `tenant`, for the refusal. `max`: 0 = no cap.
    #[must_use]
    pub fn new(whose: &'static str, max: usize) -> Self {
        Self { whose, max, taken: AtomicUsize::new(0) }
    }

    /// Whose it is.
    #[must_use]
    pub fn whose(&self) -> &'static str {
        self.whose
    }

    /// The cap.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    fn take(&self) -> bool {
        let one_more = |taken: usize| (self.max == 0 || taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

/// One from each, or none and the one that is used up.
pub(crate) fn take(shares: &[Arc<Share>]) -> Result<(), &Share> {
    for (at, share) in shares.iter().enumerate() {
        if !share.take() {
            give_back(&shares[..at], 1);
            return Err(share);
        }
    }
    Ok(())
}

/// Counts what is there already, whatever the cap.
pub(crate) fn add(shares: &[Arc<Share>], count: usize) {
    shares.iter().for_each(|share| {
        share.taken.fetch_add(count, Ordering::Relaxed);
    });
}

pub(crate) fn give_back(shares: &[Arc<Share>], count: usize) {
    shares.iter().for_each(|share| share.give_back(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_taken_from_all_or_from_none() {
        let shares = [("user", 2), ("tenant", 1)].map(|(whose, max)| Arc::new(Share::new(whose, max)));
        assert!(take(&shares).is_ok());
        assert_eq!(take(&shares).unwrap_err().whose(), "tenant");
        assert_eq!(take(&shares[..1]).map_err(Share::whose), Ok(()));
        assert_eq!(take(&shares).unwrap_err().whose(), "user");
        give_back(&shares, 1);
        assert!(take(&shares).is_ok());
    }
}
