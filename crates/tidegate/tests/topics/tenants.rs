//! Nothing crosses a tenant.

use serde_json::json;

use crate::fixture::{Who, gateway, get, post, publish, refusal, talker, told, user};

#[tokio::test]
async fn topics_of_one_name_are_as_many_as_there_are_tenants() {
    let gateway = gateway();
    let at = gateway.address();
    let (ann, bob) = (talker("ann", "acme"), talker("bob", "bolt"));
    let nobodys = user("cat", None, "talker");
    assert_eq!(publish(at, &ann, "log:a", json!("acme's")).await, 1);
    assert_eq!(publish(at, &bob, "log:a", json!("bolt's")).await, 1);
    assert_eq!(publish(at, &nobodys, "log:a", json!("common")).await, 1);
    let named = json!({"data": "for acme", "tenant": "acme"});
    assert_eq!(post(at, &Who::Server, "/v1/topics/log:a/publish", &named).await.ok()["offset"], 2);
    let in_address = post(at, &Who::Server, "/v1/topics/log:a/publish?tenant=bolt", &json!({"data": "for bolt"})).await;
    assert_eq!(in_address.ok()["offset"], 2);

    assert_eq!(told(at, &ann, "log:a").await, ["acme's", "for acme"]);
    assert_eq!(told(at, &bob, "log:a").await, ["bolt's", "for bolt"]);
    assert_eq!(told(at, &nobodys, "log:a").await, ["common"]);
    assert_eq!(told(at, &Who::Server, "log:a").await, ["common"]);
    let of_acme = get(at, &Who::Server, "/v1/topics/log:a/history?tenant=acme").await.ok();
    assert_eq!(of_acme["messages"][0]["data"], "acme's");
}

#[tokio::test]
async fn only_a_server_names_a_tenant() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    let in_body = |tenant: &str| json!({"data": 1, "tenant": tenant});
    for tenant in ["bolt", "acme", ""] {
        let refused = post(at, &ann, "/v1/topics/log:a/publish", &in_body(tenant)).await;
        assert_eq!(refusal(&refused), (403, "forbidden".into()), "{tenant:?}");
    }
    for path in [
        "/v1/topics/log:a/history?tenant=bolt",
        "/v1/topics/board:a/values?tenant=bolt",
        "/v1/topics/room:a/presence?tenant=bolt",
        "/v1/topics/room:a/presence/counts?tenant=bolt",
    ] {
        assert_eq!(refusal(&get(at, &ann, path).await), (403, "forbidden".into()), "{path}");
    }
    let batch = json!({"publish": [{"topic": "log:a", "data": 1}], "tenant": "bolt"});
    let results = post(at, &ann, "/v1/topics/publish", &batch).await.ok();
    assert_eq!(results["results"][0]["error"]["code"], "forbidden");
    for bad in ["", " ", &"x".repeat(257)] {
        let refused = post(at, &Who::Server, "/v1/topics/log:a/publish", &in_body(bad)).await;
        assert_eq!(refusal(&refused), (400, "malformed".into()), "{bad:?}");
    }
    assert_eq!(told(at, &ann, "log:a").await, [] as [serde_json::Value; 0]);
}

#[tokio::test]
async fn a_list_of_topics_is_of_one_tenant() {
    let gateway = gateway();
    let at = gateway.address();
    for (who, topic) in [(talker("ann", "acme"), "log:b"), (talker("ann", "acme"), "log:a"), (Who::Server, "log:c")] {
        publish(at, &who, topic, json!(1)).await;
    }
    let list = |query: &'static str| async move { get(at, &Who::Server, &format!("/v1/topics{query}")).await };
    assert_eq!(list("?tenant=acme").await.ok(), json!({"topics": ["log:a", "log:b"]}));
    assert_eq!(list("?tenant=acme&limit=1").await.ok(), json!({"topics": ["log:a"], "next": "log:a"}));
    assert_eq!(list("?tenant=acme&after=log:a").await.ok(), json!({"topics": ["log:b"]}));
    assert_eq!(list("").await.ok(), json!({"topics": ["log:c"]}));
    assert_eq!(list("?tenant=nobody").await.ok(), json!({"topics": []}));
    assert_eq!(refusal(&list("?limit=0").await), (400, "malformed".into()));
}
