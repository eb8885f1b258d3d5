//! What is due: pings, timeouts, pauses. A queue with one entry a client.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_live::ClientId;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::{FLUSHES, Worker};
use crate::client::{Carrier, Client};
use crate::socket::Life;

/// From this long an interval on pings are sent at whole seconds, many at once.
const COARSE: Duration = Duration::from_secs(5);
/// The longest that the timer is set for.
const FAR: Duration = Duration::from_secs(24 * 3600);

impl Worker {
    /// Does what is due, for as long as the worker lives.
    pub(crate) async fn keep_time(self: Rc<Self>) {
        for count in 1.. {
            let expired = poll_fn(|cx| match self.timers.borrow_mut().poll_expired(cx) {
                Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
                // An empty queue wakes whoever looked when something is put in.
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            });
            let id = expired.await;
            self.tick(id);
            while self.flush() {
                yield_now().await;
            }
            // Thousands may be due at one second.
            if count % FLUSHES == 0 {
                yield_now().await;
            }
        }
    }

    fn tick(&self, id: ClientId) {
        let Some(client) = self.client(id) else { return };
        client.timer.borrow_mut().take();
        // The position is read first, and then everything taken that was delivered: up to there a client that has been
        // handed all that waits for it misses nothing.
        let position = self.edge.live().position();
        self.take_delivered();
        let now = Instant::now();
        let waker = client.waker.borrow().clone();
        let ticked = self.run(&client, |carrier, scratch| match carrier {
            Carrier::Socket(socket) => socket.tick(&mut Context::from_waker(&waker), scratch, position, now),
            Carrier::Stream(stream) => stream.tick(position, now),
            Carrier::Gone => (false, Life::Over),
        });
        let (wake, life) = ticked.unwrap_or((true, Life::Over));
        self.after(&client, &waker, wake, life);
    }

    pub(super) fn after(&self, client: &Rc<Client>, waker: &Waker, wake: bool, life: Life) {
        if life == Life::Over {
            self.leave(client);
        } else {
            self.set_timer(client);
        }
        if wake || life == Life::Over {
            waker.wake_by_ref();
        }
    }

    pub(super) fn take_delivered(&self) {
        loop {
            let Ok(parcels) = self.inbox.borrow_mut().try_recv() else { break };
            self.hand_over(parcels);
        }
        self.pass_on();
    }

    pub(super) fn set_timer(&self, client: &Rc<Client>) {
        let due = client.carrier.borrow().due();
        let mut timer = client.timer.borrow_mut();
        match (&*timer, due) {
            // Later than what is set is soon enough: when that comes it is set anew.
            (Some((_, set)), Some(due)) if *set <= due => {}
            (Some((key, _)), Some(due)) => {
                let key = *key;
                self.timers.borrow_mut().reset_at(&key, self.coarse(due));
                *timer = Some((key, due));
            }
            (None, Some(due)) => {
                let key = self.timers.borrow_mut().insert_at(client.id, self.coarse(due));
                *timer = Some((key, due));
            }
            (_, None) => {}
        }
    }

    /// What is far off is moved up to a whole second, so that a thousand idle clients are one wake-up.
    fn coarse(&self, due: Instant) -> Instant {
        let now = Instant::now();
        if due.saturating_duration_since(now) < COARSE {
            return due;
        }
        // The queue takes no time that is years away; what comes early is set anew.
        let since = due.min(now + FAR) - self.epoch;
        self.epoch + Duration::from_secs(since.as_secs() + 1)
    }
}
