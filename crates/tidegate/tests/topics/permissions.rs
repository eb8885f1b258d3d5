//! Who may do what with topics: the same verbs over HTTP as everywhere.

use serde_json::json;
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{Who, accepted, ask, gateway, get, post, publish, refusal, user};

#[tokio::test]
async fn every_route_asks_for_its_verb() {
    let gateway = gateway();
    let at = gateway.address();
    let data = json!({"data": 1});
    let body = data.to_string().into_bytes();
    let reads = ["/v1/topics/log:open:a/history", "/v1/topics/room:a/presence", "/v1/topics/room:a/presence/counts"];
    let publisher = user("pub", None, "publisher");
    accepted(&post(at, &publisher, "/v1/topics/log:open:a/publish", &data).await);
    assert_eq!(refusal(&post(at, &publisher, "/v1/topics/log:a/publish", &data).await), (403, "forbidden".into()));
    for path in reads {
        assert_eq!(refusal(&get(at, &publisher, path).await), (403, "forbidden".into()), "{path}");
    }
    let reader = user("rea", None, "reader");
    assert_eq!(get(at, &reader, reads[0]).await.ok()["messages"][0]["user"], "pub");
    for path in reads {
        accepted(&get(at, &reader, path).await);
    }
    assert_eq!(refusal(&post(at, &reader, "/v1/topics/log:open:a/publish", &data).await), (403, "forbidden".into()));
    for (method, path) in [
        ("POST", "/v1/topics/log:a/publish"),
        ("GET", "/v1/topics/log:a/history"),
        ("GET", "/v1/topics/board:a/values"),
        ("GET", "/v1/topics/room:a/presence"),
        ("GET", "/v1/topics/room:a/presence/counts"),
        ("DELETE", "/v1/topics/log:a/history"),
        ("GET", "/v1/topics"),
    ] {
        let refused = ask(at, &Who::Stranger, method, path, &body).await;
        assert_eq!(refusal(&refused), (403, "forbidden".into()), "{method} {path}");
    }
    let unknown = ask(at, &Who::User("no token".into()), "POST", "/v1/topics/log:a/publish", &body).await;
    assert_eq!(refusal(&unknown).0, 401);
}

#[tokio::test]
async fn strangers_may_do_everything_where_nothing_is_said() {
    let config = "[identity]\nanonymous = true\n[[topic]]\nprefix = \"\"\nhistory_size = 5\n";
    let open = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), config);
    assert_eq!(publish(open.address(), &Who::Stranger, "a", json!(1)).await, 1);
    assert!(open.said().contains("do everything with topics"), "{}", open.said());
    let closed = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), "");
    let refused = post(closed.address(), &Who::Stranger, "/v1/topics/a/publish", &json!({"data": 1})).await;
    assert_eq!(refusal(&refused).0, 401);
}

#[tokio::test]
async fn where_the_application_decides_requests_of_users_do_not_pass_it_by() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = user("ann", None, "talker");
    let data = json!({"data": 1});
    assert_eq!(refusal(&post(at, &ann, "/v1/topics/asked:a/publish", &data).await), (403, "forbidden".into()));
    assert_eq!(refusal(&get(at, &ann, "/v1/topics/asked:a/ephemeral").await), (403, "forbidden".into()));
    for path in ["/v1/topics/asked:a/history", "/v1/topics/asked:a/presence", "/v1/topics/asked:a/presence/counts"] {
        assert_eq!(refusal(&get(at, &ann, path).await), (403, "forbidden".into()), "{path}");
    }
    accepted(&post(at, &Who::Server, "/v1/topics/asked:a/publish", &data).await);
    accepted(&get(at, &Who::Server, "/v1/topics/asked:a/ephemeral").await);
}
