//! Tables of a real server, before and after they were altered.

use tidegate_model::{Catalog, EntityId, Type};
use tidegate_testkit::postgres::Postgres;

use super::*;
use crate::postgres::check::Problem;
use crate::postgres::connect::{Via, connect};
use crate::postgres::inspect::{self, Identity, TableInfo};
use crate::postgres::pgoutput::RelationColumn;
use crate::postgres::resolve::{Wish, resolve};
use crate::postgres::settings::Settings;

const TABLE: &str = "create table t (
    id int primary key, tag uuid not null, at timestamptz, price numeric(10,2), host inet, doc jsonb, code char(3),
    gone int, twice int generated always as (id * 2) stored);
alter table t drop column gone;";

fn wish() -> Wish {
    Wish { name: "t".into(), schema: "public".into(), table: "t".into(), ..Wish::default() }
}

/// The table as the stream would describe it.
fn relation(table: &TableInfo) -> Relation {
    let column = |column: &inspect::ColumnInfo| RelationColumn {
        key: table.primary_key.contains(&column.name),
        name: column.name.clone(),
        type_oid: column.type_oid,
        typmod: column.typmod,
    };
    let columns = table.columns.iter().filter(|column| !column.generated).map(column).collect();
    Relation { oid: table.oid, schema: table.schema.clone(), name: table.name.clone(), identity: b'd', columns }
}

fn fatal(wish: &Wish, table: &TableInfo) -> Problem {
    let problems = resolve(wish, table).err().unwrap_or_else(|| panic!("nothing is amiss with {wish:?}"));
    problems.into_iter().find(|problem| problem.fatal).unwrap()
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_mapping_fits_until_the_table_is_altered() {
    let Some(server) = Postgres::start() else { return };
    let client = connect(&Settings::url(&server.url()).unwrap(), Via::Direct).await.unwrap();
    let wanted = [("public".to_owned(), "t".to_owned())];
    let fresh = async || {
        client.batch_execute(&format!("drop table if exists t; {TABLE}")).await.unwrap();
        inspect::tables(&client, Some(&wanted)).await.unwrap().remove(0)
    };
    let table = fresh().await;
    assert_eq!(inspect::tables(&client, None).await.unwrap(), std::slice::from_ref(&table));
    assert_eq!((&table.primary_key, &table.identity), (&strings(&["id"]), &Identity::Default));
    let (_, mapping, _) = resolve(&wish(), &table).unwrap();
    assert_eq!(mapping.fits(&relation(&table)), Ok((0..7).map(Some).collect()));
    let backwards = Wish { columns: Some(vec![("code".into(), None), ("id".into(), Some(Type::Int))]), ..wish() };
    let (_, chosen, _) = resolve(&backwards, &table).unwrap();
    let places = vec![Some(1), None, None, None, None, None, Some(0)];
    assert_eq!(chosen.fits(&relation(&table)), Ok(places));
    assert_eq!(
        chosen.copy_sql(),
        "COPY (SELECT \"code\", \"id\" FROM ONLY \"public\".\"t\") TO STDOUT (FORMAT binary)"
    );

    for (alter, reason, signature_differs) in [
        ("alter table t add extra int default 7", "new columns: extra", true),
        ("alter table t rename at to moment", "no column \"at\"", true),
        ("alter table t drop price", "no column \"price\"", true),
        ("alter table t alter at type timestamp", "type of the column \"at\"", true),
        ("alter table t alter price type numeric(12,2)", "type of the column \"price\"", true),
        (
            "alter table t drop at; alter table t add at timestamptz",
            "\"at\" of \"public\".\"t\" was dropped and added",
            true,
        ),
        ("drop table t; create table t (id int primary key)", "another table", true),
        ("alter table t alter price set default 1", "", false),
    ] {
        let (_, mapping, _) = resolve(&wish(), &fresh().await).unwrap();
        client.batch_execute(alter).await.unwrap();
        let altered = inspect::tables(&client, Some(&wanted)).await.unwrap().remove(0);
        let drift = mapping.fits(&relation(&altered)).err().map(|drift| drift.reason).unwrap_or_default();
        assert!(drift.contains(reason) && drift.is_empty() == reason.is_empty(), "{alter}: {drift}");
        let (_, again, _) = resolve(&wish(), &altered).unwrap();
        assert_eq!(again.signature != mapping.signature, signature_differs, "{alter}");
    }
}

#[tokio::test]
async fn a_wish_is_granted_or_refused_with_a_way_out() {
    let Some(server) = Postgres::start() else { return };
    let client = connect(&Settings::url(&server.url()).unwrap(), Via::Direct).await.unwrap();
    client.batch_execute(TABLE).await.unwrap();
    let table = inspect::tables(&client, None).await.unwrap().remove(0);

    let (builder, _, warnings) = resolve(&wish(), &table).unwrap();
    assert!(warnings.len() == 1 && warnings[0].what.contains("\"twice\""), "{warnings:?}");
    let catalog = Catalog::build(&[builder]).unwrap();
    let entity = catalog.entity(EntityId(0));
    let able = |name: &str| {
        let column = entity.column(entity.column_index(name).unwrap());
        (column.filterable, column.sortable)
    };
    assert_eq!((able("id"), able("host"), able("doc")), ((true, true), (false, false), (true, false)));
    assert!(entity.is_sourced() && entity.indexes().is_empty());

    let columns = |columns: &[(&str, Option<Type>)]| {
        Some(columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect())
    };
    let as_text = Wish {
        columns: columns(&[("id", None), ("tag", Some(Type::Text)), ("doc", Some(Type::Text))]),
        tenant: Some("tag".into()),
        key: Some(strings(&["id", "tag"])),
        ..wish()
    };
    let (builder, mapping, _) = resolve(&as_text, &table).unwrap();
    assert_eq!(builder.columns[1], ("tag".to_owned(), Type::Text));
    assert!(mapping.columns.iter().skip(1).all(|column| !column.source.is_comparable()));

    for (wish, what, mend) in [
        (Wish { tenant: Some("tag".into()), ..wish() }, "tenant column", "\"text\" for \"tag\""),
        (Wish { key: Some(strings(&["doc"])), ..wish() }, "no order", "\"text\" for \"doc\""),
        (Wish { columns: columns(&[("id", Some(Type::Uuid))]), ..wish() }, "is int, not uuid", "\"int\" or \"text\""),
        (Wish { columns: columns(&[("tag", None)]), ..wish() }, "key column \"id\"", "add \"id\""),
        (
            Wish { columns: columns(&[("id", None), ("gone", None)]), ..wish() },
            "no column \"gone\"",
            "take \"gone\" out",
        ),
        (Wish { columns: columns(&[("id", None), ("twice", None)]), ..wish() }, "is generated", "leave \"twice\" out"),
        (Wish { filterable: Some(strings(&["host"])), ..wish() }, "travels as text", "out of `filterable`"),
        (
            Wish {
                columns: columns(&[("id", None)]),
                row_filter: Some("[{\"column\":\"price\",\"op\":\"eq\",\"value\":1}]".into()),
                ..wish()
            },
            "where",
            "correct `where`",
        ),
    ] {
        let problem = fatal(&wish, &table);
        assert!(problem.what.contains(what) && problem.mend.contains(mend), "{problem:?}");
    }
}
