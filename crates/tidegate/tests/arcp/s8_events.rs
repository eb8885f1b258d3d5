//! Section 8: events, their order, and streamed results.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tidegate_jobs::agents::Output;
use tidegate_jobs::{Chunk, Code, Fault, Kind};

use crate::fixture::{House, bodies, code, end};
use crate::frames::{is_named, kind};

#[tokio::test]
pub(crate) async fn every_kind_comes_as_it_was_said() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let said = [
        ("log", json!({ "level": "warn", "message": "m" })),
        ("thought", json!({ "text": "t" })),
        ("tool_call", json!({ "tool": "grep", "args": { "q": "x" }, "call_id": "c1" })),
        ("tool_result", json!({ "call_id": "c1", "result": { "hits": 2 } })),
        ("tool_result", json!({ "call_id": "c2", "error": { "code": "TIMEOUT", "message": "m", "retryable": false } })),
        ("status", json!({ "phase": "thinking", "message": "m" })),
        ("metric", json!({ "name": "tokens", "value": 12, "unit": "t" })),
        ("artifact_ref", json!({ "uri": "s3://b/k", "content_type": "text/plain", "byte_size": 7, "sha256": "ab" })),
        ("progress", json!({ "current": 47, "total": 120, "units": "files", "message": "m" })),
        ("x-vendor.acme.mood", json!({ "good": true })),
    ];
    for (kind, body) in &said {
        part.job.event(Kind::named(kind).unwrap(), to_raw_value(body).unwrap()).await.unwrap();
    }
    let metric = json!({ "name": "tokens", "value": 1, "dimensions": { "model": "a" } });
    part.job.event(Kind::METRIC, to_raw_value(&metric).unwrap()).await.unwrap();
    part.done();
    let events = client.events(&job).await;
    assert_eq!(events.len(), said.len() + 3);
    for (event, (kind, body)) in events[1..].iter().zip(&said) {
        assert_eq!((&event["payload"]["kind"], &event["payload"]["body"]), (&json!(kind), body));
        assert!(event["payload"]["ts"].is_string());
    }
    let metric = &events[said.len() + 1]["payload"]["body"];
    assert_eq!((&metric["dimensions"], &metric["dims"]), (&json!({ "model": "a" }), &json!({ "model": "a" })));
}

#[tokio::test]
pub(crate) async fn progress_is_neither_negative_nor_more_than_the_total() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for (body, may) in [
        (json!({ "current": 0 }), true),
        (json!({ "current": 2.5, "total": 2.5 }), true),
        (json!({ "current": -1 }), false),
        (json!({ "current": 3, "total": 2 }), false),
        (json!({ "total": 2 }), false),
    ] {
        let job = client.submit(json!({ "agent": "puppet" })).await;
        let part = house.part().await;
        let said = part.job.event(Kind::PROGRESS, to_raw_value(&body).unwrap()).await;
        assert_eq!(said.is_ok(), may, "{body}");
        part.done();
        let events = client.events(&job).await;
        assert_eq!(bodies(&events, "progress").len(), usize::from(may), "{body}");
    }
}

#[tokio::test]
pub(crate) async fn numbers_have_no_gap_over_many_connections() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let mut heard = Vec::new();
    for n in 0..6 {
        // Some before the connection is gone, some after.
        part.job.log("info", &format!("{n} before")).await.unwrap();
        part.job.flush().await.unwrap();
        while heard.len() < n {
            heard.push(client.event(&job).await);
        }
        part.job.log("info", &format!("{n} after")).await.unwrap();
        client = client.again(&house, "ann", heard.len() as u64).await.unwrap();
    }
    part.done();
    heard.extend(client.events(&job).await);
    let messages: Vec<_> =
        bodies(&heard, "log").into_iter().map(|body| body["message"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..6).flat_map(|n| [format!("{n} before"), format!("{n} after")]).collect();
    assert_eq!(messages, expected);
}

#[tokio::test]
pub(crate) async fn a_streamed_result_is_its_chunks_in_their_order() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for (encoding, of) in [("utf8", 3_000), ("base64", 1_001)] {
        let events =
            client.run(json!({ "agent": "stream", "input": { "chunks": 4, "bytes": of, "encoding": encoding } })).await;
        let chunks = bodies(&events, "result_chunk");
        let mut whole = Vec::new();
        for (n, chunk) in chunks.iter().enumerate() {
            assert_eq!((&chunk["chunk_seq"], &chunk["encoding"]), (&json!(n), &json!(encoding)));
            assert_eq!(chunk["more"], n + 1 < chunks.len());
            assert_eq!(chunk["result_id"], chunks[0]["result_id"]);
            let data = chunk["data"].as_str().unwrap();
            match encoding {
                "utf8" => whole.extend_from_slice(data.as_bytes()),
                _ => whole.extend(BASE64_STANDARD.decode(data).unwrap()),
            }
        }
        assert!(is_named(chunks[0]["result_id"].as_str().unwrap(), "res_"));
        let payload = &end(&events)["payload"];
        assert_eq!((kind(end(&events)), &payload["final_status"]), ("job.result", &json!("success")));
        assert_eq!((&payload["result_id"], &payload["result_size"]), (&chunks[0]["result_id"], &json!(whole.len())));
        assert_eq!((whole.len(), &payload["summary"]), (4 * of, &json!("4 chunks")));
        assert!(payload.get("result").is_none() && payload.get("output").is_none());
    }
}

#[tokio::test]
pub(crate) async fn a_result_is_inline_or_streamed_and_never_both() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    part.job.chunk(Chunk::Text("a piece".into()), false).await.unwrap();
    // It never said that this was the last, and returns something beside.
    part.end(Output::of(&"inline"));
    let events = client.events(&job).await;
    let chunks = bodies(&events, "result_chunk");
    assert_eq!(chunks.last().unwrap()["more"], false);
    let payload = &end(&events)["payload"];
    assert_eq!(payload["result_id"], chunks[0]["result_id"]);
    assert!(payload.get("result").is_none() && payload.get("output").is_none());
}

#[tokio::test]
pub(crate) async fn a_chunk_or_a_result_that_is_too_long_fails_the_job() {
    let house = House::with("max_result_bytes = 1000").await;
    let mut client = house.connect("ann").await;
    let events = client.run(json!({ "agent": "stream", "input": { "chunks": 3, "bytes": 400 } })).await;
    assert_eq!(bodies(&events, "result_chunk").len(), 2);
    assert_eq!(code(end(&events)), "INTERNAL_ERROR");
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    assert!(part.job.chunk(Chunk::Text("x".repeat(701 << 10).into()), true).await.is_err());
    part.end(Err(Fault::new(Code::InternalError, "it was refused")));
    assert_eq!(code(end(&client.events(&job).await)), "INTERNAL_ERROR");
}

/// What a client would be told twice, of anything.
#[tokio::test]
pub(crate) async fn a_job_that_fails_while_it_streams_has_no_result() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    part.job.chunk(Chunk::Text("a piece".into()), false).await.unwrap();
    part.end(Err(Fault::new(Code::InternalError, "no more")));
    let events = client.events(&job).await;
    assert_eq!((kind(end(&events)), &end(&events)["payload"].get("result_id")), ("job.error", &None::<&Value>));
}
