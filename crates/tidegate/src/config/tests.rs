use std::path::Path;

use insta::assert_snapshot;
use tidegate_identity::{AgentVerb, Principal, PrincipalKind, TopicVerb, WriteScope};
use tidegate_model::{Changeable, Comparison, Detail, Filter, Guard, Query, Tenant, Type, Value};

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
    assert!(!config.identity.anonymous && config.catalog().unwrap().entities().is_empty());
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
    let names: Vec<&str> =
        config.catalog().unwrap().entities()[0].columns().iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["zulu", "id", "alpha", "name", "temp", "doc"]);
}

#[test]
fn columns_are_of_every_type() {
    let columns = "temp = { enum = [\"new\", \"done\"] }, tags = \"text[]\", at = \"time\", span = \"interval\"";
    let config = load(&ENTITY.replace("temp = \"float\"", columns)).unwrap();
    let kinds: Vec<String> =
        config.catalog().unwrap().entities()[0].columns().iter().map(|c| c.kind.to_string()).collect();
    assert_eq!(kinds, ["text", "text", "enum", "text[]", "time", "interval", "json"]);
    let labels = Detail::Labels(["new", "done"].map(Into::into).into());
    assert_eq!(config.catalog().unwrap().entities()[0].column(2).detail, labels);
}

