//! What is read under permissions, for random grants, principals, queries and rows, against the sentence that defines
//! it: a cell is seen where one grant covers its row and its column, and nothing crosses a tenant.
//!
//! The conditions of the grants are held against rows by an evaluator of this file's own, which knows claims and has
//! never heard of templates; the effective query is evaluated by the testkit's.
#![expect(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value as Json, json};
use tidegate_identity::{
    Audience, EntityRights, Grant, Permissions, Principal, PrincipalKind, Rights, Template, WriteScope,
};
use tidegate_model::{Catalog, EntityBuilder, EntityId, Position, Query, Row, Tenant, Type, Value};
use tidegate_testkit::naive;

/// `id` is the key, `org` the tenant.
const COLUMNS: [(&str, Type); 5] =
    [("id", Type::Int), ("org", Type::Text), ("owner", Type::Text), ("team", Type::Int), ("note", Type::Text)];
const OWNERS: [&str; 3] = ["ann", "bob", "$claims.sub"];

fn catalog() -> Catalog {
    let builder = EntityBuilder {
        name: "e".into(),
        columns: COLUMNS.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
        key: vec!["id".into()],
        tenant: Some("org".into()),
        ..EntityBuilder::default()
    };
    Catalog::build(&[builder]).expect("a valid description")
}

/// A condition of a grant. A literal may be a claim.
#[derive(Debug, Clone)]
enum Condition {
    OwnerIs(bool, Literal),
    TeamAbove(Literal),
    TeamIn(bool, Literal),
    OwnerIsNull,
    Not(Box<Condition>),
    Any(Vec<Condition>),
}

#[derive(Debug, Clone)]
enum Literal {
    Given(Json),
    Claim(&'static str),
}

impl Literal {
    fn json(&self) -> Json {
        match self {
            Literal::Given(value) => value.clone(),
            Literal::Claim(name) => json!(format!("$claims.{name}")),
        }
    }

    /// As a value of the column, or a list of them; `None` grants nothing.
    fn value(&self, claims: &Json) -> Option<Json> {
        match self {
            Literal::Given(value) => Some(value.clone()),
            Literal::Claim(name) => claims.get(*name).filter(|claim| !claim.is_null()).cloned(),
        }
    }
}

/// SQL's truth; the outer `None` is a claim that does not fit.
#[expect(clippy::option_option, reason = "two kinds of nothing")]
fn truth(condition: &Condition, row: &Row, claims: &Json) -> Option<Option<bool>> {
    let team = || match row.value(3) {
        Value::Int(team) => Some(*team),
        _ => None,
    };
    let owner = || match row.value(2) {
        Value::Text(owner) => Some(owner.to_string()),
        _ => None,
    };
    let number = |json: &Json| json.as_i64().or_else(|| json.as_str()?.parse().ok());
    Some(match condition {
        Condition::OwnerIs(is, literal) => {
            let wanted = literal.value(claims)?.as_str()?.to_owned();
            owner().map(|owner| (owner == wanted) == *is)
        }
        Condition::TeamAbove(literal) => {
            let wanted = number(&literal.value(claims)?)?;
            team().map(|team| team > wanted)
        }
        Condition::TeamIn(is, literal) => {
            let list = literal.value(claims)?.as_array().filter(|list| !list.is_empty())?.clone();
            let has_null = list.contains(&Json::Null);
            let list: Option<Vec<i64>> = list.iter().filter(|value| !value.is_null()).map(number).collect();
            let list = list?;
            team().and_then(|team| match list.contains(&team) {
                true => Some(*is),
                false if has_null => None,
                false => Some(!is),
            })
        }
        Condition::OwnerIsNull => Some(owner().is_none()),
        Condition::Not(inner) => truth(inner, row, claims)?.map(|truth| !truth),
        Condition::Any(inner) => {
            let truths: Vec<_> = inner.iter().map(|inner| truth(inner, row, claims)).collect::<Option<_>>()?;
            if truths.contains(&Some(true)) { Some(true) } else { (!truths.contains(&None)).then_some(false) }
        }
    })
}

fn json_of(condition: &Condition) -> Json {
    let compare =
        |column: &str, op: &str, literal: &Literal| json!({"column": column, "op": op, "value": literal.json()});
    match condition {
        Condition::OwnerIs(true, literal) => compare("owner", "eq", literal),
        Condition::OwnerIs(false, literal) => compare("owner", "ne", literal),
        Condition::TeamAbove(literal) => compare("team", "gt", literal),
        Condition::TeamIn(true, literal) => compare("team", "in", literal),
        Condition::TeamIn(false, literal) => compare("team", "notin", literal),
        Condition::OwnerIsNull => json!({"column": "owner", "op": "isnull"}),
        Condition::Not(inner) => json!({"not": json_of(inner)}),
        Condition::Any(inner) => json!({"or": inner.iter().map(json_of).collect::<Vec<_>>()}),
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let owner = prop_oneof![
        select(&["ann", "bob"][..]).prop_map(|owner| Literal::Given(json!(owner))),
        Just(Literal::Claim("sub")),
    ];
    let team = prop_oneof![(0i64..3).prop_map(|team| Literal::Given(json!(team))), Just(Literal::Claim("team"))];
    let teams = prop_oneof![
        prop::collection::vec(0i64..3, 1..3).prop_map(|teams| Literal::Given(json!(teams))),
        Just(Literal::Claim("teams")),
    ];
    let leaf = prop_oneof![
        3 => (any::<bool>(), owner).prop_map(|(is, literal)| Condition::OwnerIs(is, literal)),
        1 => team.prop_map(Condition::TeamAbove),
        2 => (any::<bool>(), teams).prop_map(|(is, literal)| Condition::TeamIn(is, literal)),
        1 => Just(Condition::OwnerIsNull),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
            prop::collection::vec(inner, 1..3).prop_map(Condition::Any),
        ]
    })
}

