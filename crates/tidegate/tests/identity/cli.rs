//! `tidegate sessions`.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tidegate_testkit::clients::API_KEY;

use crate::fixture::{ask, closed, connected, gateway, refusal, token};

const NOTES: &str = "/v1/entities/note";

async fn sessions(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("sessions").args(arguments).env_remove("TIDEGATE_API_KEY").output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn sessions_users_and_tenants_are_revoked_from_the_command_line() {
    let gateway = gateway("");
    let (at, url) = (gateway.address(), format!("http://{}/", gateway.address()));
    let mara = token("mara", json!({ "sid": "ü/1 ?" }));
    let socket = connected(at, &mara).await;
    let to = ["--url", &url, "--api-key", API_KEY];
    let revoke = |arguments: &'static [&'static str]| [&["revoke"], arguments, &to[..]].concat();
    assert_eq!(said(&sessions(&revoke(&["ü/1 ?"])).await), "revoked session ü/1 ?\n");
    closed(socket).await;
    let ole = token("ole", json!({}));
    let told = said(&sessions(&revoke(&["--user", "ole", "--tenant", "acme", "--json"])).await);
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), json!({ "revoked": true }));
    assert_eq!(refusal(&ask(at, "GET", NOTES, &ole, &json!({})).await), (401, "revoked".into()));
    let eve = token("eve", json!({ "tenant": "umbrella" }));
    assert_eq!(said(&sessions(&revoke(&["--tenant", "umbrella"])).await), "revoked tenant umbrella\n");
    assert_eq!(refusal(&ask(at, "GET", NOTES, &eve, &json!({})).await), (401, "revoked".into()));
}

#[tokio::test]
async fn what_cannot_be_revoked_is_said() {
    let gateway = gateway("");
    let url = format!("http://{}", gateway.address());
    let failed = |output: Output| {
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let wrong = failed(sessions(&["revoke", "s1", "--url", &url, "--api-key", "wrong"]).await);
    assert_eq!(wrong, "error: unauthenticated: the API key is not valid\n");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{nobody}");
    let alone = failed(sessions(&["revoke", "s1", "--url", &nobody, "--api-key", API_KEY]).await);
    assert!(
        alone.starts_with(&format!("error: {nobody}: ")) && alone.contains("is a Tidegate running there?"),
        "{alone}"
    );
    let both = failed(sessions(&["revoke", "s1", "--user", "mara", "--url", &url, "--api-key", API_KEY]).await);
    assert!(both.contains("cannot be used with"), "{both}");
    let none = failed(sessions(&["revoke", "--url", &url, "--api-key", API_KEY]).await);
    assert!(none.contains("required"), "{none}");
}
