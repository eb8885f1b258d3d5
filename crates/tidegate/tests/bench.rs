//! `tidegate bench` in tiny runs against real servers: what its JSON says must add up.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

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
    let arguments = ["--subscribers", "7", "--rate", "20", "--seconds", "1", "--backlog", "4", "--raw-baseline"];
    let report = report(&[&["fanout"], &arguments[..]].concat());
    assert_eq!((&report["mode"], count(&report, "publications")), (&"fanout".into(), 20));
    for key in ["", "backlog_", "bare_", "bare_backlog_"] {
        assert_delivered(&report, key, 7);
    }
    // The bare loop sends messages of the same length.
    let (ours, bare) = (figure(&report, "bytes_each"), figure(&report, "bare_bytes_each"));
    assert!((ours - bare).abs() <= 1.0 && ours > 120.0, "{ours} and {bare} bytes");
}

#[test]
fn fanout_speaks_every_protocol_of_the_gateway() {
    for via in ["live", "live-sse"] {
        let report = report(&["fanout", "--via", via, "--subscribers", "5", "--rate", "20", "--seconds", "1"]);
        assert_delivered(&report, "", 5);
    }
}

#[test]
fn idle_connections_are_all_there() {
    let report = report(&["idle", "--connections", "40"]);
    assert_eq!((count(&report, "ready"), count(&report, "lost"), count(&report, "refused")), (40, 0, 0));
    assert_eq!(count(&report, "descriptors"), 40, "the server's own count");
    assert_eq!(figure(&report, "handshake_ms.count"), 40.0);
    assert!(figure(&report, "before_kib") > 0.0);
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
    let report = report(&["soak", "--connections", "20", "--seconds", "4", "--seed", "7"]);
    assert_eq!((count(&report, "seed"), count(&report, "descriptors_left"), count(&report, "flat")), (7, 0, 1));
    assert!(count(&report, "begun") > 20 && count(&report, "samples") >= 3, "{report:#}");
    assert_eq!(report["failure"], Value::Null);
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
    assert!(said(&["storm", "--drop", "0"]).contains("more than 0%"));
}
