//! `tidegate bench all`: a list of runs, and the page that they make.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde_json::Value;

use super::options::{All, Mode};
use super::report::{Report, short};
use super::{BenchError, measured, print, proc};

/// What the page is made of, in its order.
const RUNS: [&str; 9] = [
    "fanout --subscribers 1000 --rate 50 --seconds 10 --backlog 8,64 --raw-baseline",
    "fanout --subscribers 1000 --rate 1000 --seconds 5 --raw-baseline",
    "fanout --subscribers 10000 --rate 5 --seconds 10 --raw-baseline",
    "idle --connections 10000 --handshakes",
    "idle --connections 15000",
    "echo --connections 1000 --rate 20000",
    "live --queries 1000 --rate 200",
    "storm --connections 10000 --drop 20%",
    "jobs",
];
/// The same in small.
const QUICK_RUNS: [&str; 6] = [
    "fanout --subscribers 20 --rate 20 --seconds 1 --backlog 4 --raw-baseline",
    "idle --connections 50 --handshakes",
    "echo --connections 10 --rate 100 --seconds 1",
    "live --queries 10 --rate 20 --seconds 1",
    "storm --connections 40",
    "jobs --events 200 --subscriber-events 100 --subscribers 3 --submits 5 --sessions 20",
];

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    mode: Mode,
}

/// With a Redis.
const REVOKE: &str = "revoke --connections 10000 --revocations 1000";
const QUICK_REVOKE: &str = "revoke --connections 40 --revocations 10";

/// What servers are compared by, for each mode: the key in the results and its name.
const COMPARED: [(&str, &[(&str, &str)]); 4] = [
    (
        "fanout",
        &[
            ("subscribers", "subscribers"),
            ("cpu_us_each", "CPU a frame, µs"),
            ("backlog_8_cpu_us_each", "8 at once, µs"),
            ("first_ms.p50", "first receiver p50, ms"),
            ("last_ms.p50", "last p50, ms"),
            ("last_ms.p99", "last p99, ms"),
            ("bytes_each", "bytes a message"),
            ("missed", "missed"),
        ],
    ),
    (
        "idle",
        &[
            ("ready", "connections"),
            ("kib_each", "KiB each"),
            ("opened_per_second", "opened a second"),
            ("handshakes_per_second", "handshakes a second"),
            ("handshake_ms.p99", "handshake p99, ms"),
        ],
    ),
    (
        "echo",
        &[
            ("per_second", "round trips a second"),
            ("trip_ms.p50", "p50, ms"),
            ("trip_ms.p99", "p99, ms"),
            ("cpu_us_each", "CPU each, µs"),
        ],
    ),
    (
        "storm",
        &[
            ("cut", "cut"),
            ("back_seconds", "all back, s"),
            ("storm_ms.p99", "a new connection p99, ms"),
            ("refused", "refused"),
        ],
    ),
];

pub(crate) fn run(all: &All) -> Result<(), BenchError> {
    let rivals = all.rivals.iter().map(|(name, file)| Ok((name.clone(), read(file)?)));
    let rivals: Vec<(String, Value)> = rivals.collect::<Result<_, BenchError>>()?;
    let (runs, revoke): (&[&str], _) = if all.quick { (&QUICK_RUNS, QUICK_REVOKE) } else { (&RUNS, REVOKE) };
    let plain = runs.iter().map(|run| (*run, None));
    let runs = plain.chain(all.redis.as_deref().map(|redis| (revoke, Some(["--redis", redis]))));
    let mut done = Vec::new();
    for (run, redis) in runs {
        let command = format!("tidegate bench {run}");
        eprintln!("{command}");
        let server = all.server.iter().flat_map(|server| ["--server".into(), server.clone().into_os_string()]);
        let words = ["bench"].into_iter().chain(run.split(' ')).chain(redis.into_iter().flatten());
        let words = words.map(Into::into).chain(server);
        let line = Line::try_parse_from(words).map_err(|error| BenchError::Usage(error.to_string()))?;
        match measured(&line.mode) {
            Ok(report) => done.push((command, Ok(report))),
            // A run that does not fit this machine is told on the page, and does not cost the others.
            Err(error) => done.push((command, Err(error.to_string()))),
        }
    }
    let page = page(&done, &rivals);
    if all.out == Path::new("-") {
        return print(page.trim_end());
    }
    Ok(std::fs::write(&all.out, page)?)
}

