//! Killed at any moment, with and without what the disk had not been told to keep: nothing answered is lost, and every
//! batch is there as a whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tidegate_feed::{Config, Limits, LocalFeed, TenantScope, WriteRequest, decode_changes};
use tidegate_mirror::{Mirror, Options};
use tidegate_model::{Filter, Order, Position, Predicate, ScanRequest, Tenant, Value};

use super::{ASSET, catalog, submit};

const DIR: &str = "TIDEGATE_CRASH_TEST_DIR";
const ROUND: &str = "TIDEGATE_CRASH_TEST_ROUND";
const ROUNDS: usize = 6;
const WRITERS: usize = 4;
const ROWS: usize = 5;

/// Small, so that the log starts over many times.
fn options() -> Options {
    Options { wal_bytes_max: 200_000, ..Options::default() }
}

/// Batch `batch` of a writer in a round: five rows that carry its name.
fn batch(round: &str, writer: usize, batch: usize) -> WriteRequest {
    let change = |row| {
        format!(r#"{{"upsert":{{"id":"{round}-{writer}-{batch}/{row}","n":{batch},"text":"{}"}}}}"#, "x".repeat(500))
    };
    let changes: Vec<String> = (0..ROWS).map(change).collect();
    let body = format!(r#"{{"changes":[{}]}}"#, changes.join(","));
    let changes = decode_changes(catalog().entity(ASSET), body.as_bytes(), Limits::default()).unwrap();
    WriteRequest { entity: ASSET, tenant: TenantScope::Named(None), guard: None, changes, idempotency: None }
}

#[test]
#[ignore = "the process that the tests of this file kill"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let round = std::env::var(ROUND).unwrap();
    let catalog = catalog();
    let (_mirror, writer) = Mirror::open(Path::new(&dir), &catalog, &options()).unwrap();
    let feed = LocalFeed::start(Config::default(), catalog, writer, Box::new(|_| {})).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (feed, round) = (&feed, &round);
            scope.spawn(move || {
                for number in 0.. {
                    let written = submit(feed, batch(round, writer, number)).recv().unwrap().unwrap();
                    let line = format!("answered {round}-{writer}-{number} {}\n", written.position);
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

/// Runs the child until it has answered some hundreds of batches at most, kills it, and returns what it answered.
fn run_and_kill(dir: &Path, round: usize, shim: Option<&Path>) -> BTreeMap<String, Position> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["crash::child", "--exact", "--ignored", "--nocapture"]);
    command.env(DIR, dir).env(ROUND, round.to_string()).stdout(Stdio::piped());
    if let Some(shim) = shim {
        command.env("LD_PRELOAD", shim);
    }
    let mut child = command.spawn().unwrap();
    let kill_after = RandomState::new().hash_one(round) % 200;
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut answered, mut line) = (BTreeMap::new(), String::new());
    while lines.read_line(&mut line).unwrap() > 0 {
        // The test runner may have begun the line, and the kill may have cut it.
        if let Some((_, answer)) = line.split_once("answered ")
            && let Some((batch, position)) = answer.strip_suffix('\n').and_then(|answer| answer.split_once(' '))
        {
            answered.insert(batch.to_owned(), position.parse().unwrap());
            if answered.len() as u64 == kill_after + 1 {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(answered.len() as u64 > kill_after, "the child ended by itself");
    answered
}

/// Opens the store and holds it against everything that was ever answered.
fn check(dir: &Path, answered: &BTreeMap<String, Position>) {
    let catalog = catalog();
    let (mirror, writer) = Mirror::open(dir, &catalog, &options()).unwrap();
    let request = ScanRequest {
        entity: ASSET,
        tenant: Tenant::common(),
        order: Arc::new(Order::new(catalog.entity(ASSET), &[])),
        predicate: Arc::new(Predicate::new(Filter::everything())),
        after: None,
        want: usize::MAX,
    };
    let page = mirror.page(request).unwrap();
    assert_eq!((page.upto, page.position), (None, writer.position()));
    let mut batches: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (_, row) in &page.rows {
        let Value::Text(id) = row.value(0) else { panic!("{row:?}") };
        batches.entry(id.split_once('/').unwrap().0.to_owned()).or_default().push(row.version());
    }
    for (batch, versions) in &batches {
        assert_eq!(versions.len(), ROWS, "batch {batch} is there in part");
        assert!(versions.iter().all(|version| *version == versions[0] && *version <= page.position.0));
    }
    for (batch, position) in answered {
        let versions =
            batches.get(batch).unwrap_or_else(|| panic!("batch {batch} at {position} was answered and is lost"));
        assert_eq!(versions[0], position.0);
    }
}

#[test]
fn a_kill_loses_nothing_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut answered = BTreeMap::new();
    for round in 0..ROUNDS {
        answered.extend(run_and_kill(dir.path(), round, None));
        check(dir.path(), &answered);
    }
}

/// Builds the shim, or says loudly that there is no C compiler.
fn shim(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    fs::write(&source, include_str!("fsync_shim.c")).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").status();
    match built {
        Ok(status) => {
            assert!(status.success(), "the shim does not build");
            Some(library)
        }
        Err(error) => {
            eprintln!("SKIPPED: the power-loss test needs a C compiler (cc): {error}");
            None
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_power_loss_loses_nothing_answered() {
    let (dir, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(shim) = shim(tools.path()) else { return };
    let file = |suffix: &str| dir.path().join(format!("tidegate.db{suffix}"));
    let mut answered = BTreeMap::new();
    for round in 0..ROUNDS {
        // What the check before has left is on the disk.
        for suffix in ["", "-wal"] {
            let _ = fs::remove_file(file(&format!("{suffix}.synced")));
            if file(suffix).exists() {
                fs::copy(file(suffix), file(&format!("{suffix}.synced"))).unwrap();
            }
        }
        answered.extend(run_and_kill(dir.path(), round, Some(&shim)));
        for suffix in ["", "-wal"] {
            let synced = file(&format!("{suffix}.synced"));
            assert!(synced.exists(), "the shim saw no sync of tidegate.db{suffix}");
            fs::rename(synced, file(suffix)).unwrap();
        }
        let _ = fs::remove_file(file("-shm"));
        check(dir.path(), &answered);
    }
}
