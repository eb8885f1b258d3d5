//! Copying a table beside the stream.
//!
//! # Invariants
//! - Whatever happens happens inside one transaction, by statements that leave nothing behind in the session: a pooler
//!   that lends a server connection per transaction will do.
//! - At most one batch, one message of the server and what the receiver's channel holds are in memory. A receiver that is
//!   slow slows the server's COPY down.

use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use tidegate_model::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::Lsn;
use super::binary_copy::Parser;
use super::connect::{PINNED, field, parsed, rows};
use super::error::{SourceError, SourceErrorKind};
use super::mapping::Mapping;
use super::quote::literal;
use super::snapshot::XidSnapshot;

/// A batch of rows, each with a value per column of the entity.
pub(crate) type Batch = Vec<Box<[Value]>>;

/// Which snapshot a copy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotSource {
    /// The one that a slot exported when it was made.
    Exported(String),
    /// A new one.
    Fresh,
}

/// What a copy has seen of the transactions in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// None that is streamed.
    AtSlot,
    /// Those that this snapshot has seen.
    Snapshot(XidSnapshot),
}

impl Seen {
    /// Whether the copy has what a streamed transaction did.
    pub(crate) fn sees(&self, xid: u32) -> bool {
        match self {
            Seen::AtSlot => false,
            Seen::Snapshot(snapshot) => snapshot.sees(snapshot.extend(xid)),
        }
    }
}

/// What a copy's memory and patience are bounded by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyLimits {
    /// Rows in a batch.
    pub(crate) batch_rows: usize,
    /// Bytes, as the server sends them, after which a batch is full.
    pub(crate) batch_bytes: usize,
    /// Bytes of a row.
    pub(crate) row_bytes: usize,
    /// The server has not sent anything for this long.
    pub(crate) stall_timeout: Duration,
}

impl CopyLimits {
    /// The usual: 4,096 rows or 4 MiB in a batch.
    pub(crate) fn of(settings: &super::settings::Settings) -> Self {
        Self {
            batch_rows: 4_096,
            batch_bytes: 4 * 1024 * 1024,
            row_bytes: settings.max_message_bytes,
            stall_timeout: settings.stall_timeout,
        }
    }
}

/// Opens the transaction of a copy: REPEATABLE READ, READ ONLY, values printed as they are read here. It ends with the
/// caller's `COMMIT`, or with the connection. After an error the connection is of no use.
///
/// # Errors
/// The server's; 22023 or 55000 where the exported snapshot is gone.
pub(crate) async fn begin(client: &Client, source: &SnapshotSource) -> Result<Seen, SourceError> {
    let mut sql = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned();
    if let SnapshotSource::Exported(name) = source {
        sql += &format!("; SET TRANSACTION SNAPSHOT {}", literal(name));
    }
    for (name, value) in PINNED {
        sql += &format!("; SET LOCAL {name} = {}", literal(value));
    }
    sql += "; SELECT pg_catalog.pg_current_snapshot()";
    let rows = rows(client, &sql).await.map_err(|error| error.during("opening the transaction of a copy"))?;
    let snapshot: String = parsed(rows.first(), 0)?;
    match source {
        SnapshotSource::Exported(_) => Ok(Seen::AtSlot),
        SnapshotSource::Fresh => XidSnapshot::parse(&snapshot).map(Seen::Snapshot),
    }
}

/// Where the log ends, asked after a snapshot was taken: past every commit that the snapshot sees. What has been flushed
/// would not be, for a commit may be seen before it is.
///
/// # Errors
/// The server's.
pub(crate) async fn log_end(client: &Client) -> Result<Lsn, SourceError> {
    parsed(rows(client, "SELECT pg_catalog.pg_current_wal_insert_lsn()").await?.first(), 0)
}

