//! What a round is about: entities, permissions, people and their questions, all random; and the sentence that says who
//! sees what, evaluated by definition on JSON.
//!
//! A cell is seen where one grant covers its row and its column, and nothing crosses a tenant.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use tidegate_testkit::clients::API_KEY;

use super::conditions::{compare, condition, filled, holds, named, toml};
use crate::fixture::{ISSUER, token};

pub(crate) type Row = Map<String, Value>;

pub(crate) const TENANTS: [&str; 3] = ["TENANTacme", "TENANTumbr", "TENANTzorg"];
pub(super) const USERS: [&str; 3] = ["ann", "bob", "cid"];
const ROLES: [&str; 3] = ["member", "boss", "guest"];
/// The columns of every entity beside its key and its tenant. The last three carry markers.
pub(crate) const COLUMNS: [(&str, &str); 5] =
    [("owner", "text"), ("team", "int"), ("name", "text"), ("secret", "text"), ("stamp", "int")];
pub(crate) const MARKED: [&str; 3] = ["name", "secret", "stamp"];

pub(crate) struct Plan {
    pub(crate) entities: Vec<Entity>,
    grants: Vec<Grant>,
    is_open_to_strangers: bool,
    /// The database that the rows are in, if they are not the gateway's own.
    database: Option<String>,
}

pub(crate) struct Entity {
    pub(crate) name: String,
    pub(crate) has_tenant: bool,
    pub(crate) key: Vec<&'static str>,
    pub(crate) columns: Vec<(&'static str, &'static str)>,
}

#[derive(Clone)]
struct Grant {
    roles: Vec<&'static str>,
    plan: Option<&'static str>,
    entity: usize,
    read: bool,
    write: bool,
    conditions: Vec<Value>,
    /// All, where there are none.
    columns: Option<BTreeSet<&'static str>>,
}

/// Somebody, with the token that says so; a stranger has none.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) tenant: Option<String>,
    pub(crate) user: String,
    pub(crate) token: Option<String>,
    roles: Vec<&'static str>,
    claims: Row,
}

/// What of a question may be answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    pub(crate) entity: usize,
    pub(crate) tenant: String,
    pub(crate) columns: Vec<&'static str>,
    /// The client's conditions; then any of these lists.
    pub(crate) asked: Vec<Value>,
    pub(crate) granted: Vec<Vec<Value>>,
    pub(crate) sort: Vec<(String, bool)>,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<Vec<Value>>,
}

