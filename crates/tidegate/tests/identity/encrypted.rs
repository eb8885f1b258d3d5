//! Redis behind TLS and a password, reached by the program as it is shipped.

use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::clients::Certificate;
use tidegate_testkit::redis::Redis;

use crate::device::{House, Writer, sections};
use crate::fixture::{gateway, token};
use crate::seat::Lateness;

const PASSWORD: &str = "a-password-that-nobody-logs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_followed_over_tls_with_a_password() {
    let (certificate, directory) = (Certificate::generate(), TempDir::new().unwrap());
    // The test itself writes beside the network.
    let socket = directory.path().join("redis.sock").display().to_string();
    let builder = Redis::builder().tls(&certificate).set("requirepass", &[PASSWORD]).set("unixsocket", &[&socket]);
    let Some(redis) = builder.start() else { return };
    let more = format!("password = \"{PASSWORD}\"\nroot_certificate = {:?}\n", certificate.file());
    let gateway = gateway(&sections(&redis, &more));
    let writer = Writer { url: format!("redis+unix://{socket}?pass={PASSWORD}") };
    let house = House { redis, gateway, writer, lateness: Lateness::measure() };
    house.in_step().await;
    house.writer.session("mara", "s1", "active").await;
    let seats = house.seats("mara", "s1").await;
    house.stay(&seats).await;
    let since = Instant::now();
    house.writer.session("mara", "s1", "revoked").await;
    house.ended(&seats, since, house.lateness.a_second(), "revoked").await;
    house.refuses(&token("mara", json!({ "sid": "s1" })), 401, "revoked").await;
    assert!(!house.gateway.said().contains(PASSWORD), "the password was logged");
}
