//! The replication session: authenticated, then at a gate, then streaming.
//!
//! # Invariants
//! - A session that is dropped ends at once, in whatever state it is: its task is aborted and the socket closed.
//! - The server is told only what `confirm` said, whoever stalls. The library goes on telling it while nobody takes
//!   events, so a slow applier never runs into `wal_sender_timeout`.
//! - Memory is bounded: at most [`buffered`] messages of at most `max_message_bytes` wait.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pgwire_replication::{ReplicationClient, ReplicationConfig, ReplicationEvent};
use tokio::time::Instant;

use super::connect::{options, within};
use super::error::{SourceError, SourceErrorKind};
use super::lsn::Lsn;
use super::quote::identifier;
use super::settings::{Endpoint, Settings};
use super::tls;

/// One pgoutput message, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// Where in the log it begins.
    pub(crate) lsn: Lsn,
    pub(crate) bytes: Bytes,
}

/// What the stream tells. Times are microseconds since 2000-01-01.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    Begin {
        xid: u32,
        final_lsn: Lsn,
        commit_micros: i64,
    },
    Commit {
        lsn: Lsn,
        end_lsn: Lsn,
        commit_micros: i64,
    },
    /// Of `pg_logical_emit_message`.
    Message {
        transactional: bool,
        lsn: Lsn,
        prefix: String,
        content: Bytes,
    },
    /// Any other message: relations, rows, truncations.
    Data(Raw),
    /// Everything up to here has been sent.
    KeepAlive {
        wal_end: Lsn,
    },
}

/// Changes out of one slot, in commit order.
pub(crate) trait ReplicationStream: Send {
    /// The next event. Cancel safe. An error is the end of the stream.
    fn next(&mut self) -> impl Future<Output = Result<StreamEvent, SourceError>> + Send;

    /// Everything before `flushed` is kept for good here; the server need not send it again. Never goes back.
    fn confirm(&self, flushed: Lsn);
}

/// What the server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Made by `initdb`: another number, another cluster.
    pub(crate) system_id: u64,
    pub(crate) timeline: u32,
    /// The end of its log.
    pub(crate) wal: Lsn,
}

/// A slot that has just been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Created {
    /// Every transaction that commits from here on is streamed.
    pub(crate) consistent_point: Lsn,
    /// The snapshot of exactly what is not; it may be taken up until [`Gate::start`].
    pub(crate) snapshot: String,
}

/// An authenticated replication session that has not started.
pub(crate) struct Gate {
    session: Session,
    slot: String,
    endpoint: Endpoint,
    connect_timeout: Duration,
    stall_timeout: Duration,
}

impl Gate {
    /// Opens a session for the slot and publication of `settings`, within its `connect_timeout`. Once started, the server
    /// is told `ack` until [`ReplicationStream::confirm`] says more.
    ///
    /// # Errors
    /// See [`SourceErrorKind`]; nothing of the password is in them.
    pub(crate) async fn open(settings: &Settings, ack: Lsn) -> Result<Self, SourceError> {
        settings.check()?;
        let endpoint = settings.url.clone();
        within(settings.connect_timeout, &endpoint, async {
            let mut session = Session(ReplicationClient::connect_gated(config(settings, ack)).await?);
            // Connecting goes on in the background: this is when its outcome shows.
            session.0.simple_query("SHOW server_version").await?;
            Ok(Self {
                session,
                slot: identifier(&settings.slot),
                endpoint: endpoint.clone(),
                connect_timeout: settings.connect_timeout,
                stall_timeout: settings.stall_timeout,
            })
        })
        .await
    }

    /// Asks the server who it is.
    ///
    /// # Errors
    /// Where the session broke, or it answers something else.
    pub(crate) async fn identify(&mut self) -> Result<Identity, SourceError> {
        let client = &mut self.session.0;
        let answer =
            within(self.connect_timeout, &self.endpoint, async { Ok(client.identify_system().await?) }).await?;
        let system_id = answer
            .system_id
            .parse()
            .map_err(|_| SourceError::new(SourceErrorKind::Protocol, "the server's system identifier is no number"))?;
        Ok(Identity { system_id, timeline: answer.timeline, wal: Lsn(answer.xlogpos.as_u64()) })
    }

    /// Creates the slot and exports the snapshot at its consistent point. Waits for every transaction that is under way
    /// to end, however long that takes; who is impatient drops the gate, but the slot may then be there all the same.
    ///
    /// # Errors
    /// The server's: such a slot exists (42710), none is free (53400), logical decoding is off (55000).
    pub(crate) async fn create_slot(&mut self) -> Result<Created, SourceError> {
        let sql = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT", self.slot);
        let rows = self.session.0.simple_query(&sql).await.map_err(|error| {
            SourceError::from(error).during(&format!("creating the replication slot {}", self.slot))
        })?;
        let text = |column: usize| {
            let cell = rows.first()?.get(column)?.as_ref()?;
            std::str::from_utf8(cell).ok()
        };
        text(1)
            .and_then(|point| point.parse().ok())
            .zip(text(2))
            .map(|(consistent_point, snapshot)| Created { consistent_point, snapshot: snapshot.to_owned() })
            .ok_or_else(|| {
                SourceError::new(
                    SourceErrorKind::Protocol,
                    "the server answered CREATE_REPLICATION_SLOT with another row",
                )
            })
    }

