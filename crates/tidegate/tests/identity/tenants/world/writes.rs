//! Writes: the server's, a database's, and those of people who may or may not.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, get, request, urlencoded, within};
use tidegate_testkit::postgres::Session;

use super::{NUMBER, Place, Rows, TEXT, World};
use crate::tenants::plan::{COLUMNS, Entity, MARKED, Row, TENANTS, Who};

/// Rows that a partition has at most: few, so that the same keys are in all tenants and often written.
const IDS: i64 = 8;
const IDEMPOTENCY_KEYS: [&str; 4] = ["first", "second", "third", "fourth"];

/// What a change is to become of, and whether it may.
struct Change {
    place: Place,
    json: Value,
    new: Option<Row>,
    allowed: bool,
}

impl World {
    /// Writes as the server does: any row of any tenant.
    pub(crate) async fn serve(&self, random: &mut StdRng) -> u64 {
        let mut rows = self.rows.lock().await;
        let entity = random.random_range(0..self.plan.entities.len());
        let tenants = [TENANTS[0], TENANTS[1], TENANTS[2], "anonymous"];
        let tenant = if self.plan.entities[entity].has_tenant { *tenants.choose(random).unwrap() } else { "" };
        let mut changes: Vec<Change> = Vec::new();
        let mut count: usize = random.random_range(1..4);
        // A version tells where a transaction of a database is, so it makes at least one row.
        while count > 0 || self.database.is_some() && changes.iter().all(|change| change.new.is_none()) {
            count = count.saturating_sub(1);
            let change = self.change(random, &rows, None, entity, tenant);
            if changes.iter().all(|other| other.place != change.place) {
                changes.push(change);
            }
        }
        if let Some(database) = &self.database {
            return self.commit(&mut rows, database, &changes).await;
        }
        let position = self.send(&mut rows, &changes, &[("x-api-key", API_KEY)], None).await.1;
        position.unwrap_or_else(|| panic!("a server may write everything"))
    }

    /// Writes in the database; the position that this is here.
    async fn commit(&self, rows: &mut Rows, database: &Session, changes: &[Change]) -> u64 {
        changes.iter().for_each(|change| self.note(change));
        let (entity, tenant, _) = &changes[0].place;
        let plan = &self.plan.entities[*entity];
        let statements: Vec<String> = changes.iter().map(|change| sql(plan, change)).collect();
        database.run(&format!("begin; {} commit;", statements.join(" "))).await;
        let lsn = database.text("select pg_current_wal_insert_lsn()").await;
        let _ = get(self.at, &format!("/v1/position?at_least={}", urlencoded(&lsn))).await.ok();
        let made = changes.iter().find(|change| change.new.is_some()).unwrap();
        let path = format!("/v1/entities/{}/{}?tenant={tenant}", plan.name, urlencoded(&made.place.2));
        let version = get(self.at, &path).await.ok()["version"].as_u64().unwrap();
        for change in changes {
            let row = change.new.clone().map(|row| (row, version));
            // There a key without the tenant is one row of all tenants: it moves to the last who wrote it.
            let is_place = |other: &&Place| (other.0, &other.2) == (change.place.0, &change.place.2);
            let others: Vec<Place> = rows.history.keys().filter(is_place).cloned().collect();
            for other in others.into_iter().filter(|other| row.is_some() && *other != change.place) {
                rows.history.entry(other).or_default().push((version, None));
            }
            rows.history.entry(change.place.clone()).or_default().push((version, row));
        }
        version
    }