fn read(file: &Path) -> Result<Value, BenchError> {
    let text = std::fs::read_to_string(file)?;
    serde_json::from_str(&text).map_err(|error| BenchError::Usage(format!("{}: {error}", file.display())))
}

fn page(done: &[(String, Result<Report, String>)], rivals: &[(String, Value)]) -> String {
    let machine = proc::machine();
    let fact = |name: &str| machine[name].as_str().map_or_else(|| machine[name].to_string(), str::to_owned);
    let mut out = format!(
        "# Benchmarks\n\nWritten by `tidegate bench all` on {}, version {} ({} build). Server and clients share one machine: {} \
         cores, {}, {} MiB, Linux {}. Every figure can be had again by the command above its table; `revoke` needs `--redis` beside, and counts from just \
         before the revoked snapshot is sent there to the client's read of the close frame.\n",
        date(),
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        fact("cores"),
        fact("processor"),
        fact("memory_mib"),
        fact("kernel"),
    );
    let mut results: BTreeMap<&str, Vec<(String, Value)>> = BTreeMap::new();
    for (command, report) in done {
        if let Ok(report) = report {
            results.entry(report.mode).or_default().push(("Tidegate".to_owned(), report.json(command)));
        }
    }
    for (mode, figures) in COMPARED {
        let theirs = rivals.iter().filter(|(_, value)| value["mode"] == mode).cloned();
        let theirs: Vec<(String, Value)> = theirs.collect();
        if !theirs.is_empty() {
            let ours = results.get(mode).cloned().unwrap_or_default();
            out.push_str(&compared(mode, figures, ours.into_iter().chain(theirs)));
        }
    }
    for (command, report) in done {
        out.push_str(&format!("\n## `{command}`\n\n"));
        match report {
            Ok(report) => out.push_str(&report.markdown()),
            Err(error) => out.push_str(&format!("Did not run: {error}\n")),
        }
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

fn compared(mode: &str, figures: &[(&str, &str)], of: impl Iterator<Item = (String, Value)>) -> String {
    let names: Vec<&str> = figures.iter().map(|(_, name)| *name).collect();
    let mut out = format!("\n## {mode}: servers beside each other\n\n| server | {} |\n", names.join(" | "));
    out.push_str(&format!("|---|{}\n", "---|".repeat(names.len())));
    for (server, value) in of {
        let figure = |(key, _): &(&str, &str)| {
            let value = key.split('.').fold(&value["results"], |value, part| &value[part]);
            value.as_f64().map_or("–".to_owned(), short)
        };
        let cells: Vec<String> = figures.iter().map(figure).collect();
        out.push_str(&format!("| {server} | {} |\n", cells.join(" | ")));
    }
    out
}

/// Today in UTC, as `2026-01-31`.
fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The day so many days after 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_of_the_page_is_a_command() {
        for run in RUNS.iter().chain(&QUICK_RUNS) {
            Line::try_parse_from(["bench"].into_iter().chain(run.split(' '))).map(drop).unwrap();
        }
        for run in [REVOKE, QUICK_REVOKE] {
            let words = ["bench"].into_iter().chain(run.split(' ')).chain(["--redis", "redis://127.0.0.1"]);
            Line::try_parse_from(words).map(drop).unwrap();
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!((civil(0), civil(59), civil(19_782)), ((1970, 1, 1), (1970, 3, 1), (2024, 2, 29)));
    }

    #[test]
    fn rivals_stand_beside_us_and_failures_are_told() {
        let mut report = Report::new("idle", "x".to_owned());
        report.figure("kib_each", "memory", 2.0, "KiB");
        let done = [("a".to_owned(), Ok(report)), ("b".to_owned(), Err("no room".to_owned()))];
        let rival =
            serde_json::json!({ "mode": "idle", "results": { "kib_each": 11.6, "handshake_ms": { "p99": 3.0 } } });
        let page = page(&done, &[("nchan".to_owned(), rival)]);
        assert!(page.contains("| Tidegate | – | 2 | – | – | – |\n| nchan | – | 11.6 | – | – | 3 |"), "{page}");
        assert!(page.contains("Did not run: no room"));
    }
}
