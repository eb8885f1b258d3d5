//! The checks, each as CI and a person run it.

use std::process::Command;

use crate::clients;
use crate::logs;
use crate::packaging;
use crate::step::{Outcome, cargo, command, run};
use crate::tools;

/// What the browser test ends with where something that it needs is missing.
const NOT_RUN: i32 = 77;

/// Everything, quickest answers first; the tests come last, so that their result is what one sees at the end.
pub(crate) fn all() -> Outcome {
    run("format", cargo(&["fmt", "--all", "--check"]))?;
    run("lints", cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    run("docs", docs)?;
    let packaging = packaging::check();
    let js = js();
    let clients = clients::run_all();
    let browser = browser();
    let directory = logs::directory()?;
    let mut tests = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    tests.env("GATEWAY_LOGS", &directory);
    let tests = run("tests", tests);
    packaging.and(js).and(clients).and(browser).and(tests).and(logs::tell_no_secret(&directory))
}

pub(crate) fn js() -> Outcome {
    let Some(node) = tools::node() else { return not_run("JavaScript client", "there is no Node with WebSocket") };
    let folder = tools::root().join("clients/js/test");
    let files = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut tests: Vec<_> = files.flatten().map(|file| file.path()).collect();
    tests.retain(|path| path.to_string_lossy().ends_with(".test.js"));
    tests.sort();
    let mut command = command(node, ["--experimental-websocket", "--test"]);
    command.args(tests);
    run("JavaScript client", with_binary(command)?)
}

pub(crate) fn browser() -> Outcome {
    let demo = in_browser("demo page in Chromium", "clients/js/test/browser.mjs");
    let example = match tools::has_postgres() {
        true => in_browser("examples/postgres in Chromium", "examples/postgres/browser.mjs"),
        false => not_run("examples/postgres in Chromium", "there is no PostgreSQL"),
    };
    demo.and(example)
}

fn in_browser(name: &str, test: &str) -> Outcome {
    let Some(node) = tools::node() else { return not_run(name, "there is no Node") };
    let Some(chromium) = tools::chromium() else { return not_run(name, "there is no Chromium") };
    if !tools::has_playwright() {
        return not_run(name, "there is no playwright-core");
    }
    let mut command = command(node, [test]);
    command.env("CHROMIUM", chromium).env("PLAYWRIGHT_DIR", tools::node_modules());
    command.env("SCREENSHOTS", tools::target().join("screenshots"));
    let mut command = with_binary(command)?;
    println!("\n=== {name} ===");
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(NOT_RUN) => not_run(name, "it says so above"),
        _ => Err(format!("{name}: {status}")),
    }
}

pub(crate) fn histories(count: u64) -> Outcome {
    let mut test =
        cargo(&["test", "--release", "--package", "tidegate-live", "--test", "histories", "--", "--nocapture"]);
    test.env("TIDEGATE_HISTORIES", count.to_string());
    run(&format!("{count} histories"), test)
}

pub(crate) fn semantics(cases: u64) -> Outcome {
    let mut test = cargo(&["test", "--package", "tidegate-testkit", "--test", "postgres_semantics"]);
    test.env("TIDEGATE_SEMANTICS_CASES", cases.to_string());
    run(&format!("{cases} schemas against PostgreSQL"), test)
}

pub(crate) fn oracle(checks: u64) -> Outcome {
    let mut test = cargo(&["test", "--release", "--package", "tidegate", "--test", "following", "--", "--nocapture"]);
    test.arg("oracle::").env("TIDEGATE_ORACLE_CHECKS", checks.to_string());
    run(&format!("{checks} lists while a PostgreSQL is followed"), test)
}

pub(crate) fn fuzz(seconds: u64) -> Outcome {
    let mut test = cargo(&["test", "--package", "tidegate-fuzz", "--", "--nocapture"]);
    test.env("TIDEGATE_FUZZ_SECONDS", seconds.to_string());
    run(&format!("{seconds} s of each fuzz target"), test)
}

/// `tidegate bench soak` starts the gateway, open and on a temporary store, and judges its memory and descriptors.
pub(crate) fn soak(minutes: u64) -> Outcome {
    run("tidegate", cargo(&["build", "--release", "--locked", "--package", "tidegate", "--bin", "tidegate"]))?;
    let report = tools::target().join("soak.json");
    let mut soak = command(tools::target().join("release/tidegate"), ["bench", "soak", "--seconds"]);
    soak.arg((minutes * 60).to_string()).arg("--json").arg(&report);
    let outcome = run(&format!("a soak of {minutes} minutes"), soak);
    println!("{}", report.display());
    outcome
}

/// Builds the binary that the tests are to run, and the example beside it, and tells them where they are.
pub(crate) fn with_binary(mut command: Command) -> Result<Command, String> {
    run(
        "the binary",
        cargo(&["build", "--package", "tidegate", "--package", "postgres-example", "--bins", "--locked"]),
    )?;
    command.env("TIDEGATE_BIN", tools::target().join("debug/tidegate"));
    Ok(command)
}

/// Loud on a person's machine, a failure in CI.
pub(crate) fn not_run(name: &str, why: &str) -> Outcome {
    let message = format!("{name}: NOT RUN: {why}; `cargo xtask setup` installs it");
    if std::env::var_os("CI").is_some() {
        return Err(message);
    }
    eprintln!("\n=== {message} ===\n");
    Ok(())
}