    /// Writes as somebody who may or may not, and says whatever tenant comes to mind.
    pub(crate) async fn meddle(&self, random: &mut StdRng, who: &Who) {
        let mut rows = self.rows.lock().await;
        let entity = random.random_range(0..self.plan.entities.len());
        let own = self.plan.tenant(who, entity);
        // Who has no tenant is refused whatever they try.
        let tenant = own.clone().unwrap_or_else(|| TENANTS[0].to_owned());
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..random.random_range(1..3) {
            let change = self.change(random, &rows, Some(who), entity, &tenant);
            if changes.iter().all(|other| other.place != change.place) {
                changes.push(change);
            }
        }
        let bearer = format!("Bearer {}", who.token.as_deref().unwrap_or_default());
        let mut headers = vec![("authorization", &*bearer)];
        if who.token.is_none() {
            headers.clear();
        }
        let key = random.random_bool(0.3).then(|| *IDEMPOTENCY_KEYS.choose(random).unwrap());
        let scope = key.map(|key| format!("{entity} {:?} {} {key}", who.tenant, who.user));
        if let Some(key) = key {
            headers.push(("idempotency-key", key));
        }
        let is_used = scope.as_ref().is_some_and(|scope| rows.idempotent.contains(scope));
        let allowed = changes.iter().all(|change| change.allowed) && own.is_some() && self.database.is_none();
        if is_used {
            // Another body under the same key: refused, whatever is in it. One without markers may be the same again.
            changes.iter_mut().for_each(|change| change.allowed = false);
            let is_unique =
                |change: &Change| [TEXT, NUMBER].iter().any(|(start, _)| change.json.to_string().contains(start));
            if !changes.iter().any(is_unique) {
                return;
            }
        }
        let (text, position) = self.send(&mut rows, &changes, &headers, Some(who)).await;
        let wanted = allowed && !is_used;
        assert_eq!(
            position.is_some(),
            wanted,
            "{who:?} {:?}: {text}\n{}",
            changes.iter().map(|change| &change.json).collect::<Vec<_>>(),
            self.plan.toml()
        );
        if let Some(scope) = scope.filter(|_| wanted) {
            rows.idempotent.insert(scope);
        }
    }

    fn change(&self, random: &mut StdRng, rows: &Rows, who: Option<&Who>, entity: usize, tenant: &str) -> Change {
        let plan = &self.plan.entities[entity];
        let mut cells = Row::new();
        cells.insert("id".into(), random.random_range(0..IDS).into());
        if plan.key.contains(&"part") {
            cells.insert("part".into(), (*["p", "q\""].choose(random).unwrap()).into());
        }
        let identity = |cells: &Row| {
            let mut cells = cells.clone();
            if plan.has_tenant {
                cells.insert("org".into(), tenant.into());
            }
            cells
        };
        let place = (entity, tenant.to_owned(), plan.key_text(&identity(&cells)));
        let old = rows.now(&place);
        let mut if_version = None;
        if who.is_some() && random.random_bool(0.2) {
            let known: Vec<u64> = rows.history.keys().filter_map(|place| Some(rows.now(place)?.1)).collect();
            if_version = Some(known.choose(random).copied().unwrap_or_default());
        }
        let fits = if_version.is_none_or(|version| version == old.map_or(0, |(_, version)| *version));
        let says = match who {
            // A client says any tenant, which makes no difference.
            Some(_) => random.random_bool(0.4).then(|| *TENANTS.choose(random).unwrap()),
            None => Some(tenant),
        };
        let says = says.filter(|_| plan.has_tenant);
        let (json, new, named): (Value, _, Vec<&str>) = if random.random_bool(0.25) {
            let mut key = cells.clone();
            let says = says.or_else(|| plan.key.contains(&"org").then_some(tenant));
            if let Some(says) = says.filter(|_| who.is_none() || plan.key.contains(&"org")) {
                key.insert("org".into(), says.into());
            }
            (json!({ "delete": key }), None, Vec::new())
        } else {
            let named = self.cells(random, who.is_none(), &mut cells);
            let blank = || plan.columns.iter().map(|(name, _)| ((*name).to_owned(), Value::Null)).collect();
            let mut row: Row = old.map_or_else(blank, |(row, _)| row.clone());
            row.extend(identity(&cells));
            if let Some(says) = says {
                cells.insert("org".into(), says.into());
            }
            (json!({ "upsert": cells }), Some(row), named)
        };
        let mut json = json;
        if let Some(version) = if_version {
            json["if_version"] = version.into();
        }
        let may = who.is_none_or(|who| {
            let old = old.map(|(row, _)| row);
            self.plan.may_change(who, entity, &named, old, None)
                && self.plan.may_change(who, entity, &named, old, new.as_ref())
        });
        Change { place, json, new, allowed: may && fits }
    }

