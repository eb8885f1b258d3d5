//! How far the copies of tables are, for whoever waits for them.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tidegate_feed::postgres::{EntityStatus, PostgresFeed};
use tokio::time::{MissedTickBehavior, interval};

/// Between lines of the log.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Between pictures of the bars.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// A line every few seconds.
    Logged,
    /// Bars on standard error.
    Shown,
}

impl Progress {
    /// Bars where a person watches, else lines.
    pub(crate) fn on_terminal() -> Self {
        if std::io::stderr().is_terminal() { Self::Shown } else { Self::Logged }
    }
}

/// Tells of every copy until it is dropped.
pub(crate) async fn tell(feed: PostgresFeed, progress: Progress) {
    let mut bars = Bars::default();
    let mut ticks = interval(if progress == Progress::Shown { SHOW_EVERY } else { LOG_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let entities = feed.status().entities;
        match progress {
            Progress::Shown => bars.show(&entities),
            Progress::Logged => entities.iter().filter(|entity| is_copied(entity)).for_each(log),
        }
    }
}

fn is_copied(entity: &EntityStatus) -> bool {
    matches!(entity.state, "copying" | "catching_up")
}

/// 0 where the server has never looked.
fn estimated_rows(entity: &EntityStatus) -> u64 {
    entity.estimated_rows.max(0.0) as u64
}

fn log(entity: &EntityStatus) {
    let (rows, of_about) = (entity.copied_rows, estimated_rows(entity));
    tracing::info!(entity = %entity.name, state = entity.state, rows, of_about, "copying");
}

/// One bar for each table that is being copied.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    of: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, entities: &[EntityStatus]) {
        for entity in entities {
            if is_copied(entity) {
                let all = &self.all;
                let bar = self.of.entry(entity.name.to_string()).or_insert_with(|| all.add(bar(entity)));
                // The server's estimate may be short of the truth.
                bar.set_length(estimated_rows(entity).max(entity.copied_rows));
                bar.set_position(entity.copied_rows);
                bar.set_message(entity.state);
            } else if let Some(bar) = self.of.remove(&*entity.name) {
                bar.finish_and_clear();
            }
        }
    }
}

fn bar(entity: &EntityStatus) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {msg} {wide_bar} {human_pos}/{human_len} rows {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(estimated_rows(entity)).with_style(style).with_prefix(entity.name.to_string())
}
