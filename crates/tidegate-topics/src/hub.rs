//! One worker's subscribers: which of its clients are told what. For its thread alone.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;
use tidegate_model::Address;

use crate::relay::{Passed, Port};
use crate::{Kind, Relay, Topic};

/// One who is told what happens in a topic.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber {
    /// Whom to hand it to.
    pub address: Address,
    /// Whether joins and leaves are told too.
    pub hears_joins: bool,
}

/// A subscriber's place in the list of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat(u32);

/// All subscribers of a worker.
pub struct Hub {
    relay: Arc<Relay>,
    port: Arc<Port>,
    lists: RefCell<HashMap<Arc<Topic>, List>>,
    /// Who left while lists were being read.
    left: RefCell<Vec<(Arc<Topic>, Seat)>>,
}

#[derive(Default)]
struct List {
    seats: SmallVec<[Taken; 1]>,
    empty: Vec<u32>,
}

/// Who has a seat. There may be many, so what they need is packed.
#[derive(Clone, Copy)]
struct Taken {
    address: Address,
    /// Twice the last number that is not for them, plus 1 if they hear joins; [`NOBODY`] where the seat is empty.
    after: u64,
}

const NOBODY: u64 = u64::MAX;

impl Hub {
    /// Without subscribers.
    #[must_use]
    pub fn new(relay: Arc<Relay>, port: Arc<Port>) -> Self {
        Self { relay, port, lists: RefCell::default(), left: RefCell::default() }
    }

    /// Where what is for this worker's subscribers waits.
    #[must_use]
    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    /// From now on the subscriber is told what is passed on in the topic. Not to be called from within [`Hub::each`].
    pub fn join(&self, topic: &Arc<Topic>, subscriber: Subscriber) -> Seat {
        let after = self.relay.join(topic, &self.port);
        let mut lists = self.lists.borrow_mut();
        let list = lists.entry(topic.clone()).or_default();
        let taken = Taken { address: subscriber.address, after: after * 2 + u64::from(subscriber.hears_joins) };
        if let Some(at) = list.empty.pop() {
            list.seats[at as usize] = taken;
            return Seat(at);
        }
        list.seats.push(taken);
        // A worker has fewer clients than that.
        Seat(u32::try_from(list.seats.len() - 1).unwrap_or(u32::MAX))
    }

    /// The other way round.
    pub fn leave(&self, topic: &Arc<Topic>, seat: Seat) {
        match self.lists.try_borrow_mut() {
            Ok(mut lists) => self.vacate(&mut lists, topic, seat),
            Err(_) => self.left.borrow_mut().push((topic.clone(), seat)),
        }
    }

    /// Hands something to each whom it is for.
    pub fn each(&self, passed: &Passed, mut hand: impl FnMut(Address)) {
        let record = &passed.publication.record;
        let is_coming_or_going = matches!(record.kind, Kind::Join | Kind::Leave);
        self.of(&record.topic, |taken| {
            if taken.after / 2 < passed.number && (!is_coming_or_going || taken.after % 2 == 1) {
                hand(taken.address);
            }
        });
    }

    /// Everybody who subscribes to the topic.
    pub fn subscribers(&self, topic: &Topic, mut hand: impl FnMut(Address)) {
        self.of(topic, |taken| hand(taken.address));
    }

    /// How many subscribe to the topic here.
    #[must_use]
    pub fn count(&self, topic: &Topic) -> usize {
        self.lists.borrow().get(topic).map_or(0, List::taken)
    }

    fn of(&self, topic: &Topic, mut call: impl FnMut(&Taken)) {
        let lists = self.lists.borrow();
        let Some(list) = lists.get(topic) else { return };
        list.seats.iter().filter(|taken| taken.after != NOBODY).for_each(&mut call);
        drop(lists);
        if !self.left.borrow().is_empty() {
            let mut lists = self.lists.borrow_mut();
            for (topic, seat) in self.left.take() {
                self.vacate(&mut lists, &topic, seat);
            }
        }
    }

    fn vacate(&self, lists: &mut HashMap<Arc<Topic>, List>, topic: &Arc<Topic>, seat: Seat) {
        let Some(list) = lists.get_mut(topic) else { return };
        let Some(taken) = list.seats.get_mut(seat.0 as usize).filter(|taken| taken.after != NOBODY) else { return };
        taken.after = NOBODY;
        list.empty.push(seat.0);
        if list.taken() == 0 {
            lists.remove(topic);
        }
        self.relay.leave(topic, &self.port);
    }
}

impl List {
    fn taken(&self) -> usize {
        self.seats.len() - self.empty.len()
    }
}
