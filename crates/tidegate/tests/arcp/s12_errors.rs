//! Section 12: errors. That every one has a code of the draft's, a message and `retryable` as it has to be is in `frames.rs`.

use serde_json::json;

use crate::fixture::{House, code, end};

#[tokio::test]
pub(crate) async fn codes_of_an_agents_own_are_details() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let events = client.run(json!({ "agent": "fail", "input": { "code": "NO_DISK", "message": "full" } })).await;
    let payload = &end(&events)["payload"];
    assert_eq!((code(end(&events)), &payload["message"]), ("INTERNAL_ERROR", &json!("full")));
    assert_eq!(payload["details"]["code"], "NO_DISK");
}

#[tokio::test]
pub(crate) async fn whether_to_try_again_is_the_codes_to_say() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for (said, retryable, expected) in [
        ("INTERNAL_ERROR", false, true),
        ("LEASE_EXPIRED", true, false),
        ("BUDGET_EXHAUSTED", true, false),
        ("TIMEOUT", true, true),
        ("TIMEOUT", false, false),
        ("PERMISSION_DENIED", true, true),
    ] {
        let input = json!({ "code": said, "message": "", "retryable": retryable });
        let events = client.run(json!({ "agent": "fail", "input": input })).await;
        let payload = &end(&events)["payload"];
        assert_eq!((code(end(&events)), &payload["retryable"]), (said, &json!(expected)));
        assert_eq!(payload["final_status"], "error");
    }
}
