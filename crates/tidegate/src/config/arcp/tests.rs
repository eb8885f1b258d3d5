use std::path::Path;

use insta::assert_snapshot;

use super::*;
use crate::config::{Config, Flags};

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::layered(Some((Path::new("tidegate.toml"), text)), [], &Flags::default())
}

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

#[test]
fn everything_has_the_default_that_is_documented() {
    let arcp = load("").unwrap().arcp;
    let times = [arcp.heartbeat_interval, arcp.resume_window, arcp.worker_grace];
    assert_eq!(times.map(|time| time.as_secs()), [30, 600, 60]);
    assert_eq!((arcp.session_events, arcp.session_bytes), (10_000, 16 << 20));
    assert_eq!((arcp.job_events, arcp.job_bytes), (10_000, 16 << 20));
    assert_eq!((arcp.sessions_max, arcp.user_sessions_max), (100_000, 20_000));
    assert_eq!((arcp.jobs_max, arcp.user_jobs_max, arcp.kept_jobs_max), (10_000, 1_000, 100_000));
    assert_eq!(arcp.result_bytes_max, 1 << 30);
    assert!(!arcp.require_model_use && !arcp.fixtures && arcp.agents.is_empty());
    assert!(arcp.dialects.clients.is_empty() && arcp.dialects.principals.is_empty());
}

