//! Every room's counters in the text form that Prometheus reads. Labels come from closed lists.

mod application;
mod identity;
mod jobs;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tidegate_edge::{EdgeMetrics, Paused, Refused, Transport};
use tidegate_feed::postgres::PostgresFeed;
use tidegate_identity::Identity;
use tidegate_live::Live;
use tidegate_mirror::Mirror;
use tidegate_model::Position;
use tidegate_session::CloseReason;
use tidegate_session::runtime::RuntimeMetrics;
use tokio::sync::watch;

use crate::feeds::Feed;

/// What an entity of a database may be doing.
const ENTITY_STATES: [&str; 5] = ["waiting", "copying", "catching_up", "ready", "unavailable"];

/// Where the numbers are.
pub(crate) struct Sources {
    pub(crate) edge: Arc<EdgeMetrics>,
    pub(crate) live: Live,
    pub(crate) feed: Feed,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) applied: watch::Receiver<Position>,
    /// `None` where the embedding program decides.
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) topics: Arc<tidegate_topics::Metrics>,
    pub(crate) application: Arc<crate::application::Metrics>,
    pub(crate) jobs: Arc<RuntimeMetrics>,
}

/// A registry whose every scrape reads the rooms.
pub(crate) fn registry(sources: Sources) -> Registry {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(sources));
    registry
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.edge(&mut out)?;
        self.live(&mut out)?;
        match &self.feed {
            Feed::Local(feed) => local(feed.metrics(), &mut out)?,
            Feed::Postgres(feed) => source(feed, &mut out)?,
        }
        self.mirror(&mut out)?;
        topics::encode(&self.topics, &mut out)?;
        application::encode(&self.application, &mut out)?;
        jobs::encode(&self.jobs, &mut out)?;
        self.identity.as_deref().map_or(Ok(()), |identity| identity::encode(identity, &mut out))
    }
}

impl Sources {
    fn edge(&self, out: &mut Out<'_>) -> fmt::Result {
        let edge = &*self.edge;
        out.gauge("connections", "Live connections open now", load(&edge.connections))?;
        out.counter("connections_opened", "Live connections ever opened", load(&edge.connections_total))?;
        let by = Transport::ALL.map(|transport| (transport.name(), load(&edge.connections_by[transport as usize])));
        out.levels("connections_by_transport", "Live connections open now, by transport", "transport", &by)?;
        out.gauge("strangers", "Sockets and connections that have not said yet who they are", load(&edge.strangers))?;
        out.gauge("memory_bytes", "Resident bytes of the process", load(&edge.memory))?;
        out.gauge("edge_queued", "Turns and sockets waiting for the edge's workers", load(&edge.queued))?;
        let refused = Refused::ALL.map(|reason| (reason.name(), load(&edge.refused[reason as usize])));
        out.by_reason("connections_refused", "Clients not let in", &refused)?;
        let closed = CloseReason::ALL.map(|reason| (reason.name(), load(&edge.closed[reason as usize])));
        out.by_reason("connections_closed", "Live connections closed", &closed)?;
        out.counter("messages_received", "Messages from clients", load(&edge.messages_in))?;
        out.counter("messages_sent", "Messages and events to clients", load(&edge.messages_out))?;
        out.counter("sent_bytes", "Bytes of those, without framing", load(&edge.bytes_out))?;
        out.counter("messages_malformed", "Messages that could not be understood", load(&edge.malformed))?;
        out.counter("messages_binary", "Binary messages, which are ignored", load(&edge.binary))?;
        let paused = Paused::ALL.map(|reason| (reason.name(), load(&edge.paused[reason as usize])));
        out.by_reason("messages_paused", "Pauses in reading from clients that send too fast", &paused)?;
        out.counter("messages_compressed", "Messages compressed, once for all who get it", load(&edge.compressed))?;
        let sessions = &*edge.sessions;
        out.gauge("session_subscriptions", "Subscriptions of sessions now", load(&sessions.subscriptions))?;
        let refused = load(&sessions.subscriptions_refused);
        out.counter("session_subscriptions_refused", "Subscribes beyond a session's cap", refused)?;
        out.counter("session_conflated", "Slow subscriptions given the net difference", load(&sessions.conflated))?;
        out.counter("session_resets", "Slow subscriptions given a fresh snapshot", load(&sessions.resets))?;
        out.counter("session_too_large", "Snapshots larger than an outbox", load(&sessions.too_large))?;
        let dropped = load(&sessions.publications_dropped);
        out.counter("session_publications_dropped", "Publications that slow clients were not sent", dropped)?;
        out.counter("session_gapped", "Subscriptions to topics ended with something missing", load(&sessions.gapped))?;
        let behind = load(&sessions.events_behind);
        out.counter("session_events_behind", "Times that a connection fell behind its session's events", behind)?;
        out.counter("session_slow_clients", "Sessions closed as too slow", load(&sessions.slow_clients))
    }

