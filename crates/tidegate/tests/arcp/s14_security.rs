//! Section 14: security considerations.

use serde_json::json;
use tidegate_testkit::clients::within;
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{CONFIG, Client, House, code, hello};
use crate::frames::kind;

#[tokio::test]
pub(crate) async fn every_subscribe_is_logged() {
    let config = CONFIG.replace("level = \"warn\"", "level = \"info\"");
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &format!("{config}\n[arcp]\nfixtures = true\n"));
    let mut ann = Client::open(gateway.address(), "/arcp", "h", hello("ann")).await.unwrap();
    let job = ann.submit(json!({ "agent": "echo" })).await;
    for (user, decision) in [("auditor", "allowed"), ("bob", "refused")] {
        let mut other = Client::open(gateway.address(), "/arcp", "h", hello(user)).await.unwrap();
        other.ask("job.subscribe", json!({ "job_id": job })).await;
        let is_logged = |line: &str| {
            let parts = ["job.subscribe", decision, &*job, &format!("user:{user}"), "user:ann"];
            parts.into_iter().all(|part| line.contains(part))
        };
        let logged = async {
            while !gateway.said().lines().any(is_logged) {
                tokio::task::yield_now().await;
            }
        };
        within("the line", logged).await;
    }
}

#[tokio::test]
pub(crate) async fn a_principal_has_so_many_sessions_and_jobs() {
    let house = House::with("max_user_sessions = 2\nmax_user_jobs = 2").await;
    let mut client = house.connect("ann").await;
    let _other = house.connect("ann").await;
    let refused = Client::open(house.at, "/arcp", "h", hello("ann")).await.err().unwrap();
    assert_eq!((kind(&refused), code(&refused)), ("session.error", "INTERNAL_ERROR"));
    house.connect("bob").await;
    let slow = json!({ "agent": "slow", "input": { "ms": 600_000 } });
    let first = client.submit(slow.clone()).await;
    client.submit(slow.clone()).await;
    assert_eq!(code(&client.ask("job.submit", slow.clone()).await), "INTERNAL_ERROR");
    client.ask("job.cancel", json!({ "job_id": first })).await;
    client.submit(slow).await;
}
