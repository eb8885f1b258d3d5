//! Redis that stays away: what is held is believed for a time, and then as configured.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::device::House;
use crate::fixture::token;
use crate::seat::Way;

const STALE: Duration = Duration::from_millis(1_500);

fn settings(when_stale: &str) -> String {
    format!("lookup_timeout_ms = 500\nmax_stale_ms = {}\nwhen_stale = \"{when_stale}\"\n", STALE.as_millis())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_connections_are_closed_where_that_is_wanted() {
    for is_frozen in [false, true] {
        let Some(mut house) = House::open(&settings("close")) else { return };
        house.writer.session("mara", "s1", "active").await;
        let seats = house.seats("mara", "s1").await;
        match is_frozen {
            true => tokio::task::block_in_place(|| house.redis.freeze()),
            false => tokio::task::block_in_place(|| house.redis.kill()),
        }
        let since = Instant::now();
        // Looking again fails at once or takes a second at most.
        house.ended(&seats, since, STALE + house.lateness.a_second(), "unverified").await;
        for seat in &seats {
            let held = seat.end().unwrap().at - since;
            // What was last proven was so one wait before at most.
            assert!(held >= STALE - 2 * crate::device::BLOCK, "{:?} was closed after {held:?}", seat.way);
        }
        house.refuses(&token("mara", json!({ "sid": "s1" })), 503, "identity_unavailable").await;
        match is_frozen {
            true => tokio::task::block_in_place(|| house.redis.thaw()),
            false => tokio::task::block_in_place(|| house.redis.resume()),
        }
        house.in_step().await;
        house.stay(&house.seats("mara", "s1").await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_connections_stay_otherwise_and_hear_of_what_they_missed() {
    let Some(mut house) = House::open(&settings("keep")) else { return };
    for id in ["s1", "s2"] {
        house.writer.session("mara", id, "active").await;
    }
    let (gone, stay) = (house.seats("mara", "s1").await, house.seats("mara", "s2").await);
    // Known, and therefore let in while it is believed.
    tokio::task::block_in_place(|| house.redis.kill());
    drop(house.seat(Way::Live, "mara", "s1").await.unwrap());
    house.out_of_step().await;
    house.refuses(&token("mara", json!({ "sid": "s1" })), 503, "identity_unavailable").await;
    house.stay(&gone).await;
    house.stay(&stay).await;
    tokio::task::block_in_place(|| house.redis.resume());
    let since = Instant::now();
    house.writer.session("mara", "s1", "revoked").await;
    // It comes back within a second, and reads on from where it was.
    house.ended(&gone, since, Duration::from_secs(1) + house.lateness.a_second(), "revoked").await;
    house.in_step().await;
    house.stay(&stay).await;
    house.refuses(&token("mara", json!({ "sid": "s1" })), 401, "revoked").await;
    drop(house.seats("mara", "s2").await);
}
