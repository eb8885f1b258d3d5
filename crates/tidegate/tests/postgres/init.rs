//! `tidegate init` as a person uses it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::clients::get;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::Postgres;

fn init(directory: &Path, url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(directory).stdin(Stdio::null()).env("TIDEGATE_SOURCE_URL", url).arg("init");
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

const TABLES: &str = "
    create type mood as enum ('sad', 'ok');
    create table orders (id bigint primary key, total numeric(10,2), how mood, at timestamptz, place point,
                         doc jsonb, twice numeric generated always as (total * 2) stored);
    create schema crm;
    create table crm.orders (region text, number int, primary key (region, number));
    create table crm.\"Odd Name\" (id uuid primary key);
    create table keyless (a int, b text);
    create unlogged table hasty (id int primary key);
    create table parts (id int, day date, primary key (id, day)) partition by range (day);
    create table parts_1 partition of parts for values from ('2024-01-01') to ('2025-01-01')";

#[tokio::test]
async fn what_is_written_can_be_served() {
    let Some(postgres) = Postgres::logical() else { return };
    postgres
        .session()
        .await
        .run(&format!("{TABLES}; insert into orders values (1, 5, 'ok', now(), '(1,2)', '{{}}')"))
        .await;
    let directory = TempDir::new().unwrap();
    let url = postgres.url().replacen("postgres@", "postgres:hunter2@", 1);
    let report = said(&init(directory.path(), &url, &[]));
    let text = fs::read_to_string(directory.path().join("tidegate.toml")).unwrap();
    assert!(!report.contains("hunter2") && !text.contains("hunter2"), "{report}\n{text}");
    assert!(report.contains("Wrote tidegate.toml: 4 of 6 tables"), "{report}");
    assert!(report.contains("ALTER TABLE \"public\".\"hasty\" SET LOGGED;"), "{report}");
    for line in [
        "url = \"postgres://postgres@127.0.0.1:",
        "# [[entity]]\n# name = \"keyless\"",
        "table = \"crm.Odd Name\"",
        "[[entity]]\nname = \"crm_orders\"\ntable = \"crm.orders\"",
        "TIDEGATE_SOURCE_URL='postgres://postgres:PASSWORD@127.0.0.1:",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("parts_1"), "{text}");
    for (column, words) in [
        ("place", "travels as text"),
        ("twice", "left out"),
        ("doc", "no order"),
        ("how", "enum"),
        ("total", "decimal"),
    ] {
        let is_one = |line: &str| line.starts_with(&format!("#   {column} ")) && line.contains(words);
        assert!(text.lines().any(is_one), "{column}\n{text}");
    }

    let gateway = Gateway::start(
        env!("CARGO_BIN_EXE_tidegate"),
        &text.replace("# api_keys = [\"a-long-random-key\"]", "api_keys = [\"a-key-for-the-tests\"]"),
    );
    let entities = get(gateway.address(), "/v1/entities").await.ok();
    let names: Vec<&str> =
        entities["entities"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["orders", "parts", "Odd_Name", "crm_orders"]);
}

#[tokio::test]
async fn nothing_is_overwritten_and_tables_may_be_chosen() {
    let Some(postgres) = Postgres::logical() else { return };
    let session = postgres.session().await;
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str]| init(directory.path(), &postgres.url(), arguments);
    let empty = refusal(&run(&[]));
    assert!(empty.contains("has no tables") && empty.contains("CREATE TABLE"), "{empty}");
    session.run(TABLES).await;
    let missing = refusal(&run(&["--table", "nothing"]));
    assert!(missing.contains("no table \"nothing\"; there are crm.Odd Name, crm.orders, public.hasty"), "{missing}");
    said(&run(&["--table", "orders", "--table", "public.orders", "--output", "mine.toml"]));
    let text = fs::read_to_string(directory.path().join("mine.toml")).unwrap();
    assert_eq!(text.matches("[[entity]]").count(), 1, "{text}");
    let again = refusal(&run(&["--output", "mine.toml"]));
    assert!(again.contains("mine.toml is there already") && again.contains("--force"), "{again}");
    said(&run(&["--output", "mine.toml", "--force"]));
    assert_ne!(fs::read_to_string(directory.path().join("mine.toml")).unwrap(), text);
    let url = refusal(&init(directory.path(), "mysql://a:hunter2@b/c", &["--force"]));
    assert!(url.starts_with("error: --from: ") && !url.contains("hunter2"), "{url}");
}

#[tokio::test]
async fn what_is_amiss_is_told_with_what_mends_it() {
    let Some(postgres) = Postgres::start() else { return };
    let session = postgres.session().await;
    session.run(&format!("{TABLES}; create role reader login; grant select on keyless to reader")).await;
    let directory = TempDir::new().unwrap();
    let url = postgres.url().replacen("postgres@", "reader@", 1);
    let found: Value = serde_json::from_str(&said(&init(directory.path(), &url, &["--json"]))).unwrap();
    assert!(!directory.path().join("tidegate.toml").exists());
    assert_eq!((&found["server"]["wal_level"], &found["server"]["role"]), (&json!("replica"), &json!("reader")));
    let mends = |problems: &Value| {
        let mends = problems.as_array().unwrap().iter().map(|problem| problem["mend"].as_str().unwrap());
        mends.collect::<Vec<_>>().join("\n")
    };
    let general = mends(&found["problems"]);
    assert!(general.contains("ALTER SYSTEM SET wal_level = 'logical'"), "{general}");
    assert!(general.contains("ALTER ROLE \"reader\" REPLICATION;"), "{general}");
    let of = |schema: &str, table: &str| {
        let tables = found["tables"].as_array().unwrap();
        tables.iter().find(|t| t["schema"] == schema && t["table"] == table).unwrap()
    };
    assert!(mends(&of("public", "orders")["problems"]).contains("GRANT SELECT ON TABLE"), "{found:#}");
    assert!(mends(&of("public", "keyless")["problems"]).contains("PRIMARY KEY"), "{found:#}");
    assert_eq!(of("public", "keyless")["fit"], false);
    let report = said(&init(directory.path(), &url, &[]));
    assert!(report.contains("Nothing can be followed yet"), "{report}");
}

#[tokio::test]
async fn a_name_with_a_line_break_stays_in_its_comment() {
    let Some(postgres) = Postgres::logical() else { return };
    let session = postgres.session().await;
    session.run("create table \"x\n[identity]\nanonymous = true #\" (a int, \"\\t\n\"\"y\" text)").await;
    session.run("create table \"fit\nto be\" (id int primary key, \"z\n[log]\" text)").await;
    let directory = TempDir::new().unwrap();
    said(&init(directory.path(), &postgres.url(), &[]));
    let text = fs::read_to_string(directory.path().join("tidegate.toml")).unwrap();
    let file: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(file["identity"]["anonymous"].as_bool(), Some(false), "{text}");
    assert!(!file.contains_key("log") && text.matches("\n[[entity]]").count() <= 1, "{text}");
}
