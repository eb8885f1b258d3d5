//! Where a job's story is told: bars and lines on a terminal, lines elsewhere, or the messages themselves for programs.
//! What people read goes to standard error; results, and what programs read, to standard output.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::story::{Progress, Story, Told};
use super::wire::{Event, Frame};

/// Between turns of the spinner.
const TURN: Duration = Duration::from_millis(100);
/// A bar has whole steps; progress may be fractions.
const STEPS: u64 = 1_000;

/// See the module.
pub(super) struct Screen {
    mode: Mode,
    out: Out,
}

enum Mode {
    /// One message a line.
    Json,
    Lines,
    Bars(Box<Bars>),
}

enum Out {
    File(File),
    /// Whether a person looks at it.
    Standard {
        is_terminal: bool,
    },
}

struct Bars {
    all: MultiProgress,
    spinner: ProgressBar,
    /// Once there is a total.
    bar: Option<ProgressBar>,
}

impl Screen {
    /// Results go to the file, where one is named.
    pub(super) fn open(json: bool, output: Option<&Path>) -> io::Result<Self> {
        let out = match output {
            Some(path) => Out::File(File::create(path)?),
            None => Out::Standard { is_terminal: io::stdout().is_terminal() },
        };
        let mode = match (json, io::stderr().is_terminal()) {
            (true, _) => Mode::Json,
            (false, false) => Mode::Lines,
            (false, true) => Mode::Bars(Box::new(Bars::new())),
        };
        Ok(Self { mode, out })
    }

    /// A message of the runtime about the job.
    pub(super) fn heard(&mut self, frame: &Frame) -> io::Result<()> {
        match self.mode {
            Mode::Json => line_out(&frame.text),
            _ => Ok(()),
        }
    }

    /// Something that is not part of the job.
    pub(super) fn note(&self, text: &str) {
        match &self.mode {
            Mode::Json => {}
            Mode::Lines => eprintln!("{text}"),
            // A terminal that is gone is no reason to stop.
            Mode::Bars(bars) => drop(bars.all.println(console::style(text).dim().to_string())),
        }
    }

    /// An event of the job; pieces of a result are passed on at once.
    pub(super) fn tell(&mut self, story: &mut Story, event: &Event) -> io::Result<()> {
        let told = story.tell(event);
        match (&mut self.mode, told) {
            (_, Told::Nothing) | (Mode::Bars(_), Told::Known(_)) => {}
            (Mode::Json, Told::Piece(piece)) => {
                // Standard output has the message itself.
                if matches!(self.out, Out::File(_)) {
                    self.write(&piece)?;
                }
            }
            (Mode::Json, _) => {}
            (_, Told::Piece(piece)) => self.write(&piece)?,
            (Mode::Lines, Told::Line(line) | Told::Known(line)) => eprintln!("{line}"),
            (Mode::Bars(bars), Told::Line(line)) => drop(bars.all.println(line)),
        }
        if let Mode::Bars(bars) = &mut self.mode {
            bars.show(story);
        }
        Ok(())
    }

    /// Part of the result, as it is.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::File(file) => file.write_all(bytes),
            Out::Standard { is_terminal } => {
                let harmless = is_terminal.then(|| harmless(bytes));
                let bytes = harmless.as_deref().unwrap_or(bytes);
                let write = || {
                    let mut out = io::stdout().lock();
                    out.write_all(bytes).and_then(|()| out.flush())
                };
                match &self.mode {
                    Mode::Bars(bars) => bars.all.suspend(write),
                    _ => write(),
                }
            }
        }
    }

    /// The result of a job that did not stream it.
    pub(super) fn result(&mut self, json: &str) -> io::Result<()> {
        if matches!((&self.mode, &self.out), (Mode::Json, Out::Standard { .. })) {
            return Ok(());
        }
        // For programs as it came: their numbers may be larger than ours.
        let pretty = match self.out {
            Out::Standard { is_terminal: true } => serde_json::from_str::<serde_json::Value>(json).ok(),
            _ => None,
        };
        let shown = pretty.map_or_else(|| json.to_owned(), |value| format!("{value:#}"));
        self.write(format!("{shown}\n").as_bytes())
    }

    /// The end: what moved stands still and is gone.
    pub(super) fn close(&mut self) {
        if let Mode::Bars(bars) = &mut self.mode {
            if let Some(bar) = &bars.bar {
                bar.finish_and_clear();
            }
            bars.spinner.finish_and_clear();
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let style = style("{spinner} {elapsed} {wide_msg}");
        let spinner = all.add(ProgressBar::new_spinner().with_style(style).with_message("waiting"));
        spinner.enable_steady_tick(TURN);
        Self { all, spinner, bar: None }
    }

    fn show(&mut self, story: &Story) {
        let Story { phase, note, progress, .. } = story;
        let mut parts = vec![phase.clone(), note.clone(), story.cost()];
        match progress {
            Some(Progress { current, total: Some(total), text }) => self.advance(*current, *total, text),
            Some(Progress { text, .. }) => parts.push(text.clone()),
            None => {}
        }
        if story.is_streamed() {
            parts.push(format!("{} bytes of the result", story.bytes));
        }
        parts.retain(|part| !part.is_empty());
        self.spinner.set_message(parts.join("  "));
    }

    fn advance(&mut self, current: f64, total: f64, text: &str) {
        let all = &self.all;
        let bar = self.bar.get_or_insert_with(|| {
            all.insert_before(
                &self.spinner,
                ProgressBar::new(STEPS).with_style(style("  {bar:32} {percent:>3}% {wide_msg}")),
            )
        });
        bar.set_position((current / total * STEPS as f64) as u64);
        bar.set_message(text.to_owned());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// For a terminal: no commands for it.
fn harmless(bytes: &[u8]) -> Vec<u8> {
    let keep = |byte: &u8| if byte.is_ascii_control() && !b"\n\t".contains(byte) { b'.' } else { *byte };
    bytes.iter().map(keep).collect()
}

fn line_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}
