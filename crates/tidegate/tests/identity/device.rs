//! Device sessions in a real Redis, whoever writes them there, and a gateway that follows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Pipeline, pipe};
use serde_json::json;
use tidegate_testkit::clients::{get, within, write};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::redis::Redis;

use crate::fixture::{gateway, token};
use crate::seat::{Lateness, Refused, Seat, Way};

/// Longest wait of the gateway for an entry.
pub(crate) const BLOCK: Duration = Duration::from_millis(300);

/// A gateway, its Redis and who writes there.
pub(crate) struct House {
    pub(crate) redis: Redis,
    pub(crate) gateway: Gateway,
    pub(crate) writer: Writer,
    pub(crate) lateness: Lateness,
}

/// The sections of a gateway that has its sessions there, with more in the one of sessions.
pub(crate) fn sections(redis: &Redis, more: &str) -> String {
    format!(
        "query_token = true\n[identity.sessions]\nredis = \"{}\"\nread_block_ms = {}\n{more}\n",
        redis.url(),
        BLOCK.as_millis()
    )
}

impl House {
    /// `None` where there is no Redis on this machine.
    pub(crate) fn open(more: &str) -> Option<Self> {
        let redis = Redis::start()?;
        let gateway = gateway(&sections(&redis, more));
        let writer = Writer { url: redis.url() };
        Some(Self { redis, gateway, writer, lateness: Lateness::measure() })
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// A connection of a user with a session.
    pub(crate) async fn seat(&self, way: Way, user: &str, session: &str) -> Result<Seat, Refused> {
        Seat::take(self.at(), way, &token(user, json!({ "sid": session }))).await
    }

    /// One each way.
    pub(crate) async fn seats(&self, user: &str, session: &str) -> Vec<Seat> {
        let mut seats = Vec::new();
        for way in Way::ALL {
            let seat = self.seat(way, user, session).await;
            seats.push(seat.unwrap_or_else(|refused| panic!("{way:?}: {refused:?}")));
        }
        seats
    }

    /// Nobody comes in, whichever way: this is what they are told.
    pub(crate) async fn refuses(&self, token: &str, status: u16, code: &str) {
        for way in Way::ALL {
            match Seat::take(self.at(), way, token).await {
                Ok(_) => panic!("{way:?} was let in"),
                Err(refused) => assert!(refused.is(status, code), "{way:?}: {refused:?} is not {status} {code}"),
            }
        }
    }

    /// All of them were told so, and in time.
    pub(crate) async fn ended(&self, seats: &[Seat], since: Instant, time: Duration, why: &str) {
        let close = if why == "unverified" { 1013 } else { 1008 };
        for seat in seats {
            let (end, way) = (seat.ended().await, seat.way);
            let took = end.at.saturating_duration_since(since);
            assert!(took <= time, "{way:?} took {took:?}, of {time:?}");
            let expected = if why == "unverified" && !way.is_websocket() { "identity_unavailable" } else { why };
            assert!(end.is(expected), "{way:?}: {end:?}");
            assert!(end.is_whole, "{way:?}: {end:?}");
            assert_eq!(end.close, way.is_websocket().then_some(close), "{way:?}: {end:?}");
        }
    }

    /// Waits until the gateway follows the stream.
    pub(crate) async fn in_step(&self) {
        self.is_ready(200).await;
    }

    /// Waits until the gateway has been without the stream for too long.
    pub(crate) async fn out_of_step(&self) {
        self.is_ready(503).await;
    }

    async fn is_ready(&self, status: u16) {
        within(&format!("/readyz says {status}"), async {
            while get(self.at(), "/readyz").await.status != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// All of them live: what is written arrives.
    pub(crate) async fn stay(&self, seats: &[Seat]) {
        let before: Vec<_> = seats.iter().map(Seat::messages).collect();
        let text = format!("{:?}", Instant::now());
        write(self.at(), "note", json!([{ "upsert": { "id": 1, "org": "acme", "text": text } }])).await;
        for (seat, before) in seats.iter().zip(before) {
            seat.hears_more_than(before).await;
            assert_eq!(seat.end(), None, "{:?} was closed", seat.way);
        }
    }
}

/// Whoever writes sessions: the hash first, or with the entry at once.
pub(crate) struct Writer {
    pub(crate) url: String,
}

impl Writer {
    pub(crate) async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> T {
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
        let client = redis::Client::open(&*self.url).unwrap();
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        commands.query_async(&mut connection).await.unwrap()
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        for word in words {
            asked.arg(word);
        }
        let (answer,): (T,) = self.run(pipe().add_command(asked)).await;
        answer
    }

    /// A session as it is now.
    pub(crate) async fn session(&self, user: &str, id: &str, status: &str) {
        let () = self.run(pipe().atomic().hash(user, id, status).entry(user, id, status)).await;
    }

    /// An entry that names a session and says nothing else.
    pub(crate) async fn malformed(&self, id: &str) {
        let () = self.run(pipe().malformed(id)).await;
    }
}

/// What is written about sessions.
pub(crate) trait Sessions {
    fn hash(&mut self, user: &str, id: &str, status: &str) -> &mut Self;
    fn entry(&mut self, user: &str, id: &str, status: &str) -> &mut Self;
    fn malformed(&mut self, id: &str) -> &mut Self;
}

fn fields<'a>(user: &'a str, id: &'a str, status: &'a str) -> [(&'static str, &'a str); 4] {
    [("device_session_id", id), ("user_id", user), ("client_public_key", "key"), ("status", status)]
}

impl Sessions for Pipeline {
    fn hash(&mut self, user: &str, id: &str, status: &str) -> &mut Self {
        self.cmd("HSET").arg(format!("session:{id}")).arg(&fields(user, id, status)[..]).ignore()
    }

    fn entry(&mut self, user: &str, id: &str, status: &str) -> &mut Self {
        self.cmd("XADD").arg("session_events").arg("*").arg(&fields(user, id, status)[..]).ignore()
    }

    fn malformed(&mut self, id: &str) -> &mut Self {
        let fields = [("device_session_id", id), ("status", "active")];
        self.cmd("XADD").arg("session_events").arg("*").arg(&fields[..]).ignore()
    }
}
