use std::path::Path;

use insta::assert_snapshot;
use tidegate_model::Tenant;

use super::*;
use crate::config::{Config, Flags};

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::layered(Some((Path::new("tidegate.toml"), text)), [], &Flags::default())
}

fn refusal(text: &str) -> String {
    load(text).unwrap_err().to_string()
}

fn options(config: &Config, topic: &str) -> Options {
    Options::clone(&config.topics.namespaces.topic(Tenant::common(), topic).unwrap().options)
}

#[test]
fn the_documented_defaults_are_those_of_the_room() {
    let topics = load("").unwrap().topics;
    assert_eq!((topics.limits, &*topics.discriminator), (Limits::default(), "_orama"));
    assert_eq!(options(&load("[[topic]]\nprefix = \"a\"").unwrap(), "a"), Options::default());
}

#[test]
fn a_namespace_may_say_everything() {
    let config = load(
        r#"
[[topic]]
prefix = "chat:"
history_size = 100
history_age_ms = 60000
keep = "last_of_key"
value_ttl_ms = 5000
presence = true
join_leave = true
ephemeral = false
slow_client = "drop_oldest"
delta = true
recover_max = 50
ask = ["subscribe", "publish"]
[[topic]]
prefix = "chat:quiet:"
slow_client = "latest_only"
ask = ["publish"]
[application]
url = "https://app.example"
secret = "what-the-application-shares-with-the-gateway"
[topics]
max_payload_bytes = 100
idempotency_max = 0
[ephemeral]
discriminator = "@event"
max_keys = 3
"#,
    )
    .unwrap();
    let full = Options {
        history_size: 100,
        history_age_ms: 60_000,
        keep: Keep::LastOfKey,
        value_ttl_ms: 5_000,
        presence: true,
        join_leave: true,
        ephemeral: false,
        slow: SlowPolicy::DropOldest,
        delta: true,
        recover_max: 50,
        ask_subscribe: true,
        ask_publish: true,
    };
    assert_eq!(options(&config, "chat:a"), full);
    let quiet = Options { slow: SlowPolicy::LatestOnly, ask_publish: true, ..Options::default() };
    assert_eq!(options(&config, "chat:quiet:a"), quiet);
    assert_eq!(options(&config, "other"), Options::default());
    let Topics { limits, discriminator, .. } = &config.topics;
    assert_eq!((limits.payload_bytes, limits.idempotency_keys, limits.owned_keys), (100, 0, 3));
    assert_eq!(discriminator, "@event");
    assert!(config.show().contains("\n[[topic]]\nprefix = \"chat:\"\n"), "{}", config.show());
    assert_eq!(config.show_json()["topic"][1]["prefix"], "chat:quiet:");
}

#[test]
fn namespaces_that_break_a_rule_are_named() {
    let with = |lines: &str| refusal(&format!("[[topic]]\nprefix = \"chat:\"\n{lines}"));
    let prefix = |prefix: &str| refusal(&format!("[[topic]]\nprefix = \"{prefix}\""));
    assert_snapshot!(refusal("topic = 3"), @"topic: must be tables, each beginning with [[topic]]");
    assert_snapshot!(refusal("[[topic]]\nhistory_size = 1"), @"topic[0]: missing field `prefix`");
    assert_snapshot!(with("[[topic]]\nprefix = \"chat:\""), @r#"topic[1].prefix = "chat:": is used by another [[topic]]"#);
    assert_snapshot!(prefix("$own"), @r#"topic[0].prefix = "$own": must not begin with "$": those names are the gateway's own"#);
    assert_snapshot!(prefix("live:a"), @r#"topic[0].prefix = "live:a": must not begin with "live:": those names are the gateway's own"#);
    assert_snapshot!(prefix("a\\n"), @r#"topic[0].prefix = "a\n": must have at most 255 bytes and no control characters"#);
    assert!(prefix(&"x".repeat(256)).ends_with("must have at most 255 bytes and no control characters"));
    assert!(with("histori_size = 1").starts_with("topic[0]: unknown field `histori_size`, expected one of `prefix`"));
    assert_snapshot!(with("history_size = -1"), @"topic[0].history_size = -1: must be between 0 and 1000000");
    assert_snapshot!(with("history_size = \"many\""), @r#"topic[0].history_size: invalid type: string "many", expected i64"#);
    assert_snapshot!(with("history_age_ms = 1000"), @"topic[0].history_age_ms: needs history_size");
    assert_snapshot!(with("history_size = 1\nhistory_age_ms = 9999999999"), @"topic[0].history_age_ms = 9999999999: must be between 0 and 2678400000");
    assert_snapshot!(with("recover_max = 3"), @"topic[0].recover_max: needs history_size");
    assert_snapshot!(with("history_size = 1\nrecover_max = 0"), @"topic[0].recover_max = 0: must be between 1 and 10000");
    assert_snapshot!(with("keep = \"all\""), @r#"topic[0].keep = "all": must be one of "nothing", "last", "last_of_key""#);
    assert_snapshot!(with("value_ttl_ms = 10"), @r#"topic[0].value_ttl_ms: needs keep = "last" or "last_of_key""#);
    assert_snapshot!(with("join_leave = true"), @"topic[0].join_leave: needs presence = true");
    assert_snapshot!(with("slow_client = \"wait\""), @r#"topic[0].slow_client = "wait": must be one of "close", "drop_oldest", "latest_only""#);
    assert_snapshot!(with("delta = true"), @"topic[0].delta: needs history_size or keep: there would be nothing to tell a difference to");
    assert_snapshot!(with("ask = [\"subscribe\", \"read\"]"), @r#"topic[0].ask[1] = "read": must be one of "subscribe", "publish""#);
    assert_snapshot!(with("ask = [\"publish\"]"), @"topic[0].ask: needs application.url: with nobody to ask, the answer would always be no");
    load("[[topic]]\nprefix = \"\"\nkeep = \"last\"\ndelta = true").unwrap();
}

#[test]
fn bounds_that_break_a_rule_are_named() {
    let topics = |line: &str| refusal(&format!("[topics]\n{line}"));
    let ephemeral = |line: &str| refusal(&format!("[ephemeral]\n{line}"));
    assert_snapshot!(topics("max_payload_bytes = 0"), @"topics.max_payload_bytes = 0 (from tidegate.toml): must be between 1 and 67108864");
    assert_snapshot!(topics("passed_bytes = 70000"), @"topics.passed_bytes = 70000 (from tidegate.toml): must be at least twice topics.max_payload_bytes");
    assert!(topics("payload = 1").starts_with("topics.payload: there is no such key; [topics] has max_payload_bytes"));
    assert_snapshot!(ephemeral("max_keys = 0"), @"ephemeral.max_keys = 0 (from tidegate.toml): must be between 1 and 1048576");
    assert_snapshot!(ephemeral("discriminator = \"\""), @r#"ephemeral.discriminator = "" (from tidegate.toml): must be 1 to 64 of A-Z a-z 0-9 _ - . $ @"#);
    assert_snapshot!(ephemeral("discriminator = \"a b\""), @r#"ephemeral.discriminator = "a b" (from tidegate.toml): must be 1 to 64 of A-Z a-z 0-9 _ - . $ @"#);
    assert_snapshot!(ephemeral("discriminator = \"topic\""), @r#"ephemeral.discriminator = "topic" (from tidegate.toml): must not be a field that an event has anyway"#);
}
