//! Entities that change between two starts.

use tidegate_mirror::{Mirror, MirrorError, Options};
use tidegate_model::{Catalog, Detail, Element, EntityBuilder, Tenant, Type, Value, json};

use super::{ENTITY, apply, catalog, entity, open, put};

const COLUMNS: [(&str, Type); 4] = [("id", Type::Text), ("n", Type::Int), ("text", Type::Text), ("org", Type::Text)];

fn before() -> EntityBuilder {
    entity(&COLUMNS, &["id"], &[&["n"]])
}

fn row(id: &str, n: Option<i64>, text: &str, org: &str) -> Vec<Value> {
    vec![Value::text(id), n.map_or(Value::Null, Value::Int), Value::text(text), Value::text(org)]
}

/// Makes a store of `before` with these rows, and opens it as `after`.
fn migrate(rows: Vec<Vec<Value>>, after: &EntityBuilder) -> (tempfile::TempDir, Result<Mirror, MirrorError>) {
    let dir = tempfile::tempdir().unwrap();
    let (mirror, mut writer) = open(dir.path(), &catalog(&before()));
    apply(&mut writer, &rows.into_iter().map(|row| put(&Tenant::common(), row)).collect::<Vec<_>>()).unwrap();
    drop((mirror, writer));
    let opened = Mirror::open(dir.path(), &catalog(after), &Options::default());
    (dir, opened.map(|(mirror, _)| mirror))
}

fn get(mirror: &Mirror, tenant: &str, key: Value) -> (u64, Vec<Value>) {
    let row = mirror.get(ENTITY, &Tenant::new(tenant), vec![key]).unwrap().0.unwrap();
    (row.version(), row.values().to_vec())
}

/// The reason of a refusal, after which the store opens as it was.
fn reason((dir, opened): (tempfile::TempDir, Result<Mirror, MirrorError>), rows: u64) -> String {
    let Err(MirrorError::Migration { entity, reason }) = opened else { panic!("{opened:?}") };
    assert_eq!(entity, "asset");
    let (mirror, _writer) = open(dir.path(), &catalog(&before()));
    assert_eq!(mirror.row_count(ENTITY).unwrap(), rows);
    reason
}

#[test]
fn columns_come_and_go_by_name() {
    let after = entity(&[("extra", Type::Float), ("n", Type::Int), ("id", Type::Text)], &["id"], &[&["n"]]);
    let (_dir, mirror) = migrate(vec![row("a", Some(7), "x", "o")], &after);
    assert_eq!(get(&mirror.unwrap(), "", Value::text("a")), (1, vec![Value::Null, Value::Int(7), Value::text("a")]));
}

/// An entity whose only indexed columns are of types that have details.
fn with_labels(labels: &[&str]) -> EntityBuilder {
    let columns = [
        ("status", Type::Enum),
        ("at", Type::Time),
        ("code", Type::Text),
        ("span", Type::Interval),
        ("tags", Type::Array(Element::Text)),
    ];
    let labels = Detail::Labels(labels.iter().copied().map(Into::into).collect());
    let details = vec![("status".into(), labels), ("code".into(), Detail::Padded(3))];
    EntityBuilder { details, ..entity(&columns, &["status", "at"], &[&["code"]]) }
}

#[test]
fn labels_declared_anew_are_found_by_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let before = catalog(&with_labels(&["new", "done"]));
    let read = |catalog: &Catalog| -> Vec<Value> {
        let cells = ["\"done\"", "\"24:00:00\"", "\"a\"", "\"P1M-1D\"", "[[\"x\",null]]"];
        let columns = catalog.entities()[0].columns().iter();
        columns.zip(cells).map(|(column, raw)| column.value_from_json(raw).unwrap()).collect()
    };
    let (mirror, mut writer) = open(dir.path(), &before);
    apply(&mut writer, &[put(&Tenant::common(), read(&before))]).unwrap();
    drop((mirror, writer));
    for labels in [&["new", "done"][..], &["done", "lost", "new"]] {
        let after = catalog(&with_labels(labels));
        let (mirror, _writer) = open(dir.path(), &after);
        let expected = read(&after);
        let found = mirror.get(ENTITY, &Tenant::common(), expected[..2].to_vec()).unwrap().0.unwrap();
        assert_eq!(found.values(), expected);
        assert_eq!(json::key_text(&after.entities()[0], &found), "[\"done\",\"24:00:00.000000\"]");
    }
    let opened = Mirror::open(dir.path(), &catalog(&with_labels(&["new"])), &Options::default());
    assert!(matches!(opened, Err(MirrorError::Migration { reason, .. }) if reason.contains("holds done")));
}