/// Rows of an entity that are granted, with the columns.
type Granted = (Vec<Value>, BTreeSet<&'static str>);

impl Plan {
    pub(crate) fn random(random: &mut StdRng, database: Option<String>) -> Self {
        let entities: Vec<Entity> = (0..2).map(|number| Entity::random(number, random)).collect();
        let grants: Vec<Grant> = (0..random.random_range(2..7)).map(|_| Grant::random(&entities, random)).collect();
        let grants = if database.is_some() { Grant::followed(grants) } else { grants };
        Self { entities, grants, is_open_to_strangers: random.random(), database }
    }

    /// The configuration.
    pub(crate) fn toml(&self) -> String {
        let strangers = self.is_open_to_strangers;
        let mut out =
            format!("[log]\nlevel = \"warn\"\n[identity]\nanonymous = {strangers}\napi_keys = [\"{API_KEY}\"]\n");
        out += "[edge]\nmessages_per_second = 100000\n[live]\nlog_batches = 64\n";
        out += ISSUER;
        self.entities.iter().for_each(|entity| out += &entity.toml(self.database.is_some()));
        if let Some(url) = &self.database {
            out += &format!("[source]\nkind = \"postgres\"\nurl = {url:?}\ncheck_interval_ms = 200\n");
        }
        self.permissions(&mut out);
        out
    }

    fn permissions(&self, out: &mut String) {
        for grant in &self.grants {
            let may: Vec<&str> = [("read", grant.read), ("write", grant.write)]
                .iter()
                .filter(|(_, may)| *may)
                .map(|(verb, _)| *verb)
                .collect();
            let entity = &self.entities[grant.entity].name;
            *out += &format!("[[permission]]\nroles = {:?}\nentities = [{entity:?}]\nmay = {may:?}\n", grant.roles);
            if let Some(plan) = grant.plan {
                *out += &format!("claims = {{ plan = {plan:?} }}\n");
            }
            *out += &format!("where = {}\n", toml(&json!(grant.conditions)));
            if let Some(columns) = &grant.columns {
                *out += &format!("columns = {:?}\n", columns.iter().collect::<Vec<_>>());
            }
        }
    }

    pub(crate) fn person(&self, random: &mut StdRng) -> Who {
        if self.is_open_to_strangers && random.random_bool(0.15) {
            let tenant = Some("anonymous".to_owned());
            return Who { tenant, user: String::new(), token: None, roles: vec!["anonymous"], claims: Row::new() };
        }
        let tenant = random.random_bool(0.9).then(|| (*TENANTS.choose(random).unwrap()).to_owned());
        Who::new(tenant, USERS.choose(random).unwrap(), random)
    }

    fn granted(&self, who: &Who, entity: usize, may: impl Fn(&Grant) -> bool) -> Vec<Granted> {
        let all = || self.entities[entity].columns.iter().map(|(name, _)| *name).collect();
        let of = self.grants.iter().filter(|grant| grant.entity == entity && may(grant) && grant.is_for(who));
        of.filter_map(|grant| {
            let rows =
                grant.conditions.iter().map(|condition| filled(condition, &who.claims)).collect::<Option<_>>()?;
            Some((rows, grant.columns.clone().unwrap_or_else(all)))
        })
        .collect()
    }

    /// The tenant whose rows somebody reads and writes; none where nobody's.
    pub(crate) fn tenant(&self, who: &Who, entity: usize) -> Option<String> {
        if self.entities[entity].has_tenant { who.tenant.clone() } else { Some(String::new()) }
    }

    /// `None` is a refusal.
    pub(crate) fn decide(&self, who: &Who, query: &Value) -> Option<Decided> {
        let number = self.entities.iter().position(|entity| entity.name == query["entity"].as_str().unwrap())?;
        let entity = &self.entities[number];
        let tenant = self.tenant(who, number)?;
        let list = |name: &str| query.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let sort: Vec<(String, bool)> = list("sort")
            .iter()
            .map(|term| (term["column"].as_str().unwrap().to_owned(), term["desc"].as_bool().unwrap_or_default()))
            .collect();
        let mut asked: BTreeSet<String> = sort.iter().map(|(column, _)| column.clone()).collect();
        list("where").iter().for_each(|condition| named(condition, &mut asked));
        let selected: Vec<&str> = match query.get("select").and_then(Value::as_array) {
            Some(select) => select.iter().map(|name| name.as_str().unwrap()).collect(),
            None => entity.columns.iter().map(|(name, _)| *name).collect(),
        };
        let granted = self.granted(who, number, |grant| grant.read);
        let covers = |columns: &BTreeSet<&str>| asked.iter().all(|column| columns.contains(&**column));
        let shown = |columns: &BTreeSet<&str>| selected.iter().filter(|column| columns.contains(*column)).count();
        // Of those that show as many the first.
        let best =
            granted.iter().filter(|(_, columns)| covers(columns)).rev().max_by_key(|(_, columns)| shown(columns))?;
        let columns: Vec<&str> = entity.columns.iter().map(|(name, _)| *name).collect();
        let columns: Vec<&str> =
            columns.into_iter().filter(|name| selected.contains(name) && best.1.contains(name)).collect();
        if columns.is_empty() {
            return None;
        }
        let all = granted.iter().filter(|(_, of)| covers(of) && columns.iter().all(|column| of.contains(column)));
        let granted = all.map(|(rows, _)| rows.clone()).collect();
        let limit = query.get("limit").and_then(Value::as_u64).unwrap_or(50) as usize;
        let cursor = query.get("cursor").map(|cursor| cursor["values"].as_array().unwrap().clone());
        Some(Decided { entity: number, tenant, columns, asked: list("where"), granted, sort, limit, cursor })
    }

    /// The columns of a row that somebody may see.
    pub(crate) fn seen(&self, who: &Who, entity: usize, tenant: &str, row: &Row) -> BTreeSet<&'static str> {
        if self.tenant(who, entity).as_deref() != Some(tenant) {
            return BTreeSet::new();
        }
        let granted = self.granted(who, entity, |grant| grant.read).into_iter();
        granted.filter(|(rows, _)| holds(rows, row)).flat_map(|(_, columns)| columns).collect()
    }

    /// The columns that somebody may see in some rows; none where not the entity at all.
    pub(crate) fn described(&self, who: &Who, entity: usize) -> BTreeSet<&'static str> {
        let granted = self.granted(who, entity, |grant| grant.read).into_iter();
        if self.tenant(who, entity).is_none() {
            BTreeSet::new()
        } else {
            granted.flat_map(|(_, columns)| columns).collect()
        }
    }

    /// Whether somebody may name these columns of a row that is `old` in making it `new`.
    pub(crate) fn may_change(
        &self,
        who: &Who,
        entity: usize,
        named: &[&str],
        old: Option<&Row>,
        new: Option<&Row>,
    ) -> bool {
        let plan = &self.entities[entity];
        let is_identity = |column: &str| plan.key.contains(&column) || column == "org" && plan.has_tenant;
        let granted = self.granted(who, entity, |grant| grant.write);
        self.tenant(who, entity).is_some()
            && granted.iter().any(|(rows, columns)| {
                named.iter().all(|column| is_identity(column) || columns.contains(column))
                    && [old, new].into_iter().flatten().all(|row| holds(rows, row))
            })
    }

    /// A question about any column, seen or not, from after any of these rows.
    pub(crate) fn question(&self, random: &mut StdRng, rows: &[Row]) -> Value {
        let entity = self.entities.choose(random).unwrap();
        let any: Vec<&str> =
            entity.columns.iter().map(|(name, _)| *name).filter(|name| !entity.key.contains(name)).collect();
        let mut query = json!({ "entity": entity.name, "limit": random.random_range(1..20) });
        if random.random_bool(0.4) {
            query["where"] = (0..random.random_range(1..3)).map(|_| condition(random, false, rows, 3)).collect();
        }
        if entity.has_tenant && random.random_bool(0.2) {
            let other = json!({ "column": "org", "op": "eq", "value": TENANTS.choose(random).unwrap() });
            query["where"] = json!([other]);
        }
        if random.random_bool(0.5) {
            let (count, desc) = (random.random_range(1..3), random.random::<bool>());
            let terms = any.choose_multiple(random, count);
            query["sort"] = terms.map(|column| json!({ "column": column, "desc": desc })).collect();
        }
        if random.random_bool(0.4) {
            let count = random.random_range(1..=entity.columns.len());
            query["select"] = entity.columns.choose_multiple(random, count).map(|(name, _)| json!(name)).collect();
        }
        if let Some(cursor) = self.cursor(random, rows, &query).filter(|_| random.random_bool(0.2)) {
            query["cursor"] = cursor;
        }
        query
    }

    /// The place after one of the rows in the question's order.
    pub(crate) fn cursor(&self, random: &mut StdRng, rows: &[Row], query: &Value) -> Option<Value> {
        let entity = self.entities.iter().find(|entity| entity.name == query["entity"])?;
        let row =
            rows.iter().filter(|row| entity.key.iter().all(|column| row.contains_key(*column))).collect::<Vec<_>>();
        let row = row.choose(random)?;
        let sort = query.get("sort").and_then(Value::as_array).cloned().unwrap_or_default();
        let terms = sort.iter().map(|term| term["column"].as_str().unwrap()).chain(entity.key.iter().copied());
        let values: Vec<Value> = terms.map(|column| row.get(column).cloned().unwrap_or_default()).collect();
        Some(json!({ "values": values }))
    }
}