#[test]
fn settings_that_break_a_rule_are_named() {
    assert_snapshot!(refusal("listne = \"x\""), @"listne: there is no such key; there are listen, data_dir, source, identity, log, tls, api, edge, live, feed, mirror, topics, ephemeral, application, centrifugo, arcp, entity, topic, agent, permission");
    assert_snapshot!(refusal("listen = \"localhost\""), @r#"listen = "localhost" (from tidegate.toml): must be an address and port, such as 127.0.0.1:8470 or [::]:8470"#);
    assert_snapshot!(refusal("listen = 8470"), @"listen = 8470 (from tidegate.toml): must be a string");
    assert_snapshot!(refusal("data_dir = \"\""), @r#"data_dir = "" (from tidegate.toml): must name a directory"#);
    assert_snapshot!(refusal("[identity]\nanonymos = true"), @"identity.anonymos: there is no such key; [identity] has anonymous, api_keys, required_claims, leeway_ms, max_token_bytes, jwks_floor_ms, jwks_max_age_ms, jwks_timeout_ms, cookie, query_token, claims, sessions, proof, hook, limits, issuer");
    assert_snapshot!(refusal("[identity]\napi_keys = [\"\"]"), @"identity.api_keys[0]: must not be empty");
    assert_snapshot!(refusal("[identity]\napi_keys = \"my-secret-key\""), @"identity.api_keys (from tidegate.toml): must be a list of strings");
    assert_snapshot!(refusal("[[identity.issuer]]\nissuer = \"x\""), @"identity.issuer[0]: missing field `algorithm`");
    assert_snapshot!(refusal("[identity.sessions]\nredis = \"x\""), @"identity.sessions.redis (from tidegate.toml): must be redis://host:6379/0, or rediss:// for TLS");
    assert_snapshot!(refusal("[source]\nkind = \"mysql\""), @r#"source.kind = "mysql" (from tidegate.toml): must be "local" or "postgres""#);
    assert_snapshot!(refusal("[log]\nformat = \"xml\""), @r#"log.format = "xml" (from tidegate.toml): must be "text" or "json""#);
    assert_snapshot!(refusal("[log]\nlevel = \"a=b=c\""), @r#"log.level = "a=b=c" (from tidegate.toml): must be a log filter such as "info": error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5"#);
    assert_snapshot!(refusal("[tls]\nkey_file = \"k.pem\""), @r#"tls.certificate_file = "" (from default): is needed beside tls.key_file"#);
    for origin in ["app.example", "https://app.example/", "https://", "https://*.example"] {
        let refused = refusal(&format!("[edge]\nallowed_origins = [\"*\", \"http://a:81\", \"{origin}\"]"));
        assert!(refused.contains(&format!("{origin:?} must be scheme, host and port alone")), "{refused}");
    }
    let edge = |line: &str| refusal(&format!("[edge]\n{line}"));
    assert_snapshot!(edge("workers = 1025"), @"edge.workers = 1025 (from tidegate.toml): must be between 0 and 1024");
    assert_snapshot!(edge("max_unauthenticated = 0"), @"edge.max_unauthenticated = 0 (from tidegate.toml): must be between 1 and 4294967296");
    assert_snapshot!(edge("connections_per_second = -1"), @"edge.connections_per_second = -1 (from tidegate.toml): must be between 0 and 1000000");
    assert_snapshot!(edge("max_memory_bytes = 512"), @"edge.max_memory_bytes = 512 (from tidegate.toml): must be 0 (off) or between 67108864 and 1099511627776");
    assert_snapshot!(edge("max_fragments = 0"), @"edge.max_fragments = 0 (from tidegate.toml): must be between 1 and 1048576");
    assert_snapshot!(edge("message_timeout_ms = 0"), @"edge.message_timeout_ms = 0 (from tidegate.toml): must be between 1 and 2678400000");
    assert_snapshot!(edge("min_bytes_per_second = 0"), @"edge.min_bytes_per_second = 0 (from tidegate.toml): must be between 1 and 1073741824");
    assert_snapshot!(edge("bytes_per_second = 1000"), @"edge.bytes_per_second = 1000 (from tidegate.toml): must be 0 (off) or between 65536 and 1099511627776");
    assert_snapshot!(edge("bytes_per_second = 65536\nmin_bytes_per_second = 65537"), @"edge.bytes_per_second = 65536 (from tidegate.toml): must not be less than edge.min_bytes_per_second");
    assert_snapshot!(edge("compression = 1"), @"edge.compression = 1 (from tidegate.toml): must be true or false");
    assert_snapshot!(edge("compression_min_bytes = -1"), @"edge.compression_min_bytes = -1 (from tidegate.toml): must be between 0 and 1099511627776");
    assert_snapshot!(edge("max_streams = 0"), @"edge.max_streams = 0 (from tidegate.toml): must be between 1 and 65536");
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
    assert_snapshot!(with("key = [\"id\"]", "key = [\"id\"]\ntable = \"public.asset\""), @r#"entity[0].table: is for entities of a database; set source.kind = "postgres", or leave it out"#);
    assert_snapshot!(with("\"asset\"", "\"as set\""), @"entity[0] (as set), name: must be 1 to 128 of A-Z a-z 0-9 _ - and start with a letter or _");
    assert_snapshot!(refusal(&format!("{ENTITY}{ENTITY}")), @"entity[0] (asset), name: is used by another entity");
}

#[test]
fn permissions_that_break_a_rule_are_named() {
    let with = |lines: &str| refusal(&format!("{ENTITY}[[permission]]\n{lines}"));
    let base = "roles = [\"*\"]\nentities = [\"asset\"]\n";
    let read = format!("{base}may = [\"read\"]\n");
    assert_snapshot!(with("roles = []\nentities = [\"asset\"]\nmay = [\"read\"]"), @r#"permission[0].roles: must name a role; "*" is everybody"#);
    assert_snapshot!(with("roles = [\"*\"]\nentities = [\"no\"]\nmay = [\"read\"]"), @r#"permission[0].entities[0] = "no": there is no such entity"#);
    assert_snapshot!(with("roles = [\"*\"]\nmay = [\"read\"]"), @r#"permission[0]: must name entities, topics or agents; "*" is all of them"#);
    assert_snapshot!(with(&format!("{base}may = [\"publish\"]")), @r#"permission[0].may[0] = "publish": must be one of "read", "write""#);
    assert_snapshot!(with(&format!("{base}may = [\"fly\"]")), @r#"permission[0].may[0] = "fly": must be one of "read", "write""#);
    assert_snapshot!(with(&format!("{base}may = []")), @r#"permission[0].may: must name one of "read", "write""#);
    assert_snapshot!(with(&format!("{read}columns = [\"name\"]")), @r#"permission[0].columns: must include the key column "id" of "asset""#);
    assert_snapshot!(with(&format!("{read}columns = [\"id\", \"no\"]")), @r#"permission[0].columns[1] = "no": "asset" has no such column"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"no\", op = \"eq\", value = 1 }}]")), @r#"permission[0].where[0].column: "asset" has no column "no" (entity "asset")"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"temp\", op = \"eq\", value = \"warm\" }}]")), @r#"permission[0].where[0].value: expected a number, "NaN", "Infinity" or "-Infinity" for type float (entity "asset")"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"name\", op = \"eq\", value = \"$claims.\" }}]")), @r#"permission[0].where[0].value: a claim is named as "$claims.<name>", and is a whole value or one of a list"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"name\", op = \"ne\", value = \"$claim.sub\" }}]")), @r#"permission[0].where[0].value: a claim is named as "$claims.<name>", and is a whole value or one of a list"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"name\", op = \"ilike\", value = \"$claims.sub\" }}]")), @r#"permission[0].where[0].value: ilike takes no claim: what it says would be read as a pattern, or not at all"#);
    assert_snapshot!(with(&format!("{read}where = [{{ or = [{{ column = \"doc\", op = \"eq\", value = {{ by = \"$claims.sub\" }} }}] }}]")), @r#"permission[0].where[0].or[0].value: a claim is named as "$claims.<name>", and is a whole value or one of a list"#);
    assert_snapshot!(with(&format!("{read}where = [{{ column = \"doc\", op = \"gt\", value = \"$claims.sub\" }}]")), @r#"permission[0].where[0].op: gt is not defined for type json, which has no order (entity "asset")"#);
    let topics = "roles = [\"*\"]\ntopics = [\"chat:*\"]\n";
    assert_snapshot!(with(&format!("{topics}may = [\"submit\"]")), @r#"permission[0].may[0] = "submit": must be one of "subscribe", "publish", "presence", "history""#);
    assert_snapshot!(with(&format!("{topics}may = [\"publish\"]\nwhere = []")), @r#"permission[0].where: is for entities"#);
    assert_snapshot!(with(&format!("{topics}may = [\"publish\"]\ncolumns = [\"id\"]")), @r#"permission[0].columns: is for entities"#);
    assert_snapshot!(with(&format!("{topics}may = [\"publish\"]\nagents = [\"echo\"]")), @r#"permission[0]: names more than one of entities, topics and agents; make it several"#);
    assert_snapshot!(with("roles = [\"*\"]\ntopics = [\"a\", \"b[\"]\nmay = [\"publish\"]"), @r#"permission[0].topics[1] = "b[": unclosed character class; missing ']'"#);
    assert_snapshot!(with("roles = [\"*\"]\nagents = []\nmay = [\"submit\"]"), @r#"permission[0].agents: must name one, or "*" for all"#);
    assert_snapshot!(with("roles = [\"a\", \"\"]\nentities = [\"*\"]\nmay = [\"read\"]"), @r#"permission[0].roles[1] = "": must have 1 to 64 bytes"#);
    assert_snapshot!(with(&format!("{read}claims = {{ plan = 1.5 }}")), @r#"permission[0].claims.plan = 1.5: must be a text, a whole number, true or false"#);
    assert_snapshot!(with("roles = [\"*\"]\ntopics = [\"user:$claims.sub\"]\nmay = [\"publish\"]"), @r#"permission[0].topics[0] = "user:$claims.sub": names a claim; claims belong into where"#);
}

/// The contract's example, with the column that its permission names.
const CONTRACT: &str = r#"
listen = "127.0.0.1:8470"
data_dir = "./tidegate-data"

[source]
kind = "local"                       # or "postgres" with url = "postgres://…"

[identity]
anonymous = true                     # default false: no configuration opens anything to strangers
api_keys = ["…"]                     # for servers: `X-API-Key`; may name a tenant, may revoke, publish, write

[[permission]]                       # none = nobody may do anything, but: anonymous = true without any permission opens all, with a warning
roles = ["*"]                        # roles from the token; "anonymous", "*"
entities = ["asset"]                 # or topics = ["chat:*"], agents = ["echo"]
may = ["read", "write"]              # read write / subscribe publish presence history / submit observe serve
where = [{ column = "owner", op = "eq", value = "$claims.sub" }]
columns = ["id", "name", "temp"]     # default: all

[[permission]]
roles = ["member"]
claims = { plan = "pro", beta = true }
topics = ["chat:*", "room:{a,b}"]
may = ["subscribe", "publish", "presence", "history"]

[[permission]]
roles = ["operator", "anonymous"]
agents = ["echo"]
may = ["submit", "observe"]

[[permission]]
roles = ["worker"]
agents = ["far"]
may = ["serve"]

[[entity]]
name = "asset"
key = ["id"]
tenant = "tenant_id"                 # optional; absent = one common tenant
columns = { id = "text", name = "text", kind = "text", temp = "float", tenant_id = "text", owner = "text" }
filterable = ["kind", "temp", "name"]  # default: every column
sortable = ["name", "temp"]
max_window = 500
"#;

#[test]
fn the_permissions_of_the_contract_are_read() {
    let config = load(CONTRACT).unwrap();
    let permissions = tidegate_identity::Permissions::new(config.grants(config.catalog().unwrap()).unwrap());
    assert_eq!(*permissions.named_claims(), ["beta", "plan", "sub"].map(Box::<str>::from));

    let asset = config.catalog().unwrap().by_name("asset").unwrap();
    let mut ann = Principal::new(PrincipalKind::User);
    (ann.user, ann.tenant) = ("ann".into(), Some(Tenant::new("acme")));
    assert_eq!(permissions.write(&ann, asset, false).unwrap_err().code, "forbidden");
    ann.claims = Arc::new([("sub".to_owned(), "ann".into())].into_iter().collect());
    let query = Query::from_json(config.catalog().unwrap(), r#"{"entity":"asset"}"#).unwrap();
    let (tenant, query) = permissions.read(&ann, query, false).unwrap();
    assert_eq!((tenant.name(), &*query.select), ("acme", &[0u16, 1, 3][..]));
    let own = Filter::compare(5, Comparison::Eq, Value::text("ann"));
    assert_eq!(query.filter, own);
    let guard = Guard { alternatives: Box::new([Changeable { rows: own, columns: 0b1011 }]) };
    let scope = WriteScope::Own { tenant: Tenant::new("acme"), guard: Some(guard) };
    assert_eq!(permissions.write(&ann, asset, false).unwrap(), scope);

    assert_eq!(permissions.topic(&ann, TopicVerb::Publish, "chat:1", false).unwrap_err().code, "forbidden");
    ann.roles = ["member".into()].into();
    ann.claims =
        Arc::new([("plan".to_owned(), ["pro"].into()), ("beta".to_owned(), true.into())].into_iter().collect());
    permissions.topic(&ann, TopicVerb::Publish, "chat:1", false).unwrap();
    assert_eq!(permissions.agent(&ann, AgentVerb::Submit, "echo", false).unwrap_err().code, "forbidden");
    ann.roles = ["worker".into()].into();
    permissions.agent(&ann, AgentVerb::Serve, "far", false).unwrap();
    assert_eq!(permissions.agent(&ann, AgentVerb::Submit, "far", false).unwrap_err().code, "forbidden");
}

#[test]
fn the_application_is_read_and_what_breaks_a_rule_is_named() {
    let full = r#"
url = "https://app.example/events"
secret = "what-the-application-shares-with-the-gateway"
timeout_ms = 100
max_concurrent = 3
max_answer_bytes = 256
events = ["order::*"]
idempotent = ["order::get"]
handler_timeout_ms = 200
max_handlers = 4
"#;
    let config = load(&format!("[application]{full}")).unwrap();
    let Application { endpoint, handler_timeout, handlers_max } = &config.application;
    let endpoint = endpoint.as_ref().unwrap();
    assert_eq!(endpoint.url, "https://app.example/events");
    assert_eq!([endpoint.timeout, *handler_timeout].map(|time| time.as_millis()), [100, 200]);
    assert_eq!((endpoint.asked_max, endpoint.answer_bytes_max, *handlers_max), (3, 256, 4));
    let has = |event| (endpoint.events.have(event), endpoint.idempotent.have(event));
    assert_eq!(["order::get", "order::place", "cart::get"].map(has), [(true, true), (true, false), (false, false)]);
    assert!(application::warnings(&config.application).is_empty());
    assert!(!config.show().contains("what-the-app") && !config.show_json().to_string().contains("what-the-app"));
    assert!(!format!("{:?}", config.application).contains("what-the-app"));
    let none = load("").unwrap().application;
    assert_eq!((none.endpoint.is_none(), none.handler_timeout.as_secs(), none.handlers_max), (true, 30, 4_096));
    let plain = load("[application]\nurl = \"http://app.example/\"\nsecret = \"hunter2\"").unwrap();
    let defaults = plain.application.endpoint.as_ref().unwrap();
    assert_eq!((defaults.timeout.as_secs(), defaults.asked_max, defaults.answer_bytes_max), (5, 256, 64 << 10));
    assert!(defaults.events.have("any") && !defaults.idempotent.have("any"));
    let warned = application::warnings(&plain.application);
    assert!(
        warned[0].starts_with("application.secret has fewer") && warned[1].starts_with("application.url is not https")
    );
    let with = |lines: &str| refusal(&format!("[application]\n{lines}"));
    assert!(with("secret = \"hunter2\"").ends_with("is needed beside application.secret"));
    assert!(with("url = \"https://app.example\"").starts_with("application.secret (from default): is needed beside"));
    for (lines, key) in [
        ("url = \"app.example\"\nsecret = \"s\"", "application.url"),
        ("timeout_ms = 0", "application.timeout_ms"),
        ("max_concurrent = 0", "application.max_concurrent"),
        ("max_answer_bytes = 1", "application.max_answer_bytes"),
        ("max_handlers = 0", "application.max_handlers"),
        ("handler_timeout_ms = 0", "application.handler_timeout_ms"),
        ("events = [\"\"]", "application.events[0]"),
        ("idempotent = [\"a\", \"\"]", "application.idempotent[1]"),
        ("uri = \"x\"", "application.uri"),
    ] {
        assert!(with(lines).starts_with(key), "{lines}: {}", with(lines));
    }
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

/// A database with a password, and an entity of it.
const DATABASE: &str = "[source]\nkind = \"postgres\"\nurl = \"postgres://tide:hunter2@db:5432/shop\"\n";

fn sourced(rest: &str) -> Result<Config, ConfigError> {
    load(&format!("{DATABASE}{rest}"))
}

fn database(config: &Config) -> &Postgres {
    match &config.source {
        Source::Postgres(postgres) => postgres,
        Source::Local(_) => panic!("no database"),
    }
}

#[test]
fn an_entity_of_a_database_needs_a_name_alone() {
    let config = sourced("[[entity]]\nname = \"orders\"\n").unwrap();
    let Postgres { settings, wishes } = database(&config);
    assert_eq!((&*settings.slot, &*settings.publication, settings.copies), ("tidegate_shop", "tidegate", 2));
    let wish = &wishes[0];
    assert_eq!((&*wish.name, &*wish.schema, &*wish.table), ("orders", "public", "orders"));
    assert_eq!((&wish.key, &wish.columns, &wish.tenant, &wish.row_filter), (&None, &None, &None, &None));
    assert!(config.catalog().is_none());
}

#[test]
fn an_entity_of_a_database_may_say_everything() {
    let config = sourced(
        r#"
slot = "tide_2"
[[entity]]
name = "big"
table = "sales.Order Lines"
key = ["id"]
tenant = "org"
columns = ["id", "org", "total"]
filterable = ["total"]
sortable = ["total"]
indexes = [["org", "total"]]
max_window = 50
where = [{ column = "total", op = "gt", value = 5 }]
[[entity]]
name = "typed"
columns = { z = "int", a = "text" }
[[permission]]
roles = ["*"]
entities = ["big"]
may = ["read"]
columns = ["id", "no such"]
"#,
    )
    .unwrap();
    let Postgres { settings, wishes } = database(&config);
    assert_eq!(settings.slot, "tide_2");
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let [big, typed] = &wishes[..] else { panic!("{wishes:?}") };
    assert_eq!((&*big.schema, &*big.table), ("sales", "Order Lines"));
    assert_eq!((&big.key, &big.sortable, &big.filterable), (&names(&["id"]), &names(&["total"]), &names(&["total"])));
    assert_eq!(big.tenant.as_deref(), Some("org"));
    assert_eq!((big.indexes.as_ref().unwrap()[0].len(), big.max_window), (2, Some(50)));
    let columns = |wish: &tidegate_feed::postgres::resolve::Wish| wish.columns.clone().unwrap();
    assert_eq!(columns(big)[1], ("org".to_owned(), None));
    assert_eq!(columns(typed), [("z".to_owned(), Some(Type::Int)), ("a".to_owned(), Some(Type::Text))]);
    assert_eq!(big.row_filter.as_deref(), Some(r#"[{"column":"total","op":"gt","value":5}]"#));

    // What only the database can tell is told once the entities are known.
    let builder = |name: &str| EntityBuilder {
        name: name.into(),
        columns: vec![("id".into(), Type::Int)],
        key: vec!["id".into()],
        ..EntityBuilder::default()
    };
    let catalog = Config::build_catalog(&[builder("big"), builder("typed")]).unwrap();
    let refused = config.grants(&catalog).unwrap_err().to_string();
    assert_snapshot!(refused, @r#"permission[0].columns[1] = "no such": "big" has no such column"#);
    let lacking = config.grants(&Config::build_catalog(&[builder("typed")]).unwrap()).unwrap_err();
    assert_snapshot!(lacking, @r#"permission[0].entities[0] = "big": there is no such entity"#);
}

#[test]
fn sources_that_break_a_rule_are_named() {
    let entity = "[[entity]]\nname = \"orders\"\n";
    let with = |rest: &str| sourced(rest).unwrap_err().to_string();
    let url = |url: &str| refusal(&format!("[source]\nkind = \"postgres\"\nurl = \"{url}\"\n{entity}"));
    assert_snapshot!(refusal(&format!("[source]\nkind = \"postgres\"\n{entity}")), @"source.url (from default): is needed: postgres://role@host:5432/database; TIDEGATE_SOURCE_URL keeps it out of the file");
    assert_snapshot!(refusal("[source]\nurl = \"postgres://tide:hunter2@db/shop\""), @r#"source.url (from tidegate.toml): is for source.kind = "postgres"; set that, or leave this out"#);
    assert_snapshot!(with(""), @"[[entity]]: is needed for each table to be opened; `tidegate init --from postgres://…` writes them");
    assert_snapshot!(with(&format!("slot = \"Tide\"\n{entity}")), @r#"source.slot = "Tide" (from tidegate.toml): must be 1 to 63 of a-z 0-9 _"#);
    assert_snapshot!(with(&format!("publication = \"\"\n{entity}")), @r#"source.publication = "" (from tidegate.toml): must be 1 to 63 bytes"#);
    assert_snapshot!(with(&format!("copies = 0\n{entity}")), @"source.copies = 0 (from tidegate.toml): must be between 1 and 64");
    assert_snapshot!(with(&format!("{entity}{entity}")), @"entity[1] (orders), name: is used by another entity");
    assert_snapshot!(with("[[entity]]\nname = \"a b\""), @"entity[0] (a b), name: must be 1 to 128 of A-Z a-z 0-9 _ - and start with a letter or _");
    assert_snapshot!(with(&format!("{entity}table = \".b\"")), @r#"entity[0].table = ".b": must be a table or schema.table, written as PostgreSQL lists it and without quotes"#);
    assert_snapshot!(with(&format!("{entity}columns = [1]")), @r#"entity[0].columns = 1: must be a list of names, or a table such as { id = "int", name = "text" }"#);
    assert!(
        with(&format!("{entity}columns = {{ a = \"flaot\" }}"))
            .starts_with("entity[0].columns.a = \"flaot\": must be one of bool, int")
    );
    assert_snapshot!(with(&format!("{entity}where = [{{ colum = \"a\" }}]")), @"entity[0].where: unknown field `colum`, expected one of `column`, `op`, `value`, `or`, `and`, `not` at line 1 column 9");
    assert!(
        with(&format!("{entity}where = [{{ column = \"a\", op = \"eq\", value = \"$claims.sub\" }}]"))
            .contains("there are no claims")
    );
    let may = format!("{entity}[[permission]]\nroles = [\"*\"]\nentities = [\"orders\"]\nmay = [\"read\", \"write\"]");
    assert_snapshot!(with(&may), @r#"permission[0].may: may not be "write": rows of a database are written there"#);
    assert_snapshot!(with(&may.replace("[\"orders\"]", "[\"no\"]").replace(", \"write\"", "")), @r#"permission[0].entities[0] = "no": there is no such entity"#);
    for wrong in ["mysql://tide:hunter2@db/shop", "tide:hunter2@db"] {
        let refused = url(wrong);
        assert!(refused.starts_with("source.url (from tidegate.toml): ") && !refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn the_password_of_a_database_is_never_shown() {
    let config = sourced("copy_url = \"postgres://tide:hunter3@pool/shop\"\n[[entity]]\nname = \"orders\"\n").unwrap();
    for text in [config.show(), config.show_json().to_string(), format!("{config:?}")] {
        assert!(!text.contains("hunter"), "{text}");
    }
    assert!(config.show().contains("url = \"… hidden\""));
    let variables = variables(&[("TIDEGATE_SOURCE_URL", "postgres://tide:hunter2@other/shop")]);
    let text = "[source]\nkind = \"postgres\"\n[[entity]]\nname = \"orders\"\n";
    let config = Config::layered(Some((Path::new("tidegate.toml"), text)), variables, &Flags::default()).unwrap();
    assert!(config.show().contains("environment TIDEGATE_SOURCE_URL") && !config.show().contains("hunter2"));
}
