//! The binary as a person or a script uses it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_testkit::clients::{get, request, within};

fn tidegate(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(directory).stdin(Stdio::null());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    tidegate(directory).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr_of_failure(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A child that says where it listens; killed when dropped.
struct Serving {
    child: Child,
    url: String,
    lines: BufReader<ChildStdout>,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let url =
            first.strip_prefix("listening on ").unwrap_or_else(|| panic!("first line: {first:?}")).trim().to_owned();
        Self { child, url, lines }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn ask_to_end(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    fn terminate(mut self) -> Option<i32> {
        self.ask_to_end();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let directory = TempDir::new().unwrap();
    for command in
        [&["serve"][..], &["init"], &["demo"], &["import"], &["query"], &["backup"], &["config"], &["sessions"], &[]]
            .into_iter()
            .chain([&["agent"][..], &["agent", "list"], &["agent", "run"]])
            .chain([&["jobs"][..], &["jobs", "ls"], &["jobs", "watch"], &["jobs", "cancel"]])
    {
        let help = stdout(&run(directory.path(), &[command, &["--help"]].concat()));
        assert!(
            help.contains("Examples:\n  tidegate ") || help.contains("Examples:\n  TIDEGATE"),
            "{command:?}: {help}"
        );
    }
}

#[test]
fn a_wrong_configuration_is_named_before_a_port_is_bound() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("tidegate.toml"), "[edge]\nmax_connections = 0\n").unwrap();
    for command in [&["serve"][..], &["config", "check"]] {
        let error = stderr_of_failure(&run(directory.path(), command));
        assert_eq!(error, "error: edge.max_connections = 0 (from tidegate.toml): must be between 1 and 4294967296\n");
    }
    let fixed = tidegate(directory.path())
        .args(["config", "check"])
        .env("TIDEGATE_EDGE_MAX_CONNECTIONS", "5")
        .output()
        .unwrap();
    assert_eq!(stdout(&fixed), "ok: 0 entities, 0 topic namespaces, 0 agents, 0 permissions\n");
    let missing = stderr_of_failure(&run(directory.path(), &["config", "check", "--config", "no.toml"]));
    assert!(missing.starts_with("error: no.toml: cannot be read"), "{missing}");
}

#[test]
fn a_database_is_no_place_to_import_into_and_its_configuration_is_checked_without_it() {
    let directory = TempDir::new().unwrap();
    let text = "[source]\nkind = \"postgres\"\nurl = \"postgres://tide:hunter2@db.invalid/shop\"\n[[entity]]\nname = \"orders\"\n";
    fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    let checked = stdout(&run(directory.path(), &["config", "check"]));
    assert!(
        checked.starts_with("ok: 1 entities, 0 topic namespaces, 0 agents, 0 permissions; whether the database has"),
        "{checked}"
    );
    fs::write(directory.path().join("orders.csv"), "id\n1\n").unwrap();
    let refused = stderr_of_failure(&run(directory.path(), &["import", "orders.csv", "--entity", "orders"]));
    assert!(refused.contains("rows come from a database here") && refused.contains("\\copy"), "{refused}");
    let shown = stdout(&run(directory.path(), &["config", "show"]));
    assert!(shown.contains("[source]") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn waiting_for_a_database_can_be_ended() {
    let directory = TempDir::new().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[source]\nkind = \"postgres\"\nurl = \"postgres://tide@{nobody}/shop\"\n[[entity]]\nname = \"orders\"\n"
    );
    fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    let mut child = tidegate(directory.path()).arg("serve").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("does not answer yet")));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_configuration_in_effect_can_be_shown() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("tidegate.toml"), "[identity]\napi_keys = [\"top-secret\"]\n").unwrap();
    let shown = stdout(&run(directory.path(), &["config", "show", "--listen", "127.0.0.1:1"]));
    assert!(shown.contains("# --listen") && !shown.contains("top-secret"), "{shown}");
    let json: Value = serde_json::from_str(&stdout(&run(directory.path(), &["config", "show", "--json"]))).unwrap();
    assert_eq!(json["settings"]["identity.api_keys"]["origin"], "tidegate.toml");
    assert_eq!(json["settings"]["listen"]["value"], "127.0.0.1:8470");
}

#[test]
fn a_port_that_is_taken_is_an_error_that_helps() {
    let directory = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = stderr_of_failure(&run(directory.path(), &["serve", "--listen", &address]));
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
}