impl Entity {
    fn random(number: usize, random: &mut StdRng) -> Self {
        let has_tenant = random.random_bool(0.7);
        let key = match random.random_range(0..3) {
            0 => vec!["id"],
            1 => vec!["part", "id"],
            _ if has_tenant => vec!["org", "id"],
            _ => vec!["id"],
        };
        let mut columns: Vec<(&str, &str)> = COLUMNS.to_vec();
        columns.push(("id", "int"));
        if key.contains(&"part") {
            columns.push(("part", "text"));
        }
        if has_tenant {
            columns.push(("org", "text"));
        }
        rand::seq::SliceRandom::shuffle(&mut columns[..], random);
        Self { name: format!("thing{number}"), has_tenant, key, columns }
    }

    fn toml(&self, is_followed: bool) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(name, kind)| format!("{name} = {kind:?}")).collect();
        let tenant = if self.has_tenant { "tenant = \"org\"\n" } else { "" };
        let (name, key) = (&self.name, &self.key);
        if is_followed {
            return format!("[[entity]]\nname = {name:?}\n{tenant}");
        }
        format!("[[entity]]\nname = {name:?}\nkey = {key:?}\n{tenant}columns = {{ {} }}\n", columns.join(", "))
    }

    /// The table that it is in a database.
    pub(crate) fn table(&self) -> String {
        let kind = |kind: &str| if kind == "int" { "bigint" } else { "text" };
        let columns: Vec<String> = self.columns.iter().map(|(name, of)| format!("{name} {}", kind(of))).collect();
        format!("create table {} ({}, primary key ({}));", self.name, columns.join(", "), self.key.join(", "))
    }

    /// The key as text, as frames and URLs have it.
    pub(crate) fn key_text(&self, row: &Row) -> String {
        let values: Vec<Value> = self.key.iter().map(|column| row[*column].clone()).collect();
        if values.len() == 1 { values[0].to_string() } else { json!(values).to_string() }
    }
}

