//! What a batch does, and what it is refused for.

use tidegate_feed::{Config, Limits, TenantScope, WriteErrorCode, WriteRequest, decode_changes};
use tidegate_model::{Changeable, Comparison, Filter, Guard, Tenant, Value};

use super::{ASSET, Fixture, NOTE, catalog, submit};

#[test]
fn an_upsert_keeps_what_it_does_not_name() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let written = f.assets(r#"{"changes":[{"upsert":{"id":"a","n":"9007199254740993","price":1.50}}]}"#).unwrap();
    assert_eq!((written.position.0, &*written.versions, written.replayed), (1, &[Some(1)][..], false));
    f.assets(r#"{"changes":[{"upsert":{"id":"a","text":"x"}}]}"#).unwrap();
    let row = f.row(ASSET, "", "a").unwrap();
    assert_eq!((row.version(), row.value(1), row.value(3)), (2, &Value::Int((1 << 53) + 1), &Value::text("x")));
    let Value::Decimal(price) = row.value(2) else { panic!("{row:?}") };
    assert_eq!(price.text(), "1.50");
}

#[test]
fn versions_come_in_the_order_of_the_changes() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    f.assets(r#"{"changes":[{"upsert":{"id":"a","n":1}},{"upsert":{"id":"b","n":1}}]}"#).unwrap();
    let body = r#"{"changes":[{"delete":{"id":"a"}},{"upsert":{"id":"b","n":1}},{"upsert":{"id":"c"}},{"delete":{"id":"x"}}]}"#;
    let written = f.assets(body).unwrap();
    assert_eq!((written.position.0, &*written.versions), (2, &[None, Some(1), Some(2), None][..]));
    let transactions: Vec<_> = f.published.try_iter().collect();
    assert_eq!(transactions[1].changes.len(), 2, "what ends as it began is no change");
}

#[test]
fn a_batch_that_changes_nothing_has_a_position() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    assert_eq!(f.assets(r#"{"changes":[]}"#).unwrap().position.0, 1);
    assert_eq!(f.assets(r#"{"changes":[{"delete":{"id":"a"}}]}"#).unwrap().position.0, 2);
    assert_eq!(f.published.try_iter().map(|t| (t.position.0, t.changes.len())).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
}

#[test]
fn one_bad_change_refuses_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    f.assets(r#"{"changes":[{"upsert":{"id":"old","n":1}}]}"#).unwrap();
    let cases = [
        (r#"{"upsert":{"id":"b","n":"x"}}"#, WriteErrorCode::InvalidRow, "changes[1].upsert.n"),
        (r#"{"upsert":{"id":"b","m":1}}"#, WriteErrorCode::UnknownColumn, "changes[1].upsert.m"),
        (r#"{"upsert":{"id":"b","n":1,"n":2}}"#, WriteErrorCode::InvalidRow, "changes[1].upsert.n"),
        (r#"{"upsert":{"id":null}}"#, WriteErrorCode::InvalidRow, "changes[1].upsert.id"),
        (r#"{"upsert":{"n":1}}"#, WriteErrorCode::InvalidRow, "changes[1].upsert.id"),
        (r#"{"delete":{}}"#, WriteErrorCode::InvalidRow, "changes[1].delete.id"),
        (r#"{"delete":{"id":"old","n":1}}"#, WriteErrorCode::InvalidRow, "changes[1].delete.n"),
        (r#"{"upsert":{"id":"old"},"if_version":7}"#, WriteErrorCode::VersionConflict, "changes[1].if_version"),
        (r#"{"upsert":{"id":"old"},"if_version":0}"#, WriteErrorCode::VersionConflict, "changes[1].if_version"),
        (r#"{"delete":{"id":"none"},"if_version":"3"}"#, WriteErrorCode::VersionConflict, "changes[1].if_version"),
        (r#"{"delete":{"id":"none"},"if_version":"x"}"#, WriteErrorCode::InvalidBody, "changes[1].if_version"),
        (r#"{"delete":{"id":"none"},"if_version":-1}"#, WriteErrorCode::InvalidBody, "changes[1]"),
        (r#"{"upsert":{"id":"b"},"delete":{"id":"b"}}"#, WriteErrorCode::InvalidBody, "changes[1]"),
        (r#"{"insert":{"id":"b"}}"#, WriteErrorCode::InvalidBody, "changes[1]"),
        ("7", WriteErrorCode::InvalidBody, "changes[1]"),
    ];
    for (change, code, path) in cases {
        let error = f.assets(&format!(r#"{{"changes":[{{"upsert":{{"id":"new"}}}},{change}]}}"#)).unwrap_err();
        assert_eq!((error.code, error.path.as_deref()), (code, Some(path)), "{change}: {error}");
        if code == WriteErrorCode::InvalidRow {
            let column = path.rsplit('.').next().unwrap();
            assert!(error.message.starts_with(&format!("entity \"asset\", column {column:?}: ")), "{}", error.message);
        }
        assert!(f.row(ASSET, "", "new").is_none());
    }
    assert_eq!(f.published.try_iter().count(), 1);
    let body = r#"{"changes":[{"upsert":{"id":"new"},"if_version":0},{"delete":{"id":"old"},"if_version":1}]}"#;
    assert_eq!(f.assets(body).unwrap().position.0, 2, "a refused batch takes no position");
}

#[test]
fn a_client_writes_for_its_own_tenant_whatever_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let own = TenantScope::Own(Tenant::new("mine"));
    f.write(NOTE, &own, r#"{"changes":[{"upsert":{"id":"a","org":"yours","n":1}}]}"#).unwrap();
    assert_eq!(f.row(NOTE, "mine", "a").unwrap().value(1), &Value::text("mine"));
    assert!(f.row(NOTE, "yours", "a").is_none());
    let key = TenantScope::Named(None);
    f.write(NOTE, &key, r#"{"changes":[{"upsert":{"id":"a","org":"yours","n":2}}]}"#).unwrap();
    f.write(NOTE, &own, r#"{"changes":[{"delete":{"id":"a","org":"yours"}}]}"#).unwrap();
    assert!(f.row(NOTE, "mine", "a").is_none());
    assert_eq!(f.row(NOTE, "yours", "a").unwrap().value(2), &Value::Int(2));
}

#[test]
fn a_guarded_writer_changes_its_own_rows_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let scope = TenantScope::Own(Tenant::new("mine"));
    f.write(NOTE, &scope, r#"{"changes":[{"upsert":{"id":"theirs","n":2}},{"upsert":{"id":"own","n":1}}]}"#).unwrap();
    let write = |changes: &str| {
        let own = Filter::compare(2, Comparison::Eq, Value::Int(1));
        let guard = Guard { alternatives: Box::new([Changeable { rows: own, columns: 0b101 }]) };
        let request = f.request(NOTE, &scope, &format!("{{\"changes\":[{changes}]}}")).unwrap();
        submit(&f.feed, WriteRequest { guard: Some(guard), ..request }).recv().unwrap()
    };
    for bad in [
        r#"{"upsert":{"id":"theirs","n":1}}"#,
        r#"{"delete":{"id":"theirs"}}"#,
        r#"{"upsert":{"id":"own","n":2}}"#,
        r#"{"upsert":{"id":"new","n":2}}"#,
        r#"{"upsert":{"id":"new"}}"#,
        // Not even which version it is at is told.
        r#"{"delete":{"id":"theirs"},"if_version":7}"#,
    ] {
        let error = write(&format!(r#"{{"upsert":{{"id":"a","org":"whatever","n":1}}}},{bad}"#)).unwrap_err();
        assert_eq!((error.code, error.path.as_deref()), (WriteErrorCode::Forbidden, Some("changes[1]")), "{bad}");
        assert!(f.row(NOTE, "mine", "a").is_none());
    }
    write(r#"{"upsert":{"id":"a","org":"whatever","n":1}},{"delete":{"id":"own"}},{"delete":{"id":"never"}}"#).unwrap();
    assert!(f.row(NOTE, "mine", "a").is_some() && f.row(NOTE, "mine", "own").is_none());
}

#[test]
fn a_server_names_the_tenant_or_has_a_default() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    for body in [r#"{"changes":[{"upsert":{"id":"a"}}]}"#, r#"{"changes":[{"upsert":{"id":"a","org":null}}]}"#] {
        let error = f.write(NOTE, &TenantScope::Named(None), body).unwrap_err();
        assert_eq!(error.path.as_deref(), Some("changes[0].upsert.org"));
    }
    let default = TenantScope::Named(Some(Tenant::new("t")));
    f.write(NOTE, &default, r#"{"changes":[{"upsert":{"id":"a"}},{"upsert":{"id":"a","org":"u"}}]}"#).unwrap();
    assert!(f.row(NOTE, "t", "a").is_some() && f.row(NOTE, "u", "a").is_some());
}

#[test]
fn counts_and_sizes_are_bounded() {
    let catalog = catalog();
    let limits = Limits { changes_max: 2, row_bytes_max: 100 };
    let decode = |body: &str| decode_changes(catalog.entity(ASSET), body.as_bytes(), limits);
    assert_eq!(decode(r#"{"changes":[1,2,3]}"#).unwrap_err().code, WriteErrorCode::InvalidBody);
    let delete = r#"{"delete":{"id":"a"}}"#;
    assert_eq!(decode(&format!(r#"{{"changes":[{delete},{delete}]}}"#)).unwrap().len(), 2);
    let error = decode(&format!(r#"{{"changes":[{delete},{delete},{delete}]}}"#)).unwrap_err();
    assert_eq!((error.code, error.path.as_deref()), (WriteErrorCode::TooManyChanges, Some("changes[2]")));
    let error = decode(&format!(r#"{{"changes":[{{"upsert":{{"id":"{}"}}}}]}}"#, "x".repeat(100))).unwrap_err();
    assert_eq!((error.code, error.path.as_deref()), (WriteErrorCode::InvalidRow, Some("changes[0]")));
    for body in [
        "",
        "[]",
        // Members by position are no object.
        r#"[[{"delete":{"id":"a"}}]]"#,
        r#"{"changes":[[null,{"id":"a"},null]]}"#,
        "{}",
        "{\"changes\":{}}",
        "{\"changes\":[",
        "{\"changes\":null}",
        "{\"changes\":[],\"x\":1}",
        "\u{0}",
    ] {
        assert_eq!(decode(body).unwrap_err().code, WriteErrorCode::InvalidBody, "{body}");
    }
    let many: String = (0..200).map(|i| format!("\"c{i}\":1,")).collect();
    assert!(decode(&format!(r#"{{"changes":[{{"upsert":{{{many}"id":"a"}}}}]}}"#)).is_err());
}

#[test]
fn a_row_may_not_grow_past_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let mut body = r#"{"changes":[{"upsert":{"id":"a","n":1,"text":""#.to_owned();
    body.push_str(&"x".repeat((1 << 20) - 100));
    body.push_str("\"}}]}");
    f.assets(&body).unwrap();
    let error = f.assets(&format!(r#"{{"changes":[{{"upsert":{{"id":"{}"}}}}]}}"#, "k".repeat(5_000))).unwrap_err();
    assert_eq!((error.code, error.path.as_deref()), (WriteErrorCode::InvalidRow, Some("changes[0].upsert")));
}
