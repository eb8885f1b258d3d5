//! Kinds of events, and the shapes of their bodies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr as _;

use rust_decimal::Decimal;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::Fault;

/// Longest body of an event, in bytes of JSON: with its envelope it stays under what clients take, 1 MiB.
pub const BODY_BYTES_MAX: usize = 960 << 10;
/// Longest piece of a result, in bytes before base64.
pub const CHUNK_BYTES_MAX: usize = 700 << 10;
/// Deepest nesting of a body: what clients' parsers take.
pub const DEPTH_MAX: usize = 128;

/// A kind of event: one of the draft's ten, or `x-vendor.<vendor>.<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// `log`.
    pub const LOG: Self = Self(Cow::Borrowed("log"));
    /// `thought`.
    pub const THOUGHT: Self = Self(Cow::Borrowed("thought"));
    /// `tool_call`.
    pub const TOOL_CALL: Self = Self(Cow::Borrowed("tool_call"));
    /// `tool_result`.
    pub const TOOL_RESULT: Self = Self(Cow::Borrowed("tool_result"));
    /// `status`.
    pub const STATUS: Self = Self(Cow::Borrowed("status"));
    /// `metric`.
    pub const METRIC: Self = Self(Cow::Borrowed("metric"));
    /// `artifact_ref`.
    pub const ARTIFACT_REF: Self = Self(Cow::Borrowed("artifact_ref"));
    /// `delegate`: said as a [`Delegation`](crate::Delegation).
    pub const DELEGATE: Self = Self(Cow::Borrowed("delegate"));
    /// `progress`.
    pub const PROGRESS: Self = Self(Cow::Borrowed("progress"));
    /// `result_chunk`: said as a [`Chunk`](crate::Chunk).
    pub const RESULT_CHUNK: Self = Self(Cow::Borrowed("result_chunk"));

    /// As on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: there is none.
    pub fn named(name: &str) -> Result<Self, Fault> {
        const OWN: [Kind; 10] = [
            Kind::LOG,
            Kind::THOUGHT,
            Kind::TOOL_CALL,
            Kind::TOOL_RESULT,
            Kind::STATUS,
            Kind::METRIC,
            Kind::ARTIFACT_REF,
            Kind::DELEGATE,
            Kind::PROGRESS,
            Kind::RESULT_CHUNK,
        ];
        if let Some(kind) = OWN.into_iter().find(|kind| kind.0 == name) {
            return Ok(kind);
        }
        if is_vendors(name) {
            return Ok(Self(Cow::Owned(name.to_owned())));
        }
        Err(Fault::invalid(format!("an event's kind is one of the ten or x-vendor.<vendor>.<name>, not {name:?}")))
    }

    /// Whether a body has the shape that its kind needs, and is neither too long nor too deep.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, naming the field.
    pub fn check(&self, body: &RawValue) -> Result<(), Fault> {
        if body.get().len() > BODY_BYTES_MAX {
            return Err(Fault::invalid(format!("an event's body has at most {BODY_BYTES_MAX} bytes")));
        }
        if depth(body.get()) > DEPTH_MAX {
            return Err(Fault::invalid(format!("an event's body nests at most {DEPTH_MAX} deep")));
        }
        let shape = match self.name() {
            "log" => read::<Log<'_>>(body),
            "thought" => read::<Thought<'_>>(body),
            "tool_call" => read::<ToolCall<'_>>(body),
            "tool_result" => read::<ToolResult<'_>>(body),
            "status" => read::<StatusBody<'_>>(body),
            "metric" => read::<Metric<'_>>(body),
            "artifact_ref" => read::<ArtifactRef<'_>>(body),
            "progress" => read::<Progress>(body),
            _ => Ok(()),
        };
        shape.map_err(|error| Fault::invalid(format!("{}: {error}", self.name())))
    }
}