    /// Starts streaming from where the slot stands (its `confirmed_flush`). The slot is then ours.
    ///
    /// # Errors
    /// The server's: somebody else holds the slot (55006), it is gone (42704) or was invalidated (55000).
    pub(crate) async fn start(mut self) -> Result<PgwireStream, SourceError> {
        let client = &mut self.session.0;
        within(self.connect_timeout, &self.endpoint, async {
            client.start().await?;
            Ok(client.wait_started().await?)
        })
        .await
        .map_err(|error| error.during(&format!("starting replication from slot {}", self.slot)))?;
        Ok(PgwireStream { session: self.session, last_received: Instant::now(), stall_timeout: self.stall_timeout })
    }
}

/// A stream through the pgwire-replication library.
pub(crate) struct PgwireStream {
    session: Session,
    last_received: Instant,
    stall_timeout: Duration,
}

impl ReplicationStream for PgwireStream {
    async fn next(&mut self) -> Result<StreamEvent, SourceError> {
        loop {
            // What waits already is taken, however long ago the last was.
            let received =
                tokio::time::timeout_at(self.last_received + self.stall_timeout, self.session.0.recv()).await;
            let Ok(received) = received else {
                let silent = self.stall_timeout.as_millis();
                let message = format!("the server has said nothing for {silent} ms");
                return Err(SourceError::new(SourceErrorKind::Stalled, message));
            };
            self.last_received = Instant::now();
            let Some(event) = received? else {
                return Err(SourceError::new(SourceErrorKind::Unreachable, "the server ended the replication stream"));
            };
            if let Some(event) = translated(event) {
                return Ok(event);
            }
        }
    }

    fn confirm(&self, flushed: Lsn) {
        self.session.0.update_applied_lsn(pgwire_replication::Lsn::from_u64(flushed.0));
    }
}

fn translated(event: ReplicationEvent) -> Option<StreamEvent> {
    let lsn = |lsn: pgwire_replication::Lsn| Lsn(lsn.as_u64());
    Some(match event {
        ReplicationEvent::KeepAlive { wal_end, .. } => StreamEvent::KeepAlive { wal_end: lsn(wal_end) },
        ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
            StreamEvent::Begin { xid, final_lsn: lsn(final_lsn), commit_micros: commit_time_micros }
        }
        ReplicationEvent::XLogData { wal_start, data, .. } => {
            StreamEvent::Data(Raw { lsn: lsn(wal_start), bytes: data })
        }
        ReplicationEvent::Commit { lsn: at, end_lsn, commit_time_micros } => {
            StreamEvent::Commit { lsn: lsn(at), end_lsn: lsn(end_lsn), commit_micros: commit_time_micros }
        }
        ReplicationEvent::Message { transactional, lsn: at, prefix, content } => {
            StreamEvent::Message { transactional, lsn: lsn(at), prefix, content }
        }
        // Only of a stream with an end, which none of ours has.
        ReplicationEvent::StoppedAt { .. } => return None,
    })
}

/// The library's handle. Left to itself its task would outlive it wherever it waits for the server's next byte.
struct Session(ReplicationClient);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn config(settings: &Settings, ack: Lsn) -> ReplicationConfig {
    let endpoint = &settings.url;
    let password = endpoint.config.get_password().map(String::from_utf8_lossy).unwrap_or_default();
    // The server must speak up while nothing happens: it does after half of this without a word of ours. So we say
    // nothing by ourselves then.
    let timeout = ("wal_sender_timeout", settings.stall_timeout.as_millis().to_string());
    ReplicationConfig::new(
        endpoint.host(),
        endpoint.user(),
        password,
        endpoint.database(),
        // The library puts the slot into its command as it is, and the publications between single quotes, where the
        // server parses a list of identifiers.
        identifier(&settings.slot),
        identifier(&settings.publication),
    )
    .with_port(endpoint.port())
    .with_tls(tls::replication(settings, endpoint))
    .with_options(options(endpoint, &[timeout]))
    .with_application_name(endpoint.config.get_application_name().unwrap_or("tidegate"))
    .with_ack_lsn(pgwire_replication::Lsn::from_u64(ack.0))
    .with_status_interval(settings.status_interval)
    .with_wakeup_interval(settings.stall_timeout)
    .with_max_message_size(settings.max_message_bytes)
    .with_buffer_size(buffered(settings.max_message_bytes))
}

/// Messages that may wait: of the largest size together 256 MiB, but never fewer than 64, since each then costs a switch of
/// tasks (with 4, a third of the rows a second). The library counts messages, not bytes, so rows of 64 MiB one after the
/// other may take 4 GiB; who must not have that sets `max_message_bytes` lower.
fn buffered(max_message_bytes: usize) -> usize {
    const BYTES_MAX: usize = 256 * 1024 * 1024;
    (BYTES_MAX / max_message_bytes.max(1)).clamp(64, 1024)
}