#[test]
fn a_new_column_of_the_identity_is_refused_where_there_are_rows() {
    let columns = [("id", Type::Text), ("region", Type::Text)];
    let reason = reason(migrate(vec![row("a", None, "", "")], &entity(&columns, &["id", "region"], &[])), 1);
    assert!(reason.contains("row a") && reason.contains("\"region\""), "{reason}");
    let (_dir, opened) = migrate(vec![], &entity(&columns, &["id", "region"], &[]));
    opened.unwrap();
}

#[test]
fn a_type_changes_where_every_value_converts_exactly() {
    let mut columns = COLUMNS;
    columns[1].1 = Type::Float;
    columns[2].1 = Type::Int;
    let after = entity(&columns, &["id"], &[&["n"]]);
    let (_dir, mirror) = migrate(vec![row("a", Some(7), "12", "o"), row("b", None, "-3", "o")], &after);
    let mirror = mirror.unwrap();
    assert_eq!(get(&mirror, "", Value::text("a")).1[1..3], [Value::Float(7.0), Value::Int(12)]);
    assert_eq!(get(&mirror, "", Value::text("b")).1[1..3], [Value::Null, Value::Int(-3)]);
    let inexact = reason(migrate(vec![row("big", Some((1 << 53) + 1), "1", "o")], &after), 1);
    assert!(inexact.contains("row big") && inexact.contains("\"n\" holds 9007199254740993"), "{inexact}");
    let no_int = reason(migrate(vec![row("a", Some(1), "1", ""), row("b", Some(1), "one", "")], &after), 2);
    assert!(no_int.contains("row b") && no_int.contains("\"text\" holds one"), "{no_int}");
}

#[test]
fn a_new_key_is_taken_where_it_is_unique() {
    let after = entity(&COLUMNS, &["text"], &[&["n"]]);
    let (_dir, mirror) = migrate(vec![row("a", Some(1), "x", ""), row("b", Some(2), "y", "")], &after);
    assert_eq!(get(&mirror.unwrap(), "", Value::text("y")).1[0], Value::text("b"));
    let reason = reason(migrate(vec![row("a", Some(1), "x", ""), row("b", Some(2), "x", "")], &after), 2);
    assert!(reason.contains("row b") && reason.contains("the key x"), "{reason}");
}

#[test]
fn a_tenant_column_parts_the_rows() {
    let after = EntityBuilder { tenant: Some("org".into()), ..before() };
    let (_dir, mirror) = migrate(vec![row("a", Some(1), "", "o1"), row("b", Some(2), "", "o2")], &after);
    let mirror = mirror.unwrap();
    assert_eq!(get(&mirror, "o1", Value::text("a")).1[1], Value::Int(1));
    assert!(mirror.get(ENTITY, &Tenant::new("o1"), vec![Value::text("b")]).unwrap().0.is_none());
    assert!(mirror.get(ENTITY, &Tenant::common(), vec![Value::text("a")]).unwrap().0.is_none());
}

#[test]
fn other_indexes_are_built_and_serve() {
    let after = entity(&COLUMNS, &["id"], &[&["text", "n"], &["org"]]);
    let rows = (0..100).map(|i| row(&format!("r{i:03}"), Some(i), ["x", "y"][(i % 2) as usize], "")).collect();
    let (_dir, mirror) = migrate(rows, &after);
    let catalog = catalog(&after);
    let sort = [2, 1].map(|column| tidegate_model::SortKey { column, desc: true });
    let request = tidegate_model::ScanRequest {
        entity: ENTITY,
        tenant: Tenant::common(),
        order: std::sync::Arc::new(tidegate_model::Order::new(catalog.entity(ENTITY), &sort)),
        predicate: std::sync::Arc::new(tidegate_model::Predicate::new(tidegate_model::Filter::everything())),
        after: None,
        want: 2,
    };
    let mirror = mirror.unwrap();
    let page = mirror.page(request).unwrap();
    let ids: Vec<_> = page.rows.iter().map(|(_, row)| row.value(0).clone()).collect();
    assert_eq!(ids, [Value::text("r099"), Value::text("r097")]);
    assert_eq!(mirror.metrics().passes.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn an_entity_taken_out_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (mirror, mut writer) = open(dir.path(), &catalog(&before()));
    apply(&mut writer, &[put(&Tenant::common(), row("a", Some(1), "", ""))]).unwrap();
    drop((mirror, writer));
    let other = EntityBuilder { name: "Asset".into(), ..before() };
    let (mirror, writer) = open(dir.path(), &catalog(&other));
    assert_eq!(mirror.row_count(ENTITY).unwrap(), 0, "names differ by case");
    drop((mirror, writer));
    let both = Catalog::build(&[other, before()]).unwrap();
    let (mirror, _writer) = open(dir.path(), &both);
    assert_eq!(mirror.row_count(tidegate_model::EntityId(1)).unwrap(), 1);
}