/// Without connections to spare, whoever comes last would wait for an answer instead of getting a 503.
#[test]
fn the_limit_on_open_files_is_raised_and_one_too_low_is_named() {
    let directory = TempDir::new().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // Ends by itself, since somebody has the port; by then the limit has been dealt with.
    let said = |max_connections: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -S -n 250 && ulimit -H -n 900 && exec \"$0\" \"$@\""]);
        command.args([env!("CARGO_BIN_EXE_tidegate"), "serve", "--listen", &address]);
        command.current_dir(directory.path()).env("TIDEGATE_EDGE_MAX_OTHER_SOCKETS", "100");
        command.env("TIDEGATE_EDGE_WORKERS", "2").env("TIDEGATE_EDGE_MAX_UNAUTHENTICATED", "100");
        stderr_of_failure(&command.env("TIDEGATE_EDGE_MAX_CONNECTIONS", max_connections).output().unwrap())
    };
    let (fits, too_many) = (said("500"), said("800"));
    assert!(fits.contains("open files limit=900") && !fits.contains("WARN"), "{fits}");
    assert!(too_many.contains("WARN") && too_many.contains("edge.max_connections"), "{too_many}");
}

const CSV: &str = "id,at,mag,place,n\n\
    a,2018-01-31T01:49:59Z,1.5,\"Amboy, Washington\",007\n\
    b,2018-01-31T02:00:15.66Z,,Lima,8\n";

