//! The demo's namespace, as the contract has it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::fixture::{Who, get, publish, told};

struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_demo_has_a_namespace_for_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["demo", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _demo = Demo(child);
    let at = lines.find_map(|line| line.unwrap().strip_prefix("listening on http://")?.parse().ok()).unwrap();
    let who = Who::User("demo".into());
    for n in 1..=101 {
        assert_eq!(publish(at, &who, "demo:chat", json!(n)).await, n);
    }
    let told = told(at, &Who::Stranger, "demo:chat").await;
    assert_eq!((told.len(), &told[0], &told[99]), (100, &json!(2), &json!(101)));
    let counts = get(at, &who, "/v1/topics/demo:chat/presence/counts").await.ok();
    assert_eq!(counts["clients"], 0);
}
