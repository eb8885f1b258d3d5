//! Who is in: strangers that may have to go for others, and everybody when the process ends.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use tidegate_session::CloseReason;
use tokio::time::Instant;

use super::Worker;
use crate::Refused;
use crate::client::{Carrier, Client, Stranger};
use crate::metrics::count;
use crate::socket::Life;
use crate::strangers::StrangerId;

impl Worker {
    /// Someone who has yet to say who that is comes in; whoever has waited longest may have to go for it.
    pub(crate) fn meet(&self, stranger: Stranger) -> StrangerId {
        let (id, cut) = self.strangers.borrow_mut().enter(stranger);
        let metrics = self.edge.metrics();
        count(&metrics.strangers);
        match cut {
            None => return id,
            Some(Stranger::Socket(cut)) => cut.cancel(),
            Some(Stranger::Client(client)) => {
                if let Some(client) = client.upgrade() {
                    client.stranger.take();
                    self.close(&client, CloseReason::Overloaded);
                }
            }
        }
        metrics.strangers.fetch_sub(1, Ordering::Relaxed);
        metrics.refuse(Refused::Strangers);
        id
    }

    /// A stranger has said enough, or is gone.
    pub(crate) fn know(&self, stranger: StrangerId) {
        if self.strangers.borrow_mut().leave(stranger).is_some() {
            self.edge.metrics().strangers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Cuts sockets that have not said anything.
    pub(crate) fn cut_silent(&self) {
        self.strangers.borrow().iter().for_each(|stranger| {
            if let Stranger::Socket(cut) = stranger {
                cut.cancel();
            }
        });
    }

    /// Waits until there is no client.
    pub(crate) async fn emptied(&self) {
        while self.clients() > 0 {
            self.emptied.notified().await;
        }
    }

    /// Clients that have not been told to go.
    pub(crate) fn staying(&self) -> Vec<Rc<Client>> {
        let clients = self.clients.borrow();
        clients
            .iter()
            .map(|(_, client)| client)
            .filter(|client| client.carrier.borrow().is_staying())
            .cloned()
            .collect()
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.clients.borrow().len()
    }

    /// Asks a client to go, with a hint when to come back.
    pub(crate) fn dismiss(&self, client: &Rc<Client>, reconnect_after_ms: u64) {
        let waker = client.waker.borrow().clone();
        let life = self.run(client, |carrier, scratch| match carrier {
            Carrier::Socket(socket) => socket.close_hinting(CloseReason::GoingAway, Some(reconnect_after_ms), scratch),
            Carrier::Stream(stream) => {
                stream.leave(reconnect_after_ms);
                Life::Goes
            }
            Carrier::Gone => Life::Goes,
        });
        self.after(client, &waker, true, life.unwrap_or(Life::Over));
    }

    pub(super) fn close(&self, client: &Rc<Client>, reason: CloseReason) {
        let waker = client.waker.borrow().clone();
        let life = self.run(client, |carrier, scratch| match carrier {
            Carrier::Socket(socket) => socket.close(reason, scratch),
            Carrier::Stream(stream) => {
                stream.turn_out(reason, Instant::now());
                Life::Goes
            }
            Carrier::Gone => Life::Goes,
        });
        self.after(client, &waker, true, life.unwrap_or(Life::Over));
    }
}