/// A permission as a person would say it.
#[derive(Debug, Clone)]
struct Plan {
    roles: Vec<&'static str>,
    plan: Option<&'static str>,
    may: (bool, bool),
    conditions: Vec<Condition>,
    columns: BTreeSet<u16>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        subsequence(vec!["a", "b", "anonymous", "*"], 1..=2),
        prop::option::weighted(0.25, select(&["pro", "free"][..])),
        (prop::bool::weighted(0.85), prop::bool::weighted(0.6)),
        prop::collection::vec(condition(), 0..3),
        subsequence(vec![1u16, 2, 3, 4], 0..=4),
    )
        .prop_map(|(roles, plan, may, conditions, columns)| {
            let columns = columns.into_iter().chain([0]).collect();
            Plan { roles, plan, may, conditions, columns }
        })
}

impl Plan {
    fn grant(&self, catalog: &Catalog) -> Grant {
        let rows = Template::new(self.conditions.iter().map(json_of).collect()).expect("claims where they may stand");
        let columns = if self.columns.len() == COLUMNS.len() {
            u128::MAX
        } else {
            self.columns.iter().fold(0, |set, c| set | 1 << c)
        };
        let rows = rows.rows(&catalog.entities()[0]).expect("conditions that fit");
        let to = Audience {
            roles: self.roles.iter().map(|role| Box::from(*role)).collect(),
            claims: self.plan.iter().map(|plan| ("plan".into(), json!(plan))).collect(),
        };
        let of = vec![EntityRights { entity: EntityId(0), rows, columns }];
        Grant { to, rights: Rights::Rows { read: self.may.0, write: self.may.1, of } }
    }

    fn is_for(&self, who: &Who) -> bool {
        let plan = |plan: &str| match &who.claims["plan"] {
            Json::Array(all) => all.contains(&json!(plan)),
            claim => *claim == plan,
        };
        self.roles.iter().any(|role| *role == "*" || who.roles.contains(role)) && self.plan.is_none_or(plan)
    }

    fn covers(&self, row: &Row, claims: &Json) -> bool {
        self.conditions.iter().all(|condition| truth(condition, row, claims) == Some(Some(true)))
    }

