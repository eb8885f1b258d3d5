//! The counts that threads share, in many of the orders in which the threads may meet.

mod sync {
    pub(crate) use shuttle::sync::Arc;
    pub(crate) use shuttle::sync::atomic::{AtomicUsize, Ordering};
}

#[path = "../src/cap.rs"]
mod cap;

use cap::Cap;
use shuttle::thread;
use sync::{Arc, AtomicUsize, Ordering};

const PLACES: usize = 2;
const ORDERS: usize = 20_000;

#[test]
fn never_more_places_than_the_cap_and_all_are_given_back() {
    shuttle::check_random(
        || {
            let cap = Cap::new(PLACES);
            let inside = Arc::new(AtomicUsize::new(0));
            let visitor = || {
                let (cap, inside) = (cap.clone(), inside.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        let Some(place) = cap.take() else { continue };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < PLACES);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                })
            };
            let visitors: Vec<_> = (0..4).map(|_| visitor()).collect();
            for visitor in visitors {
                visitor.join().unwrap();
            }
            assert_eq!(cap.taken(), 0);
        },
        ORDERS,
    );
}

#[test]
fn who_is_refused_takes_nothing_from_anybody() {
    shuttle::check_random(
        || {
            let cap = Cap::new(1);
            let place = cap.take();
            let of = cap.clone();
            let other = thread::spawn(move || of.take());
            drop(place);
            // While the other one is being refused this place must not look taken.
            let again = cap.take();
            assert_ne!(again.is_some(), other.join().unwrap().is_some());
        },
        ORDERS,
    );
}
