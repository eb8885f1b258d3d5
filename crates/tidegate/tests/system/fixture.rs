//! What the scenarios share: one entity, a gateway that serves it, and how lists are compared with pages.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, Entry, ModelList, page};
use tidegate_testkit::gateway::Gateway;

const ENTITY: &str = r#"
[[entity]]
name = "asset"
key = ["id"]
columns = { id = "text", name = "text", kind = "text", temp = "float", n = "int", price = "decimal", seen = "timestamp" }
max_window = 500
"#;

/// A gateway open to strangers, with `sections` of further configuration.
pub(crate) fn gateway(sections: &str) -> Gateway {
    let identity = format!("[log]\nlevel = \"warn\"\n[identity]\nanonymous = true\napi_keys = [\"{API_KEY}\"]\n");
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &format!("{identity}{sections}\n{ENTITY}"))
}

/// An upsert of an asset.
pub(crate) fn upsert(id: &str, name: &str, n: i64) -> Value {
    json!({ "upsert": { "id": id, "name": name, "kind": "pump", "temp": n, "n": n, "price": "1.50", "seen": null } })
}

/// Fails unless the list is what the query gives now.
pub(crate) async fn assert_shows(address: SocketAddr, query: &Value, list: &ModelList) {
    let (rows, position) = page(address, query).await;
    list.check(&rows).unwrap_or_else(|difference| panic!("at {position}, {query}: {difference}"));
}

/// Every row of the entity, page by page in key order.
pub(crate) async fn all_rows(address: SocketAddr) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let mut query = json!({ "entity": "asset", "limit": 500 });
        if let Some(last) = all.last() {
            query["cursor"] = last.cursor.clone();
        }
        let (rows, _) = page(address, &query).await;
        if rows.is_empty() {
            return all;
        }
        all.extend(rows);
    }
}
