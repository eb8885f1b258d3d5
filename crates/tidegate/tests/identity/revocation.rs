//! Device sessions in Redis that end, on every transport: who is on goes within a second, who comes is refused, everybody
//! else stays.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use redis::pipe;
use serde_json::json;
use tidegate_testkit::clients::{API_KEY, get, request, write};
use tidegate_testkit::redis::Redis;
use tokio::task::JoinSet;

use crate::device::{House, Sessions, Writer, sections};
use crate::fixture::{ask, authenticated, closed, connected, gateway, order, refusal, token};
use crate::seat::{Lateness, Seat, Way};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_entry_ends_every_connection_of_the_session_and_no_other() {
    let Some(house) = House::open("") else { return };
    for (user, id) in [("mara", "s1"), ("mara", "s2"), ("ole", "s3")] {
        house.writer.session(user, id, "active").await;
    }
    let (gone, stay) = (house.seats("mara", "s1").await, house.seats("mara", "s2").await);
    let others = house.seats("ole", "s3").await;
    let since = Instant::now();
    house.writer.session("mara", "s1", "revoked").await;
    house.ended(&gone, since, house.lateness.a_second(), "revoked").await;
    house.refuses(&token("mara", json!({ "sid": "s1" })), 401, "revoked").await;
    house.stay(&stay).await;
    house.stay(&others).await;
    // By word of the API, it is the stream that tells.
    let since = Instant::now();
    assert_eq!(order(house.at(), "POST", "/v1/sessions/s2/revoke", &json!({})).await.ok(), json!({ "revoked": true }));
    house.ended(&stay, since, house.lateness.a_second(), "revoked").await;
    house.refuses(&token("mara", json!({ "sid": "s2" })), 401, "revoked").await;
    let status: String = house.writer.ask("HGET session:s2 status").await;
    assert_eq!(status, "revoked");
    assert_eq!(order(house.at(), "POST", "/v1/sessions/s9/revoke", &json!({})).await.status, 404);
    house.stay(&others).await;
    // An active entry about someone who is on is no reason to end.
    house.writer.session("ole", "s3", "active").await;
    house.stay(&others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_tenants_are_revoked_whatever_redis_says() {
    let Some(house) = House::open("") else { return };
    for (user, id) in [("mara", "s1"), ("ole", "s2")] {
        house.writer.session(user, id, "active").await;
    }
    let (mara, ole) = (house.seats("mara", "s1").await, house.seats("ole", "s2").await);
    let since = Instant::now();
    let _ = order(house.at(), "POST", "/v1/users/mara/revoke", &json!({})).await.ok();
    house.ended(&mara, since, house.lateness.a_second(), "revoked").await;
    house.refuses(&token("mara", json!({ "sid": "s1" })), 401, "revoked").await;
    house.stay(&ole).await;
    let since = Instant::now();
    let _ = order(house.at(), "POST", "/v1/tenants/acme/revoke", &json!({})).await.ok();
    house.ended(&ole, since, house.lateness.a_second(), "revoked").await;
    house.refuses(&token("ole", json!({ "sid": "s2" })), 401, "revoked").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_entry_has_the_session_looked_up_again() {
    let Some(house) = House::open("") else { return };
    for id in ["lives", "deleted", "spoilt", "ended"] {
        house.writer.session("mara", id, "active").await;
    }
    let lives = house.seats("mara", "lives").await;
    house.writer.malformed("lives").await;
    let changes: [(&str, &str, &str); 3] = [
        ("deleted", "DEL session:deleted", "unauthenticated"),
        ("spoilt", "HSET session:spoilt role admin", "unauthenticated"),
        ("ended", "HSET session:ended status revoked", "revoked"),
    ];
    for (id, change, code) in changes {
        let seats = house.seats("mara", id).await;
        let _: i64 = house.writer.ask(change).await;
        // Nobody was told yet.
        house.stay(&seats).await;
        let since = Instant::now();
        house.writer.malformed(id).await;
        house.ended(&seats, since, house.lateness.a_second(), code).await;
        house.refuses(&token("mara", json!({ "sid": id })), 401, code).await;
    }
    house.stay(&lives).await;
    let metrics = String::from_utf8(get(house.at(), "/metrics").await.body).unwrap();
    assert!(metrics.lines().any(|line| line.contains("malformed_event") && line.ends_with(" 4")), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_becomes_another_users_ends_for_the_first() {
    let Some(house) = House::open("") else { return };
    house.writer.session("mara", "s1", "active").await;
    let seats = house.seats("mara", "s1").await;
    let since = Instant::now();
    house.writer.session("ole", "s1", "active").await;
    house.ended(&seats, since, house.lateness.a_second(), "unauthenticated").await;
    house.refuses(&token("mara", json!({ "sid": "s1" })), 401, "unauthenticated").await;
    house.stay(&house.seats("ole", "s1").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_whose_session_it_is_comes_in() {
    let Some(house) = House::open("") else { return };
    house.writer.session("mara", "s1", "active").await;
    let () = house
        .writer
        .run(pipe().hash("mara", "blank", "active").cmd("HSET").arg("session:blank").arg("user_id").arg(" ").ignore())
        .await;
    for token in [
        token("eve", json!({ "sid": "s1" })),
        token("mara", json!({})),
        token("mara", json!({ "sid": "s2" })),
        token("mara", json!({ "sid": "blank" })),
    ] {
        house.refuses(&token, 401, "unauthenticated").await;
        // And a second time, from what is known by now.
        house.refuses(&token, 401, "unauthenticated").await;
    }
    house.stay(&house.seats("mara", "s1").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_was_never_reached_nobody_with_a_session_comes_in() {
    let Some(mut redis) = Redis::start() else { return };
    let writer = Writer { url: redis.url() };
    writer.session("mara", "s1", "active").await;
    redis.kill();
    let gateway = gateway(&sections(&redis, ""));
    let mut house = House { redis, gateway, writer, lateness: Lateness::measure() };
    let mara = token("mara", json!({ "sid": "s1" }));
    house.refuses(&mara, 503, "identity_unavailable").await;
    assert_eq!(get(house.at(), "/readyz").await.status, 503);
    // Servers have no session.
    write(house.at(), "note", json!([{ "delete": { "id": 1, "org": "acme" } }])).await;
    tokio::task::block_in_place(|| house.redis.resume());
    house.in_step().await;
    let seats = house.seats("mara", "s1").await;
    let since = Instant::now();
    house.writer.session("mara", "s1", "revoked").await;
    house.ended(&seats, since, house.lateness.a_second(), "revoked").await;
}

/// Whoever is on the way in while the session ends is either refused or ended, however the two fall together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_outlives_the_revocation_that_it_overlaps() {
    const STORM: usize = 90;
    let Some(house) = House::open("lookup_timeout_ms = 5000\n") else { return };
    let (mut refused, mut ended) = (0, 0);
    for round in 0..6 {
        let id = format!("s{round}");
        house.writer.session("mara", &id, "active").await;
        // Half of the rounds begin with nothing known about the session.
        let first = if round % 2 == 0 { Some(house.seat(Way::Live, "mara", &id).await.unwrap()) } else { None };
        let (at, token) = (house.at(), token("mara", json!({ "sid": id })));
        let mut storm = JoinSet::new();
        for index in 0..STORM {
            let token = token.clone();
            storm.spawn(async move { Seat::take(at, Way::ALL[index % Way::ALL.len()], &token).await });
        }
        let mut seats = Vec::from_iter(first);
        // In the midst of it, wherever that is.
        while seats.len() < STORM / 4 {
            seats.push(storm.join_next().await.unwrap().unwrap().unwrap());
        }
        let since = Instant::now();
        house.writer.session("mara", &id, "revoked").await;
        while let Some(outcome) = storm.join_next().await {
            match outcome.unwrap() {
                Ok(seat) => seats.push(seat),
                Err(refusal) => {
                    assert!(refusal.is(401, "revoked") || refusal.status.is_none(), "{refusal:?}");
                    refused += 1;
                }
            }
        }
        for seat in &seats {
            let end = seat.ended().await;
            let took = end.at.saturating_duration_since(since);
            assert!(took <= house.lateness.a_second(), "{:?} took {took:?}", seat.way);
        }
        ended += seats.len();
    }
    assert!(refused > 0 && ended > 0, "{refused} refused, {ended} ended: no overlap");
}

/// The same where nothing is known of the session yet, and it ends between the look-up and the entrance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_first_look_up_outlives_the_revocation_that_it_overlaps() {
    const SESSIONS: usize = 400;
    const AT_ONCE: usize = 8;
    let Some(house) = House::open("lookup_timeout_ms = 5000\n") else { return };
    let mut random = StdRng::seed_from_u64(7);
    let (mut refused, mut ended) = (0, 0);
    for wave in 0..SESSIONS / AT_ONCE {
        let mut coming = JoinSet::new();
        for index in 0..AT_ONCE {
            let (id, at, writer) = (format!("s{wave}-{index}"), house.at(), house.writer.clone());
            // About as long as a handshake takes.
            let delay = Duration::from_micros(random.random_range(0..6_000));
            let ways = [(); 3].map(|()| *Way::ALL.choose(&mut random).unwrap());
            coming.spawn(async move {
                writer.session("mara", &id, "active").await;
                let token = token("mara", json!({ "sid": id }));
                let revoked = async {
                    tokio::time::sleep(delay).await;
                    writer.session("mara", &id, "revoked").await;
                    Instant::now()
                };
                let seats = futures_util::future::join_all(ways.map(|way| Seat::take(at, way, &token)));
                tokio::join!(seats, revoked)
            });
        }
        while let Some(outcome) = coming.join_next().await {
            let (outcomes, since) = outcome.unwrap();
            for outcome in outcomes {
                match outcome {
                    Ok(seat) => {
                        let took = seat.ended().await.at.saturating_duration_since(since);
                        assert!(took <= house.lateness.a_second(), "{:?} took {took:?}", seat.way);
                        ended += 1;
                    }
                    Err(refusal) => {
                        assert!(refusal.is(401, "revoked") || refusal.status.is_none(), "{refusal:?}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 0 && ended > 0, "{refused} refused, {ended} ended: no overlap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_bound_to_the_session_of_its_newest_token() {
    let Some(house) = House::open("") else { return };
    for id in ["s1", "s2"] {
        house.writer.session("mara", id, "active").await;
    }
    let [first, second] = ["s1", "s2"].map(|id| token("mara", json!({ "sid": id })));
    let mut socket = connected(house.at(), &first).await;
    assert!(
        authenticated(&mut socket, &token("mara", json!({ "sid": "s3" }))).await.error["code"] == "unauthenticated"
    );
    let reply = socket.call("auth.refresh", json!({ "token": second }), "refresh").await;
    assert!(reply.error.is_null(), "{reply:?}");
    // Another one on the first session shows when its end was told.
    let old = house.seat(Way::Live, "mara", "s1").await.unwrap();
    house.writer.session("mara", "s1", "revoked").await;
    let _ = old.ended().await;
    let refused = socket.call("auth.refresh", json!({ "token": first }), "back").await;
    assert_eq!(refused.error["code"], "revoked", "{refused:?}");
    let since = Instant::now();
    house.writer.session("mara", "s2", "revoked").await;
    closed(socket).await;
    assert!(since.elapsed() <= house.lateness.a_second(), "it took {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_the_api_are_refused_too() {
    let Some(house) = House::open("") else { return };
    house.writer.session("mara", "s1", "active").await;
    let (mara, notes) = (token("mara", json!({ "sid": "s1" })), "/v1/entities/note");
    let seat = house.seat(Way::Sse, "mara", "s1").await.unwrap();
    assert_eq!(ask(house.at(), "GET", notes, &mara, &json!({})).await.status, 200);
    house.writer.session("mara", "s1", "revoked").await;
    let _ = seat.ended().await;
    assert_eq!(refusal(&ask(house.at(), "GET", notes, &mara, &json!({})).await), (401, "revoked".into()));
    let put = json!({ "user_id": "mara", "client_public_key": "k" });
    let headers = [("x-api-key", API_KEY), ("content-type", "application/json")];
    let put = request(house.at(), "PUT", "/v1/sessions/s1", &headers, put.to_string().as_bytes()).await.unwrap();
    assert!((400..500).contains(&put.status), "sessions are written in Redis: {}", put.status);
}
