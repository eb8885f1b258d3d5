//! A live query's JSON, and what is done with it before it reaches the engine.

use std::sync::LazyLock;

use tidegate_model::{Catalog, Detail, EntityBuilder, Position, Predicate, Query, Row, Tenant, Type, Value};

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let columns = Type::ALL.iter().map(|kind| (kind.name().to_owned(), *kind)).collect();
    let asset = EntityBuilder {
        name: "asset".into(),
        columns,
        details: vec![("enum".into(), Detail::Labels(["new", "done"].map(Into::into).into()))],
        key: vec!["int".into(), "text".into()],
        ..EntityBuilder::default()
    };
    Catalog::build(&[asset]).unwrap_or_default()
});

/// Decodes a query; then fingerprints it, splits its anchor, and holds two rows against it.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(query) = Query::from_json(&CATALOG, text) else { return };
    let _ = query.fingerprint(&Tenant::common());
    if let Some(after) = &query.after {
        assert!(query.order.split(after).is_some(), "an anchor is a key of its order");
    }
    let nulls = vec![Value::Null; Type::ALL.len()];
    let zeros: Vec<Value> =
        query.entity.columns().iter().map(|column| column.value_from_text("0").unwrap_or(Value::Null)).collect();
    let predicate = Predicate::new(query.filter);
    for cells in [nulls, zeros] {
        let row = Row::new(Position(1), cells);
        let _ = (predicate.matches(&row), query.order.key(&row));
    }
}
