//! What happens to a job, as lines for a person, and what is remembered of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use console::style;
use rust_decimal::Decimal;
use serde_json::Value;

use super::wire::Event;

/// Characters of a value that are shown.
const VALUE_MAX: usize = 160;
/// Calls of tools whose results are waited for; more are shown by their ids.
const CALLS_MAX: usize = 256;

/// What is known of a job so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The last status, and what was said with it.
    pub(super) phase: String,
    pub(super) note: String,
    pub(super) progress: Option<Progress>,
    /// Spent and left, by currency.
    spent: BTreeMap<String, Decimal>,
    left: BTreeMap<String, Decimal>,
    /// Names of tools, by the ids of their calls.
    calls: HashMap<String, String>,
    /// Pieces of the result, their bytes, and whether some are missing.
    chunks: u64,
    pub(super) bytes: u64,
    pub(super) is_partial: bool,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Progress {
    pub(super) current: f64,
    pub(super) total: Option<f64>,
    /// `3/10 files: reading`.
    pub(super) text: String,
}

/// What becomes of an event.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// Something to read.
    Line(String),
    /// More of the result.
    Piece(Vec<u8>),
    /// It changed what is known: a line for those who see no more than lines.
    Known(String),
    /// Nothing that a person needs.
    Nothing,
}

impl Story {
    pub(super) fn tell(&mut self, event: &Event) -> Told {
        let body = &event.body;
        let text = |name: &str| plain(body[name].as_str().unwrap_or_default());
        match event.kind.as_str() {
            "log" => Told::Line(log(&text("level"), &text("message"))),
            "thought" => Told::Line(style(text("text")).italic().dim().to_string()),
            "tool_call" => {
                let (call, tool) = (text("call_id"), text("tool"));
                let line = format!("{} {} {}", style("→").cyan(), style(&tool).bold(), value(&body["args"]));
                if self.calls.len() < CALLS_MAX {
                    self.calls.insert(call, tool);
                }
                Told::Line(line)
            }
            "tool_result" => Told::Line(self.tool_result(&text("call_id"), body)),
            "status" => {
                (self.phase, self.note) = (text("phase"), text("message"));
                Told::Known(joined(&self.phase, &self.note))
            }
            "progress" => {
                let progress = Progress::read(body);
                let line = format!("progress {}", progress.text);
                self.progress = Some(progress);
                Told::Known(line)
            }
            "metric" => self.metric(&text("name"), &text("unit"), &body["value"]),
            "artifact_ref" => {
                let size = body["byte_size"].as_u64().map(|size| format!(", {size} bytes")).unwrap_or_default();
                let (uri, kind) = (text("uri"), text("content_type"));
                Told::Line(format!("{} {uri} ({kind}{size})", style("artifact").green()))
            }
            "delegate" => Told::Line(format!("{} {}", style("delegates").magenta(), value(body))),
            "result_chunk" => self.chunk(body),
            kind => Told::Line(format!("{} {}", style(plain(kind)).dim(), value(body))),
        }
    }

    /// `USD 0.30 spent, 4.70 left`; empty where nothing costs.
    pub(super) fn cost(&self) -> String {
        let mut out = String::new();
        for (unit, spent) in &self.spent {
            let _ = write!(out, "{}{unit} {} spent", if out.is_empty() { "" } else { "; " }, spent.normalize());
            if let Some(left) = self.left.get(unit) {
                let _ = write!(out, ", {} left", left.normalize());
            }
        }
        out
    }

    /// Whether the result came in pieces.
    pub(super) fn is_streamed(&self) -> bool {
        self.chunks > 0
    }

    fn tool_result(&mut self, call: &str, body: &Value) -> String {
        let tool = self.calls.remove(call).unwrap_or_else(|| call.to_owned());
        match &body["error"] {
            Value::Null => format!("{} {} {}", style("←").cyan(), style(tool).bold(), value(&body["result"])),
            error => {
                let part = |name: &str| plain(error[name].as_str().unwrap_or_default());
                let failed = style(joined(&part("code"), &part("message"))).red();
                format!("{} {} {failed}", style("←").red(), style(tool).bold())
            }
        }
    }

    fn metric(&mut self, name: &str, unit: &str, number: &Value) -> Told {
        let line = format!("{name} {} {unit}", value(number)).trim_end().to_owned();
        let Some(number) = number.is_number().then(|| decimal(&number.to_string())).flatten() else {
            return Told::Line(style(line).dim().to_string());
        };
        match name.strip_prefix("cost.") {
            Some("budget.remaining") => drop(self.left.insert(unit.to_owned(), number)),
            Some(_) => {
                let spent = self.spent.entry(unit.to_owned()).or_default();
                *spent = spent.saturating_add(number);
            }
            None => return Told::Line(style(line).dim().to_string()),
        }
        Told::Nothing
    }

    fn chunk(&mut self, body: &Value) -> Told {
        let data = body["data"].as_str().unwrap_or_default();
        let bytes = match body["encoding"].as_str() {
            Some("base64") => BASE64_STANDARD.decode(data).ok(),
            _ => Some(data.as_bytes().to_vec()),
        };
        let at = body["chunk_seq"].as_u64().unwrap_or_default();
        self.is_partial |= bytes.is_none() || at != self.chunks;
        self.chunks = at.saturating_add(1);
        let bytes = bytes.unwrap_or_default();
        self.bytes += bytes.len() as u64;
        Told::Piece(bytes)
    }
}

