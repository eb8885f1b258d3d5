//! The layers of settings: `defaults.toml`, the file, the environment, flags. Which settings exist and of which type
//! they are is what `defaults.toml` says; whatever else a layer names is an error that lists what exists.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::{Table, Value};

use super::{ConfigError, Origin};

const DEFAULTS: &str = include_str!("defaults.toml");
const ENVIRONMENT_PREFIX: &str = "TIDEGATE_";
/// Variables of the command line, which are no settings of the gateway.
const COMMAND_LINE: &[&str] = &["TIDEGATE_CONFIG", "TIDEGATE_TOKEN", "TIDEGATE_API_KEY"];
/// Settings that are never shown.
const SECRETS: &[&str] = &[
    "agent.env",
    "application.secret",
    "centrifugo.token_secret",
    "identity.api_keys",
    "identity.hook.secret",
    "identity.issuer.secret",
    "identity.sessions.password",
    "identity.sessions.redis",
    "source.copy_url",
    "source.url",
];

/// One setting: its value now and who gave it.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The merged layers.
pub(crate) struct Layers {
    /// In the order of `defaults.toml`, by dotted key.
    settings: Vec<(String, Setting)>,
    /// `[[entity]]`, `[[permission]]`, `[[topic]]`, `[[agent]]`, `[[identity.issuer]]` and `[[arcp.dialect]]`, which only a
    /// file has.
    pub(crate) entities: Vec<Table>,
    pub(crate) permissions: Vec<Table>,
    pub(crate) issuers: Vec<Table>,
    pub(crate) topics: Vec<Table>,
    pub(crate) agents: Vec<Table>,
    pub(crate) dialects: Vec<Table>,
}

/// Nothing of them: there are secrets among the values.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers").finish_non_exhaustive()
    }
}

impl Layers {
    /// The built-in layer.
    pub(crate) fn defaults() -> Result<Self, ConfigError> {
        let table: Table = DEFAULTS.parse().map_err(|e: toml::de::Error| ConfigError::rule("defaults", e.message()))?;
        let mut settings = Vec::new();
        flatten("", table, &mut settings);
        let (entities, permissions, issuers, topics, agents, dialects) = Default::default();
        Ok(Self { settings, entities, permissions, issuers, topics, agents, dialects })
    }

