//! `[[topic]]`: what holds for topics whose names begin alike; and the bounds of topics and ephemeral state.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Deserialize;
use tidegate_topics::{Keep, Limits, Namespace, Namespaces, Options, SlowPolicy, TOPIC_BYTES_MAX, Topic};
use toml::Table;

use super::ConfigError;
use super::layers::Layers;

/// Names that are no topics': the gateway's own, and live queries' where they have the names of channels.
const RESERVED: [&str; 2] = ["$", "live:"];
/// Of one topic: as many as an answer could never bring at once.
const HISTORY: RangeInclusive<i64> = 0..=1_000_000;
/// In one answer.
const RECOVER: RangeInclusive<i64> = 1..=10_000;
/// A month, in milliseconds.
const MILLIS: RangeInclusive<i64> = 0..=31 * 24 * 3_600_000;
/// Longest name of the field that tells ephemeral events, in bytes.
const DISCRIMINATOR_BYTES_MAX: usize = 64;
/// Fields of an ephemeral event, which the discriminator would hide.
const EVENT_FIELDS: [&str; 6] = ["topic", "key", "client_id", "payload", "ttl_ms", "reason"];

/// What topics are, and how much of them may be held.
#[derive(Debug, Clone)]
pub struct Topics {
    /// What holds for which names.
    pub namespaces: Namespaces,
    /// How much may be held.
    pub limits: Limits,
    /// The field of an ephemeral event that says which one it is.
    pub discriminator: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicToml {
    prefix: String,
    history_size: Option<i64>,
    history_age_ms: Option<i64>,
    keep: Option<String>,
    value_ttl_ms: Option<i64>,
    presence: Option<bool>,
    join_leave: Option<bool>,
    ephemeral: Option<bool>,
    slow_client: Option<String>,
    delta: Option<bool>,
    recover_max: Option<i64>,
    #[serde(default)]
    ask: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Subscribe,
    Publish,
}

const KEEP: &[(&str, Keep)] = &[("nothing", Keep::Nothing), ("last", Keep::Last), ("last_of_key", Keep::LastOfKey)];
const SLOW: &[(&str, SlowPolicy)] =
    &[("close", SlowPolicy::Close), ("drop_oldest", SlowPolicy::DropOldest), ("latest_only", SlowPolicy::LatestOnly)];
const ASK: &[(&str, Ask)] = &[("subscribe", Ask::Subscribe), ("publish", Ask::Publish)];

pub(super) fn read(layers: &Layers) -> Result<Topics, ConfigError> {
    let tables = layers.topics.iter().enumerate();
    let namespaces: Vec<Namespace> =
        tables.map(|(i, table)| namespace(&format!("topic[{i}]"), table)).collect::<Result<_, _>>()?;
    for (i, namespace) in namespaces.iter().enumerate() {
        if namespaces[..i].iter().any(|other| other.prefix == namespace.prefix) {
            return Err(prefix_error(&format!("topic[{i}]"), &namespace.prefix, "is used by another [[topic]]"));
        }
    }
    let is_asked = |namespace: &Namespace| namespace.options.ask_subscribe || namespace.options.ask_publish;
    if let Some(i) = namespaces.iter().position(is_asked).filter(|_| layers.text("application.url").is_empty()) {
        let rule = "needs application.url: with nobody to ask, the answer would always be no";
        return Err(ConfigError::rule(format!("topic[{i}].ask"), rule));
    }
    Ok(Topics {
        namespaces: Namespaces::new(namespaces),
        limits: limits(layers)?,
        discriminator: discriminator(layers)?,
    })
}

fn namespace(path: &str, table: &Table) -> Result<Namespace, ConfigError> {
    let toml: TopicToml = super::typed(path, table)?;
    check_prefix(path, &toml.prefix)?;
    let ask = toml.ask.iter().enumerate().map(|(i, verb)| one_of(&format!("{path}.ask[{i}]"), Some(verb), ASK));
    let ask: Vec<Option<Ask>> = ask.collect::<Result<_, _>>()?;
    let defaults = Options::default();
    let options = Options {
        history_size: within(path, "history_size", toml.history_size, &HISTORY)?.unwrap_or_default() as usize,
        history_age_ms: within(path, "history_age_ms", toml.history_age_ms, &MILLIS)?
            .unwrap_or(defaults.history_age_ms),
        keep: one_of(&format!("{path}.keep"), toml.keep.as_ref(), KEEP)?.unwrap_or_default(),
        value_ttl_ms: within(path, "value_ttl_ms", toml.value_ttl_ms, &MILLIS)?.unwrap_or_default(),
        presence: toml.presence.unwrap_or(defaults.presence),
        join_leave: toml.join_leave.unwrap_or(defaults.join_leave),
        ephemeral: toml.ephemeral.unwrap_or(defaults.ephemeral),
        slow: one_of(&format!("{path}.slow_client"), toml.slow_client.as_ref(), SLOW)?.unwrap_or_default(),
        delta: toml.delta.unwrap_or(defaults.delta),
        recover_max: within(path, "recover_max", toml.recover_max, &RECOVER)?
            .map_or(defaults.recover_max, |most| most as usize),
        ask_subscribe: ask.contains(&Some(Ask::Subscribe)),
        ask_publish: ask.contains(&Some(Ask::Publish)),
    };
    check_together(path, &toml, &options)?;
    Ok(Namespace { prefix: toml.prefix.into(), options: Arc::new(options) })
}

fn check_prefix(path: &str, prefix: &str) -> Result<(), ConfigError> {
    if let Some(reserved) = RESERVED.iter().find(|reserved| prefix.starts_with(**reserved)) {
        let rule = format!("must not begin with {reserved:?}: those names are the gateway's own");
        return Err(prefix_error(path, prefix, &rule));
    }
    // A name that is nothing but the prefix is one as well.
    match Topic::check_name(prefix) {
        Err(_) if !prefix.is_empty() => {
            let rule = format!("must have at most {TOPIC_BYTES_MAX} bytes and no control characters");
            Err(prefix_error(path, prefix, &rule))
        }
        _ => Ok(()),
    }
}

fn prefix_error(path: &str, prefix: &str, rule: &str) -> ConfigError {
    ConfigError::of(format!("{path}.prefix"), &format!("{prefix:?}"), None, rule)
}

/// What says nothing without something else was meant otherwise.
fn check_together(path: &str, toml: &TopicToml, options: &Options) -> Result<(), ConfigError> {
    let keeps = options.keep != Keep::Nothing;
    let needs = [
        ("join_leave", options.join_leave && !options.presence, "needs presence = true"),
        ("history_age_ms", toml.history_age_ms.is_some() && options.history_size == 0, "needs history_size"),
        ("recover_max", toml.recover_max.is_some() && options.history_size == 0, "needs history_size"),
        ("value_ttl_ms", options.value_ttl_ms > 0 && !keeps, "needs keep = \"last\" or \"last_of_key\""),
        (
            "delta",
            options.delta && options.history_size == 0 && !keeps,
            "needs history_size or keep: there would be nothing to tell a difference to",
        ),
    ];
    match needs.into_iter().find(|(_, lacks, _)| *lacks) {
        Some((key, _, rule)) => Err(ConfigError::rule(format!("{path}.{key}"), rule)),
        None => Ok(()),
    }
}

fn within(path: &str, key: &str, value: Option<i64>, bounds: &RangeInclusive<i64>) -> Result<Option<u64>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    let number = u64::try_from(value).ok().filter(|_| bounds.contains(&value));
    let rule = || format!("must be between {} and {}", bounds.start(), bounds.end());
    number.map(Some).ok_or_else(|| ConfigError::of(format!("{path}.{key}"), &value, None, rule()))
}