impl Progress {
    fn read(body: &Value) -> Self {
        let number = |name: &str| body[name].as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        let (current, total) = (number("current").unwrap_or_default(), number("total").filter(|total| *total > 0.0));
        let part = |name: &str| plain(body[name].as_str().unwrap_or_default());
        let mut text = value(&body["current"]);
        if total.is_some() {
            let _ = write!(text, "/{}", value(&body["total"]));
        }
        let (units, message) = (part("units"), part("message"));
        if !units.is_empty() {
            let _ = write!(text, " {units}");
        }
        Self { current, total, text: joined(&text, &message) }
    }
}

fn log(level: &str, message: &str) -> String {
    let level = match level {
        "error" | "fatal" => style(level).red().bold(),
        "warn" | "warning" => style(level).yellow(),
        "info" => style(level).blue(),
        _ => style(level).dim(),
    };
    format!("{level} {message}")
}

fn joined(what: &str, message: &str) -> String {
    if message.is_empty() { what.to_owned() } else { format!("{what}: {message}") }
}

/// A number without ever becoming a float; exponents too.
fn decimal(text: &str) -> Option<Decimal> {
    text.parse().or_else(|_| Decimal::from_scientific(text)).ok()
}

/// Any JSON on one line, not longer than a person reads.
pub(super) fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        value => plain(&value.to_string()),
    };
    console::truncate_str(&text, VALUE_MAX, "…").into_owned()
}

/// What a terminal would take as a command is shown as what it is not.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(story: &mut Story, kind: &str, body: Value) -> String {
        let told = story.tell(&Event { kind: kind.into(), body });
        match told {
            Told::Line(line) => console::strip_ansi_codes(&line).into_owned(),
            Told::Known(line) => format!("[{line}]"),
            Told::Piece(bytes) => format!("<{}>", String::from_utf8_lossy(&bytes)),
            Told::Nothing => String::new(),
        }
    }

    #[test]
    fn every_kind_of_event_is_told() {
        let mut story = Story::default();
        let events = [
            ("status", json!({ "phase": "running" })),
            ("log", json!({ "level": "warn", "message": "a\u{1b}[31mb" })),
            ("thought", json!({ "text": "hm" })),
            ("tool_call", json!({ "tool": "search", "args": { "q": 1 }, "call_id": "c1" })),
            ("tool_result", json!({ "call_id": "c1", "result": ["x"] })),
            ("tool_result", json!({ "call_id": "c2", "error": { "code": "TIMEOUT", "message": "late" } })),
            ("metric", json!({ "name": "tokens", "value": 12, "unit": "count" })),
            ("metric", json!({ "name": "cost.inference", "value": 0.1, "unit": "USD" })),
            ("metric", json!({ "name": "cost.search", "value": 2e-1, "unit": "USD" })),
            ("metric", json!({ "name": "cost.budget.remaining", "value": 4.7, "unit": "USD" })),
            ("artifact_ref", json!({ "uri": "s3://x", "content_type": "text/plain", "byte_size": 3 })),
            ("progress", json!({ "current": 3, "total": 10, "units": "files", "message": "reading" })),
            ("progress", json!({ "current": 0.5 })),
            ("result_chunk", json!({ "chunk_seq": 0, "data": "aGk=", "encoding": "base64", "more": true })),
            ("result_chunk", json!({ "chunk_seq": 1, "data": "!", "encoding": "utf8", "more": true })),
            ("result_chunk", json!({ "chunk_seq": 3, "data": "!", "encoding": "utf8", "more": true })),
            ("x-vendor.acme.thing", json!(17)),
        ];
        let lines: Vec<String> = events.into_iter().map(|(kind, body)| told(&mut story, kind, body)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        [running]
        warn a·[31mb
        hm
        → search {"q":1}
        ← search ["x"]
        ← c2 TIMEOUT: late
        tokens 12 count
        
        
        
        artifact s3://x (text/plain, 3 bytes)
        [progress 3/10 files: reading]
        [progress 0.5]
        <hi>
        <!>
        <!>
        x-vendor.acme.thing 17
        "#);
        assert_eq!(story.cost(), "USD 0.3 spent, 4.7 left");
        assert_eq!((story.is_streamed(), story.is_partial, story.bytes), (true, true, 4));
    }

    #[test]
    fn money_is_never_a_float() {
        let mut story = Story::default();
        for _ in 0..1_000 {
            told(&mut story, "metric", json!({ "name": "cost.x", "value": 0.001, "unit": "USD" }));
        }
        assert_eq!(story.cost(), "USD 1 spent");
    }

    #[test]
    fn what_makes_no_sense_is_survived() {
        let mut story = Story::default();
        for kind in
            ["log", "status", "progress", "metric", "tool_result", "result_chunk", "artifact_ref", "delegate", "?"]
        {
            for body in
                [json!(null), json!([]), json!({ "current": -1, "total": 1e300, "value": 1e300, "name": "cost.x" })]
            {
                told(&mut story, kind, body);
            }
        }
    }
}
