//! What a run says: a line while it runs, a table at its end, JSON for programs.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::proc;
use super::stats::{Spread, Summary};

/// The line on standard error that tells what is being done, where a person watches.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn new(mode: &str) -> Self {
        let style = ProgressStyle::with_template("{spinner} {prefix}: {msg}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_prefix(mode.to_owned());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self(bar)
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_message(what());
            bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// What one run came to.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) mode: &'static str,
    /// What was measured, in a sentence.
    pub(crate) about: String,
    rows: Vec<Row>,
    metrics: Map<String, Value>,
    pub(crate) caveats: Vec<String>,
    /// Why the run as a whole is a failure, if it is.
    pub(crate) failure: Option<String>,
}

#[derive(Debug, Clone)]
struct Row {
    label: String,
    cells: [String; 4],
}

impl Report {
    pub(crate) fn new(mode: &'static str, about: String) -> Self {
        let (rows, metrics, caveats) = (Vec::new(), Map::new(), Vec::new());
        Self { mode, about, rows, metrics, caveats, failure: None }
    }

    /// One figure.
    pub(crate) fn figure(&mut self, key: &str, label: &str, value: f64, unit: &str) {
        let shown = format!("{} {unit}", short(value));
        self.rows.push(Row {
            label: label.to_owned(),
            cells: [shown.trim().to_owned(), String::new(), String::new(), String::new()],
        });
        self.metrics.insert(key.to_owned(), json!(value));
    }

    /// A count.
    pub(crate) fn count(&mut self, key: &str, label: &str, value: u64) {
        self.rows.push(Row {
            label: label.to_owned(),
            cells: [value.to_string(), String::new(), String::new(), String::new()],
        });
        self.metrics.insert(key.to_owned(), json!(value));
    }

    /// A distribution, in milliseconds; nothing where there is none.
    pub(crate) fn times(&mut self, key: &str, label: &str, summary: Option<Summary>) {
        let Some(summary) = summary else { return };
        let Summary { p50, p90, p99, max, .. } = summary;
        let cells = [p50, p90, p99, max].map(|millis| format!("{} ms", short(millis)));
        self.rows.push(Row { label: label.to_owned(), cells });
        self.metrics.insert(key.to_owned(), json!(summary));
    }

    /// First, median and last receiver.
    pub(crate) fn spread(&mut self, key: &str, label: &str, spread: Option<Spread>) {
        let Some(Spread { first, median, last }) = spread else { return };
        self.times(&format!("{key}first_ms"), &format!("{label}first receiver"), Some(first));
        self.times(&format!("{key}median_ms"), &format!("{label}median receiver"), Some(median));
        self.times(&format!("{key}last_ms"), &format!("{label}last receiver"), Some(last));
    }

    pub(crate) fn caveat(&mut self, caveat: impl Into<String>) {
        self.caveats.push(caveat.into());
    }

    pub(crate) fn json(&self, command: &str) -> Value {
        json!({
            "mode": self.mode,
            "about": self.about,
            "command": command,
            "version": env!("CARGO_PKG_VERSION"),
            "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
            "machine": proc::machine(),
            "results": self.metrics,
            "caveats": self.caveats,
            "failure": self.failure,
        })
    }

    /// For a person at a terminal.
    pub(crate) fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        // A line below the heads and none between the rows.
        table.remove_style(comfy_table::TableComponent::HorizontalLines);
        table.remove_style(comfy_table::TableComponent::MiddleIntersections);
        table.remove_style(comfy_table::TableComponent::LeftBorderIntersections);
        table.remove_style(comfy_table::TableComponent::RightBorderIntersections);
        table.set_header(["", "value, or p50", "p90", "p99", "max"]);
        for Row { label, cells } in &self.rows {
            let [a, b, c, d] = cells;
            table.add_row([label, a, b, c, d]);
        }
        let caveats: String = self.caveats.iter().map(|caveat| format!("\n* {caveat}")).collect();
        format!("{}: {}\n{table}{caveats}", self.mode, self.about)
    }

    /// For a page: the same in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("{}.\n\n| | value, or p50 | p90 | p99 | max |\n|---|---|---|---|---|\n", self.about);
        for Row { label, cells } in &self.rows {
            out.push_str(&format!("| {label} | {} |\n", cells.join(" | ")));
        }
        for caveat in &self.caveats {
            out.push_str(&format!("\n* {caveat}"));
        }
        out
    }
}

/// Three digits, as many as anything here is worth.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_are_good() {
        let shown: Vec<String> = [1234.56, 12.345, 5.0, 1.234, 0.01234].map(short).to_vec();
        assert_eq!(shown, ["1235", "12.3", "5", "1.23", "0.012"]);
    }

    #[test]
    fn a_report_says_the_same_to_people_and_programs() {
        let mut report = Report::new("idle", "3 connections".to_owned());
        report.figure("kib", "memory", 2.5, "KiB");
        report.times("took", "handshake", Summary::of(&mut [1.0, 3.0]));
        report.times("nothing", "nothing", None);
        report.caveat("small");
        let json = report.json("tidegate bench idle");
        assert_eq!(json["results"]["kib"], 2.5);
        assert_eq!((&json["results"]["took"]["p50"], &json["results"]["nothing"]), (&json!(1.0), &Value::Null));
        assert!(report.table().contains("2.50 KiB") && report.table().contains("* small"));
        assert!(report.markdown().contains("| handshake | 1 ms | 3 ms | 3 ms | 3 ms |"));
    }
}
