//! `tidegate bench` in tiny runs against real servers: what its JSON says must add up.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tidegate_testkit::redis::Redis;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("bench").args(arguments).stdin(Stdio::null()).current_dir(std::env::temp_dir()).output().unwrap()
}

/// The report of a run that succeeds.
fn report(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json", "-"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn count(report: &Value, key: &str) -> u64 {
    report["results"][key].as_u64().unwrap_or_else(|| panic!("{key} is missing in {report:#}"))
}

fn figure(report: &Value, key: &str) -> f64 {
    let value = key.split('.').fold(&report["results"], |value, part| &value[part]);
    value.as_f64().unwrap_or_else(|| panic!("{key} is missing in {report:#}"))
}

/// A server that is not the bench's own child, but ends with the test.
struct Foreign(std::process::Child, String);

impl Foreign {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let mut child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self(child, address)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everybody received every publication.
fn assert_delivered(report: &Value, key: &str, receivers: u64) {
    let of = |name: &str| count(report, &format!("{key}{name}"));
    assert_eq!(of("missed"), 0, "{report:#}");
    assert_eq!((of("delivered"), of("expected")), (of("publications") * receivers, of("publications") * receivers));
    let last = figure(report, &format!("{key}last_ms.max"));
    assert!(figure(report, &format!("{key}first_ms.p50")) <= last && last > 0.0, "{report:#}");
    assert_eq!(figure(report, &format!("{key}last_ms.count")) as u64, of("publications"));
}

#[test]
fn fanout_counts_every_delivery_of_the_gateway_and_of_the_bare_loop() {
    let arguments = ["--subscribers", "7", "--rate", "20", "--seconds", "1", "--backlog", "2,4", "--raw-baseline"];
    let report = report(&[&["fanout"], &arguments[..]].concat());
    assert_eq!((&report["mode"], count(&report, "publications")), (&"fanout".into(), 20));
    for key in ["", "backlog_2_", "backlog_4_", "bare_", "bare_backlog_4_"] {
        assert_delivered(&report, key, 7);
    }
    assert!(figure(&report, "cpu_us_each") <= figure(&report, "cpu_us_all_in"));
    // So few may take less time than the system counts.
    assert!(figure(&report, "publication_cpu_us") >= 0.0 && figure(&report, "client_us_each") >= 0.0);
    // The bare loop sends messages of the same length.
    let (ours, bare) = (figure(&report, "bytes_each"), figure(&report, "bare_bytes_each"));
    assert!((ours - bare).abs() <= 1.0 && ours > 120.0, "{ours} and {bare} bytes");
}

#[test]
fn fanout_speaks_every_protocol_of_the_gateway() {
    for via in ["live", "live-sse", "live-ndjson"] {
        let report = report(&["fanout", "--via", via, "--subscribers", "5", "--rate", "20", "--seconds", "1"]);
        assert_delivered(&report, "", 5);
    }
}

#[test]
fn foreign_servers_are_measured_over_web_sockets() {
    let server = Foreign::start(&["bench", "bare-server"]);
    let url = format!("ws://{}/room", server.1);
    let publish = ["--publish-message", "{\"say\":\"{mark}{pad}\"}"];
    let arguments = ["fanout", "--url", &url, "--subscribers", "5", "--rate", "20", "--seconds", "1"];
    let report = report(&[&arguments[..], &publish[..]].concat());
    assert_delivered(&report, "", 5);
    assert_eq!(figure(&report, "bytes_each"), 130.0, "120 and what the message has around them");
}

#[test]
fn foreign_servers_are_measured_over_events_and_published_to_by_post() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tidegate.toml");
    std::fs::write(&config, include_str!("../src/bench/bench.toml")).unwrap();
    let data = directory.path().join("data");
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let server = Foreign::start(&["serve", "--listen", "127.0.0.1:0", "--config", config, "--data-dir", data]);
    let query = "%7B%22entity%22%3A%22bench%22%2C%22limit%22%3A10%7D";
    let url = format!("http://{}/v1/live?query={query}", server.1);
    let publish_url = format!("http://{}/v1/entities/bench/changes", server.1);
    let body = r#"{"changes":[{"upsert":{"id":1,"group":1,"mark":"{mark}","pad":"{pad}"}}]}"#;
    let publish = ["--publish-url", &publish_url, "--publish-body", body, "--ready", r#""op":"ready""#];
    let arguments = ["fanout", "--url", &url, "--subscribers", "5", "--rate", "20", "--seconds", "1"];
    assert_delivered(&report(&[&arguments[..], &publish[..]].concat()), "", 5);
}

#[test]
fn all_writes_a_page_with_rivals_beside() {
    let directory = tempfile::tempdir().unwrap();
    let (rival, page) = (directory.path().join("rival.json"), directory.path().join("page.md"));
    std::fs::write(&rival, r#"{"mode":"idle","results":{"kib_each":11.6}}"#).unwrap();
    let with = format!("rival={}", rival.display());
    let output = bench(&["all", "--quick", "--out", page.to_str().unwrap(), "--with", &with]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("| rival |") && page.contains("| 11.6 |") && !page.contains("Did not run"), "{page}");
}

#[test]
fn a_bench_that_is_told_to_end_takes_its_server_with_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let mut bench = command.args(["bench", "soak", "--connections", "5"]).stderr(Stdio::null()).spawn().unwrap();
    let directory = std::env::temp_dir().join(format!("tidegate-bench-{}-0", bench.id()));
    while !directory.join("data").exists() {
        assert!(bench.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let told = Command::new("kill").arg(bench.id().to_string()).status().unwrap();
    assert!(told.success());
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(!directory.exists());
}

#[test]
fn every_event_of_a_job_comes_to_one_client_and_to_many() {
    let arguments = ["--events", "300", "--subscriber-events", "200", "--subscribers", "3", "--submits", "5"];
    let report = report(&[&["jobs", "--sessions", "20"], &arguments[..]].concat());
    // Each job says beside them that it runs.
    assert_eq!(count(&report, "one_events"), 301);
    assert_eq!((count(&report, "many_delivered"), count(&report, "many_missed")), (3 * 201, 0));
    for key in ["one_events_per_second", "many_deliveries_per_second", "two_fsyncs_ms.p50", "sessions_per_second"] {
        assert!(figure(&report, key) > 0.0, "{key}");
    }
    assert_eq!(figure(&report, "submit_ms.count"), 5.0);
}

#[test]
fn idle_connections_are_all_there() {
    let report = report(&["idle", "--connections", "40", "--handshakes"]);
    assert_eq!((count(&report, "ready"), count(&report, "lost"), count(&report, "refused")), (40, 0, 0));
    assert_eq!(count(&report, "descriptors"), 40, "the server's own count");
    assert_eq!(figure(&report, "handshake_ms.count"), 40.0);
    assert!(figure(&report, "before_kib") > 0.0 && figure(&report, "handshakes_per_second") > 0.0);
    assert_eq!(figure(&report, "handshakes_ms.count"), 40.0);
}

#[test]
fn echoes_come_back() {
    let report = report(&["echo", "--connections", "5", "--rate", "100", "--seconds", "1"]);
    assert_eq!((count(&report, "unanswered"), count(&report, "lost")), (0, 0), "{report:#}");
    assert!((50..=150).contains(&count(&report, "trips")), "{report:#}");
}

#[test]
fn live_queries_hear_of_their_own_writes_alone() {
    let report = report(&["live", "--queries", "4", "--subscribers", "8", "--rate", "40", "--seconds", "1"]);
    assert_delivered(&report, "", 2);
    assert_eq!(figure(&report, "snapshot_ms.count"), 8.0);
    assert!(figure(&report, "commit_last_ms.p50") <= figure(&report, "last_ms.p50"));
}

#[test]
fn after_a_storm_all_are_back() {
    let report = report(&["storm", "--connections", "40", "--drop", "50%", "--probes", "20"]);
    assert_eq!((count(&report, "cut"), count(&report, "ready")), (20, 40), "{report:#}");
    assert_eq!(figure(&report, "return_ms.count"), 20.0);
    assert!(count(&report, "probes") >= 20 && figure(&report, "storm_ms.p99") > 0.0, "{report:#}");
}

#[test]
fn a_soak_leaves_nothing_behind() {
    let report = report(&["soak", "--connections", "20", "--seconds", "3", "--seed", "7"]);
    assert_eq!((count(&report, "seed"), count(&report, "descriptors_left"), count(&report, "flat")), (7, 0, 1));
    assert!(count(&report, "begun") > 20 && count(&report, "samples") >= 3, "{report:#}");
    assert_eq!(report["failure"], Value::Null);
}

#[test]
fn whoever_is_revoked_in_redis_is_closed() {
    let Some(redis) = Redis::start() else { return };
    let url = redis.url();
    let arguments = ["revoke", "--redis", &url, "--connections", "30", "--revocations", "12", "--rate", "50"];
    let report = report(&arguments);
    assert_eq!((count(&report, "closed"), count(&report, "burst_closed"), count(&report, "lost")), (12, 18, 0));
    for key in ["", "burst_"] {
        let [closed, ended] = ["closed_ms.p50", "ended_ms.p50"].map(|name| figure(&report, &format!("{key}{name}")));
        assert!(0.0 < closed && closed <= ended, "{report:#}");
        // It is read while Redis still answers, at the soonest.
        assert!(figure(&report, &format!("{key}answered_ms.p50")) > 0.0);
    }
    assert_eq!(figure(&report, "closed_ms.count"), 12.0);
    assert!(figure(&report, "burst_per_second") > 0.0 && figure(&report, "anonymous_handshake_ms.count") == 30.0);
    let left = Command::new("redis-cli").args(["-u", &url, "DBSIZE"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap().trim(), "0", "it leaves nothing behind");
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    let said = |arguments: &[&str]| {
        let output = bench(arguments);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["fanout", "--url", "ws://127.0.0.1:1/x"]).contains("error: "));
    assert!(said(&["echo", "--url", "ftp://127.0.0.1/"]).contains("only ws:// and http:// are spoken"));
    assert!(said(&["idle", "--connections", "1000000000"]).contains("connections fit"));
    assert!(said(&["fanout", "--backlog", "8,1000"]).contains("between 2 and 128"));
    let redis = ["revoke", "--redis", "redis://127.0.0.1:1"];
    assert!(said(&redis).contains("error: Redis: "));
    assert!(said(&["revoke", "--redis", "rediss://127.0.0.1:1"]).contains("only redis:// is spoken"));
    assert!(said(&[&redis[..], &["--connections", "5", "--revocations", "6"]].concat()).contains("--revocations"));
    assert!(said(&[&redis[..], &["--url", "http://127.0.0.1:1"]].concat()).contains("cannot be used"));
    assert!(said(&["storm", "--drop", "0"]).contains("more than 0%"));
}
