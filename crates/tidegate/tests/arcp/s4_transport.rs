//! Section 4: transport.

use serde_json::json;
use tidegate_jobs::agents::Output;

use crate::fixture::{Client, House, end, hello};

#[tokio::test]
pub(crate) async fn a_websocket_is_served_at_both_addresses() {
    let house = House::open().await;
    for path in ["/arcp", "/"] {
        let mut client = Client::open(house.at, path, "hello", hello("ann")).await.unwrap();
        let events = client.run(json!({ "agent": "echo", "input": path })).await;
        assert_eq!(end(&events)["payload"]["result"], path);
    }
}

#[tokio::test]
pub(crate) async fn the_largest_pieces_fit_what_clients_take() {
    // The client of these tests fails on a message of 1 MiB.
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for encoding in ["utf8", "base64"] {
        let input = json!({ "chunks": 2, "bytes": 700 << 10, "encoding": encoding });
        let events = client.run(json!({ "agent": "stream", "input": input })).await;
        assert_eq!(end(&events)["payload"]["result_size"], 1_400 << 10);
    }
    let job = client.submit(json!({ "agent": "puppet" })).await;
    house.part().await.end(Output::of(&"x".repeat(470 << 10)));
    let events = client.events(&job).await;
    assert_eq!(end(&events)["payload"]["result"], end(&events)["payload"]["output"]);
}
