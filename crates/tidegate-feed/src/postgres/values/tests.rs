//! A real server's own bytes, of both ways, decode to the same value.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, pin_mut};
use proptest::prelude::*;
use tidegate_model::json;
use tidegate_testkit::postgres::Postgres;

use super::*;
use crate::postgres::binary_copy::Parser;
use crate::postgres::connect::{Via, connect};
use crate::postgres::inspect;
use crate::postgres::pgoutput::{self, Cell, Message};
use crate::postgres::resolve::{Mapping, Wish, resolve};
use crate::postgres::settings::Settings;

/// A type in SQL, what it becomes (`printed` where it travels as text), values of it as literals, and an expression over
/// `random()` and the number `g`.
type Case = (&'static str, &'static str, &'static [&'static str], &'static str);

const SETUP: &str = "
create type mood as enum ('sad', 'it''s \"ok\", really', 'happy');
alter type mood add value 'first' before 'sad';
create domain whole as int check (value is distinct from -7);
create domain counted as whole;
create domain short as varchar(5);
create domain fixed as char(4);
create domain feeling as mood;
create domain numbers as int[];
create type pair as (a int, b text);
create collation unlike (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create publication p for all tables;";

const CASES: &[Case] = &[
    ("bool", "bool", &["t", "f"], "random() < 0.5"),
    ("int2", "int", &["-32768", "32767"], "(random() * 65535 - 32768)::int"),
    ("int4", "int", &["-2147483648", "2147483647"], "(random() * 4e9 - 2e9)::int"),
    ("int8", "int", &["-9223372036854775808", "9223372036854775807"], "(random() * 1e19 - 5e18)::int8"),
    ("counted", "int", &["-1"], "g"),
    (
        "numeric",
        "decimal",
        &[
            "0",
            "-0.00",
            "1.00",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e131071",
            "1e-16383",
            "0.00001",
            "10000",
            "-99999999.0001234",
            "1000000000000",
        ],
        "(random() - 0.5)::numeric * (10::numeric ^ (random() * 80 - 40)::int)",
    ),
    ("numeric(12,4)", "decimal", &["NaN", "99999999.9999", "-0.0001"], "random() * 10000"),
    (
        "float4",
        "float",
        &["0.1", "NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "16777216", "9.5367e-7", "33554432"],
        "case when g % 2 = 0 then 2::float8 ^ (g - 124) else (random() - 0.5) * 10::float8 ^ (random() * 70 - 35) end",
    ),
    (
        "float8",
        "float",
        &["0.1", "NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "9007199254740993"],
        "(random() - 0.5) * 10::float8 ^ (random() * 600 - 300)",
    ),
    ("text", "text", &["", "NULL", "a\\b\"c'\n\t", "日本\u{1F600}", "  "], "md5(random()::text)"),
    ("varchar(40)", "text", &["", "x "], "md5(random()::text)"),
    ("short", "text", &["", "five5"], "left(md5(random()::text), 5)"),
    ("name", "text", &["", "some name"], "md5(random()::text)"),
    ("char(6)", "text", &["", "a", "日 ", "sixsix"], "left(md5(random()::text), g % 7)"),
    ("fixed", "text", &["", "a"], "left(md5(random()::text), g % 5)"),
    ("text collate unlike", "printed", &["", "A"], "md5(random()::text)"),
    ("bpchar", "printed", &["", "a "], "md5(random()::text)"),
    ("bytea", "bytes", &["", "\\x00ff5c27", "\\x7b7d"], "decode(md5(random()::text), 'hex')"),
    ("uuid", "uuid", &["00000000-0000-0000-0000-000000000000"], "md5(random()::text)::uuid"),
    (
        "date",
        "date",
        &[
            "4714-11-24 BC",
            "0001-12-31 BC",
            "0001-02-28 BC",
            "0001-01-01",
            "2000-02-29",
            "9999-12-31",
            "10000-01-01",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
        "date '2000-01-01' + (random() * 4e6 - 2e6)::int",
    ),
    ("time", "time", &["00:00", "24:00", "23:59:59.999999", "12:34:56.7"], "(random() * interval '1 day')::time"),
    ("time(0)", "time", &["23:59:59.6"], "(random() * interval '1 day')::time"),
    (
        "timestamp",
        "timestamp",
        &[
            "4714-11-24 00:00 BC",
            "0001-12-31 23:59:59.5 BC",
            "1969-12-31 23:59:59.999999",
            "294247-01-10 04:00:54.775806",
            "294276-12-31 23:59:59.999999",
            "infinity",
            "-infinity",
        ],
        "timestamp '2000-01-01' + (random() * 8e6 - 2e6) * interval '1 day'",
    ),
    (
        "timestamptz",
        "timestamp",
        &[
            "4714-11-24 00:00+00 BC",
            "2020-01-01 00:00+05:30",
            "294276-12-31 23:59:59.999999+00",
            "infinity",
            "-infinity",
        ],
        "timestamptz '2000-01-01' + (random() * 8e6 - 2e6) * interval '1 day'",
    ),
    (
        "interval",
        "interval",
        &[
            "0",
            "1 year 2 months 3 days 04:05:06.7",
            "-1 year 2 days -00:00:00.000001",
            "-00:00:00.5",
            "178000000 years",
            "-2000000000 hours -54.775808 seconds",
        ],
        "make_interval(months => (random() * 4e4 - 2e4)::int, days => (random() * 4e4 - 2e4)::int, secs => random() * 1e8 - 5e7)",
    ),
    (
        "json",
        "json",
        &["{\"b\": 1,\"a\":[1.50, null]}", " [1,\n 2] ", "null", "\"\\u00e9\"", "{\"a\":1,\"a\":2}"],
        "json_build_object('g', random())",
    ),
    (
        "jsonb",
        "json",
        &["{\"b\": 1,\"a\":[1.50, null]}", "null", "1e100", "12345678901234567890.50"],
        "jsonb_build_object('g', random())",
    ),
    ("mood", "enum", &["happy", "first", "it's \"ok\", really"], "(enum_range(null::mood))[g % 4 + 1]"),
    ("feeling", "enum", &["sad"], "(enum_range(null::mood))[g % 4 + 1]"),
    ("bool[]", "bool[]", &["{}", "{t,NULL,f}"], "array[random() < 0.5, null]"),
    (
        "int4[]",
        "int[]",
        &["{}", "{1,NULL}", "{{1,2},{3,4}}", "[2:3]={1,2}", "[0:0][-1:0]={{1,2}}", "{{{{{{1}}}}}}"],
        "array[g, (random() * 1e9)::int]",
    ),
    ("int8[]", "int[]", &["{-9223372036854775808}"], "array[g::int8 << 40]"),
    ("numbers", "int[]", &["{1,2}"], "array[g]"),
    ("counted[]", "int[]", &["{1,NULL}"], "array[g]"),
    (
        "text[]",
        "text[]",
        &["{\"a,b\",\"\\\"\",\"\\\\\",NULL,\"NULL\",\"\",\" \",\"{}\"}", "{{a,b},{c,null}}"],
        "array[md5(random()::text), chr(g + 31), null, 'nUlL']",
    ),
    ("varchar(9)[]", "text[]", &["{abc}"], "array[left(md5(random()::text), 9)]"),
    ("char(3)[]", "text[]", &["{a,\"\",NULL}"], "array[left(md5(random()::text), 2)]"),
    ("name[]", "text[]", &["{a b}"], "array[md5(random()::text)]"),
    ("mood[]", "text[]", &["{sad,\"it's \\\"ok\\\", really\"}"], "enum_range(null::mood)"),
    ("numeric[]", "decimal[]", &["{1.00,NaN,-Infinity}"], "array[random()::numeric]"),
    ("float4[]", "float[]", &["{0.1,NaN,-Infinity}"], "array[random()::float4]"),
    ("float8[]", "float[]", &["{0.1,NaN,-Infinity}"], "array[random()]"),
    ("bytea[]", "bytes[]", &["{\"\\\\x00ff\",\"\"}"], "array[decode(md5(random()::text), 'hex')]"),
    ("uuid[]", "uuid[]", &["{NULL}"], "array[md5(random()::text)::uuid]"),
    ("date[]", "date[]", &["{infinity,\"0044-03-15 BC\"}"], "array[current_date - g]"),
    ("time[]", "time[]", &["{24:00}"], "array[(random() * interval '1 day')::time]"),
    (
        "timestamp[]",
        "timestamp[]",
        &["{infinity,\"0044-03-15 00:00 BC\"}"],
        "array[timestamp '2000-01-01' + random() * interval '1 day']",
    ),
    (
        "timestamptz[]",
        "timestamp[]",
        &["{-infinity,\"2020-01-01 00:00+05:30\"}"],
        "array[now() - random() * interval '1 day']",
    ),
    // What travels as text does so as its output function prints it, not as its cast to text.
    ("inet", "printed", &["192.168.1.1", "10.0.0.0/8", "::1"], "'10.0.0.0'::inet + g"),
    ("money", "printed", &["-12.34"], "random()::numeric::money"),
    ("\"char\"", "printed", &["a"], "'b'"),
    ("timetz", "printed", &["12:00+05"], "now()::timetz"),
    ("int4range", "printed", &["[1,5)", "empty"], "int4range(0, g)"),
    ("pair", "printed", &["(,)", "(1,\"a \"\"b\"\"\")"], "row(g, md5(random()::text))::pair"),
    ("xml", "printed", &["<a>&lt;</a>"], "xmlelement(name a, g)"),
    ("point", "printed", &["(1,2)"], "point(random(), g)"),
    ("varbit(9)", "printed", &["101"], "g::bit(9)"),
    ("oid", "printed", &["4294967295"], "g"),
    ("jsonb[]", "printed", &["{\"{\\\"a\\\": 1}\"}"], "array[jsonb_build_object('g', g)]"),
    ("interval[]", "printed", &["{1 day}"], "array[interval '1 day' * g]"),
    ("int2vector", "printed", &["1 2 3"], "(g || ' 1')::int2vector"),
    ("box[]", "printed", &["{(1,1),(0,0);(2,2),(0,0)}"], "array[box(point(0, 0), point(g, g))]"),
];

fn written(value: &Value) -> String {
    let mut bytes = Vec::new();
    json::write_value(value, &mut bytes);
    String::from_utf8(bytes).unwrap()
}

async fn copied(client: &tokio_postgres::Client, mapping: &Mapping) -> BTreeMap<i64, Value> {
    let mut parser = Parser::new(2, 1 << 20);
    let mut values = BTreeMap::new();
    let chunks = client.copy_out(mapping.copy_sql().as_str()).await.unwrap();
    pin_mut!(chunks);
    while let Some(chunk) = chunks.next().await {
        parser.push(chunk.unwrap());
        while let Some(row) = parser.next_row().unwrap() {
            let read = |index: usize, bytes: &Bytes| mapping.columns[index].source.from_binary(bytes).unwrap();
            let Value::Int(id) = read(0, row.fields[0].as_ref().unwrap()) else { panic!("no id") };
            values.insert(id, row.fields[1].as_ref().map_or(Value::Null, |bytes| read(1, bytes)));
        }
    }
    values
}

#[tokio::test]
async fn the_stream_and_the_copy_decode_to_the_same_values() {
    let Some(server) = Postgres::logical() else { return };
    let client = connect(&Settings::url(&server.url()).unwrap(), Via::Direct).await.unwrap();
    client.batch_execute(SETUP).await.unwrap();
    client.batch_execute("select pg_create_logical_replication_slot('s', 'pgoutput')").await.unwrap();
    let mut mappings = BTreeMap::new();
    for (number, (sql_type, kind, literals, random)) in CASES.iter().enumerate() {
        let table = format!("t\"{number}");
        let mut sql = format!("create table \"t\"\"{number}\" (id int primary key, \"the \"\"v\" {sql_type});\n");
        for (id, literal) in literals.iter().enumerate() {
            sql += &format!("insert into \"t\"\"{number}\" values ({id}, $_${literal}$_$);\n");
        }
        sql += &format!("insert into \"t\"\"{number}\" values (-1, null);\n");
        sql += &format!("insert into \"t\"\"{number}\" select g + 1000, {random} from generate_series(1, 250) g;\n");
        client.batch_execute(&sql).await.unwrap_or_else(|e| panic!("{sql_type}: {e:?}"));
        let wanted = [("public".to_owned(), table.clone())];
        let tables = inspect::tables(&client, Some(&wanted)).await.unwrap();
        let wish = Wish { name: "e".into(), schema: "public".into(), table, ..Wish::default() };
        let (_, mapping, warnings) = resolve(&wish, &tables[0]).unwrap();
        assert_eq!(warnings, []);
        let source = &mapping.columns[1].source;
        let (name, comparable) = if *kind == "printed" { ("text", false) } else { (*kind, true) };
        assert_eq!((source.kind.name(), source.is_comparable()), (name, comparable), "{sql_type}");
        mappings.insert(mapping.oid, (sql_type, mapping));
    }

    let changes = "select data from pg_logical_slot_get_binary_changes('s', null, null, 'proto_version', '1', 'publication_names', 'p')";
    let mut streamed: BTreeMap<u32, BTreeMap<i64, Value>> = BTreeMap::new();
    for row in client.query(changes, &[]).await.unwrap() {
        match pgoutput::decode(row.get(0)).unwrap() {
            Message::Relation(relation) => {
                assert_eq!(mappings[&relation.oid].1.fits(&relation), Ok(vec![Some(0), Some(1)]));
            }
            Message::Insert { relation, new } => {
                let (sql_type, mapping) = &mappings[&relation];
                let read = |index: usize| match new[index] {
                    Cell::Text(bytes) => mapping.columns[index]
                        .source
                        .from_text(bytes)
                        .unwrap_or_else(|e| panic!("{sql_type}: {e} in {:?}", String::from_utf8_lossy(bytes))),
                    Cell::Null => Value::Null,
                    Cell::Unchanged => panic!("an insert is whole"),
                };
                let Value::Int(id) = read(0) else { panic!("no id") };
                streamed.entry(relation).or_default().insert(id, read(1));
            }
            _ => {}
        }
    }
    assert_eq!(streamed.len(), CASES.len());
    for (oid, (sql_type, mapping)) in &mappings {
        let copied = copied(&client, mapping).await;
        let streamed = &streamed[oid];
        assert_eq!(copied.len(), streamed.len(), "{sql_type}");
        for (id, value) in &copied {
            assert_eq!((value, written(value)), (&streamed[id], written(&streamed[id])), "{sql_type} {id}");
            let kind = mapping.columns[1].source.kind;
            assert!(value.kind().is_none_or(|is| is == kind), "{sql_type}: {value:?}");
        }
    }
}

/// How a value reads in the end, for one of each kind of surprise.
#[test]
fn values_are_what_they_say() {
    let text = |form: Form, text: &str| written(&form.text(text.as_bytes()).unwrap());
    assert_eq!(text(Form::Float4, "0.1"), "0.1");
    assert_eq!(Form::Float4.binary(&0.1f32.to_be_bytes()), Ok(Value::Float(0.1)));
    assert_eq!(Form::Text.text(b"a  "), Ok(Value::text("a  ")));
    assert_eq!(text(Form::Bytea, "\\x00ff"), "\"AP8=\"");
    assert_eq!(Form::Jsonb.binary(b"\x01{}").map(|value| written(&value)), Ok("{}".to_owned()));
    assert_eq!(Form::Bool.binary(&[2]), Err(CellError::Expected("a bool")));
    assert!(Form::Int.binary(&[0; 3]).is_err() && Form::Int.binary(&[0; 9]).is_err());
    assert!(Form::Float8.text(b"inf").is_err());
    assert!(
        Form::Bytea.text(b"\\000").is_err()
            && Form::Bytea.text(b"\\x0").is_err()
            && Form::Bytea.text(b"\\x+1").is_err()
    );
    let mood = SourceType::labels(&["sad".to_owned()]).unwrap();
    assert_eq!(mood.from_text(b"glad"), Err(CellError::Label));
    assert!(mood.from_binary(b"sad").is_ok());
}

proptest! {
    #[test]
    fn no_cell_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[-+0-9:. TPYMDHSBCinfty\\\\x{},\"]{0,30}") {
        let oids = [16, 17, 20, 25, 114, 700, 701, 1042, 1082, 1083, 1114, 1186, 1700, 2950, 3802];
        for form in oids.into_iter().filter_map(Form::of) {
            let _ = (form.text(&bytes), form.text(text.as_bytes()), form.binary(&bytes), form.binary(text.as_bytes()));
        }
    }
}
