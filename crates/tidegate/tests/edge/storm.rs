//! Many at once: all gone and all back, and more than are let in.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_testkit::clients::{LiveClient, ModelList, Transport, request, within};
use tokio::task::JoinSet;

use crate::fixture::{Site, upsert};

const CROWD: usize = 300;

/// A few hundred are cut at once and come back at once: each resumes what it had and ends with the right list.
async fn all_gone_and_all_back(transports: &[Transport]) {
    let site = Site::plain("");
    let query = json!({ "entity": "asset", "limit": 20 });
    site.write((0..20).map(|n| upsert(&format!("{n:02}"), 20, n)).collect()).await;
    let mut lists = Vec::new();
    for index in 0..CROWD {
        let transport = transports[index % transports.len()];
        lists.push((transport, site.client(transport, &query).await));
    }
    // The cut: every one of them is dropped.
    let lists: Vec<_> = lists.into_iter().map(|(transport, client)| (transport, client.list)).collect();
    let position = site.write(json!([upsert("05", 30, 7)])).await;
    let began = Instant::now();
    let mut back = JoinSet::new();
    for (transport, list) in lists {
        let (endpoint, query) = (site.endpoint(), query.clone());
        back.spawn(async move {
            let mut client = LiveClient::subscribe(endpoint, transport, &query, list).await.unwrap();
            client.until("what was missed", |list| list.synced() >= Some(position)).await;
            client
        });
    }
    let back = site.unharmed(back.join_all()).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for client in &back {
        assert_eq!(client.list.resets, 1, "it was resumed, not reset");
        site.assert_shows(&query, &client.list).await;
    }
    // The ones that left are known to be gone.
    let open = |count| move |metrics: &crate::fixture::Metrics| metrics.value("connections") == count;
    site.until_metrics("the count of the open", open(CROWD as u64)).await;
    drop(back);
    site.until_metrics("nobody is left", open(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_come_back_at_once_over_http1() {
    all_gone_and_all_back(&[Transport::WebSocket, Transport::Sse]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_come_back_at_once_over_every_transport() {
    all_gone_and_all_back(&Transport::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_cap_each_transport_is_refused_with_a_reason() {
    const CAP: usize = 4;
    let site = Site::plain(&format!("[edge]\nmax_connections = {CAP}\n"));
    let query = json!({ "entity": "asset" });
    let mut inside = Vec::new();
    for _ in 0..CAP / 2 {
        inside.push(site.client(Transport::WebSocket, &query).await);
        inside.push(site.client(Transport::Sse, &query).await);
    }
    let upgrade = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let json = [("content-type", "application/json")];
    let body = query.to_string();
    for (method, path, headers, body) in [
        ("GET", "/v1/live/ws", &upgrade[..], ""),
        ("GET", "/ws", &upgrade[..], ""),
        ("POST", "/v1/live", &json[..], &body),
    ] {
        let answer = request(site.endpoint(), method, path, headers, body.as_bytes());
        let answer = within(path, answer).await.unwrap();
        assert_refused(&answer, path);
    }
    assert_eq!(site.metrics().await.refused("capacity"), 3);
    inside.pop();
    site.until_metrics("room", |metrics| metrics.value("connections") < CAP as u64).await;
    site.client(Transport::Sse, &query).await;
}

/// 503, when to come back, and why: as JSON.
pub(crate) fn assert_refused(answer: &tidegate_testkit::clients::Response, what: &str) {
    assert_eq!(answer.status, 503, "{what}");
    let seconds: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
    assert!((5..=10).contains(&seconds), "{what}: {seconds}");
    let error = &answer.json()["error"];
    assert!(error["code"].is_string() && error["message"].is_string(), "{what}: {error}");
    assert_eq!(error["retryable"], true, "{what}: {error}");
}

/// Not all come back at the same second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refused_are_told_different_times() {
    let site = Site::plain("[edge]\nmax_connections = 1\n");
    let _inside = site.client(Transport::WebSocket, &json!({ "entity": "asset" })).await;
    let mut told = std::collections::HashSet::new();
    let ask = async {
        while told.len() < 3 {
            let body = br#"{"entity":"asset"}"#;
            let json = [("content-type", "application/json")];
            let answer = request(site.endpoint(), "POST", "/v1/live", &json, body).await.unwrap();
            assert_refused(&answer, "/v1/live");
            told.insert(answer.header("retry-after").unwrap().to_owned());
        }
    };
    within("three different answers", ask).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_of_a_list_that_was_cut_in_a_storm_again_and_again() {
    let site = Site::plain("");
    let query = json!({ "entity": "asset", "limit": 20 });
    let mut client = site.client(Transport::WebSocket, &query).await;
    for n in 0..30 {
        let position = site.write(json!([upsert(&format!("{:02}", n % 7), 50, n)])).await;
        let transport = [Transport::WebSocket, Transport::Sse][n as usize % 2];
        let list = std::mem::replace(&mut client.list, ModelList::new());
        client = LiveClient::subscribe(site.endpoint(), transport, &query, list).await.unwrap();
        if n % 3 == 0 {
            client.until("the write", |list| list.synced() >= Some(position)).await;
            site.assert_shows(&query, &client.list).await;
        }
    }
}