#[tokio::test]
async fn a_file_is_imported_served_and_watched() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    fs::write(at.join("quakes.csv"), CSV).unwrap();
    fs::write(at.join("tidegate.toml"), "# mine\n[identity]\nanonymous = true").unwrap();
    let import = ["import", "quakes.csv", "--entity", "quakes", "--key", "id", "--json"];
    let output = run(at, &import);
    let done: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&done["rows"], &done["transactions"]), (&Value::from(2), &Value::from(1)));
    let table = String::from_utf8(output.stderr).unwrap();
    for column in ["timestamp", "float", "text"] {
        assert!(table.contains(column), "{table}");
    }
    let toml = fs::read_to_string(at.join("tidegate.toml")).unwrap();
    insta::assert_snapshot!(toml, @r#"
    # mine
    [identity]
    anonymous = true
    
    [[entity]]
    name = "quakes"
    key = ["id"]
    columns = { id = "text", at = "timestamp", mag = "float", place = "text", n = "text" }
    "#);

    // The entity is configured now: the same file again is an update, and its key needs no naming.
    let again = run(at, &["import", "quakes.csv", "--entity", "quakes"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));

    let serving = Serving::start(tidegate(at).args(["serve", "--listen", "127.0.0.1:0"]));
    let row = within("the row", request(serving.address(), "GET", "/v1/entities/quakes/a", &[], b"")).await.unwrap();
    assert_eq!(row.ok()["row"]["n"], "007");
    let query = r#"{"entity":"quakes","sort":[{"column":"mag"}],"select":["id","mag"]}"#;
    let mut watching =
        tidegate(at).args(["query", query, "--url", &serving.url, "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut frames = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&frames.next().unwrap().unwrap()).unwrap() };
    let seen: Vec<Value> = (0..4).map(|_| next()).collect();
    let ops: Vec<&str> = seen.iter().map(|frame| frame["op"].as_str().unwrap()).collect();
    assert_eq!(ops, ["reset", "enter", "enter", "ready"]);
    let body = br#"{"changes":[{"upsert":{"id":"c","mag":0.5}}]}"#;
    let written = request(serving.address(), "POST", "/v1/entities/quakes/changes", &[], body);
    assert_eq!(within("a write", written).await.unwrap().status, 200);
    let entered = next();
    assert_eq!(
        (&entered["op"], &entered["new_index"], &entered["row"]["id"]),
        (&"enter".into(), &0.into(), &"c".into())
    );

    let backup = run(at, &["backup", "copy.db", "--json"]);
    let position: Value = serde_json::from_str(&stdout(&backup)).unwrap();
    assert_eq!(position["position"], "3");
    assert!(stderr_of_failure(&run(at, &["backup", "copy.db"])).contains("exists already"));
    // The store has one owner.
    assert!(stderr_of_failure(&run(at, &["import", "quakes.csv", "--entity", "quakes"])).contains("in use"));

    assert_eq!(serving.terminate(), Some(0));
    let ended = watching.wait().unwrap();
    assert!(!ended.success(), "a script is told that the frames have ended");
}

#[test]
fn what_is_wrong_with_a_file_is_named_by_line_and_column() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    fs::write(
        at.join("tidegate.toml"),
        "[[entity]]\nname = \"t\"\nkey = [\"id\"]\ncolumns = { id = \"int\", n = \"int\", s = \"text\" }\n",
    )
    .unwrap();
    let refused = |name: &str, text: &str| {
        fs::write(at.join(name), text).unwrap();
        stderr_of_failure(&run(at, &["import", name, "--entity", "t"]))
    };
    insta::assert_snapshot!(refused("a.csv", "id,n\n1,2\n2,x\n"), @r#"error: line 3, column "n": expected a whole number between -9223372036854775808 and 9223372036854775807 for type int"#);
    insta::assert_snapshot!(refused("a.csv", "id,n\n1,2\n,3\n"), @r#"error: line 3, column "id": is empty, and it is part of the row's identity"#);
    insta::assert_snapshot!(refused("a.csv", "id,n\n1,2\n3\n"), @"error: line 3: has 1 fields where the header has 2");
    insta::assert_snapshot!(refused("a.csv", "id,other\n1,2\n"), @r#"error: line 2, column "other": entity "t" has no such column"#);
    insta::assert_snapshot!(refused("a.csv", "id,id\n1,2\n"), @r#"error: line 1: names the column "id" twice"#);
    insta::assert_snapshot!(refused("a.jsonl", "{\"id\":1}\n\n{\"id\":2,\"n\":[1]}\n"), @r#"error: line 3, column "n": expected a whole number between -9223372036854775808 and 9223372036854775807 for type int"#);
    insta::assert_snapshot!(refused("a.jsonl", "{\"id\":1}\n{\"id\":\n"), @"error: line 2: is no JSON object: EOF while parsing a value");
    insta::assert_snapshot!(refused("a.parquet", ""), @"error: a.parquet: the name must end in .csv, .jsonl or .ndjson");
    insta::assert_snapshot!(stderr_of_failure(&run(at, &["import", "a.csv", "--entity", "new"])), @r#"error: entity "new" is not configured, so --key must name its key columns"#);
    insta::assert_snapshot!(stderr_of_failure(&run(at, &["import", "no.csv", "--entity", "t"])), @"error: no.csv: cannot be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(stderr_of_failure(&run(at, &["query", "{"])), @"error: the query is no JSON: EOF while parsing an object at line 1 column 1");
}

#[tokio::test]
async fn json_lines_are_imported_by_tenant() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    let lines: String = (0..2_500)
        .map(|i| format!("{{\"customer\":\"c{}\",\"number\":{i},\"paid\":{},\"tags\":[{i}]}}\n", i % 3, i % 2 == 0))
        .collect();
    fs::write(at.join("orders.jsonl"), lines).unwrap();
    let import = [
        "import",
        "orders.jsonl",
        "--entity",
        "orders",
        "--key",
        "number",
        "--tenant-column",
        "customer",
        "--data-dir",
        "d",
    ];
    let definition = stdout(&run(at, &import));
    insta::assert_snapshot!(definition, @r#"
    [[entity]]
    name = "orders"
    key = ["number"]
    tenant = "customer"
    columns = { customer = "text", number = "int", paid = "bool", tags = "json" }
    "#);
    fs::write(at.join("c.toml"), format!("[identity]\napi_keys = [\"a-key-for-the-tests\"]\n{definition}")).unwrap();
    let serving = Serving::start(tidegate(at).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        "c.toml",
        "--data-dir",
        "d",
    ]));
    let row = get(serving.address(), "/v1/entities/orders/2499?tenant=c0").await.ok();
    assert_eq!((&row["row"]["tags"], &row["position"]), (&serde_json::json!([2499]), &"3".into()));
}

#[tokio::test]
async fn the_demo_serves_its_page_and_moves() {
    let directory = TempDir::new().unwrap();
    let mut command = tidegate(directory.path());
    command.args(["demo", "--listen", "127.0.0.1:0", "--speed", "36000"]).env("TMPDIR", directory.path());
    let mut serving = Serving::start(&mut command);
    let mut hint = String::new();
    serving.lines.read_line(&mut hint).unwrap();
    assert!(hint.contains("in a browser"), "{hint}");
    let at = serving.address();
    let guest = |method: &'static str, path: &'static str, body: &'static str| async move {
        let headers = [("authorization", "Bearer demo"), ("content-type", "application/json")];
        within(path, request(at, method, path, &headers, body.as_bytes())).await.unwrap()
    };
    for (path, kind) in [
        ("/", "text/html"),
        ("/demo.css", "text/css"),
        ("/demo.js", "text/javascript"),
        ("/tidegate.js", "text/javascript"),
    ] {
        let file = guest("GET", path, "").await;
        assert_eq!(file.status, 200, "{path}");
        assert!(file.header("content-type").unwrap().starts_with(kind));
        assert!(file.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
    // Whatever a script of the page imports is served.
    let script = String::from_utf8(guest("GET", "/demo.js", "").await.body).unwrap();
    for import in script.lines().filter_map(|line| line.strip_prefix("import ")?.split('\'').nth(1)) {
        let path = import.trim_start_matches('.');
        assert_eq!(within(path, request(at, "GET", path, &[], b"")).await.unwrap().status, 200, "{path}");
    }
    let state = guest("GET", "/demo/state", "").await.ok();
    assert!(state["rows"].as_u64().unwrap() > 300 && state["speed"] == 36_000 && state["paused"] == false, "{state}");
    let page = guest("GET", "/v1/entities/quakes", "").await.ok();
    assert_eq!(page["rows"].as_array().unwrap().len(), 50);
    let moved = async {
        let before = page["position"].as_str().unwrap().parse::<u64>().unwrap();
        let path = format!("/v1/position?at_least={}", before + 3);
        request(at, "GET", &path, &[("authorization", "Bearer demo")], b"").await.unwrap().ok()
    };
    within("the replay to write", moved).await;
    let paused = guest("POST", "/demo/speed", r#"{"speed":0}"#).await.ok();
    assert!(paused["paused"] == true && paused["speed"] == 0, "{paused}");
    assert_eq!(guest("POST", "/demo/speed", r#"{"speed":-1}"#).await.status, 400);
    assert_eq!(serving.terminate(), Some(0));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "its directory is removed");
}

#[tokio::test]
async fn readiness_turns_red_before_anything_closes() {
    let directory = TempDir::new().unwrap();
    let mut command = tidegate(directory.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("TIDEGATE_EDGE_DRAIN_DELAY_MS", "60000");
    let serving = Serving::start(&mut command);
    let at = serving.address();
    let ready = || async { request(at, "GET", "/readyz", &[], b"").await.unwrap() };
    assert_eq!(within("readiness", ready()).await.status, 200);
    serving.ask_to_end();
    let red = async {
        loop {
            let ready = ready().await;
            if ready.status == 503 {
                return ready.json();
            }
        }
    };
    let draining = serde_json::json!({"status": "not_ready", "reasons": ["draining"]});
    assert_eq!(within("a red readiness", red).await, draining);
    // Whoever has not been told yet is served.
    assert_eq!(within("the page", request(at, "GET", "/", &[], b"")).await.unwrap().status, 200);
    // A second signal means at once.
    assert_eq!(serving.terminate(), Some(1));
}

#[test]
fn the_demo_stays_on_loopback() {
    let directory = TempDir::new().unwrap();
    let error = stderr_of_failure(&run(directory.path(), &["demo", "--listen", "0.0.0.0:0"]));
    assert!(error.contains("lets everybody in") && error.contains("--open-to-network"), "{error}");
}

#[tokio::test]
async fn operators_ask_about_jobs_with_a_key() {
    let directory = TempDir::new().unwrap();
    let at = directory.path();
    fs::write(at.join("tidegate.toml"), "[identity]\nanonymous = true\napi_keys = [\"a-key-for-the-tests\"]").unwrap();
    let serving = Serving::start(tidegate(at).args(["serve", "--listen", "127.0.0.1:0"]));
    let asked = |line: &[&str], key: &str| {
        let mut command = tidegate(at);
        command.args(["jobs"]).args(line).args(["--url", &serving.url]).env("TIDEGATE_API_KEY", key).output().unwrap()
    };
    let (key, nobody) = ("a-key-for-the-tests", "job_01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert_eq!(
        stdout(&asked(&["ls", "--status", "running,pending", "--agent", "echo", "--all"], key)),
        "there is no such job\n"
    );
    assert_eq!(stdout(&asked(&["ls", "--json", "--tenant", "acme"], key)), "[]\n");
    let unknown = "error: unknown_job: there is no such job\n";
    assert_eq!(stderr_of_failure(&asked(&["cancel", nobody, "--reason", "why"], key)), unknown);
    assert_eq!(stderr_of_failure(&asked(&["cancel", "another"], key)), unknown);
    assert!(stderr_of_failure(&asked(&["ls", "--agent", "Echo"], key)).starts_with("error: malformed: "));
    assert!(stderr_of_failure(&asked(&["ls", "--status", "done"], key)).contains("must be pending, running"));
    assert!(stderr_of_failure(&asked(&["ls"], "another-key")).starts_with("error: unauthenticated: "));

    // A stranger is none, though everything else is open to it.
    for (method, path) in [("GET", "/v1/jobs".to_owned()), ("POST", format!("/v1/jobs/{nobody}/cancel"))] {
        let refused = within("an answer", request(serving.address(), method, &path, &[], b"")).await.unwrap();
        assert_eq!(refused.status, 403, "{path}");
    }
    let metrics = String::from_utf8(get(serving.address(), "/metrics").await.body).unwrap();
    assert!(metrics.contains("tidegate_jobs_live 0\n") && metrics.contains("tidegate_arcp_sessions 0\n"), "{metrics}");
}