    fn live(&self, out: &mut Out<'_>) -> fmt::Result {
        let live = self.live.metrics();
        out.gauge("position", "Position that every subscriber has been handed", self.applied.borrow().0)?;
        out.gauge("live_backlog", "Transactions waiting for the slowest worker", self.live.backlog() as u64)?;
        out.gauge("live_views", "Views, lingering ones included", live.views.get())?;
        out.gauge("live_subscriptions", "Subscriptions", live.subscriptions.get())?;
        out.counter("live_transactions", "Transactions folded in, once a worker", live.transactions.get())?;
        out.counter("live_batches", "Batches recorded", live.batches.get())?;
        out.counter("live_deltas", "Deltas in them", live.deltas.get())?;
        out.counter("live_scans", "Scans asked for", live.scans.get())?;
        out.counter("live_scans_repeated", "Scans made again", live.scans_repeated.get())?;
        out.counter("live_views_reloaded", "Views read anew after a reload", live.views_reloaded.get())?;
        out.counter("live_idle_reloaded", "Lingering views let go by a reload", live.idle_reloaded.get())?;
        out.counter(
            "live_views_reloaded",
            "Views with subscribers read anew with their entity",
            live.views_reloaded.get(),
        )?;
        out.counter("live_idle_reloaded", "Views without, let go instead", live.idle_reloaded.get())?;
        out.counter("live_resumed", "Resumes that were proven", live.resumed.get())?;
        out.counter("live_resets", "Snapshots where a client had hoped to go on", live.resets.get())?;
        out.counter("live_reanchors", "Re-anchors", live.reanchors.get())?;
        out.counter("live_conflated", "Subscribers given the net of what they missed", live.conflated.get())?;
        out.counter("live_views_refused", "Subscribes refused at the cap on views", live.views_refused.get())?;
        out.counter("live_busy", "Commands refused because a queue was full", live.busy.get())
    }

    fn mirror(&self, out: &mut Out<'_>) -> fmt::Result {
        let mirror = self.mirror.metrics();
        out.gauge("mirror_reads_waiting", "Reads waiting for a reader", self.mirror.waiting() as u64)?;
        out.counter("mirror_scans", "Scans and pages answered", load(&mirror.scans))?;
        out.counter("mirror_passes", "Of these, those that no index served in order", load(&mirror.passes))?;
        out.counter("mirror_rows_scanned", "Rows looked at by scans", load(&mirror.rows_scanned))?;
        out.counter("mirror_busy", "Reads refused because too many were waiting", load(&mirror.busy))?;
        out.counter("mirror_commits", "Commits", load(&mirror.commits))?;
        out.counter("mirror_commits_failed", "Commits that failed", load(&mirror.commits_failed))?;
        out.seconds("mirror_commit_seconds", "Time that commits took, fsync included", load(&mirror.commit_micros))?;
        out.counter("mirror_rows_written", "Rows written or deleted", load(&mirror.rows_written))?;
        out.gauge("mirror_wal_bytes", "Size of the write-ahead log", load(&mirror.wal_bytes))?;
        out.gauge("mirror_pending_rows", "Changes recorded beside copies under way", load(&mirror.pending_rows))?;
        out.gauge("mirror_pending_bytes", "Size of these", load(&mirror.pending_bytes))
    }
}