#[test]
fn an_agent_may_say_everything() {
    let config = load(
        r#"
[[agent]]
name = "review"
version = "2.1.0"
default = true
command = ["python3", "-u", "review.py"]
dir = "/"
env = { MODEL = "small", API_TOKEN = "hunter2" }
env_from = ["PATH", "HOME"]
[[agent]]
name = "review"
version = "3.0.0-rc.1"
command = ["review"]
[[agent]]
name = "plain"
command = ["plain"]
[arcp]
resume_window_ms = 60000
fixtures = true
[[arcp.dialect]]
client = "our-dashboard"
dialect = "go"
[[arcp.dialect]]
user = "ann"
dialect = "python"
"#,
    )
    .unwrap();
    let arcp = &config.arcp;
    let [review, candidate, plain] = &arcp.agents[..] else { panic!("{:?}", arcp.agents) };
    assert_eq!((review.agent.to_string().as_str(), review.is_default), ("review@2.1.0", true));
    assert_eq!((review.command.len(), review.dir.as_deref()), (3, Some(Path::new("/"))));
    let env: Vec<(&str, &str)> = review.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("MODEL", "small"), ("API_TOKEN", "hunter2")]);
    assert_eq!(review.env_from, ["PATH", "HOME"]);
    assert_eq!((candidate.agent.to_string().as_str(), candidate.is_default), ("review@3.0.0-rc.1", false));
    assert_eq!((plain.agent.to_string().as_str(), plain.env_from.join(" ").as_str()), ("plain@1.0.0", "PATH"));
    assert_eq!((arcp.resume_window.as_secs(), arcp.fixtures), (60, true));
    assert_eq!(arcp.dialects.clients, [("our-dashboard".into(), Dialect::Go)]);
    assert_eq!(arcp.dialects.principals, [("user:ann".into(), Dialect::Python)]);
    for shown in [config.show(), config.show_json().to_string(), format!("{config:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let shown = config.show();
    assert!(shown.contains(r#"env = { MODEL = "… hidden", API_TOKEN = "… hidden" }"#), "{shown}");
    assert!(shown.contains("[[arcp.dialect]]\nclient = \"our-dashboard\""), "{shown}");
    // What is shown is a configuration itself.
    assert_eq!(load(&shown).unwrap().arcp.agents.len(), 3);
}

#[test]
fn agents_that_break_a_rule_are_named() {
    let with = |lines: &str| refusal(&format!("[[agent]]\n{lines}"));
    assert_snapshot!(with("name = \"Echo\"\ncommand = [\"x\"]"), @r#"agent[0].name = "Echo": must be 1 to 128 of a-z 0-9 . _ - and begin with a letter or digit"#);
    assert_snapshot!(with("name = \"a\"\nversion = \"1 2\"\ncommand = [\"x\"]"), @r#"agent[0].version = "1 2": must be 1 to 128 of A-Z a-z 0-9 . + _ -"#);
    assert_snapshot!(with("name = \"a\""), @"agent[0]: missing field `command`");
    assert_snapshot!(with("name = \"a\"\ncommand = []"), @"agent[0].command: must be a program and its arguments, 256 at most");
    assert_snapshot!(with("name = \"a\"\ncommand = [\"\"]"), @"agent[0].command: must be a program and its arguments, 256 at most");
    assert_snapshot!(with("name = \"a\"\ncommand = [\"a\", \"\\u0000\"]"), @"agent[0].command[1]: must have no NUL character");
    assert_snapshot!(with("name = \"a\"\ncommand = [\"a\"]\ndir = \"/no/such\""), @r#"agent[0].dir = "/no/such": must be a directory"#);
    assert_snapshot!(with("name = \"a\"\ncommand = [\"a\"]\nenv = \"hunter2\""), @r#"agent[0].env: must be a table such as { NAME = "value" }, of 256 at most"#);
    assert_snapshot!(with("name = \"a\"\ncommand = [\"a\"]\nenv = { A = 42 }"), @"agent[0].env.A: must be a string without NUL characters");
    assert_snapshot!(with("name = \"a\"\ncommand = [\"a\"]\nenv = { \"A=B\" = \"x\" }"), @r#"agent[0].env: "A=B" can be no variable's name"#);
    assert_snapshot!(with("name = \"a\"\ncommand = [\"a\"]\nenv_from = [\"\"]"), @r#"agent[0].env_from[0] = "": must be the name of an environment variable"#);
    assert_snapshot!(with("name = \"a\"\ncommand = \"a\""), @r#"agent[0].command: invalid type: string "a", expected a sequence"#);
    assert_snapshot!(with("name = \"a\"\ncomand = [\"a\"]"), @"agent[0]: unknown field `comand`, expected one of `name`, `version`, `default`, `command`, `dir`, `env`, `env_from`");
    let twice = "name = \"a\"\ncommand = [\"x\"]\n[[agent]]\nname = \"a\"\ncommand = [\"y\"]\n";
    assert_snapshot!(with(twice), @r#"agent[1].version = "1.0.0": is that of another [[agent]] of this name"#);
    let defaults = twice.replace("command", "default = true\ncommand").replacen(
        "name = \"a\"",
        "name = \"a\"\nversion = \"2\"",
        1,
    );
    assert_snapshot!(with(&defaults), @"agent[1].default: another version is the default already");
    assert_snapshot!(refusal("agent = \"a\""), @"agent: must be tables, each beginning with [[agent]]");
}

#[test]
fn settings_that_break_a_rule_are_named() {
    let with = |lines: &str| refusal(&format!("[arcp]\n{lines}"));
    assert_snapshot!(with("heartbeat_interval_ms = 0"), @"arcp.heartbeat_interval_ms = 0 (from tidegate.toml): must be between 1000 and 2678400000");
    assert_snapshot!(with("heartbeat_interval_ms = 1500"), @"arcp.heartbeat_interval_ms = 1500 (from tidegate.toml): must be whole seconds: clients are told so");
    assert_snapshot!(with("session_bytes = 1"), @"arcp.session_bytes = 1 (from tidegate.toml): must be between 1048576 and 1099511627776");
    assert_snapshot!(with("max_user_jobs = 10001"), @"arcp.max_user_jobs = 10001 (from tidegate.toml): must not be more than arcp.max_jobs");
    assert_snapshot!(with("max_kept_jobs = 9999"), @"arcp.max_jobs = 10000 (from default): must not be more than arcp.max_kept_jobs");
    assert_snapshot!(with("max_sessions = 10"), @"arcp.max_user_sessions = 20000 (from default): must not be more than arcp.max_sessions");
    assert_snapshot!(with("fixtures = 1"), @"arcp.fixtures = 1 (from tidegate.toml): must be true or false");
    assert!(with("hartbeat = 1").starts_with("arcp.hartbeat: there is no such key; [arcp] has fixtures, "));
    let dialect = |lines: &str| refusal(&format!("[[arcp.dialect]]\n{lines}"));
    assert_snapshot!(dialect("client = \"a\"\ndialect = \"java\""), @r#"arcp.dialect[0].dialect = "java": must be "spec", "typescript", "python" or "go""#);
    assert_snapshot!(dialect("dialect = \"go\""), @"arcp.dialect[0]: must name either a client or a user");
    assert_snapshot!(dialect("client = \"\"\ndialect = \"go\""), @r#"arcp.dialect[0].client = "": must have 1 to 256 bytes"#);
    assert_snapshot!(dialect("user = \"a\"\ndialect = \"go\"\n[[arcp.dialect]]\nuser = \"a\"\ndialect = \"spec\""), @r#"arcp.dialect[1].user = "a": is named by another [[arcp.dialect]]"#);
}

#[test]
fn settings_are_environment_variables_too() {
    let variables = [("TIDEGATE_ARCP_MAX_USER_JOBS".to_owned(), "7".to_owned())];
    assert_eq!(Config::layered(None, variables, &Flags::default()).unwrap().arcp.user_jobs_max, 7);
}
