//! The transactions that wait for one worker, in the order of their positions.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use tidegate_model::Transaction;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// What is put in together is there for the worker together. Who puts something in waits while the queue is full, so it
/// holds fewer than its cap and the most that is put in at once.
pub(crate) struct TransactionQueue {
    waiting: Mutex<Waiting>,
    /// Something was taken, or the queue was closed.
    changed: Condvar,
    cap: usize,
    /// Tells the worker to [`take`](Self::take). A ring that comes before the worker has answered the last one may be
    /// dropped.
    ring: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Waiting {
    transactions: VecDeque<Arc<Transaction>>,
    is_closed: bool,
}

/// The worker has ended.
pub(crate) struct Gone;

impl TransactionQueue {
    /// A queue that takes nothing from `cap` transactions on.
    pub(crate) fn new(cap: usize, ring: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), cap, ring }
    }

    /// Puts transactions in together. Waits while the queue is full.
    ///
    /// # Errors
    /// [`Gone`] if nobody will take them.
    pub(crate) fn put(&self, together: &[Arc<Transaction>]) -> Result<(), Gone> {
        let mut waiting = self.lock();
        while waiting.transactions.len() >= self.cap && !waiting.is_closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.is_closed {
            return Err(Gone);
        }
        let was_empty = waiting.transactions.is_empty();
        waiting.transactions.extend(together.iter().cloned());
        drop(waiting);
        // While there is something in the queue, whoever put the first in has rung or is about to.
        if was_empty {
            (self.ring)();
        }
        Ok(())
    }

    /// Hands the first transactions to `fold`, at most `most`, until it wants no more. Only for the worker, when the bell
    /// has rung: it rings again if some are left. False if there are none and none will come.
    pub(crate) fn take(&self, most: usize, mut fold: impl FnMut(&Arc<Transaction>) -> bool) -> bool {
        let mut waiting = self.lock();
        if waiting.transactions.is_empty() && waiting.is_closed {
            return false;
        }
        for _ in 0..most {
            let Some(transaction) = waiting.transactions.pop_front() else { break };
            drop(waiting);
            let wants_more = fold(&transaction);
            waiting = self.lock();
            if !wants_more {
                break;
            }
        }
        let goes_on = !waiting.transactions.is_empty() || waiting.is_closed;
        drop(waiting);
        self.changed.notify_all();
        if goes_on {
            (self.ring)();
        }
        true
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().transactions.len()
    }

    /// Nothing more comes, or nobody takes it.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
        (self.ring)();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that panics is done under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
