//! `config show`: the settings in effect, each with where it came from, as TOML that could be a file.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::Config;
use super::layers::Layers;

impl Config {
    /// The effective configuration. Secrets are shown as how many there are.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for (key, setting) in self.layers.settings() {
            let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
            if of != section {
                section = of;
                let _ = writeln!(out, "\n[{section}]");
            }
            let line = format!("{name} = {}", shown(key, &setting.value));
            let _ = writeln!(out, "{line:<40} # {}", setting.origin);
        }
        for (name, tables) in self.layers.tables() {
            for table in tables {
                let _ = writeln!(out, "\n[[{name}]]\n{}", inline(name, table));
            }
        }
        out
    }

    /// The same as one JSON object of dotted keys, `{"value", "origin"}` each, beside the entities and permissions.
    #[must_use]
    pub fn show_json(&self) -> serde_json::Value {
        let settings = self.layers.settings().iter().map(|(key, setting)| {
            let value = if Layers::is_secret(key) {
                serde_json::Value::String(redacted(&setting.value))
            } else {
                serde_json::json!(setting.value)
            };
            (key.clone(), serde_json::json!({ "value": value, "origin": setting.origin.to_string() }))
        });
        let mut shown = serde_json::json!({ "settings": settings.collect::<serde_json::Map<_, _>>() });
        for (name, tables) in self.layers.tables() {
            shown[name] = tables.iter().map(|table| serde_json::json!(without_secrets(name, table))).collect();
        }
        shown
    }
}

fn shown(key: &str, value: &Value) -> String {
    if Layers::is_secret(key) { redacted(value) } else { value.to_string() }
}

fn redacted(value: &Value) -> String {
    match (value.as_array().map(Vec::len), value.as_str()) {
        (Some(0), _) => "[]".into(),
        (Some(n), _) => format!("[\"… {n} hidden\"]"),
        (None, Some("")) => "\"\"".into(),
        (None, _) => "\"… hidden\"".into(),
    }
}

/// One line a key; tables within stay inline, as people write columns.
fn inline(name: &str, table: &Table) -> String {
    let table = without_secrets(name, table);
    table.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("\n")
}

fn without_secrets(name: &str, table: &Table) -> Table {
    let hidden = |key: &str| Layers::is_secret(&format!("{name}.{key}"));
    let shown = |value: &Value, key| if hidden(key) { without_values(value) } else { value.clone() };
    table.iter().map(|(key, value)| (key.clone(), shown(value, key))).collect()
}

/// Of a table the names stay.
fn without_values(secret: &Value) -> Value {
    match secret {
        Value::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.clone(), without_values(value))).collect())
        }
        _ => Value::String("… hidden".into()),
    }
}