    /// Whether its claims are there at all, and fit.
    fn stands(&self, claims: &Json) -> bool {
        let row = row(0, "t", Some("ann"), Some(1));
        self.conditions.iter().all(|condition| truth(condition, &row, claims).is_some())
    }
}

#[derive(Debug, Clone)]
struct Who {
    roles: Vec<&'static str>,
    tenant: Option<&'static str>,
    claims: Json,
}

fn who() -> impl Strategy<Value = Who> {
    let sub = select(vec![json!("ann"), json!("bob"), json!("$claims.team"), json!(null), json!(7), json!(["ann"])]);
    let team = select(vec![json!(0), json!(1), json!("1"), json!("x"), json!(null), json!([1])]);
    let teams =
        select(vec![json!([0]), json!([1, "2"]), json!([]), json!([1, null]), json!(1), json!(["x"]), json!(null)]);
    let plan = select(vec![json!("pro"), json!(["free", "pro"]), json!(null), json!(1)]);
    let claims = (prop::option::of(sub), prop::option::of(team), prop::option::of(teams), plan);
    (subsequence(vec!["a", "b", "anonymous"], 0..=2), prop::option::weighted(0.9, select(&["t", "u", ""][..])), claims)
        .prop_map(|(roles, tenant, (sub, team, teams, plan))| {
            let named = [("sub", sub), ("team", team), ("teams", teams), ("plan", Some(plan))];
            let claims = named.into_iter().filter_map(|(name, claim)| Some((name.to_owned(), claim?)));
            Who { roles, tenant, claims: Json::Object(claims.collect()) }
        })
}

impl Who {
    fn principal(&self) -> Principal {
        Principal {
            roles: self.roles.iter().map(|role| Arc::from(*role)).collect(),
            tenant: self.tenant.map(Tenant::new),
            claims: Arc::new(self.claims.as_object().cloned().unwrap_or_default()),
            ..Principal::new(PrincipalKind::User)
        }
    }

    /// An empty name is no tenant's.
    fn own(&self) -> Option<&'static str> {
        self.tenant.filter(|tenant| !tenant.is_empty())
    }
}

/// A query's text, and the columns that it filters and sorts by.
fn asked() -> impl Strategy<Value = (Json, BTreeSet<u16>)> {
    let condition = prop_oneof![
        select(&OWNERS[..]).prop_map(|owner| (json!({"column": "owner", "op": "eq", "value": owner}), 2)),
        (0i64..3).prop_map(|team| (json!({"not": {"column": "team", "op": "gt", "value": team}}), 3)),
        Just((json!({"column": "note", "op": "isnotnull"}), 4)),
        Just((json!({"column": "org", "op": "ne", "value": "u"}), 1)),
    ];
    let names = COLUMNS.map(|(name, _)| name).to_vec();
    (
        prop::collection::vec(condition, 0..3),
        prop::option::weighted(0.3, 1usize..5),
        prop::option::weighted(0.7, subsequence(names, 1..=5)),
    )
        .prop_map(|(conditions, sort, select)| {
            let columns =
                conditions.iter().map(|(_, column)| *column).chain(sort.map(|column| column as u16)).collect();
            let conditions: Vec<Json> = conditions.into_iter().map(|(condition, _)| condition).collect();
            let sort: Vec<Json> = sort.map(|column| json!({"column": COLUMNS[column].0})).into_iter().collect();
            let mut query = json!({"entity": "e", "where": conditions, "sort": sort});
            if let Some(select) = select {
                query["select"] = json!(select);
            }
            (query, columns)
        })
}

fn row(id: i64, org: &str, owner: Option<&str>, team: Option<i64>) -> Arc<Row> {
    let owner = owner.map_or(Value::Null, Value::text);
    let note = if id % 2 == 0 { Value::Null } else { Value::text("n") };
    Row::new(Position(1), vec![Value::Int(id), Value::text(org), owner, team.map_or(Value::Null, Value::Int), note])
}

