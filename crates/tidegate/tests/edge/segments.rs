//! How bytes are cut into segments means nothing.

use serde_json::{Value, json};
use tidegate_testkit::clients::raw::{CLOSE, RawSocket, TEXT, frame, upgrade};
use tidegate_testkit::clients::{get, within};

use crate::fixture::{Site, upsert};

const FAST: &str = "[edge]\nmessages_per_second = 1000000\n";

/// The next text message.
async fn text(raw: &mut RawSocket) -> Value {
    loop {
        let (opcode, payload) = within("a message", raw.next()).await.expect("the connection stays");
        match opcode {
            TEXT => return serde_json::from_slice(&payload).unwrap(),
            CLOSE => panic!("closed: {payload:?}"),
            _ => {}
        }
    }
}

async fn bare(site: &Site) -> RawSocket {
    RawSocket { stream: site.endpoint().connect("http/1.1").await.unwrap() }
}

fn subscribe(sub: &str) -> Vec<u8> {
    let data = json!({ "sub": sub, "query": { "entity": "asset" } });
    frame(true, TEXT, json!({ "event": "live.subscribe", "id": sub, "data": data }).to_string().as_bytes())
}

/// The ids of the next `count` replies, in their order.
async fn replies(raw: &mut RawSocket, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let message = text(raw).await;
        if message["event"] == "reply" {
            assert!(message["error"].is_null(), "{message}");
            ids.push(message["id"].as_str().unwrap().to_owned());
        }
    }
    ids
}

async fn everything_at_once(site: Site) {
    site.write(json!([upsert("a", 10, 1)])).await;
    let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    let mut raw = bare(&site).await;
    let messages: Vec<u8> = names.iter().flat_map(|name| subscribe(name)).collect();
    raw.bytes(&[upgrade("/ws", "").as_bytes(), &messages].concat()).await;
    raw.shaken().await;
    assert_eq!(replies(&mut raw, names.len()).await, names);
    // The live protocol's first message, too; and a whole session in one segment ends as it should.
    let mut raw = bare(&site).await;
    let first = frame(true, TEXT, br#"{"action":"subscribe","query":{"entity":"asset"}}"#);
    raw.bytes(&[upgrade("/v1/live/ws", "").as_bytes(), &first].concat()).await;
    raw.shaken().await;
    assert_eq!(text(&mut raw).await["op"], "reset");
    let mut raw = bare(&site).await;
    let last = frame(true, TEXT, br#"{"action":"unsubscribe"}"#);
    raw.bytes(&[upgrade("/v1/live/ws", "").as_bytes(), &first, &last].concat()).await;
    raw.shaken().await;
    assert_eq!(raw.close_code().await, Some(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_the_handshake_is_not_lost() {
    everything_at_once(Site::plain(FAST)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_the_handshake_is_not_lost_over_tls() {
    everything_at_once(Site::tls(FAST)).await;
}

/// A message in two pieces, cut at each byte; what is between them is somebody else's round trip, in which the gateway
/// gets to see the first alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_may_be_cut_at_any_byte() {
    let site = Site::plain(FAST);
    let mut raw = RawSocket::connect(site.endpoint(), "/ws", false).await;
    // Two messages, so that each cut is also a whole message with a piece of the next behind it.
    let ping = |id: &str| frame(true, TEXT, json!({ "event": "live.unsubscribe", "id": id }).to_string().as_bytes());
    for cut in 1..ping("aaaa").len() * 2 {
        let (first, second) = (format!("{cut:04}"), format!("{cut:03}x"));
        let bytes = [ping(&first), ping(&second)].concat();
        raw.bytes(&bytes[..cut]).await;
        get(site.endpoint(), "/healthz").await;
        raw.bytes(&bytes[cut..]).await;
        for id in [first, second] {
            let reply = text(&mut raw).await;
            assert_eq!((&reply["event"], &reply["id"]), (&"reply".into(), &id.into()), "cut at {cut}: {reply}");
        }
    }
}

/// The handshake and the first message, byte by byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_may_come_byte_by_byte() {
    let site = Site::plain(FAST);
    let mut raw = bare(&site).await;
    for byte in [upgrade("/ws", "").as_bytes(), &subscribe("s")].concat() {
        raw.bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    raw.shaken().await;
    assert_eq!(replies(&mut raw, 1).await, ["s"]);
}
