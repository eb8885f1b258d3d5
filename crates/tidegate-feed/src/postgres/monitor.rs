//! What has to be asked of the server beside the stream: how far behind we are, and what the stream does not tell
//! (tables dropped, the publication altered, columns added).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::applier::Input;
use super::connect::Connection;
use super::inspect::{self, TableInfo};
use super::marks::{self, Mark};
use super::resolve::resolve;
use super::session::{Ended, Followed, Source};
use super::{Lsn, setup};

/// Between two barriers for those who wait.
const NUDGE_EVERY: Duration = Duration::from_millis(50);
/// Places remembered for the lag in time.
const SAMPLES_MAX: usize = 128;

pub(crate) struct Monitor {
    source: Arc<Source>,
    client: Connection,
    /// What the publication was when the session was judged.
    through: String,
    marks: Vec<Mark>,
    /// Where the server's log ended, and when.
    samples: VecDeque<(Lsn, Instant)>,
}

impl Monitor {
    /// Tells the applier the tables' marks first.
    pub(crate) async fn new(
        source: Arc<Source>,
        client: Connection,
        through: String,
        marks: Vec<Mark>,
    ) -> Result<Self, Ended> {
        source.inputs.send(Input::Marks(marks.clone())).await.map_err(|_| Ended::Stopped)?;
        Ok(Self { source, client, through, marks, samples: VecDeque::new() })
    }

    /// Looks every check interval, and at once when the stream describes a table again; emits a barrier when somebody
    /// waits.
    pub(crate) async fn run(mut self) -> Result<Infallible, Ended> {
        let source = self.source.clone();
        let mut ticks = tokio::time::interval(source.settings.check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look().await?,
                () = source.shared.look.notified() => self.look().await?,
                () = source.shared.nudge.notified() => {
                    self.nudge().await?;
                    tokio::time::sleep(NUDGE_EVERY).await;
                }
            }
        }
    }

    /// A message of ours, so that the stream comes past where the server is now. Where that is not allowed, whoever waits
    /// does so until something else is written.
    async fn nudge(&self) -> Result<(), Ended> {
        match setup::emit_barrier(&self.client, b"").await {
            Err(error) if error.sqlstate().is_some() => {
                tracing::debug!(reason = %error, "no barrier could be written");
                Ok(())
            }
            outcome => outcome.map(drop).map_err(Ended::from),
        }
    }

    async fn look(&mut self) -> Result<(), Ended> {
        self.lag().await?;
        let settings = &self.source.settings;
        let publication = inspect::publication(&self.client, &settings.publication, &[]).await?;
        let fingerprint = publication.map(|publication| publication.fingerprint).unwrap_or_default();
        if format!("{} {} {fingerprint}", settings.slot, settings.publication) != self.through {
            return Err(Ended::Changed(format!("the publication {:?} was altered", settings.publication)));
        }
        let marks = marks::marks(&self.client, &self.source).await?;
        if marks != self.marks {
            self.marks.clone_from(&marks);
            self.source.inputs.send(Input::Marks(marks)).await.map_err(|_| Ended::Stopped)?;
        }
        self.schema().await?;
        // A copy waits for the stream to pass what it saw; on a server where nothing is written nothing would.
        let waits = self.source.shared.status().entities.iter().any(|entity| entity.state == "catching_up");
        if waits { self.nudge().await } else { Ok(()) }
    }

    async fn lag(&mut self) -> Result<(), Ended> {
        let lag = setup::lag(&self.client, &self.source.settings.slot).await?;
        if lag.confirmed.is_none() || lag.wal_status.as_deref() == Some("lost") {
            return Err(Ended::Changed(format!("the slot {:?} is lost", self.source.settings.slot)));
        }
        let metrics = &self.source.shared.metrics;
        let applied = self.source.shared.progress.borrow().lsn;
        let behind = lag.current.0.saturating_sub(applied.0);
        metrics.lag_bytes.store(behind, Ordering::Relaxed);
        let retained = lag.restart.map_or(0, |restart| lag.current.0.saturating_sub(restart.0));
        metrics.retained_bytes.store(retained, Ordering::Relaxed);
        let now = Instant::now();
        while self.samples.front().is_some_and(|(lsn, _)| *lsn <= applied) || self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        if behind > 0 {
            self.samples.push_back((lag.current, now));
        }
        let since = self.samples.front().map_or(Duration::ZERO, |(_, at)| now.duration_since(*at));
        metrics.lag_micros.store(since.as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the tables are still what the catalog was made from.
    async fn schema(&self) -> Result<(), Ended> {
        let wishes = self.source.followed.iter().map(|followed| &followed.wish);
        let mut wanted: Vec<(String, String)> = wishes.map(|wish| (wish.schema.clone(), wish.table.clone())).collect();
        wanted.sort();
        wanted.dedup();
        let tables = inspect::tables(&self.client, Some(&wanted)).await?;
        for followed in &self.source.followed {
            let Some(reason) = changed(followed, &tables) else { continue };
            let fatal = !tables.iter().any(|table| table.oid == followed.mapping.oid);
            if fatal {
                let input = Input::Fail { entity: followed.entity, reason: reason.as_str().into() };
                self.source.inputs.send(input).await.map_err(|_| Ended::Stopped)?;
            }
            let reason = format!("entity {:?}: {reason}", &*followed.name);
            self.source.shared.schema_changed.send_if_modified(|known| {
                let new = known.as_ref() != Some(&reason);
                *known = Some(reason.clone());
                new
            });
        }
        Ok(())
    }
}

/// What of a table is no longer as it was.
fn changed(followed: &Followed, tables: &[TableInfo]) -> Option<String> {
    let named = |table: &&TableInfo| table.schema == followed.wish.schema && table.name == followed.wish.table;
    let Some(table) = tables.iter().find(named) else {
        return Some(format!("the table {}.{} is gone", followed.wish.schema, followed.wish.table));
    };
    if table.oid != followed.mapping.oid {
        return Some(format!("the table {}.{} was made anew", table.schema, table.name));
    }
    // The stream describes the partitioned table and not its partitions, so their rows would just lack the key.
    if let Some((schema, name)) = table.odd_partitions.first() {
        return Some(format!("the partition {schema}.{name} has a replica identity of its own"));
    }
    match resolve(&followed.wish, table) {
        Ok((_, mapping, _)) if mapping.signature == followed.mapping.signature => None,
        Ok(_) => Some("the table's columns have changed".to_owned()),
        Err(problems) => Some(problems.first().map_or_else(String::new, |problem| problem.what.clone())),
    }
}
