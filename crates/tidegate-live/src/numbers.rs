//! The numbers of a worker's subscribers.

use std::sync::PoisonError;

use crate::engine::Subscriber;
use crate::sync::Mutex;

/// Small numbers, each given to one subscriber at a time.
#[derive(Default)]
pub(crate) struct Numbers(Mutex<Free>);

#[derive(Default)]
struct Free {
    returned: Vec<Subscriber>,
    /// The lowest number never given.
    next: Subscriber,
}

impl Numbers {
    /// `None` if all are given.
    pub(crate) fn give(&self) -> Option<Subscriber> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.pop().or_else(|| {
            let number = free.next;
            free.next = number.checked_add(1)?;
            Some(number)
        })
    }

    pub(crate) fn give_back(&self, numbers: impl Iterator<Item = Subscriber>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).returned.extend(numbers);
    }
}
