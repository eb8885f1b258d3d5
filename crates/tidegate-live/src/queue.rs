//! The commands that wait for one worker, in the order in which they came.

use std::collections::VecDeque;
use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};
use crate::workers::Busy;

/// Commands that there is room for without asking for memory.
const IDLE_CAPACITY: usize = 256;

/// One queue for everything, so that nothing overtakes. Who puts something in never waits for the worker: what may be
/// refused is refused at the cap, the rest is always taken.
pub(crate) struct CommandQueue<T> {
    waiting: Mutex<Waiting<T>>,
    cap: usize,
    /// Tells the worker to [`take`](Self::take). A ring that comes before the worker has answered the last one may be
    /// dropped.
    ring: Box<dyn Fn() + Send + Sync>,
}

struct Waiting<T> {
    commands: VecDeque<T>,
    is_closed: bool,
}

impl<T> CommandQueue<T> {
    /// A queue that refuses what it may from `cap` commands on.
    pub(crate) fn new(cap: usize, ring: Box<dyn Fn() + Send + Sync>) -> Self {
        let waiting = Waiting { commands: VecDeque::new(), is_closed: false };
        Self { waiting: Mutex::new(waiting), cap, ring }
    }

    /// Puts a command in that may be refused.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full, or the worker gone.
    pub(crate) fn offer(&self, command: T) -> Result<(), Busy> {
        let waiting = self.lock();
        if waiting.is_closed || waiting.commands.len() >= self.cap {
            return Err(Busy);
        }
        self.put(waiting, command);
        Ok(())
    }

    /// Puts a command in that may not be refused. If the worker is gone, there is nothing left to tell it.
    pub(crate) fn push(&self, command: T) {
        let waiting = self.lock();
        if !waiting.is_closed {
            self.put(waiting, command);
        }
    }

    fn put(&self, mut waiting: MutexGuard<'_, Waiting<T>>, command: T) {
        let was_empty = waiting.commands.is_empty();
        waiting.commands.push_back(command);
        drop(waiting);
        // While there is something in the queue, whoever put the first in has rung or is about to.
        if was_empty {
            (self.ring)();
        }
    }

    /// Moves the first commands, at most `most`, to the end of `into`. Only for the worker, when the bell has rung: it
    /// rings again if some are left.
    pub(crate) fn take(&self, most: usize, into: &mut Vec<T>) {
        let mut waiting = self.lock();
        let count = waiting.commands.len().min(most);
        into.extend(waiting.commands.drain(..count));
        let is_empty = waiting.commands.is_empty();
        if is_empty {
            // A burst is over: its room is given back.
            waiting.commands.shrink_to(IDLE_CAPACITY);
        }
        drop(waiting);
        if !is_empty {
            (self.ring)();
        }
    }

    /// The worker ends.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let left = std::mem::take(&mut waiting.commands);
        drop(waiting);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        // Nothing that panics is done under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