/// A body as clients take it, in place of one as an agent's library may have written it: what is absent is not there, rather than
/// `null`, and whole numbers have no fraction. Vendors' bodies are theirs.
impl Kind {
    /// See there. What `check` passes stays what it is.
    #[must_use]
    pub fn tidy(&self, body: Box<RawValue>) -> Box<RawValue> {
        let has_numbers = matches!(self.name(), "progress" | "metric" | "artifact_ref");
        let text = body.get();
        let is_untidy = text.contains("null") || (has_numbers && text.contains(['.', 'e', 'E']));
        if is_vendors(self.name()) || !is_untidy {
            return body;
        }
        let Ok(fields) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text) else { return body };
        let count = fields.len();
        let kept = fields.into_iter().filter(|(name, value)| value.get() != "null" || is_anything(name));
        let tidy: BTreeMap<_, _> = kept.map(|(name, value)| (name, whole(value))).collect();
        let is_tidy = tidy.len() == count && tidy.values().all(|value| matches!(value, Cow::Borrowed(_)));
        if is_tidy { body } else { serde_json::value::to_raw_value(&tidy).unwrap_or(body) }
    }
}

/// Whether a field may be any JSON, so that `null` says something.
fn is_anything(name: &str) -> bool {
    matches!(name, "args" | "result" | "input")
}

/// A whole number without its fraction or exponent; anything else as it is.
fn whole(value: &RawValue) -> Cow<'_, RawValue> {
    let text = value.get();
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if !is_number || !text.contains(['.', 'e', 'E']) {
        return Cow::Borrowed(value);
    }
    let number = Decimal::from_str(text).or_else(|_| Decimal::from_scientific(text));
    let number = number.ok().map(|number| number.normalize()).filter(|number| number.scale() == 0);
    match number.and_then(|number| RawValue::from_string(number.to_string()).ok()) {
        Some(whole) => Cow::Owned(whole),
        None => Cow::Borrowed(value),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it is `x-vendor.<vendor>.<name>`.
#[must_use]
pub fn is_vendors(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
    };
    let Some(rest) = name.strip_prefix("x-vendor.") else { return false };
    name.len() <= 128 && rest.contains('.') && rest.split('.').all(is_part)
}

/// How deep JSON nests.
#[must_use]
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut is_escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn read<'a, T: Shape + Deserialize<'a>>(body: &'a RawValue) -> Result<(), String> {
    let shape: T = serde_json::from_str(body.get()).map_err(|error| error.to_string())?;
    shape.check().map_err(str::to_owned)
}

/// What serde does not say of a shape.
trait Shape {
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow, rename = "level")]
    _level: Cow<'a, str>,
    #[serde(borrow, rename = "message")]
    _message: Cow<'a, str>,
}
impl Shape for Log<'_> {}

#[derive(Deserialize)]
struct Thought<'a> {
    #[serde(borrow, rename = "text")]
    _text: Cow<'a, str>,
}
impl Shape for Thought<'_> {}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow)]
    tool: Cow<'a, str>,
    #[serde(borrow)]
    call_id: Cow<'a, str>,
}
impl Shape for ToolCall<'_> {
    fn check(&self) -> Result<(), &'static str> {
        let is_named = !self.tool.is_empty() && !self.call_id.is_empty();
        is_named.then_some(()).ok_or("tool and call_id may not be empty")
    }
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    #[serde(default)]
    result: Option<IgnoredAny>,
    #[serde(default)]
    error: Option<Fault>,
}
impl Shape for ToolResult<'_> {
    fn check(&self) -> Result<(), &'static str> {
        if self.call_id.is_empty() {
            return Err("call_id may not be empty");
        }
        let is_either = self.result.is_none() || self.error.is_none();
        is_either.then_some(()).ok_or("either result or error, not both")
    }
}

#[derive(Deserialize)]
struct StatusBody<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
}
impl Shape for StatusBody<'_> {
    fn check(&self) -> Result<(), &'static str> {
        (!self.phase.is_empty()).then_some(()).ok_or("phase may not be empty")
    }
}

#[derive(Deserialize)]
struct Metric<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// Finite: JSON has no other numbers. What it is worth is read from its digits.
    #[serde(rename = "value")]
    _value: serde_json::Number,
}
impl Shape for Metric<'_> {
    fn check(&self) -> Result<(), &'static str> {
        (!self.name.is_empty()).then_some(()).ok_or("name may not be empty")
    }
}

#[derive(Deserialize)]
struct ArtifactRef<'a> {
    #[serde(borrow)]
    uri: Cow<'a, str>,
    #[serde(borrow)]
    content_type: Cow<'a, str>,
}
impl Shape for ArtifactRef<'_> {
    fn check(&self) -> Result<(), &'static str> {
        let is_whole = !self.uri.is_empty() && !self.content_type.is_empty();
        is_whole.then_some(()).ok_or("uri and content_type may not be empty")
    }
}

