use std::path::Path;

use insta::assert_snapshot;
use tidegate_model::Detail;

use super::*;

const ENTITY: &str = r#"
[[entity]]
name = "asset"
key = ["id"]
columns = { id = "text", name = "text", temp = "float", doc = "json" }
"#;

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::layered(Some((Path::new("tidegate.toml"), text)), [], &Flags::default())
}

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn without_any_layer_the_defaults_hold() {
    let config = Config::layered(None, [], &Flags::default()).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8470");
    assert_eq!(config.data_dir, Path::new("./tidegate-data"));
    assert!(!config.identity.anonymous && config.grants.is_empty() && config.catalog.entities().is_empty());
}

#[test]
fn later_layers_win() {
    let flags = Flags { listen: Some("127.0.0.1:3".into()), data_dir: None };
    let file = "listen = \"127.0.0.1:1\"\ndata_dir = \"/file\"\n[log]\nformat = \"json\"\n";
    let environment = variables(&[
        ("TIDEGATE_LISTEN", "127.0.0.1:2"),
        ("TIDEGATE_DATA_DIR", "/environment"),
        ("TIDEGATE_IDENTITY_ANONYMOUS", "true"),
        ("TIDEGATE_IDENTITY_API_KEYS", "first-key-0001, second-key-002"),
        ("TIDEGATE_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ]);
    let config = Config::layered(Some((Path::new("t.toml"), file)), environment, &flags).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, Path::new("/environment"));
    assert!(config.log.json && config.identity.anonymous);
    assert_eq!(config.identity.api_keys.len(), 2);
    assert_eq!(config.unknown_variables, ["TIDEGATE_SERVICE_HOST"]);
}

#[test]
fn an_environment_variable_must_have_the_type_of_its_setting() {
    let environment = variables(&[("TIDEGATE_IDENTITY_ANONYMOUS", "yes")]);
    let error = Config::layered(None, environment, &Flags::default()).unwrap_err();
    assert_snapshot!(error, @r#"identity.anonymous = "yes" (from environment TIDEGATE_IDENTITY_ANONYMOUS): must be true or false"#);
}

#[test]
fn columns_keep_the_order_of_the_file() {
    let config =
        load(&ENTITY.replace("id = \"text\", name", "zulu = \"int\", id = \"text\", alpha = \"int\", name")).unwrap();
    let names: Vec<&str> = config.catalog.entities()[0].columns().iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["zulu", "id", "alpha", "name", "temp", "doc"]);
}

#[test]
fn columns_are_of_every_type() {
    let columns = "temp = { enum = [\"new\", \"done\"] }, tags = \"text[]\", at = \"time\", span = \"interval\"";
    let config = load(&ENTITY.replace("temp = \"float\"", columns)).unwrap();
    let kinds: Vec<String> = config.catalog.entities()[0].columns().iter().map(|c| c.kind.to_string()).collect();
    assert_eq!(kinds, ["text", "text", "enum", "text[]", "time", "interval", "json"]);
    let labels = Detail::Labels(["new", "done"].map(Into::into).into());
    assert_eq!(config.catalog.entities()[0].column(2).detail, labels);
}

#[test]
fn settings_that_break_a_rule_are_named() {
    assert_snapshot!(refusal("listne = \"x\""), @"listne: there is no such key; there are listen, data_dir, source, identity, log, tls, api, edge, live, feed, mirror, entity, permission");
    assert_snapshot!(refusal("listen = \"localhost\""), @r#"listen = "localhost" (from tidegate.toml): must be an address and port, such as 127.0.0.1:8470 or [::]:8470"#);
    assert_snapshot!(refusal("listen = 8470"), @"listen = 8470 (from tidegate.toml): must be a string");
    assert_snapshot!(refusal("data_dir = \"\""), @r#"data_dir = "" (from tidegate.toml): must name a directory"#);
    assert_snapshot!(refusal("[identity]\nanonymos = true"), @"identity.anonymos: there is no such key; [identity] has anonymous, api_keys");
    assert_snapshot!(refusal("[identity]\napi_keys = [\"\"]"), @"identity.api_keys[0]: must not be empty");
    assert_snapshot!(refusal("[identity]\napi_keys = \"my-secret-key\""), @"identity.api_keys (from tidegate.toml): must be a list of strings");
    assert_snapshot!(refusal("[[identity.issuer]]\nissuer = \"x\""), @"identity.issuer: this version does not serve token issuers");
    assert_snapshot!(refusal("[identity.sessions]\nredis = \"x\""), @"identity.sessions: this version does not serve device sessions");
    assert_snapshot!(refusal("[source]\nkind = \"postgres\""), @r#"source.kind = "postgres" (from tidegate.toml): this version serves only "local""#);
    assert_snapshot!(refusal("[source]\nkind = \"postgres\"\nurl = \"postgres://u:secret@h\""), @"source.url: this version does not serve a Postgres source");
    assert_snapshot!(refusal("[source]\nkind = \"mysql\""), @r#"source.kind = "mysql" (from tidegate.toml): must be "local""#);
    assert_snapshot!(refusal("[log]\nformat = \"xml\""), @r#"log.format = "xml" (from tidegate.toml): must be "text" or "json""#);
    assert_snapshot!(refusal("[log]\nlevel = \"a=b=c\""), @r#"log.level = "a=b=c" (from tidegate.toml): must be a log filter such as "info": error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5"#);
    assert_snapshot!(refusal("[tls]\nkey_file = \"k.pem\""), @r#"tls.certificate_file = "" (from default): is needed beside tls.key_file"#);
    for origin in ["app.example", "https://app.example/", "https://", "https://*.example"] {
        let refused = refusal(&format!("[edge]\nallowed_origins = [\"*\", \"http://a:81\", \"{origin}\"]"));
        assert!(refused.contains(&format!("{origin:?} must be scheme, host and port alone")), "{refused}");
    }
    assert_snapshot!(refusal("entity = 3"), @"entity: must be tables, each beginning with [[entity]]");
    assert_snapshot!(refusal("\n[identity]\napi_keys = secret"), @"tidegate.toml, line 3: string values must be quoted, expected literal string");
}

#[test]
fn entities_that_break_a_rule_are_named() {
    let with = |from: &str, to: &str| refusal(&ENTITY.replace(from, to));
    assert_snapshot!(with("temp = \"float\"", "temp = \"flaot\""), @r#"entity[0].columns.temp = "flaot": must be one of bool, int, float, decimal, text, bytes, uuid, timestamp, date, time, interval, json, an array as in "text[]", or { enum = ["label", …] }"#);
    assert_snapshot!(with("temp = \"float\"", "temp = 3"), @r#"entity[0].columns.temp = 3: must be one of bool, int, float, decimal, text, bytes, uuid, timestamp, date, time, interval, json, an array as in "text[]", or { enum = ["label", …] }"#);
    assert_snapshot!(with("temp = \"float\"", "temp = \"enum\""), @r#"entity[0].columns.temp = "enum": must be one of bool, int, float, decimal, text, bytes, uuid, timestamp, date, time, interval, json, an array as in "text[]", or { enum = ["label", …] }"#);
    assert_snapshot!(with("temp = \"float\"", "temp = { enum = [\"a\", 3] }"), @r#"entity[0].columns.temp = { enum = ["a", 3] }: must be one of bool, int, float, decimal, text, bytes, uuid, timestamp, date, time, interval, json, an array as in "text[]", or { enum = ["label", …] }"#);
    assert_snapshot!(with("temp = \"float\"", "temp = { enum = [\"a\", \"a\"] }"), @"entity[0] (asset), columns.temp: has a label twice");
    assert_snapshot!(with("key = [\"id\"]", "key = [\"no\"]"), @r#"entity[0] (asset), key: names "no", which is not among the columns"#);
    assert_snapshot!(with("key = [\"id\"]", "key = \"id\""), @r#"entity[0].key: invalid type: string "id", expected a sequence"#);
    assert_snapshot!(with("key = [\"id\"]", "key = []"), @"entity[0] (asset), key: names no column; an entity needs a key");
    assert_snapshot!(with("key = [\"id\"]", ""), @"entity[0]: missing field `key`");
    assert_snapshot!(with("key = [\"id\"]", "key = [\"id\"]\nmax_window = 0"), @"entity[0] (asset), max_window: is 0; it must be between 1 and 10000");
    assert_snapshot!(with("key = [\"id\"]", "key = [\"id\"]\nsortable = [\"doc\"]"), @"entity[0] (asset), columns.doc: has type json, which has no order, so it may not be key, tenant, sortable or indexed");
    assert_snapshot!(with("key = [\"id\"]", "key = [\"id\"]\ntable = \"public.asset\""), @"entity[0]: unknown field `table`, expected one of `name`, `key`, `tenant`, `columns`, `filterable`, `sortable`, `max_window`, `indexes`");
    assert_snapshot!(with("\"asset\"", "\"as set\""), @"entity[0] (as set), name: must be 1 to 128 of A-Z a-z 0-9 _ - and start with a letter or _");
    assert_snapshot!(refusal(&format!("{ENTITY}{ENTITY}")), @"entity[0] (asset), name: is used by another entity");
}

#[test]
fn permissions_that_break_a_rule_are_named() {
    let with = |lines: &str| refusal(&format!("{ENTITY}[[permission]]\n{lines}"));
    let base = "roles = [\"*\"]\nentities = [\"asset\"]\n";
    let read = format!("{base}may = [\"read\"]\n");
    assert_snapshot!(with("roles = [\"admin\"]\nentities = [\"asset\"]\nmay = [\"read\"]"), @r#"permission[0].roles[0] = "admin": this version has no token issuers, so the roles are "*" and "anonymous""#);
    assert_snapshot!(with("roles = []\nentities = [\"asset\"]\nmay = [\"read\"]"), @"permission[0].roles: must name a role");
    assert_snapshot!(with("roles = [\"*\"]\nentities = [\"no\"]\nmay = [\"read\"]"), @r#"permission[0].entities[0] = "no": there is no such entity"#);
    assert_snapshot!(with("roles = [\"*\"]\nmay = [\"read\"]"), @r#"permission[0].entities: must name an entity, or "*" for all"#);
    assert_snapshot!(with("roles = [\"*\"]\ntopics = [\"chat:*\"]\nmay = [\"publish\"]"), @"permission[0].topics: this version does not serve topics");
    assert_snapshot!(with(&format!("{base}may = [\"publish\"]")), @r#"permission[0].may[0] = "publish": this version does not serve topics"#);
    assert_snapshot!(with(&format!("{base}may = [\"fly\"]")), @r#"permission[0].may[0] = "fly": must be "read" or "write""#);
    assert_snapshot!(with(&format!("{base}may = []")), @r#"permission[0].may: must be "read", "write" or both"#);
    assert_snapshot!(with(&format!("{read}columns = [\"name\"]")), @r#"permission[0].columns: must include the key column "id" of "asset""#);
    assert_snapshot!(with(&format!("{read}columns = [\"id\", \"no\"]")), @r#"permission[0].columns[1] = "no": "asset" has no such column"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"no\", op = \"eq\", value = 1 }}]")), @r#"permission[0].where[0].column: "asset" has no column "no" (entity "asset")"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"temp\", op = \"eq\", value = \"warm\" }}]")), @r#"permission[0].where[0].value: expected a number, "NaN", "Infinity" or "-Infinity" for type float (entity "asset")"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"name\", op = \"eq\", value = \"$claims.sub\" }}]")), @"permission[0].where: this version has no token issuers, so there are no claims; give a literal value");
    assert_snapshot!(with(&format!("{base}may = [\"read\", \"write\"]\ncolumns = [\"id\"]")), @"permission[0].columns: narrows reading and would not narrow writing; put write into a permission of its own");
    assert_snapshot!(with(&format!("{read}[[permission]]\n{read}columns = [\"id\"]")), @r#"permission[1].columns: differs from an earlier permission to read "asset"; one client would need other columns in each row"#);
}

#[test]
fn what_is_shown_has_origins_and_no_secrets() {
    let text = format!("[identity]\napi_keys = [\"very-secret-key\"]\n{ENTITY}");
    let config = Config::layered(
        Some((Path::new("tidegate.toml"), &text)),
        variables(&[("TIDEGATE_LOG_FORMAT", "json")]),
        &Flags { listen: Some("127.0.0.1:0".into()), data_dir: None },
    )
    .unwrap();
    let shown = config.show();
    assert!(!shown.contains("very-secret") && !config.show_json().to_string().contains("very-secret"));
    for (setting, origin) in [
        ("listen = \"127.0.0.1:0\"", "--listen"),
        ("format = \"json\"", "environment TIDEGATE_LOG_FORMAT"),
        ("api_keys = [\"… 1 hidden\"]", "tidegate.toml"),
    ] {
        assert!(shown.lines().any(|line| line.starts_with(setting) && line.ends_with(origin)), "{setting}\n{shown}");
    }
    assert!(
        shown.contains("columns = { id = \"text\", name = \"text\", temp = \"float\", doc = \"json\" }"),
        "{shown}"
    );
    // What is shown is a configuration itself.
    load(&shown.replace("[\"… 1 hidden\"]", "[]")).unwrap();
}
