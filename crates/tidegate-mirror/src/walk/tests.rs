//! SQLite's own word that an ordered scan reads in order and only what it needs.

use std::sync::Arc;

use tidegate_model::{
    Catalog, Comparison, EntityBuilder, EntityId, Filter, Predicate, ScanRequest, SortKey, Tenant, Type, Value,
};

use super::*;
use crate::path;

const COLUMNS: [(&str, Type); 4] = [("id", Type::Text), ("kind", Type::Text), ("n", Type::Int), ("temp", Type::Float)];

fn table() -> (Connection, Table) {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let builder = EntityBuilder {
        name: "asset".into(),
        columns: COLUMNS.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        key: names(&["id"]),
        indexes: Some(vec![names(&["n"]), names(&["kind", "n", "temp"])]),
        ..EntityBuilder::default()
    };
    let table = Table::new(Catalog::build(&[builder]).unwrap().entity(EntityId(0)).clone(), 1);
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(&table.create()).unwrap();
    db.execute_batch(&table.create_indexes()).unwrap();
    (db, table)
}

fn request(table: &Table, sort: &[(u16, bool)], filter: Filter, after: bool) -> ScanRequest {
    let sort: Vec<SortKey> = sort.iter().map(|(column, desc)| SortKey { column: *column, desc: *desc }).collect();
    let order = Order::new(&table.entity, &sort);
    let cells = [Value::text("a"), Value::text("pump"), Value::Int(1), Value::Float(1.0)];
    let after = after.then(|| order.key(&Row::new(tidegate_model::Position(1), cells)));
    let predicate = Arc::new(Predicate::new(filter));
    ScanRequest { entity: EntityId(0), tenant: Tenant::common(), order: Arc::new(order), predicate, after, want: 10 }
}

/// The plan of each statement that a scan may come to, one line each.
fn plans(sort: &[(u16, bool)], filter: Filter, after: bool) -> Vec<String> {
    let (db, table) = table();
    let request = request(&table, sort, filter, after);
    let path = path::ordered(&table, &request).expect("an index serves");
    let walk = Walk { db: &db, table: &table, tenant: b"", order: &request.order, path: &path, want: 10 };
    let mut segments = walk.start();
    // Within a large group: each prefix of terms held.
    segments.extend((1..path.terms.len()).map(|level| Segment { fixed: vec![vec![1]; level], after: None }));
    let plan = |segment: &Segment| {
        let (sql, values) = walk.query(segment);
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        lines.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    };
    segments.iter().map(plan).collect()
}

fn kind_is_pump() -> Filter {
    Filter::compare(1, Comparison::Eq, Value::text("pump"))
}

#[test]
fn no_order_that_an_index_serves_is_sorted() {
    let n_between = Filter::all(vec![
        Filter::compare(2, Comparison::Gt, Value::Int(1)),
        Filter::compare(2, Comparison::Lt, Value::Int(9)),
    ]);
    for after in [false, true] {
        for desc in [false, true] {
            for plan in [
                plans(&[], Filter::everything(), after),
                plans(&[(0, desc)], Filter::everything(), after),
                plans(&[(2, desc)], n_between.clone(), after),
                plans(&[(2, desc), (3, false)], kind_is_pump(), after),
                plans(&[(2, desc), (3, true)], kind_is_pump(), after),
                plans(&[(1, true), (2, desc), (3, false)], Filter::everything(), after),
            ]
            .concat()
            {
                assert!(plan.starts_with("SEARCH e_1 USING"), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            }
        }
    }
}

#[test]
fn the_place_and_the_bounds_are_looked_up_not_stepped_over() {
    let everything = Filter::everything;
    assert_eq!(plans(&[], everything(), true), ["SEARCH e_1 USING PRIMARY KEY (tenant=? AND pk>?)"]);
    assert_eq!(
        plans(&[(2, false)], everything(), true)[0],
        "SEARCH e_1 USING INDEX e_1_i0 (tenant=? AND (c_2,pk)>(?,?))"
    );
    assert_eq!(
        plans(&[(2, true)], everything(), true)[..2],
        [
            "SEARCH e_1 USING INDEX e_1_i0 (tenant=? AND c_2<?)",
            "SEARCH e_1 USING INDEX e_1_i0 (tenant=? AND c_2=? AND pk>?)",
        ]
    );
    let below = Filter::compare(2, Comparison::Lt, Value::Int(9));
    assert_eq!(
        plans(&[(2, false)], below, true)[0],
        "SEARCH e_1 USING INDEX e_1_i0 (tenant=? AND (c_2,pk)>(?,?) AND c_2<?)"
    );
    assert_eq!(
        plans(&[(2, false), (3, false)], kind_is_pump(), true)[0],
        "SEARCH e_1 USING INDEX e_1_i1 (tenant=? AND c_1=? AND (c_2,c_3,pk)>(?,?,?))"
    );
}