fn local(feed: &tidegate_feed::Metrics, out: &mut Out<'_>) -> fmt::Result {
    out.gauge("feed_queue_requests", "Writes waiting", load(&feed.queue_requests))?;
    out.gauge("feed_queue_bytes", "Their bytes", load(&feed.queue_bytes))?;
    out.counter("feed_overloaded", "Writes turned away because the queue was full", load(&feed.overloaded))?;
    out.counter("feed_refused", "Writes that broke a rule", load(&feed.refused))?;
    out.counter("feed_replayed", "Writes answered from an idempotency key", load(&feed.replayed))?;
    out.counter("feed_failed", "Writes lost to a failing store", load(&feed.failed))?;
    out.counter("feed_transactions", "Transactions committed", load(&feed.transactions))?;
    out.counter("feed_rows", "Rows changed by them", load(&feed.rows))?;
    out.seconds("feed_latency_seconds", "Arrival to durable, summed over transactions", load(&feed.latency_micros))?;
    out.gauge("feed_latency_max_microseconds", "The longest of these", load(&feed.latency_micros_max))
}

fn source(feed: &PostgresFeed, out: &mut Out<'_>) -> fmt::Result {
    let source = feed.metrics();
    out.gauge("source_connected", "Whether the log of the database is being read", load(&source.connected))?;
    out.gauge("source_lag_bytes", "Log of the database not applied yet", load(&source.lag_bytes))?;
    out.gauge_seconds("source_lag_seconds", "Since all that was sent was applied", feed.lag().as_micros() as u64)?;
    out.gauge("source_slot_retained_bytes", "Log that the database keeps for us", load(&source.retained_bytes))?;
    out.counter("source_transactions", "Transactions applied", load(&source.transactions))?;
    out.counter("source_transactions_known", "Transactions that came again", load(&source.redelivered))?;
    out.counter("source_rows", "Changed rows applied", load(&source.rows))?;
    out.counter("source_commits", "Commits of the store for them", load(&source.commits))?;
    out.counter("source_copy_rows", "Rows copied", load(&source.copied_rows))?;
    out.counter("source_recorded", "Changes recorded beside a copy", load(&source.recorded))?;
    out.counter("source_entities_failed", "Entities that went unavailable", load(&source.failed_entities))?;
    out.by_reason("source_reconnects", "Sessions with the database that ended", &source.sessions_ended.counts())?;
    out.by_reason("source_recopies", "Times that everything was copied", &source.copies.counts())?;
    let entities = feed.status().entities;
    let in_state = |state| (state, entities.iter().filter(|entity| entity.state == state).count() as u64);
    out.levels("source_entities", "Entities by state", "state", &ENTITY_STATES.map(in_state))
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.metric(name, help, &ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn seconds(&mut self, name: &str, help: &str, micros: u64) -> fmt::Result {
        self.metric(name, help, &ConstCounter::new(micros as f64 / 1e6))
    }

    fn gauge_seconds(&mut self, name: &str, help: &str, micros: u64) -> fmt::Result {
        self.metric(name, help, &ConstGauge::new(micros as f64 / 1e6))
    }

    fn by_reason(&mut self, name: &str, help: &str, values: &[(&'static str, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, ConstCounter::new(0u64).metric_type())?;
        for (reason, value) in values {
            ConstCounter::new(*value).encode(family.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }

    /// A gauge by `label`.
    fn levels(&mut self, name: &str, help: &str, label: &str, values: &[(&'static str, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, ConstGauge::new(0i64).metric_type())?;
        for (of, value) in values {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family.encode_family(&[(label, *of)])?)?;
        }
        Ok(())
    }

    fn metric(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
