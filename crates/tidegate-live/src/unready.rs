//! Scans of entities that are still being copied. They wait apart, so that no other entity's scan waits behind them; one
//! of them at a time asks whether the entity is there, and its answer lets all go.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_model::{EntityId, ScanRequest};

/// When an entity is asked for again first, and at most; the pauses between double.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(crate) type Scan = (u64, Box<ScanRequest>);

/// By entity. Bounded by the number of views, as each has one scan at most.
#[derive(Debug, Default)]
pub(crate) struct Unready(FxHashMap<EntityId, Entry>);

#[derive(Debug)]
struct Entry {
    scans: VecDeque<Scan>,
    /// The ticket of the scan that asks.
    asking: Option<u64>,
    ask_at: Instant,
    pause: Duration,
}

impl Unready {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in a scan that was answered with "not ready".
    pub(crate) fn refused(&mut self, scan: Scan, now: Instant) {
        let entry = self.0.entry(scan.1.entity).or_insert_with(|| Entry {
            scans: VecDeque::new(),
            asking: None,
            ask_at: now + PAUSE_MIN,
            pause: PAUSE_MIN,
        });
        if entry.asking == Some(scan.0) {
            entry.asking = None;
            entry.pause = (2 * entry.pause).min(PAUSE_MAX);
            entry.ask_at = now + entry.pause;
        }
        entry.scans.push_back(scan);
    }

    /// Takes in a scan that was answered with "no room", if it is the one that asks for its entity.
    pub(crate) fn take_back(&mut self, scan: Scan, now: Instant) -> Option<Scan> {
        match self.0.get_mut(&scan.1.entity) {
            Some(entry) if entry.asking == Some(scan.0) => {
                entry.asking = None;
                entry.ask_at = now + entry.pause;
                entry.scans.push_back(scan);
                None
            }
            _ => Some(scan),
        }
    }

    /// Takes in a scan that is about to be asked, if its entity is known not to be ready.
    pub(crate) fn hold(&mut self, scan: Scan) -> Option<Scan> {
        match self.0.get_mut(&scan.1.entity) {
            Some(entry) => {
                entry.scans.push_back(scan);
                None
            }
            None => Some(scan),
        }
    }

    /// The entity has answered: everything that waited for it.
    pub(crate) fn release(&mut self, entity: EntityId) -> VecDeque<Scan> {
        self.0.remove(&entity).map(|entry| entry.scans).unwrap_or_default()
    }

    /// A scan that is to ask now, for an entity whose pause is over. Scans that nobody awaits any more are let go.
    pub(crate) fn due(&mut self, now: Instant, awaits: impl Fn(u64) -> bool) -> Option<Scan> {
        let mut due = None;
        self.0.retain(|_, entry| {
            if due.is_some() || entry.asking.is_some() || now < entry.ask_at {
                return true;
            }
            while let Some(scan) = entry.scans.pop_front() {
                if awaits(scan.0) {
                    entry.asking = Some(scan.0);
                    due = Some(scan);
                    return true;
                }
            }
            false
        });
        due
    }

    /// Lets go what nobody awaits any more where that has become much more than `wanted`.
    pub(crate) fn sweep(&mut self, wanted: usize, awaits: impl Fn(u64) -> bool) {
        for entry in self.0.values_mut().filter(|entry| entry.scans.len() > 2 * wanted + 64) {
            entry.scans.retain(|(ticket, _)| awaits(*ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_model::{Catalog, EntityBuilder, Filter, Order, Predicate, Tenant, Type};

    use super::*;

    fn scan(ticket: u64, entity: usize) -> Scan {
        let builder = |name: &str| EntityBuilder {
            name: name.into(),
            columns: vec![("id".into(), Type::Int)],
            key: vec!["id".into()],
            ..EntityBuilder::default()
        };
        let catalog = Catalog::build(&[builder("a"), builder("b")]).expect("valid descriptions");
        let entity = &catalog.entities()[entity];
        let request = ScanRequest {
            entity: entity.id(),
            tenant: Tenant::common(),
            order: Arc::new(Order::new(entity, &[])),
            predicate: Arc::new(Predicate::new(Filter::everything())),
            after: None,
            want: 1,
        };
        (ticket, Box::new(request))
    }

    fn ticket(scan: Option<Scan>) -> Option<u64> {
        scan.map(|(ticket, _)| ticket)
    }

    #[test]
    fn one_scan_of_an_entity_asks_after_pauses_that_double_up_to_a_second() {
        let mut unready = Unready::default();
        let mut now = Instant::now();
        for number in 1..=8 {
            // Those that were under way together tell the same thing once.
            unready.refused(scan(number, 0), now);
        }
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let start = now;
            let asking = loop {
                if let Some(scan) = unready.due(now, |_| true) {
                    break scan;
                }
                now += Duration::from_millis(1);
            };
            pauses.push((now - start).as_millis());
            assert!(unready.due(now + PAUSE_MAX, |_| true).is_none(), "one at a time");
            unready.refused(asking, now);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(unready.release(EntityId(0)).len(), 8);
        assert!(unready.is_empty());
    }

    #[test]
    fn scans_of_other_entities_pass_and_those_of_views_that_are_gone_are_forgotten() {
        let mut unready = Unready::default();
        let now = Instant::now();
        unready.refused(scan(1, 0), now);
        assert_eq!(ticket(unready.hold(scan(2, 1))), Some(2));
        assert_eq!(ticket(unready.hold(scan(3, 0))), None);
        // The one that was to ask is gone; the next asks. It finds no room, and another time asks again.
        let later = now + PAUSE_MIN;
        let asking = unready.due(later, |ticket| ticket == 3);
        assert_eq!(ticket(asking.clone()), Some(3));
        assert_eq!(ticket(unready.take_back(scan(4, 1), later)), Some(4));
        assert_eq!(ticket(unready.take_back(asking.unwrap(), later)), None);
        assert_eq!(ticket(unready.due(later + PAUSE_MIN, |_| true)), Some(3));
        unready.refused(scan(3, 0), later);
        assert_eq!(ticket(unready.due(later + PAUSE_MAX, |_| false)), None);
        assert!(unready.is_empty(), "nobody waits for it any more");
    }

    #[test]
    fn what_nobody_awaits_does_not_pile_up() {
        let mut unready = Unready::default();
        for number in 0..1_000 {
            unready.refused(scan(number, 0), Instant::now());
            unready.sweep(1, |ticket| ticket == number);
        }
        assert!(unready.release(EntityId(0)).len() <= 67);
    }
}
