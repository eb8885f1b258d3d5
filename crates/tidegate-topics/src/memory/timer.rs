//! The thread that does what is due in channels that nobody touches.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::store::Store;

/// How long the thread sleeps at most while something is going to be due: the clock may be set.
const SLEEP: Duration = Duration::from_secs(1);

/// Dropping it ends the thread.
pub(super) struct Timer {
    store: Arc<Store>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let timed = store.clone();
        let thread = std::thread::Builder::new().name("topics".to_owned()).spawn(move || timed.time())?;
        Ok(Self { store, thread: Some(thread) })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.store.agenda().is_over = true;
        self.store.earlier.notify_one();
        if let Some(thread) = self.thread.take() {
            // It says nothing at its end, and nothing is left to be done if it panicked.
            let _ = thread.join();
        }
    }
}

impl Store {
    /// Does what is due, one channel after the other; others have their turns in between.
    pub(super) fn ring_due(&self) {
        let now_ms = self.now_ms();
        loop {
            let due = self.agenda().due(now_ms);
            let Some((alarm, topic)) = due else { return };
            self.ring(&topic, alarm);
        }
    }

    fn time(&self) {
        let mut agenda = self.agenda();
        while !agenda.is_over {
            let Some(next_ms) = agenda.next_ms() else {
                agenda = self.earlier.wait(agenda).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now_ms = self.now_ms();
            if next_ms > now_ms {
                let length = SLEEP.min(Duration::from_millis(next_ms - now_ms));
                agenda = self.earlier.wait_timeout(agenda, length).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            drop(agenda);
            self.ring_due();
            agenda = self.agenda();
        }
    }
}
