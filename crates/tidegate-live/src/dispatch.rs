//! Who gets what: from the subscribers of the engine to the addresses of sinks, one call a sink and turn.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::delivery::{Address, ClientId, Delivery, Parcel, Sink, SubscriptionId};
use crate::engine::Subscriber;

/// Where each subscriber's deliveries go, and those of the turn at hand.
#[derive(Default)]
pub(crate) struct Dispatch {
    /// By subscriber.
    places: Vec<Place>,
    sinks: Slab<Outgoing>,
    /// Sinks by their address in memory. It names no other as long as the sink is kept here.
    by_address: FxHashMap<usize, u32>,
    /// Sinks that have parcels.
    due: Vec<u32>,
    /// The number of the delivery at hand.
    delivery: u64,
}

/// 24 bytes a subscriber.
#[derive(Clone, Copy)]
struct Place {
    client: ClientId,
    subscription: SubscriptionId,
    sink: u32,
}

/// No sink: nobody has the number.
const NOWHERE: Place = Place { client: ClientId(0), subscription: SubscriptionId(0), sink: u32::MAX };

/// A sink, kept while it has subscribers.
struct Outgoing {
    sink: Arc<dyn Sink>,
    subscribers: usize,
    parcels: Vec<Parcel>,
    /// The delivery that the last parcel is of.
    last: u64,
}

impl Dispatch {
    /// From now on the subscriber's deliveries go there.
    pub(crate) fn enter(&mut self, subscriber: Subscriber, address: Address, sink: Arc<dyn Sink>) {
        self.leave(subscriber);
        let at = Arc::as_ptr(&sink).cast::<()>().addr();
        let sinks = &mut self.sinks;
        let fresh = || sinks.insert(Outgoing { sink, subscribers: 0, parcels: Vec::new(), last: 0 }) as u32;
        let sink = *self.by_address.entry(at).or_insert_with(fresh);
        self.sinks[sink as usize].subscribers += 1;
        let place = subscriber as usize;
        if self.places.len() <= place {
            self.places.resize(place + 1, NOWHERE);
        }
        self.places[place] = Place { client: address.client, subscription: address.subscription, sink };
    }

    /// The subscriber gets nothing more.
    pub(crate) fn leave(&mut self, subscriber: Subscriber) {
        let Some(place) = self.places.get_mut(subscriber as usize) else { return };
        let sink = std::mem::replace(place, NOWHERE).sink;
        if let Some(outgoing) = self.sinks.get_mut(sink as usize) {
            outgoing.subscribers -= 1;
            self.forget_if_unused(sink);
        }
    }

    /// Puts a delivery with those of the turn.
    pub(crate) fn put(&mut self, subscribers: &[Subscriber], delivery: &Delivery) {
        self.delivery += 1;
        for subscriber in subscribers {
            let Some(place) = self.places.get(*subscriber as usize) else { continue };
            let Some(outgoing) = self.sinks.get_mut(place.sink as usize) else { continue };
            if outgoing.parcels.is_empty() {
                self.due.push(place.sink);
            }
            if outgoing.last != self.delivery {
                outgoing.last = self.delivery;
                outgoing.parcels.push(Parcel { to: Default::default(), delivery: delivery.clone() });
            }
            if let Some(parcel) = outgoing.parcels.last_mut() {
                parcel.to.push(Address { client: place.client, subscription: place.subscription });
            }
        }
    }

    /// Hands the turn's deliveries over.
    pub(crate) fn send(&mut self) {
        for sink in std::mem::take(&mut self.due) {
            let Some(outgoing) = self.sinks.get_mut(sink as usize) else { continue };
            outgoing.sink.deliver(std::mem::take(&mut outgoing.parcels));
            self.forget_if_unused(sink);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.sinks.is_empty() && self.by_address.is_empty()
    }

    fn forget_if_unused(&mut self, sink: u32) {
        let outgoing = &self.sinks[sink as usize];
        if outgoing.subscribers == 0 && outgoing.parcels.is_empty() {
            self.by_address.remove(&Arc::as_ptr(&outgoing.sink).cast::<()>().addr());
            self.sinks.remove(sink as usize);
        }
    }
}
