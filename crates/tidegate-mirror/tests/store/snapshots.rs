//! Reads beside writes: every page is of one position, and of the position that it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_model::{Filter, Order, Predicate, ScanRequest, SortKey, Tenant, Type, Value};

use super::{ENTITY, apply, catalog, entity, open, put};

const ROWS: i64 = 40;
const TRANSACTIONS: u64 = 300;

#[test]
fn a_page_beside_writes_is_never_torn() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&entity(&[("id", Type::Int), ("at", Type::Int)], &["id"], &[&["at"]]));
    let (mirror, mut writer) = open(dir.path(), &catalog);
    let committed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let committed = &committed;
        scope.spawn(move || {
            for at in 1..=TRANSACTIONS {
                let row = |id| put(&Tenant::common(), vec![Value::Int(id), Value::Int(at as i64)]);
                apply(&mut writer, &(0..ROWS).map(row).collect::<Vec<_>>()).unwrap();
                committed.store(at, Ordering::SeqCst);
            }
        });
        for sort in [
            vec![],
            vec![SortKey { column: 1, desc: true }],
            vec![SortKey { column: 0, desc: true }, SortKey { column: 1, desc: false }],
        ] {
            let (mirror, order) = (&mirror, Arc::new(Order::new(catalog.entity(ENTITY), &sort)));
            scope.spawn(move || {
                loop {
                    let least = committed.load(Ordering::SeqCst);
                    let request = ScanRequest {
                        entity: ENTITY,
                        tenant: Tenant::common(),
                        order: order.clone(),
                        predicate: Arc::new(Predicate::new(Filter::everything())),
                        after: None,
                        want: 100,
                    };
                    let page = super::scan(mirror, request).unwrap();
                    let at = page.position.0;
                    assert!(at >= least, "a page may not be older than what was committed before it was asked for");
                    assert_eq!(page.rows.len(), if at == 0 { 0 } else { ROWS as usize });
                    for (_, row) in &page.rows {
                        assert_eq!((row.value(1), row.version()), (&Value::Int(at as i64), at));
                    }
                    if at == TRANSACTIONS {
                        break;
                    }
                }
            });
        }
    });
}
