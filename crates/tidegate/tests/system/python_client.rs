//! A client that nobody here wrote: Python's `websockets`, against both WebSocket endpoints.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tidegate_testkit::clients::{API_KEY, write};

use crate::fixture::{gateway, upsert};

/// A Python that has `websockets`: `TIDEGATE_PYTHON`, the one that `cargo xtask setup` makes, or the system's.
fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    let named = std::env::var_os("TIDEGATE_PYTHON").map(PathBuf::from);
    let candidates = [named, Some(target.join("xtask/venv/bin/python")), Some("python3".into())];
    candidates.into_iter().flatten().find(|python| {
        let output = Command::new(python).args(["-c", "import websockets.asyncio.client"]).output();
        output.is_ok_and(|output| output.status.success())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_keeps_the_right_list() {
    let Some(python) = python() else {
        let message = "NOT TESTED: no Python with websockets found; `cargo xtask setup` installs it";
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("\n=== {message} ===\n");
        return;
    };
    let gateway = gateway("");
    let address = gateway.address();
    write(address, "asset", (0..20).map(|n| upsert(&format!("a{n:02}"), "x", n)).collect::<serde_json::Value>()).await;
    write(address, "asset", json!([{ "delete": { "id": "a05" } }])).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/client.py");
    let run = Command::new(python).arg(script).arg(address.to_string()).arg(API_KEY).output();
    let output = tokio::task::block_in_place(|| run).unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}
