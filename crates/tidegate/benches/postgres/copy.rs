//! The first copy, from the start of the process until it is ready, against `psql \copy` of the same table to a file.

use std::process::Command;
use std::time::Instant;

use crate::report::Report;
use crate::world::{World, mib, micros_a_row, rate, ready};

const ROWS: u64 = 1_000_000;
const CASES: [(&str, &str); 3] = [
    ("no index", ""),
    ("1 index", r#"indexes = [["n"]]"#),
    ("tenant, 2 indexes", "tenant = \"kind\"\nindexes = [[\"n\"], [\"owner\"]]"),
];

pub(crate) async fn run(world: &World, report: &mut Report) {
    world.fill(ROWS).await;
    let psql = psql(world);
    for (name, entity) in CASES {
        let began = Instant::now();
        let gateway = world.gateway(entity);
        ready(gateway.address()).await;
        let speed = rate(ROWS, began);
        let figures = [
            ("rows/s", speed),
            ("psql rows/s", psql),
            ("ratio", speed / psql),
            ("CPU us/row", micros_a_row(&gateway, ROWS)),
            ("peak MiB", mib(gateway.peak_kib())),
        ];
        report.row("copy of 1,000,000 rows", name, &figures);
        world.end(gateway).await;
    }
}

/// Rows a second of `\copy`.
fn psql(world: &World) -> f64 {
    let file = tempfile::NamedTempFile::new().unwrap();
    let began = Instant::now();
    let copy = format!("\\copy item to '{}'", file.path().display());
    let done = Command::new("psql").args(["-q", "-d", &world.postgres.parameters(), "-c", &copy]).status().unwrap();
    assert!(done.success(), "psql: {done}");
    rate(ROWS, began)
}