    /// The file's layer.
    pub(crate) fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: Table = text.parse().map_err(|e: toml::de::Error| {
            // The line itself is not shown: it may hold a secret.
            let line = 1 + text.bytes().take(e.span().map_or(0, |span| span.start)).filter(|b| *b == b'\n').count();
            ConfigError::Syntax { path: path.into(), line, message: e.message().to_owned() }
        })?;
        let origin = Origin::File(path.into());
        table.into_iter().try_for_each(|(name, value)| self.take(name, value, &origin))
    }

    /// One key of the file, with all that is within it.
    fn take(&mut self, key: String, value: Value, origin: &Origin) -> Result<(), ConfigError> {
        match (key.as_str(), value) {
            ("entity", value) => self.entities = tables("entity", value)?,
            ("topic", value) => self.topics = tables("topic", value)?,
            ("permission", value) => self.permissions = tables("permission", value)?,
            ("agent", value) => self.agents = tables("agent", value)?,
            ("identity.issuer", value) => self.issuers = tables("identity.issuer", value)?,
            ("arcp.dialect", value) => self.dialects = tables("arcp.dialect", value)?,
            (_, Value::Table(section)) if self.is_section(&key) => {
                for (name, value) in section {
                    self.take(format!("{key}.{name}"), value, origin)?;
                }
            }
            _ if self.is_section(&key) => {
                return Err(ConfigError::rule(&key, format!("is a section: [{key}]")));
            }
            (_, value) => self.set(key, value, origin.clone())?,
        }
        Ok(())
    }

    /// The environment's layer. Returns the variables that look like settings and are none: they are warned about and
    /// not refused, because platforms set such names themselves (`TIDEGATE_SERVICE_HOST`).
    pub(crate) fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<String>, ConfigError> {
        let by_name: BTreeMap<String, String> =
            self.settings.iter().map(|(key, _)| (variable_of(key), key.clone())).collect();
        let mut unknown = Vec::new();
        for (name, text) in variables.into_iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)) {
            match by_name.get(&name) {
                Some(key) => self.set_text(key, &text, Origin::Environment(name))?,
                None if COMMAND_LINE.contains(&name.as_str()) => {}
                None => unknown.push(name),
            }
        }
        Ok(unknown)
    }

    /// One flag.
    pub(crate) fn flag(&mut self, key: &str, flag: &'static str, text: &str) -> Result<(), ConfigError> {
        self.set_text(key, text, Origin::Flag(flag))
    }

    /// Every setting in order.
    pub(crate) fn settings(&self) -> &[(String, Setting)] {
        &self.settings
    }

    /// What only a file has, by its name there.
    pub(crate) fn tables(&self) -> [(&'static str, &[Table]); 6] {
        [
            ("identity.issuer", &self.issuers),
            ("permission", &self.permissions),
            ("topic", &self.topics),
            ("agent", &self.agents),
            ("arcp.dialect", &self.dialects),
            ("entity", &self.entities),
        ]
    }

    /// Whether a setting's value may never be shown.
    pub(crate) fn is_secret(key: &str) -> bool {
        SECRETS.contains(&key)
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).and_then(|setting| setting.value.as_str()).unwrap_or_default()
    }

    pub(crate) fn bool(&self, key: &str) -> bool {
        self.get(key).and_then(|setting| setting.value.as_bool()).unwrap_or_default()
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let items = self.get(key).and_then(|setting| setting.value.as_array());
        items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// A whole number of either sign.
    pub(crate) fn signed(&self, key: &str) -> i64 {
        self.get(key).and_then(|setting| setting.value.as_integer()).unwrap_or_default()
    }

    /// A whole number within bounds.
    pub(crate) fn int(&self, key: &str, bounds: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        u64::try_from(self.signed(key))
            .ok()
            .filter(|value| bounds.contains(value))
            .ok_or_else(|| self.error(key, format!("must be between {} and {}", bounds.start(), bounds.end())))
    }

    /// An error about a setting, with its origin, and its value unless that is secret.
    pub(crate) fn error(&self, key: &str, rule: impl Into<String>) -> ConfigError {
        let setting = self.get(key);
        let value = setting.filter(|_| !Self::is_secret(key)).map(|setting| setting.value.to_string());
        let origin = setting.map(|setting| setting.origin.clone());
        ConfigError::Rule { key: key.to_owned(), value, origin, rule: rule.into() }
    }

    fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, setting)| setting)
    }

    fn is_section(&self, name: &str) -> bool {
        self.settings.iter().any(|(key, _)| within(name, key).is_some())
    }

    fn set(&mut self, key: String, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some((_, setting)) = self.settings.iter_mut().find(|(name, _)| *name == key) else {
            return Err(ConfigError::rule(&key, format!("there is no such key; {}", self.known_beside(&key))));
        };
        if !same_type(&setting.value, &value) {
            let rule = format!("must be {}", type_name(&setting.value));
            let shown = (!Self::is_secret(&key)).then(|| value.to_string());
            return Err(ConfigError::Rule { key, value: shown, origin: Some(origin), rule });
        }
        *setting = Setting { value, origin };
        Ok(())
    }

    fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let value = match self.get(key).map(|setting| &setting.value) {
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Array(_)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(Value::Array(items.map(|item| Value::String(item.into())).collect()))
            }
            _ => None,
        };
        // What does not read as the type goes on as text, and is refused there with the rule.
        self.set(key.to_owned(), value.unwrap_or_else(|| Value::String(text.to_owned())), origin)
    }

    fn known_beside(&self, key: &str) -> String {
        let section = key.rsplit_once('.').map(|(section, _)| section);
        let mut known: Vec<&str> = Vec::new();
        for (name, _) in &self.settings {
            let rest = section.map_or(Some(name.as_str()), |section| within(section, name));
            // Of what lies deeper its section is named.
            let name = rest.map(|rest| rest.split_once('.').map_or(rest, |(section, _)| section));
            known.extend(name.filter(|name| known.last() != Some(name)));
        }
        match section {
            Some("identity") => format!("[identity] has {}, issuer", known.join(", ")),
            Some("arcp") => format!("[arcp] has {}, dialect", known.join(", ")),
            Some(section) => format!("[{section}] has {}", known.join(", ")),
            None => format!("there are {}, entity, topic, agent, permission", known.join(", ")),
        }
    }
}

/// Settings by their dotted keys, sections within sections.
fn flatten(section: &str, table: Table, settings: &mut Vec<(String, Setting)>) {
    for (name, value) in table {
        let key = if section.is_empty() { name } else { format!("{section}.{name}") };
        match value {
            Value::Table(within) => flatten(&key, within, settings),
            value => settings.push((key, Setting { value, origin: Origin::Default })),
        }
    }
}

/// What follows the section in a key of it.
fn within<'a>(section: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(section)?.strip_prefix('.')
}

/// `edge.max_connections` is `TIDEGATE_EDGE_MAX_CONNECTIONS`.
fn variable_of(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn tables(name: &str, value: Value) -> Result<Vec<Table>, ConfigError> {
    let rule = || ConfigError::rule(name, format!("must be tables, each beginning with [[{name}]]"));
    let Value::Array(items) = value else { return Err(rule()) };
    items.into_iter().map(|item| if let Value::Table(table) = item { Ok(table) } else { Err(rule()) }).collect()
}

fn same_type(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(_), Value::Array(items)) => items.iter().all(Value::is_str),
        (a, b) => a.same_type(b),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "true or false",
        Value::Integer(_) => "a whole number",
        Value::Array(_) => "a list of strings",
        _ => "a string",
    }
}