fn rows() -> Vec<Arc<Row>> {
    let mut rows = Vec::new();
    for org in ["t", "u", ""] {
        for owner in OWNERS.map(Some).into_iter().chain([None]) {
            for team in [Some(0), Some(1), Some(2), None] {
                for _ in 0..2 {
                    rows.push(row(rows.len() as i64, org, owner, team));
                }
            }
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_cell_is_seen_where_one_grant_covers_its_row_and_its_column(
        plans in prop::collection::vec(plan(), 0..5),
        who in who(),
        (text, asked) in asked(),
    ) {
        let catalog = catalog();
        let permissions = Permissions::new(plans.iter().map(|plan| plan.grant(&catalog)).collect());
        let query = Query::from_json(&catalog, &text.to_string()).expect("a good query");
        let selected: BTreeSet<u16> = query.select.iter().copied().collect();
        // Those that grant this one something, and of these those that let it ask.
        let mine = plans.iter().filter(|plan| plan.may.0 && plan.is_for(&who) && plan.stands(&who.claims));
        let able: Vec<&Plan> = mine.filter(|plan| asked.is_subset(&plan.columns)).collect();
        let most = able.iter().map(|plan| plan.columns.intersection(&selected).count()).max().unwrap_or_default();

        let answer = permissions.read(&who.principal(), query.clone(), false);
        let Some(tenant) = who.own().filter(|_| most > 0) else {
            prop_assert_eq!(answer.expect_err("nothing granted").status, 403);
            return Ok(());
        };
        let (own, effective) = answer.expect("granted");
        prop_assert_eq!(own.name(), tenant);
        let shown: BTreeSet<u16> = effective.select.iter().copied().collect();
        prop_assert!(shown.is_subset(&selected) && shown.len() == most, "{:?}", shown);
        let needed: BTreeSet<u16> = shown.union(&asked).copied().collect();
        for row in rows().iter().filter(|row| *row.value(1) == Value::text(tenant)) {
            let covering = able.iter().any(|plan| needed.is_subset(&plan.columns) && plan.covers(row, &who.claims));
            let expected = covering && naive::matches(&query.filter, row);
            prop_assert_eq!(naive::matches(&effective.filter, row), expected, "{:?}", row);
        }
        // The order of the roles is nobody's business; that of the grants only where two show as much.
        let again = Who { roles: who.roles.iter().rev().copied().collect(), ..who.clone() };
        prop_assert_eq!(&permissions.read(&again.principal(), query, false).expect("granted").1, &effective);
    }

    #[test]
    fn a_row_is_changed_where_one_grant_covers_it_before_and_after(
        plans in prop::collection::vec(plan(), 0..5),
        who in who(),
        named in subsequence(vec![2u16, 3, 4], 0..=3),
        pairs in prop::collection::vec((0usize..96, 0usize..96, 0u8..3), 20),
    ) {
        let catalog = catalog();
        let permissions = Permissions::new(plans.iter().map(|plan| plan.grant(&catalog)).collect());
        let mine = plans.iter().filter(|plan| plan.may.1 && plan.is_for(&who) && plan.stands(&who.claims));
        let able: Vec<&Plan> = mine.collect();
        let answer = permissions.write(&who.principal(), &catalog.entities()[0], false);
        let Some(tenant) = who.own().filter(|_| !able.is_empty()) else {
            prop_assert_eq!(answer.expect_err("nothing granted").status, 403);
            return Ok(());
        };
        let Ok(WriteScope::Own { tenant: own, guard }) = answer else { panic!("{answer:?}") };
        prop_assert_eq!(own.name(), tenant);
        let rows = rows();
        let set = named.iter().fold(0, |set, column| set | 1 << column);
        for (old, new, absent) in pairs {
            let (old, new) = ((absent != 1).then(|| &*rows[old]), (absent != 2).then(|| &*rows[new]));
            let covers = |plan: &&Plan| {
                named.iter().all(|column| plan.columns.contains(column))
                    && [old, new].into_iter().flatten().all(|row| plan.covers(row, &who.claims))
            };
            let permitted = guard.as_ref().is_none_or(|guard| guard.permits(set, old, new));
            prop_assert_eq!(permitted, able.iter().any(covers));
        }
    }
}