fn one_of<T: Copy>(path: &str, given: Option<&String>, known: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    let found = known.iter().find(|(name, _)| name == given).map(|(_, value)| Some(*value));
    let names: Vec<String> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
    let rule = || format!("must be one of {}", names.join(", "));
    found.ok_or_else(|| ConfigError::of(path, &format!("{given:?}"), None, rule()))
}

fn limits(layers: &Layers) -> Result<Limits, ConfigError> {
    let number = |key, most| layers.int(key, 1..=most).map(|number| number as usize);
    let limits = Limits {
        payload_bytes: number("topics.max_payload_bytes", 1 << 26)?,
        topics: number("topics.max_topics", 1 << 32)?,
        history_bytes: number("topics.history_bytes", 1 << 40)?,
        values: number("topics.max_values", 1 << 24)?,
        idempotency_keys: layers.int("topics.idempotency_max", 0..=1 << 24)? as usize,
        idempotency_ms: layers.int("topics.idempotency_ms", 0..=*MILLIS.end() as u64)?,
        owned_keys: number("ephemeral.max_keys", 1 << 20)?,
        ephemeral_bytes: number("ephemeral.max_payload_bytes", 1 << 20)?,
        entries: number("ephemeral.max_entries", 1 << 32)?,
        entries_bytes: number("ephemeral.max_bytes", 1 << 40)?,
        passed_queued: number("topics.passed_queued", 1 << 32)?,
        passed_bytes: number("topics.passed_bytes", 1 << 40)?,
    };
    if limits.passed_bytes < 2 * limits.payload_bytes {
        return Err(layers.error("topics.passed_bytes", "must be at least twice topics.max_payload_bytes"));
    }
    Ok(limits)
}

fn discriminator(layers: &Layers) -> Result<String, ConfigError> {
    let (key, name) = ("ephemeral.discriminator", layers.text("ephemeral.discriminator"));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$@".contains(&byte);
    if !(1..=DISCRIMINATOR_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
        return Err(layers.error(key, format!("must be 1 to {DISCRIMINATOR_BYTES_MAX} of A-Z a-z 0-9 _ - . $ @")));
    }
    if EVENT_FIELDS.contains(&name) {
        return Err(layers.error(key, "must not be a field that an event has anyway"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests;