impl Grant {
    fn random(entities: &[Entity], random: &mut StdRng) -> Self {
        let number = random.random_range(0..entities.len());
        let entity = &entities[number];
        let roles = ["*", "anonymous", "member", "member", "boss", "boss", "guest"];
        let columns: Option<BTreeSet<&str>> = random.random_bool(0.7).then(|| {
            let count = random.random_range(0..=entity.columns.len());
            let some = entity.columns.choose_multiple(random, count).map(|(name, _)| *name);
            some.chain(entity.key.iter().copied()).collect()
        });
        let (read, write) =
            *[(true, false), (true, false), (true, true), (true, true), (false, true)].choose(random).unwrap();
        Self {
            roles: roles.choose_multiple(random, 2).copied().collect(),
            plan: random.random_bool(0.2).then(|| *["pro", "free"].choose(random).unwrap()),
            entity: number,
            read,
            write,
            conditions: (0..random.random_range(0..3)).map(|_| condition(random, true, &[], 3)).collect(),
            columns,
        }
    }

    /// Rows of a database are written there. Everybody sees some.
    fn followed(grants: Vec<Self>) -> Vec<Self> {
        let mine = json!({ "column": "owner", "op": "eq", "value": "$claims.sub" });
        let mine = |grant: &Self| Self {
            roles: vec!["*"],
            plan: None,
            conditions: vec![mine.clone()],
            columns: None,
            ..grant.clone()
        };
        let first = grants.first().map(mine);
        let all = first.into_iter().chain(grants);
        all.map(|grant| Self { read: true, write: false, ..grant }).collect()
    }

    fn is_for(&self, who: &Who) -> bool {
        let plan = self.plan.is_none_or(|plan| match who.claims.get("plan") {
            Some(Value::Array(plans)) => plans.contains(&json!(plan)),
            Some(claimed) => claimed == plan,
            None => false,
        });
        plan && self.roles.iter().any(|role| *role == "*" || who.roles.contains(role))
    }
}

impl Who {
    pub(crate) fn new(tenant: Option<String>, user: &str, random: &mut StdRng) -> Self {
        let count = random.random_range(0..3);
        let roles: Vec<&str> = ROLES.choose_multiple(random, count).copied().collect();
        let mut claims = json!({ "roles": roles, "tenant": tenant, "sub": user });
        if random.random_bool(0.8) {
            claims["team"] = random.random_range(0..4).into();
        }
        if random.random_bool(0.8) {
            claims["teams"] = (0..random.random_range(1..3)).map(|_| random.random_range(0..4)).collect();
        }
        if random.random_bool(0.7) {
            claims["plan"] =
                [json!("pro"), json!(["free", "pro"]), json!("free"), json!(7)].choose(random).unwrap().clone();
        }
        let Value::Object(claims) = claims else { unreachable!() };
        let token = Some(token(user, Value::Object(claims.clone())));
        Self { tenant, user: user.to_owned(), token, roles, claims }
    }

    /// The same person with other rights.
    pub(crate) fn changed(&self, random: &mut StdRng) -> Self {
        Self::new(self.tenant.clone(), &self.user, random)
    }
}

impl Decided {
    /// The rows to see, of all of the entity and tenant, by definition.
    pub(crate) fn rows<'a>(&self, plan: &Plan, rows: impl Iterator<Item = &'a Row>) -> Vec<Row> {
        let mut list: Vec<&Row> = rows.filter(|row| self.holds(row)).collect();
        let mut terms = self.sort.clone();
        terms.extend(plan.entities[self.entity].key.iter().map(|column| ((*column).to_owned(), false)));
        let values = |row: &Row| -> Vec<Value> { terms.iter().map(|(column, _)| row[column].clone()).collect() };
        let order = |a: &[Value], b: &[Value]| {
            let pairs = a.iter().zip(b).zip(&terms);
            pairs
                .map(|((a, b), (_, desc))| if *desc { compare(b, a) } else { compare(a, b) })
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        list.retain(|row| self.cursor.as_ref().is_none_or(|cursor| order(&values(row), cursor).is_gt()));
        list.sort_by(|a, b| order(&values(a), &values(b)));
        let shown = |row: &Row| self.columns.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect();
        list.into_iter().take(self.limit).map(shown).collect()
    }

    /// Whether the row matches and is granted.
    pub(crate) fn holds(&self, row: &Row) -> bool {
        holds(&self.asked, row) && self.granted.iter().any(|rows| holds(rows, row))
    }
}

pub(crate) fn seeded(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}