/// Copies a table in the transaction that [`begin`] opened, batch by batch into `sink`: how many rows.
///
/// # Errors
/// The server's or the connection's; [`SourceErrorKind::TooLarge`] for a row past the limit,
/// [`SourceErrorKind::Incompatible`] for a value that does not fit, [`SourceErrorKind::Stopped`] where the receiver is
/// gone, [`SourceErrorKind::Stalled`]. Then the connection is of no use.
pub(crate) async fn copy_table(
    client: &Client,
    mapping: &Mapping,
    limits: &CopyLimits,
    sink: &mpsc::Sender<Batch>,
) -> Result<u64, SourceError> {
    // Its prepared statement is closed as soon as the copy runs, within the transaction.
    let stream = client.copy_out(&mapping.copy_sql()).await?;
    pin_mut!(stream);
    let mut parser = Parser::new(mapping.columns.len(), limits.row_bytes);
    let (mut batch, mut bytes, mut copied) = (Vec::new(), 0, 0);
    loop {
        let chunk = tokio::time::timeout(limits.stall_timeout, stream.next()).await.map_err(|_| {
            let silent = limits.stall_timeout.as_millis();
            SourceError::new(SourceErrorKind::Stalled, format!("the server has sent nothing of a copy for {silent} ms"))
        })?;
        let Some(chunk) = chunk else { break };
        parser.push(chunk?);
        while let Some(row) = parser.next_row()? {
            bytes += row.bytes;
            batch.push(values(mapping, &row.fields)?);
            if batch.len() >= limits.batch_rows || bytes >= limits.batch_bytes {
                copied += hand_over(sink, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
    }
    parser.finish()?;
    copied += hand_over(sink, batch).await?;
    Ok(copied)
}

async fn hand_over(sink: &mpsc::Sender<Batch>, batch: Batch) -> Result<u64, SourceError> {
    let rows = batch.len() as u64;
    if rows > 0 {
        let gone = |_| SourceError::new(SourceErrorKind::Stopped, "nobody takes the rows of a copy any more");
        sink.send(batch).await.map_err(gone)?;
    }
    Ok(rows)
}

fn values(mapping: &Mapping, fields: &[Option<bytes::Bytes>]) -> Result<Box<[Value]>, SourceError> {
    let cells = fields.iter().zip(&mapping.columns).map(|(cell, column)| match cell {
        None => Ok(Value::Null),
        Some(bytes) => column.source.from_binary(bytes).map_err(|error| {
            let message = format!("column {} of a copied row can't be read: {error}", column.name);
            SourceError::new(SourceErrorKind::Incompatible, message)
        }),
    });
    cells.collect()
}

/// Waits until every transaction that is under way now, in any database of the server, has ended: how often it asked.
///
/// Long ones are reported. There is no limit of time: who is impatient drops the future.
///
/// # Errors
/// The server's, or a broken connection.
pub(crate) async fn wait_for_older(client: &Client) -> Result<u64, SourceError> {
    const REPORT_EVERY: Duration = Duration::from_secs(10);
    // An id of our own, as every older transaction has a lower one. A snapshot's xmax would not do: it is past the last
    // that has ended, and those under way may be past it.
    let ours: u64 = parsed(rows(client, "SELECT pg_catalog.pg_current_xact_id()").await?.first(), 0)?;
    let mut pause = Duration::from_millis(10);
    let mut report = Instant::now() + REPORT_EVERY;
    let mut polls = 0;
    loop {
        polls += 1;
        let sql = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())";
        let oldest: u64 = parsed(rows(client, sql).await?.first(), 0)?;
        if oldest > ours {
            return Ok(polls);
        }
        if Instant::now() >= report {
            report_oldest(client, oldest).await?;
            report = Instant::now() + REPORT_EVERY;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Logs whose transaction is the oldest, as far as the role may see it.
async fn report_oldest(client: &Client, oldest: u64) -> Result<(), SourceError> {
    let sql = "SELECT 'session ' || pid, xact_start, state FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
               UNION ALL SELECT 'prepared transaction ' || gid, prepared, 'prepared' FROM pg_catalog.pg_prepared_xacts \
               ORDER BY 2 LIMIT 1";
    let found = rows(client, sql).await?;
    let text = |column: usize| found.first().and_then(|row| field(row, column)).unwrap_or("unknown");
    tracing::info!(
        xid = oldest,
        holder = text(0),
        since = text(1),
        state = text(2),
        "a copy waits for an older transaction to end"
    );
    Ok(())
}
