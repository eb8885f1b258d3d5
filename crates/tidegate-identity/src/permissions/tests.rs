use serde_json::{Map, json};
use tidegate_model::{Catalog, EntityBuilder, EntityId, Type};

use super::*;

fn catalog() -> Catalog {
    let columns = [
        ("id", Type::Int),
        ("name", Type::Text),
        ("temp", Type::Float),
        ("owner", Type::Text),
        ("team", Type::Int),
        ("tags", Type::Array(tidegate_model::Element::Text)),
    ];
    let asset = EntityBuilder {
        name: "asset".into(),
        columns: columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
        key: vec!["id".into()],
        // What clients may ask is not what permissions may.
        filterable: Some(["id", "name", "temp"].map(str::to_owned).to_vec()),
        ..EntityBuilder::default()
    };
    let note = EntityBuilder {
        name: "note".into(),
        columns: vec![("id".into(), Type::Int), ("org".into(), Type::Text)],
        key: vec!["id".into()],
        tenant: Some("org".into()),
        ..EntityBuilder::default()
    };
    Catalog::build(&[asset, note]).unwrap()
}

fn query(text: &str) -> Query {
    Query::from_json(&catalog(), text).unwrap()
}

/// To read and write these rows of assets, and these columns (none: all).
fn grant(role: &str, conditions: serde_json::Value, columns: &[u16]) -> Grant {
    let serde_json::Value::Array(conditions) = conditions else { panic!("no list") };
    let rows = Template::new(conditions).unwrap().rows(&catalog().entities()[0]).unwrap();
    let columns = if columns.is_empty() { u128::MAX } else { columns.iter().fold(0, |set, column| set | 1 << column) };
    Grant {
        to: Audience { roles: vec![role.into()], claims: Vec::new() },
        rights: Rights::Rows { read: true, write: true, of: vec![EntityRights { entity: EntityId(0), rows, columns }] },
    }
}

fn user(roles: &[&str], claims: serde_json::Value) -> Principal {
    let serde_json::Value::Object(claims) = claims else { panic!("no object") };
    Principal {
        user: "ann".into(),
        tenant: Some(Tenant::new("acme")),
        roles: roles.iter().map(|role| Arc::from(*role)).collect(),
        claims: Arc::new(claims),
        ..Principal::new(PrincipalKind::User)
    }
}

/// What `who` sees of assets that ask for nothing but this.
fn seen(permissions: &Permissions, who: &Principal, rest: &str) -> Result<Query, Refusal> {
    permissions.read(who, query(&format!("{{\"entity\":\"asset\"{rest}}}")), false).map(|(_, query)| query)
}

/// The filter of conditions that permissions may have.
fn filter(conditions: serde_json::Value) -> Filter {
    let Rights::Rows { of, .. } = grant("*", conditions, &[]).rights else { panic!("no rows") };
    of[0].rows.filter(&catalog().entities()[0], &Map::new()).unwrap()
}

