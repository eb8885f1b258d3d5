//! The fields of a JSON object, found by name: errors say which one is wrong and what it has to be, never what was in it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_jobs::Fault;

/// What stands between quotation marks.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of an object. One that is `null` is as one that is not there; of two of a name the last counts.
pub(super) struct Fields<'a> {
    /// In front of each name in what is said of it, such as `payload.`.
    at: &'static str,
    fields: BTreeMap<Text<'a>, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// None at all.
    pub(super) fn none(at: &'static str) -> Self {
        Self { at, fields: BTreeMap::new() }
    }

    /// Reads them. `None` where this is not an object.
    pub(super) fn read(at: &'static str, json: &'a str) -> Option<Self> {
        Some(Self { at, fields: serde_json::from_str(json).ok()? })
    }

    /// All of them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(|name| &*name.0)
    }

    /// Whatever is there.
    pub(super) fn raw(&self, name: &'static str) -> Option<&'a RawValue> {
        let raw = self.fields.get(&Text(name.into())).copied();
        raw.filter(|raw| raw.get() != "null")
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Fault> {
        self.value(name, "a string").map(|text| text.map(|Text(text)| text))
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, Fault> {
        self.value(name, "a whole number that is not negative")
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, Fault> {
        self.value(name, "true or false")
    }

    pub(super) fn texts(&self, name: &'static str) -> Result<Option<Vec<Cow<'a, str>>>, Fault> {
        let texts: Option<Vec<Text<'_>>> = self.value(name, "an array of strings")?;
        Ok(texts.map(|texts| texts.into_iter().map(|Text(text)| text).collect()))
    }

    /// An object; `at` is in front of the names of its fields.
    pub(super) fn object(&self, name: &'static str, at: &'static str) -> Result<Option<Self>, Fault> {
        let read = |raw: &'a RawValue| Self::read(at, raw.get()).ok_or_else(|| self.bad(name, "an object"));
        self.raw(name).map(read).transpose()
    }

    /// What has to be there.
    pub(super) fn needed<T>(&self, name: &'static str, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| Fault::invalid(format!("{}{name} is missing", self.at)))
    }

    /// A fault that says what a field has to be.
    pub(super) fn bad(&self, name: &'static str, expected: &str) -> Fault {
        Fault::invalid(format!("{}{name} has to be {expected}", self.at))
    }

    fn value<T: Deserialize<'a>>(&self, name: &'static str, expected: &str) -> Result<Option<T>, Fault> {
        let read = |raw: &'a RawValue| serde_json::from_str(raw.get()).map_err(|_| self.bad(name, expected));
        self.raw(name).map(read).transpose()
    }
}
