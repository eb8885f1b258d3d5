//! What is set up on the server, and what is asked of it beside the stream.

use tokio_postgres::Client;

use super::connect::{field, parsed, rows};
use super::error::SourceError;
use super::lsn::Lsn;
use super::quote::{self, identifier, literal};
use super::settings::Settings;

/// The prefix of our own messages in the log.
pub(crate) const MESSAGE_PREFIX: &str = "tidegate";

/// Makes sure that the publication is there and that every one of `tables` (schema, name) is in it, whole. Nothing is
/// changed where nothing is missing, so a role that may not is enough then. Never drops anything.
///
/// # Errors
/// The server's; 42501 where something is missing and the role may not add it.
pub(crate) async fn ensure_publication(
    client: &Client,
    settings: &Settings,
    tables: &[(String, String)],
) -> Result<(), SourceError> {
    let name = literal(&settings.publication);
    let found =
        rows(client, &format!("SELECT puballtables FROM pg_catalog.pg_publication WHERE pubname = {name}")).await?;
    let list = |tables: &[&(String, String)]| {
        let names = tables.iter().map(|(schema, table)| quote::only(schema, table));
        names.collect::<Vec<_>>().join(", ")
    };
    let publication = identifier(&settings.publication);
    let sql = match found.first() {
        None => {
            let tables = list(&tables.iter().collect::<Vec<_>>());
            let tables = if tables.is_empty() { String::new() } else { format!(" FOR TABLE {tables}") };
            format!("CREATE PUBLICATION {publication}{tables} WITH (publish_via_partition_root = true)")
        }
        Some(row) if field(row, 0) == Some("t") => return Ok(()),
        Some(_) => {
            // Of the view, as it has the tables of published schemas too.
            let sql =
                format!("SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname = {name}");
            let members = rows(client, &sql).await?;
            let is_member = |(schema, table): &&(String, String)| {
                !members.iter().any(|row| field(row, 0) == Some(schema) && field(row, 1) == Some(table))
            };
            let missing: Vec<_> = tables.iter().filter(is_member).collect();
            if missing.is_empty() {
                return Ok(());
            }
            format!("ALTER PUBLICATION {publication} ADD TABLE {}", list(&missing))
        }
    };
    client
        .batch_execute(&sql)
        .await
        .map_err(|error| SourceError::from(error).during(&format!("setting up the publication {publication}")))
}

/// Drops the slot; nothing where it is not there.
///
/// # Errors
/// The server's; 55006 while somebody streams from it.
pub(crate) async fn drop_slot(client: &Client, slot: &str) -> Result<(), SourceError> {
    let slot = literal(slot);
    let sql = format!(
        "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = {slot}"
    );
    rows(client, &sql).await.map(drop)
}

/// How far a slot is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lag {
    /// The end of the server's log.
    pub(crate) current: Lsn,
    /// What the slot was told to be kept here; `None` without such a slot.
    pub(crate) confirmed: Option<Lsn>,
    /// From where the server must keep its log for it.
    pub(crate) restart: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub(crate) wal_status: Option<String>,
    /// Bytes that may yet be written until the slot is in danger of being lost; `None` where there is no limit.
    pub(crate) safe_wal_size: Option<i64>,
}

/// Asks how far `slot` is behind.
///
/// # Errors
/// The server's, or a broken connection.
pub(crate) async fn lag(client: &Client, slot: &str) -> Result<Lag, SourceError> {
    let sql = format!(
        "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
         ELSE pg_catalog.pg_current_wal_lsn() END, s.confirmed_flush_lsn, s.restart_lsn, s.wal_status, s.safe_wal_size \
         FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = {}",
        literal(slot)
    );
    let rows = rows(client, &sql).await?;
    let row = rows.first();
    let text = |column: usize| row.and_then(|row| field(row, column));
    Ok(Lag {
        current: parsed(row, 0)?,
        confirmed: text(1).and_then(|lsn| lsn.parse().ok()),
        restart: text(2).and_then(|lsn| lsn.parse().ok()),
        wal_status: text(3).map(str::to_owned),
        safe_wal_size: text(4).and_then(|size| size.parse().ok()),
    })
}

/// Writes a message of ours into the log, which the stream then tells in its place: where in the log it ends.
///
/// It is flushed at once. A message that belongs to no transaction would lie in memory until the server happens to flush,
/// seconds on an idle one, so the transaction around it is given an id and commits; it waits for no standby.
///
/// # Errors
/// The server's: 42501 without EXECUTE on `pg_logical_emit_message`, 25006 on a standby.
pub(crate) async fn emit_barrier(client: &Client, content: &[u8]) -> Result<Lsn, SourceError> {
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "BEGIN; SET LOCAL synchronous_commit = local; SELECT pg_catalog.pg_logical_emit_message(false, '{MESSAGE_PREFIX}', \
         pg_catalog.decode('{hex}', 'hex')), pg_catalog.pg_current_xact_id(); COMMIT"
    );
    let outcome = rows(client, &sql).await;
    if outcome.is_err() {
        // Else the next statement would find itself in the failed transaction.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    parsed(outcome?.first(), 0)
}
