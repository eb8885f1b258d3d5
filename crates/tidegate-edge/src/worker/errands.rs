//! What others in the process want done on this worker's connections.

use std::rc::Rc;

use tidegate_identity::Principal;
use tidegate_model::Tenant;
use tidegate_session::Session;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Worker;
use crate::ApiError;
use crate::client::{Carrier, Client, Name, id_of};
use crate::order::{Errand, Order, To};
use crate::socket::Life;
use crate::stream::{Letterbox, unknown};

/// Connections that an order is carried out on before sockets are looked at again.
const ORDERS: usize = 64;

impl Worker {
    /// Carries out orders, for as long as the edge lives.
    pub(crate) async fn take_orders(self: Rc<Self>, mut orders: mpsc::Receiver<Errand>) {
        while let Some(errand) = orders.recv().await {
            match errand {
                Errand::Visit(number, visit) => self.visit(number, visit),
                // Who asked may have gone meanwhile.
                Errand::Letter(to, message, tell) => drop(tell.send(self.hand_in(&to, &message))),
                Errand::Order(to, order) => {
                    for clients in self.meant_by(&to).chunks(ORDERS) {
                        clients.iter().for_each(|client| self.carry_out(client, &order));
                        while self.flush() {
                            yield_now().await;
                        }
                        yield_now().await;
                    }
                }
            }
            while self.flush() {
                yield_now().await;
            }
        }
    }

    fn meant_by(&self, to: &To) -> Vec<Rc<Client>> {
        let is_there = |principal: &Principal, tenant: &Option<Tenant>| {
            tenant.as_ref().is_none_or(|tenant| principal.topic_tenant() == *tenant)
        };
        let entries = match to {
            To::Client(name) => {
                let number = Name::parse(name);
                return number.and_then(|number| self.numbered(number)).into_iter().collect();
            }
            To::User { user, tenant } => self
                .register
                .matching(|principal| principal.user == *user && !user.is_empty() && is_there(principal, tenant)),
            To::Everybody { tenant } => self.register.matching(|principal| is_there(principal, tenant)),
        };
        entries.iter().filter_map(|entry| entry.client()).filter_map(|id| self.client(id)).collect()
    }

    /// The client of this number, if it is here and has not been told to go.
    fn numbered(&self, number: u128) -> Option<Rc<Client>> {
        let client = self.client(id_of(number))?;
        let is_it = {
            let mut carrier = client.carrier.borrow_mut();
            carrier.is_staying() && carrier.session().is_some_and(|session| session.number() == number)
        };
        is_it.then_some(client)
    }

    fn visit(&self, number: u128, visit: impl FnOnce(Option<(&mut Session, &Principal)>)) {
        let Some(client) = self.numbered(number) else { return visit(None) };
        self.run(&client, |carrier, _| visit(carrier.known()));
        self.mark(&client);
    }

    /// Hands a message to the stream that it is for.
    fn hand_in(&self, to: &Letterbox, message: &[u8]) -> Result<(), ApiError> {
        let client = self.numbered(to.number).ok_or_else(unknown)?;
        let waker = client.waker.borrow().clone();
        let heard = self.run(&client, |carrier, _| match carrier {
            Carrier::Stream(stream) => stream.hear(to, message, &self.register, Instant::now()),
            Carrier::Socket(_) | Carrier::Gone => Err(unknown()),
        });
        self.after(&client, &waker, true, Life::Goes);
        heard.unwrap_or_else(|| Err(unknown()))
    }

    fn carry_out(&self, client: &Rc<Client>, order: &Order) {
        let now = Instant::now();
        let waker = client.waker.borrow().clone();
        let life = self.run(client, |carrier, scratch| match carrier {
            Carrier::Socket(socket) => socket.order(order.clone(), scratch, now),
            Carrier::Stream(stream) => {
                stream.order(order.clone(), now);
                Life::Goes
            }
            Carrier::Gone => Life::Goes,
        });
        self.mark(client);
        // What is only to be said goes out with the turn; anything else may be waiting for an answer now.
        let is_said = matches!(order, Order::Emit(_) | Order::Send(_)) && client.carrier.borrow().is_staying();
        let wake = !is_said;
        self.after(client, &waker, wake, life.unwrap_or(Life::Over));
    }
}
