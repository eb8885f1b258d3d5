//! Sections 9.1 to 9.5: what an agent may do, and for how long.

use serde_json::{Value, json};
use tidegate_jobs::lease::Namespace;
use tidegate_jobs::{Code, Fault};

use crate::fixture::{Client, House, Part, bodies, code, end, in_ms};

/// A job of `puppet` with that lease.
async fn with(house: &House, client: &mut Client, lease: Value) -> (String, Part) {
    let job = client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    (job, house.part().await)
}

#[tokio::test]
pub(crate) async fn what_no_pattern_covers_is_refused() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({
        "fs.read": ["/workspace/**"], "fs.write": ["/workspace/*.md"], "net.fetch": ["https://api.example.com/v1/**"],
        "tool.call": ["grep", "git-*"], "agent.delegate": ["test-*"], "model.use": ["tier-fast/*"],
    });
    let (_job, part) = with(&house, &mut client, lease).await;
    for (op, target, may) in [
        (Namespace::FsRead, "/workspace/a/b", true),
        (Namespace::FsRead, "/workspace/a/../../etc/passwd", false),
        (Namespace::FsRead, "/workspaces/a", false),
        (Namespace::FsRead, "/etc/passwd", false),
        (Namespace::FsWrite, "/workspace/a.md", true),
        (Namespace::FsWrite, "/workspace//a.md", true),
        (Namespace::FsWrite, "/workspace/a/b.md", false),
        (Namespace::FsWrite, "/workspace/a.rs", false),
        (Namespace::NetFetch, "https://api.example.com/v1/x", true),
        (Namespace::NetFetch, "HTTPS://API.example.com/v1/x", true),
        (Namespace::NetFetch, "https://api.example.com/v1/%2e%2e/x", false),
        (Namespace::NetFetch, "http://api.example.com/v1/x", false),
        (Namespace::NetFetch, "https://api.example.com.evil.org/v1/x", false),
        (Namespace::ToolCall, "grep", true),
        (Namespace::ToolCall, "git-log", true),
        (Namespace::ToolCall, "grep2", false),
        (Namespace::AgentDelegate, "test-runner", true),
        (Namespace::AgentDelegate, "runner", false),
        (Namespace::ModelUse, "tier-fast/a", true),
        (Namespace::ModelUse, "tier-slow/a", false),
    ] {
        let permit = part.job.authorize(op, target).await;
        assert_eq!(
            permit.map_err(|fault| fault.code),
            if may { Ok(()) } else { Err(Code::PermissionDenied) },
            "{target}"
        );
    }
    part.done();
}

#[tokio::test]
pub(crate) async fn without_a_grant_nothing_may_be_done() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let (_job, part) = with(&house, &mut client, json!({})).await;
    for (op, target) in [
        (Namespace::FsRead, "/a"),
        (Namespace::FsWrite, "/a"),
        (Namespace::NetFetch, "https://a.example/"),
        (Namespace::ToolCall, "a"),
        (Namespace::AgentDelegate, "a"),
    ] {
        assert_eq!(part.job.authorize(op, target).await.unwrap_err().code, Code::PermissionDenied);
    }
    part.done();
}

#[tokio::test]
pub(crate) async fn a_refusal_is_a_tool_result_and_the_agent_decides() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let calls = json!([{ "target": "rm" }, { "target": "grep" }, { "op": "fs.read", "target": "/etc/passwd" }]);
    let submit = json!({ "agent": "tools", "input": { "calls": calls }, "lease_request": { "tool.call": ["grep"] } });
    let events = client.run(submit).await;
    let results = bodies(&events, "tool_result");
    assert_eq!(results[0]["error"]["code"], "PERMISSION_DENIED");
    assert_eq!((results[1].get("error"), &results[1]["result"]), (None, &json!({ "done": true })));
    assert_eq!(results[2]["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(end(&events)["payload"]["result"], json!({ "permitted": 1, "refused": 2 }));
}

#[tokio::test]
pub(crate) async fn only_the_namespaces_of_the_draft_and_of_vendors_are_taken() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let own = json!({ "tool.call": ["a"], "x-vendor.acme.print": ["b"] });
    assert_eq!(client.accepted(json!({ "agent": "echo", "lease_request": own })).await["payload"]["lease"], own);
    for lease in [json!({ "fs.execute": ["*"] }), json!([]), json!({ "tool.call": [7] })] {
        let refused = client.ask("job.submit", json!({ "agent": "echo", "lease_request": lease })).await;
        assert_eq!(code(&refused), "INVALID_REQUEST", "{lease}");
    }
}

#[tokio::test]
pub(crate) async fn an_expiry_is_in_utc_and_in_the_future() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for bad in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00+02:00", "2999-01-01T00:00:00", "tomorrow", ""] {
        let submit = json!({ "agent": "echo", "lease_constraints": { "expires_at": bad } });
        assert_eq!(code(&client.ask("job.submit", submit).await), "INVALID_REQUEST", "{bad}");
    }
    let submit = json!({ "agent": "echo", "lease_constraints": { "expires_at": 7 } });
    assert_eq!(code(&client.ask("job.submit", submit).await), "INVALID_REQUEST");
}

/// A job whose lease ends in a second and a half, at that time.
async fn expired(house: &House, client: &mut Client) -> (String, Part) {
    let submit = json!({
        "agent": "puppet", "lease_request": { "tool.call": ["*"] },
        "lease_constraints": { "expires_at": in_ms(1_500) },
    });
    let job = client.submit(submit).await;
    let part = house.part().await;
    assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_ok());
    // As the gateway counts the time.
    client.run(json!({ "agent": "slow", "input": { "ms": 1_600 } })).await;
    (job, part)
}

#[tokio::test]
pub(crate) async fn a_lease_that_has_ended_permits_nothing() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let (job, part) = expired(&house, &mut client).await;
    let refused: Fault = part.job.authorize(Namespace::ToolCall, "x").await.unwrap_err();
    assert_eq!((refused.code, refused.retryable), (Code::LeaseExpired, false));
    // It was told, and tries again: the job has ended.
    assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_err());
    let events = client.events(&job).await;
    let payload = &end(&events)["payload"];
    assert_eq!((code(end(&events)), &payload["final_status"]), ("LEASE_EXPIRED", &json!("error")));
    assert_eq!(payload["retryable"], false);
}

#[tokio::test]
pub(crate) async fn a_job_whose_lease_has_ended_is_ended() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let (job, part) = expired(&house, &mut client).await;
    // The agent tries nothing more.
    let events = client.events(&job).await;
    assert_eq!((code(end(&events)), &end(&events)["payload"]["final_status"]), ("LEASE_EXPIRED", &json!("error")));
    drop(part);
}

#[tokio::test]
pub(crate) async fn without_constraints_a_lease_never_ends() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for constraints in [json!(null), json!({})] {
        let accepted = client.accepted(json!({ "agent": "echo", "lease_constraints": constraints })).await;
        assert!(accepted["payload"].get("lease_constraints").is_none());
    }
}
