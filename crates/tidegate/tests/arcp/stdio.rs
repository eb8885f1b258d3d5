//! Section 4: the gateway as a child, a message a line.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::clients::within;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::fixture::{CONFIG, code, hello};
use crate::frames::{Frames, kind};

async fn read(lines: &mut Lines<BufReader<ChildStdout>>, frames: &mut Frames) -> Value {
    let line = within("a line", lines.next_line()).await.unwrap();
    frames.read(&line.unwrap_or_else(|| panic!("it ended")))
}

#[tokio::test]
pub(crate) async fn a_child_speaks_in_lines_and_says_nothing_else() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("tidegate.toml");
    std::fs::write(&config, format!("{CONFIG}\n[arcp]\nfixtures = true\n")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["arcp", "--stdio", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut lines, mut frames) = (BufReader::new(output).lines(), Frames::default());
    let opening = json!({ "arcp": "1.1", "id": "h", "type": "session.hello", "payload": hello("ann") });
    input.write_all(format!("{opening}\n").as_bytes()).await.unwrap();
    let welcome = read(&mut lines, &mut frames).await;
    assert_eq!(kind(&welcome), "session.welcome");
    let session = &welcome["session_id"];
    let said = |id: &str, kind: &str, payload: Value| json!({ "arcp": "1.1", "id": id, "type": kind, "session_id": session, "payload": payload });
    // Three lines at once, one of them none.
    let (submit, close) =
        (said("s", "job.submit", json!({ "agent": "echo", "input": "a\nb" })), said("c", "session.close", json!({})));
    input.write_all(format!("{submit}\nno JSON\n").as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(read(&mut lines, &mut frames).await);
    }
    let result = seen.iter().find(|frame| kind(frame) == "job.result").unwrap();
    assert_eq!(result["payload"]["result"], "a\nb");
    assert_eq!(code(seen.iter().find(|frame| kind(frame) == "session.error").unwrap()), "INVALID_REQUEST");
    input.write_all(format!("{close}\n").as_bytes()).await.unwrap();
    assert_eq!(kind(&read(&mut lines, &mut frames).await), "session.closed");
    assert!(within("the end", lines.next_line()).await.unwrap().is_none());
    assert!(within("the end", child.wait()).await.unwrap().success());
}