#[test]
fn nothing_is_granted_by_default() {
    let permissions = Permissions::default();
    let ann = user(&["member"], json!({}));
    let asset = catalog().entities()[0].clone();
    assert_eq!(seen(&permissions, &ann, "").unwrap_err().code, "forbidden");
    assert_eq!(permissions.write(&ann, &asset, false).unwrap_err().code, "forbidden");
    assert!(permissions.topic(&ann, TopicVerb::Subscribe, "a", false).is_err());
    assert!(permissions.agent(&ann, AgentVerb::Submit, "a", false).is_err());
    assert!(permissions.is_empty());
    // Open to strangers, it is open to everybody.
    assert_eq!(permissions.read(&ann, query(r#"{"entity":"note"}"#), true).unwrap().0.name(), "acme");
    let scope = WriteScope::Own { tenant: Tenant::common(), guard: None };
    assert_eq!(permissions.write(&ann, &asset, true).unwrap(), scope);
    permissions.topic(&ann, TopicVerb::Subscribe, "a", true).unwrap();
}

#[test]
fn a_permission_narrows_rows_and_columns() {
    let permissions = Permissions::new(vec![grant("*", json!([{"column":"temp","op":"gt","value":5}]), &[0, 1])]);
    let ann = user(&[], json!({}));
    let effective = seen(&permissions, &ann, r#","where":[{"column":"name","op":"eq","value":"a"}]"#).unwrap();
    assert_eq!(&*effective.select, [0, 1]);
    let both = json!([{"column":"name","op":"eq","value":"a"},{"column":"temp","op":"gt","value":5}]);
    assert_eq!(effective.filter, filter(both));
    for hidden in [
        r#","where":[{"not":{"column":"temp","op":"gt","value":1}}]"#,
        r#","sort":[{"column":"temp"}]"#,
        r#","select":["temp"]"#,
    ] {
        assert_eq!(seen(&permissions, &ann, hidden).unwrap_err().code, "forbidden", "{hidden}");
    }
}

#[test]
fn a_cell_needs_one_grant_for_its_row_and_its_column() {
    let warm = json!([{"column":"temp","op":"gt","value":5}]);
    let mine = json!([{"column":"owner","op":"eq","value":"ann"}]);
    let permissions = Permissions::new(vec![
        grant("*", warm.clone(), &[0, 1]),
        grant("*", mine.clone(), &[0, 1, 2]),
        grant("boss", json!([]), &[0, 4]),
    ]);
    let ann = user(&[], json!({}));
    let all = seen(&permissions, &ann, "").unwrap();
    assert_eq!((&*all.select, all.filter), (&[0u16, 1, 2][..], filter(mine.clone())));
    let names = seen(&permissions, &ann, r#","select":["id","name"]"#).unwrap();
    assert_eq!((names.select.len(), names.filter), (2, filter(json!([{"or":[mine[0], warm[0]]}]))));
    let by_temp = seen(&permissions, &ann, r#","select":["name"],"sort":[{"column":"temp"}]"#).unwrap();
    assert_eq!(by_temp.filter, filter(mine));
    let boss = user(&["boss"], json!({}));
    assert_eq!(seen(&permissions, &boss, r#","select":["id"]"#).unwrap().filter, Filter::everything());
    assert_eq!(seen(&permissions, &boss, r#","select":["team"]"#).unwrap().filter, Filter::everything());
    let refused =
        seen(&permissions, &boss, r#","where":[{"column":"name","op":"eq","value":"x"}],"sort":[{"column":"team"}]"#);
    assert!(refused.unwrap_err().message.contains("all the columns"));
}

#[test]
fn what_amounts_to_the_same_is_the_same_query() {
    let team = |team: u8| json!([{"column":"team","op":"eq","value":team}]);
    let permissions = Permissions::new(vec![
        grant("a", team(1), &[]),
        grant("b", team(2), &[]),
        grant("c", json!([{"column":"team","op":"eq","value":"$claims.team"}]), &[]),
    ]);
    let one = seen(&permissions, &user(&["a", "b"], json!({})), "").unwrap();
    let other = seen(&permissions, &user(&["c", "b", "a"], json!({"team": 2})), "").unwrap();
    let third = seen(&permissions, &user(&["b", "c"], json!({"team": 1})), "").unwrap();
    assert_eq!((&one, &one), (&other, &third));
    let single = seen(&permissions, &user(&["b", "c"], json!({"team": 2})), "").unwrap();
    assert_eq!(single, seen(&permissions, &user(&["b"], json!({})), "").unwrap());
    assert_ne!(single, one);
}

#[test]
fn claims_are_filled_in_or_grant_nothing() {
    let rows = |condition: serde_json::Value, claims: serde_json::Value| {
        let permissions = Permissions::new(vec![grant("*", json!([condition]), &[])]);
        seen(&permissions, &user(&[], claims), "").ok().map(|query| query.filter)
    };
    let by = |column: &str, op: &str, value: serde_json::Value| json!({"column": column, "op": op, "value": value});
    let mine = || by("owner", "ne", json!("$claims.sub"));
    assert_eq!(rows(mine(), json!({"sub": "x"})), Some(filter(json!([by("owner", "ne", json!("x"))]))));
    // A claim that looks like one is a text.
    let again = json!("$claims.other");
    let text = Filter::compare(3, Comparison::Ne, Value::text("$claims.other"));
    assert_eq!(rows(mine(), json!({"sub": again, "other": "y"})), Some(text));
    for unfit in [json!({}), json!({"sub": null}), json!({"sub": 5}), json!({"sub": ["x"]}), json!({"sub": {}})] {
        assert_eq!(rows(mine(), unfit.clone()), None, "{unfit}");
    }
    let teams = |op: &str| by("team", op, json!("$claims.teams"));
    for op in ["in", "notin"] {
        let expected = filter(json!([by("team", op, json!([1, 2]))]));
        assert_eq!(rows(teams(op), json!({"teams": [1, "2"]})), Some(expected));
        for unfit in [json!(1), json!([]), json!(["x"]), json!([[1]]), json!(vec![1; 1_001])] {
            assert_eq!(rows(teams(op), json!({"teams": unfit})), None, "{op} {unfit}");
        }
    }
    let listed = by("team", "in", json!([7, "$claims.a.b"]));
    assert_eq!(rows(listed.clone(), json!({"a.b": 8})), Some(filter(json!([by("team", "in", json!([7, 8]))]))));
    assert_eq!(rows(listed.clone(), json!({"a": {"b": 8}})), None);
    assert_eq!(rows(listed, json!({"a.b": null})), None);
    let tagged = by("tags", "contains", json!("$claims.tags"));
    let expected = filter(json!([by("tags", "contains", json!(["x"]))]));
    assert_eq!(rows(tagged, json!({"tags": ["x"]})), Some(expected));
    let nested = json!({"or": [{"not": mine()}, {"and": [by("team", "gte", json!("$claims.team"))]}]});
    assert!(rows(nested.clone(), json!({"sub": "x", "team": 3})).is_some());
    assert_eq!(rows(nested, json!({"sub": "x"})), None);
}

#[test]
fn roles_and_claims_decide_who_is_meant() {
    let claims = vec![("plan".into(), json!("pro")), ("level".into(), json!(3))];
    let to = Audience { roles: vec!["member".into(), "guest".into()], claims };
    let is_meant = |roles: &[&str], claims| to.has(&user(roles, claims));
    assert!(is_meant(&["guest"], json!({"plan": "pro", "level": 3})));
    assert!(is_meant(&["other", "member"], json!({"plan": ["free", "pro"], "level": [3]})));
    assert!(!is_meant(&[], json!({"plan": "pro", "level": 3})));
    assert!(!is_meant(&["*", "Member"], json!({"plan": "pro", "level": 3})));
    for claims in
        [json!({"plan": "pro"}), json!({"plan": "pro", "level": "3"}), json!({"plan": ["pro ", []], "level": 3})]
    {
        assert!(!is_meant(&["member"], claims.clone()), "{claims}");
    }
    let everybody = Audience { roles: vec!["*".into()], claims: Vec::new() };
    assert!(everybody.has(&Principal::new(PrincipalKind::Anonymous)));
    let permissions = Permissions::new(vec![
        Grant { to, ..grant("", json!([{"column":"owner","op":"eq","value":"$claims.sub"}]), &[]) },
        grant("*", json!([{"column":"team","op":"in","value":["$claims.plan", "$claims.a b"]}]), &[]),
    ]);
    assert_eq!(*permissions.named_claims(), ["a b", "level", "plan", "sub"].map(Box::<str>::from));
}

#[test]
fn nobody_reads_or_writes_another_tenant() {
    let everything = Grant {
        to: Audience { roles: vec!["*".into()], claims: Vec::new() },
        rights: Rights::Rows {
            read: true,
            write: true,
            of: vec![EntityRights { entity: EntityId(1), rows: Rows::Fixed(Filter::everything()), columns: u128::MAX }],
        },
    };
    let permissions = Permissions::new(vec![everything]);
    let catalog = catalog();
    let note = || query(r#"{"entity":"note","where":[{"column":"org","op":"eq","value":"other"}]}"#);
    let ann = user(&[], json!({}));
    assert_eq!(permissions.read(&ann, note(), false).unwrap().0.name(), "acme");
    let scope = WriteScope::Own { tenant: Tenant::new("acme"), guard: None };
    assert_eq!(permissions.write(&ann, &catalog.entities()[1], false).unwrap(), scope);
    for tenant in [None, Some(Tenant::common())] {
        let nobody = Principal { tenant, ..ann.clone() };
        for is_open in [false, true] {
            assert_eq!(permissions.read(&nobody, note(), is_open).unwrap_err().code, "no_tenant");
            assert_eq!(permissions.write(&nobody, &catalog.entities()[1], is_open).unwrap_err().code, "no_tenant");
        }
    }
    let server = Principal::new(PrincipalKind::ApiKey);
    assert_eq!(permissions.read(&server, note(), false).unwrap().0.name(), "other");
    assert_eq!(permissions.read(&server, query(r#"{"entity":"note"}"#), false).unwrap_err().code, "tenant_needed");
}

#[test]
fn topics_and_agents_are_granted_by_their_names() {
    let patterns = |patterns: &[&str]| {
        Patterns::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>()).unwrap()
    };
    let to = |role: &str| Audience { roles: vec![role.into()], claims: Vec::new() };
    let permissions = Permissions::new(vec![
        Grant {
            to: to("*"),
            rights: Rights::Topics { may: vec![TopicVerb::Subscribe], topics: patterns(&["chat:*", "news"]) },
        },
        Grant {
            to: to("member"),
            rights: Rights::Topics { may: vec![TopicVerb::Publish], topics: patterns(&["chat:[0-9]"]) },
        },
        Grant { to: to("member"), rights: Rights::Agents { may: vec![AgentVerb::Submit], agents: patterns(&["*"]) } },
        Grant { to: to("member"), rights: Rights::Agents { may: vec![AgentVerb::Serve], agents: patterns(&["far"]) } },
    ]);
    let (stranger, member) = (Principal::new(PrincipalKind::Anonymous), user(&["member"], json!({})));
    let may = |who: &Principal, verb, topic: &str| permissions.topic(who, verb, topic, false).is_ok();
    for name in ["chat:", "chat:a/b\n:é", "news"] {
        assert!(may(&stranger, TopicVerb::Subscribe, name), "{name}");
    }
    for name in ["chat", "xchat:a", "news/", "news\n", "", "NEWS"] {
        assert!(!may(&stranger, TopicVerb::Subscribe, name), "{name}");
    }
    assert!(may(&member, TopicVerb::Publish, "chat:7") && !may(&member, TopicVerb::Publish, "chat:77"));
    assert!(!may(&stranger, TopicVerb::Publish, "chat:7") && !may(&member, TopicVerb::History, "chat:7"));
    assert!(permissions.agent(&member, AgentVerb::Submit, "echo", false).is_ok());
    assert!(permissions.agent(&member, AgentVerb::Observe, "echo", false).is_err());
    assert!(permissions.agent(&stranger, AgentVerb::Submit, "echo", false).is_err());
    let server = Principal::new(PrincipalKind::ApiKey);
    assert!(permissions.agent(&server, AgentVerb::Observe, "echo", false).is_ok());
    // What opens everything else to everybody does not open this.
    for (who, agent, may) in
        [(&member, "far", true), (&member, "echo", false), (&stranger, "far", false), (&server, "echo", true)]
    {
        for is_open in [false, true] {
            assert_eq!(permissions.agent(who, AgentVerb::Serve, agent, is_open).is_ok(), may, "{agent} {is_open}");
        }
    }
}
