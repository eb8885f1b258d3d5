//! Who is present, as far as that is asked over HTTP.

use serde_json::json;

use crate::fixture::{gateway, get, refusal, talker};

#[tokio::test]
async fn nobody_is_present_where_nobody_subscribes() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    let page = get(at, &ann, "/v1/topics/room:a/presence?limit=10").await.ok();
    assert_eq!((&page["clients"], &page["users"], &page["members"]), (&json!(0), &json!(0), &json!([])));
    let counts = get(at, &ann, "/v1/topics/room:a/presence/counts").await.ok();
    assert_eq!(counts, json!({"version": page["version"], "clients": 0, "users": 0}));
    for path in ["/v1/topics/log:a/presence", "/v1/topics/log:a/presence/counts"] {
        assert_eq!(refusal(&get(at, &ann, path).await), (409, "not_available".into()), "{path}");
    }
    for bad in ["?limit=0", "?limit=1001", "?since=x", "?since=-1", "?no=1"] {
        let refused = get(at, &ann, &format!("/v1/topics/room:a/presence{bad}")).await;
        assert_eq!(refusal(&refused), (400, "malformed".into()), "{bad}");
    }
}