#[derive(Deserialize)]
struct Progress {
    current: f64,
    #[serde(default)]
    total: Option<f64>,
}
impl Shape for Progress {
    fn check(&self) -> Result<(), &'static str> {
        if self.current < 0.0 {
            return Err("current may not be negative");
        }
        if self.total.is_some_and(|total| self.current > total) {
            return Err("current may not be more than total");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, body: &str) -> Result<(), Fault> {
        let body: Box<RawValue> = serde_json::from_str(body).unwrap();
        Kind::named(kind)?.check(&body)
    }

    #[test]
    fn bodies_are_told_as_clients_take_them() {
        for (kind, said, told) in [
            ("progress", r#"{"current":1.0,"total":null,"units":"files"}"#, r#"{"current":1,"units":"files"}"#),
            ("progress", r#"{"current":0.5,"total":1e3}"#, r#"{"current":0.5,"total":1000}"#),
            ("metric", r#"{"name":"m","value":-2.50}"#, r#"{"name":"m","value":-2.50}"#),
            ("metric", r#"{"name":"m","value":1E2,"unit":null}"#, r#"{"name":"m","value":100}"#),
            ("metric", r#"{"name":"m","value":1e300}"#, r#"{"name":"m","value":1e300}"#),
            ("log", r#"{"level":"info","message":"null 1.0","more":null}"#, r#"{"level":"info","message":"null 1.0"}"#),
            ("tool_call", r#"{"args":null,"call_id":"c","tool":"t"}"#, r#"{"args":null,"call_id":"c","tool":"t"}"#),
            ("tool_result", r#"{"call_id":"c","error":null,"result":null}"#, r#"{"call_id":"c","result":null}"#),
            ("x-vendor.a.b", r#"{"a":null,"b":1.0}"#, r#"{"a":null,"b":1.0}"#),
            ("status", r#"{"phase":"p","message":"m"}"#, r#"{"phase":"p","message":"m"}"#),
        ] {
            let kind = Kind::named(kind).unwrap();
            let body = RawValue::from_string(said.to_owned()).unwrap();
            assert_eq!(kind.tidy(body).get(), told, "{said}");
        }
    }

    #[test]
    fn bodies_have_the_shapes_of_their_kinds() {
        for (kind, good) in [
            ("log", r#"{"level":"info","message":"\u00e4","more":1}"#),
            ("thought", r#"{"text":""}"#),
            ("tool_call", r#"{"tool":"t","args":{},"call_id":"c"}"#),
            ("tool_result", r#"{"call_id":"c"}"#),
            ("tool_result", r#"{"call_id":"c","result":1}"#),
            ("tool_result", r#"{"call_id":"c","error":{"code":"TIMEOUT","message":"m","retryable":true}}"#),
            ("status", r#"{"phase":"p","message":"m"}"#),
            ("metric", r#"{"name":"cost.x","value":0.1}"#),
            ("artifact_ref", r#"{"uri":"u","content_type":"c"}"#),
            ("progress", r#"{"current":0.5}"#),
            ("progress", r#"{"current":1,"total":1}"#),
            ("x-vendor.acme.thing", "17"),
        ] {
            assert_eq!(check(kind, good), Ok(()), "{kind} {good}");
        }
        for (kind, bad) in [
            ("log", r#"{"level":"info"}"#),
            ("log", "17"),
            ("tool_call", r#"{"tool":"","call_id":"c"}"#),
            ("tool_result", r#"{"call_id":"c","result":1,"error":{"code":"TIMEOUT","message":"m","retryable":true}}"#),
            ("tool_result", r#"{"call_id":"c","error":{"code":"NO_SUCH","message":"m","retryable":true}}"#),
            ("status", r#"{"phase":""}"#),
            ("metric", r#"{"name":"m","value":"1"}"#),
            ("progress", r#"{"current":-1}"#),
            ("progress", r#"{"current":2,"total":1}"#),
            ("x-vendor.acme", "17"),
            ("x-vendor.Acme.x", "17"),
            ("other", "{}"),
        ] {
            assert!(check(kind, bad).is_err(), "{kind} {bad}");
        }
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        assert!(check("x-vendor.a.b", &deep).is_err());
    }
}
