//! Reads over HTTP: a row, a page, the catalog.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value};
use tidegate_testkit::clients::{request, urlencoded, within};

use super::{Place, World};
use crate::tenants::plan::{TENANTS, Who};

impl World {
    /// A single row, as somebody asks for it by its key: what is not theirs is not there.
    pub(crate) async fn peek(&self, random: &mut StdRng, who: &Who) {
        // Nothing changes meanwhile.
        let rows = self.rows.lock().await;
        let places: Vec<&Place> = rows.history.keys().collect();
        let Some((entity, _, key)) = places.choose(random) else { return };
        let encoded = urlencoded(key);
        let name = &self.plan.entities[*entity].name;
        // A tenant that is named is asked for, as by a filter on its column, which has to be seen for that.
        let named = random.random_bool(0.3).then(|| *TENANTS.choose(random).unwrap());
        let named = named.filter(|_| self.plan.entities[*entity].has_tenant);
        let path = format!("/v1/entities/{name}/{encoded}");
        let path = named.map_or(path.clone(), |tenant| format!("{path}?tenant={tenant}"));
        let (status, text) = self.get(who, "GET", &path, "").await;
        let tenant = self.plan.tenant(who, *entity);
        // A key that names another's tenant is taken at its word, which is not there to be found in one's own.
        let row = tenant.and_then(|tenant| rows.now(&(*entity, tenant, key.clone())));
        let seen = row.map(|(row, _)| {
            let columns = self.plan.seen(who, *entity, self.plan.tenant(who, *entity).as_deref().unwrap(), row);
            let shown = columns.into_iter().map(|column| (column.to_owned(), row[column].clone()));
            shown.collect::<Map<String, Value>>()
        });
        match seen.filter(|seen| !seen.is_empty() && (named.is_none() || status == 200)) {
            Some(seen) => {
                assert!(named.is_none_or(|named| who.tenant.as_deref() == Some(named)), "{who:?} {path}: {text}");
                assert_eq!(status, 200, "{who:?} {path}: {text} {seen:?}\n{}", self.plan.toml());
                let got: Value = serde_json::from_str(&text).unwrap();
                let got = got["row"].as_object().unwrap();
                // Of what the tenant's column is not granted with, nothing answers a question that names it.
                let is_seen = got.iter().all(|(column, cell)| seen.get(column) == Some(cell));
                let is_right = is_seen && (named.is_some() || got.len() == seen.len());
                assert!(is_right, "{who:?} {path}: {got:?} for {seen:?}\n{}", self.plan.toml());
            }
            None => assert!([403, 404].contains(&status), "{who:?} {path}: {status} {text}"),
        }
    }

    /// A page, at whatever position it is answered.
    pub(crate) async fn leaf(&self, random: &mut StdRng, who: &Who) {
        let query = self.plan.question(random, &self.rows.lock().await.all());
        let decided = self.plan.decide(who, &query);
        let name = query["entity"].as_str().unwrap();
        let (status, text) = if random.random() {
            let path = format!("/v1/entities/{name}?query={}", urlencoded(&query.to_string()));
            self.get(who, "GET", &path, &query.to_string()).await
        } else {
            self.get(who, "POST", &format!("/v1/entities/{name}/query"), &query.to_string()).await
        };
        let Some(decided) = decided else {
            assert_eq!(status, 403, "{who:?} {query}: {text}\n{}", self.plan.toml());
            return;
        };
        assert_eq!(status, 200, "{who:?} {query}: {text}\n{}", self.plan.toml());
        let page: Value = serde_json::from_str(&text).unwrap();
        let position = page["position"].as_str().unwrap().parse().unwrap();
        let got: Vec<&Value> = page["rows"].as_array().unwrap().iter().map(|entry| &entry["row"]).collect();
        let rows = self.rows.lock().await;
        let expected: Vec<Value> = self.expected(&rows, &decided, position).into_iter().map(Value::Object).collect();
        assert_eq!(got, expected.iter().collect::<Vec<_>>(), "{who:?} {query}\n{}", self.plan.toml());
    }

    /// The catalog tells of columns that are seen, and of no other.
    pub(crate) async fn describe(&self, who: &Who) {
        let (status, text) = self.get(who, "GET", "/v1/entities", "").await;
        assert_eq!(status, 200, "{text}");
        let catalog: Value = serde_json::from_str(&text).unwrap();
        for (number, entity) in self.plan.entities.iter().enumerate() {
            let described = catalog["entities"].as_array().unwrap().iter().find(|other| other["name"] == entity.name);
            let columns = described.map_or_else(Default::default, |entity| {
                entity["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect()
            });
            assert_eq!(self.plan.described(who, number), columns, "{who:?}: {text}\n{}", self.plan.toml());
        }
    }

    async fn get(&self, who: &Who, method: &str, path: &str, body: &str) -> (u16, String) {
        let bearer = format!("Bearer {}", who.token.as_deref().unwrap_or_default());
        let mut headers = vec![("content-type", "application/json"), ("authorization", &*bearer)];
        headers.truncate(if who.token.is_some() { 2 } else { 1 });
        let sent = if method == "GET" { "" } else { body };
        let answer = within(path, request(self.at, method, path, &headers, sent.as_bytes())).await.unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        self.look(&format!("{:?} {text}", answer.headers), &[who], &format!("{path} {body}"));
        (answer.status, text)
    }
}