    /// Fills in cells, all or some; which.
    fn cells(&self, random: &mut StdRng, all: bool, cells: &mut Row) -> Vec<&'static str> {
        let mut named = Vec::new();
        for (column, _) in COLUMNS {
            if !all && random.random_bool(0.5) {
                continue;
            }
            // What a server writes is always new.
            let is_null = random.random_bool(0.1) && !(all && column == "stamp");
            let value = match column {
                _ if is_null => Value::Null,
                "owner" => (*["ann", "bob", "cid"].choose(random).unwrap()).into(),
                "team" => random.random_range(0..4).into(),
                "stamp" => self.marker(NUMBER).parse::<i64>().unwrap().into(),
                _ => self.marker(TEXT).into(),
            };
            cells.insert(column.to_owned(), value);
            named.push(column);
        }
        named
    }

    fn marker(&self, (start, digits): (&str, usize)) -> String {
        let mut markers = self.markers.lock().unwrap();
        markers.count += 1;
        format!("{start}{:0digits$}", markers.count)
    }

    /// Sends a batch; what was answered, and the position where it was taken. What is to be seen is known before it can be.
    async fn send(
        &self,
        rows: &mut Rows,
        changes: &[Change],
        headers: &[(&str, &str)],
        who: Option<&Who>,
    ) -> (String, Option<u64>) {
        if changes.iter().all(|change| change.allowed) {
            changes.iter().for_each(|change| self.note(change));
        }
        let entity = &self.plan.entities[changes[0].place.0].name;
        let body = json!({ "changes": changes.iter().map(|change| &change.json).collect::<Vec<_>>() }).to_string();
        let path = format!("/v1/entities/{entity}/changes");
        let headers = [headers, &[("content-type", "application/json")]].concat();
        let answer = within("a write", request(self.at, "POST", &path, &headers, body.as_bytes())).await.unwrap();
        let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
        if let Some(who) = who {
            self.look(&text, &[who], &body);
        }
        if answer.status != 200 {
            return (text, None);
        }
        let answer = answer.json();
        let position: u64 = answer["position"].as_str().unwrap().parse().unwrap();
        for (change, version) in changes.iter().zip(answer["versions"].as_array().unwrap()) {
            let row = change.new.clone().zip(version.as_u64());
            assert_eq!(row.is_some(), change.new.is_some(), "{answer}");
            rows.history.entry(change.place.clone()).or_default().push((position, row));
        }
        (text, Some(position))
    }

    fn note(&self, change: &Change) {
        let Some(row) = &change.new else { return };
        let (entity, tenant, _) = &change.place;
        let mut markers = self.markers.lock().unwrap();
        for column in MARKED {
            let word = row[column].as_str().map_or_else(|| row[column].to_string(), ToOwned::to_owned);
            markers.images.entry(word).or_default().push((*entity, tenant.clone(), column, row.clone()));
        }
    }
}

/// A change as the database is told.
fn sql(plan: &Entity, change: &Change) -> String {
    let literal = |value: &Value| match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    };
    let key = plan.key.join(", ");
    match &change.new {
        Some(row) => {
            let columns: Vec<&str> = plan.columns.iter().map(|(name, _)| *name).collect();
            let values: Vec<String> = columns.iter().map(|column| literal(&row[*column])).collect();
            let set: Vec<String> = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect();
            let (columns, values, set) = (columns.join(", "), values.join(", "), set.join(", "));
            format!("insert into {} ({columns}) values ({values}) on conflict ({key}) do update set {set};", plan.name)
        }
        None => {
            let at = |column: &&str| format!("{column} = {}", literal(&change.json["delete"][*column]));
            let mut at: Vec<String> = plan.key.iter().map(at).collect();
            if plan.has_tenant {
                at.push(format!("org = '{}'", change.place.1));
            }
            format!("delete from {} where {};", plan.name, at.join(" and "))
        }
    }
}
