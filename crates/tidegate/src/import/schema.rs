//! What was inferred, as a table for a person and as the TOML that a configuration needs.

use std::fmt::Write as _;

use tidegate_model::Type;

use super::infer::Inference;

/// A schema for an entity that is not configured yet.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) entity: String,
    pub(crate) key: Vec<String>,
    pub(crate) tenant: Option<String>,
    /// Name, type, and what speaks for it.
    columns: Vec<(String, Type, Seen)>,
}

#[derive(Debug)]
struct Seen {
    nulls: u64,
    example: String,
}

impl Schema {
    pub(crate) fn new(
        entity: &str,
        key: &[String],
        tenant: Option<&str>,
        names: &[String],
        inference: &mut Inference,
    ) -> Self {
        inference.columns.resize_with(names.len(), Default::default);
        let columns = names.iter().zip(&inference.columns).map(|(name, evidence)| {
            // A tenant is a name, whatever it looks like.
            let kind = if tenant == Some(name) { Type::Text } else { evidence.kind() };
            let seen = Seen { nulls: inference.records - evidence.values, example: evidence.example.clone() };
            (name.clone(), kind, seen)
        });
        Self {
            entity: entity.to_owned(),
            key: key.to_vec(),
            tenant: tenant.map(str::to_owned),
            columns: columns.collect(),
        }
    }

    /// The `[[entity]]` block.
    pub(crate) fn toml(&self) -> String {
        let mut out = format!("[[entity]]\nname = {}\nkey = {}\n", quoted(&self.entity), list(&self.key));
        if let Some(tenant) = &self.tenant {
            let _ = writeln!(out, "tenant = {}", quoted(tenant));
        }
        let columns: Vec<String> =
            self.columns.iter().map(|(name, kind, _)| format!("{} = \"{kind}\"", toml_key(name))).collect();
        let _ = writeln!(out, "columns = {{ {} }}", columns.join(", "));
        out
    }

    /// For a person.
    pub(crate) fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["column", "type", "", "nulls", "first value"]);
        for (name, kind, seen) in &self.columns {
            let part = match name {
                name if self.key.contains(name) => "key",
                name if self.tenant.as_ref() == Some(name) => "tenant",
                _ => "",
            };
            table.add_row([name, kind.name(), part, &seen.nulls.to_string(), &seen.example]);
        }
        table.to_string()
    }
}

fn list(names: &[String]) -> String {
    format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.to_owned() } else { quoted(name) }
}
