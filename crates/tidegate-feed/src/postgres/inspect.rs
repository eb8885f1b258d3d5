//! What a PostgreSQL server (14 and later) says of itself, its tables, a publication and a slot.
//!
//! Every statement is sent unnamed, so that a pooler between is no obstacle.

mod tables;

use tokio_postgres::types::{ToSql, Type as PgType};
use tokio_postgres::{Client, Row};

use super::{Lsn, SourceError, SourceErrorKind};
pub use tables::{ColumnInfo, Identity, TableInfo, tables};

/// The server, and the role that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As `server_version_num`: 150004 is 15.4.
    pub version_num: i32,
    /// The setting `wal_level`.
    pub wal_level: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// The setting `max_replication_slots`.
    pub max_replication_slots: i32,
    /// Slots there are.
    pub used_replication_slots: i32,
    /// The setting `max_wal_senders`.
    pub max_wal_senders: i32,
    /// WAL senders there are.
    pub used_wal_senders: i32,
    /// The database asked.
    pub database: String,
    /// The role's name.
    pub role: String,
    /// Whether it is a superuser.
    pub superuser: bool,
    /// Whether it has REPLICATION (or is a superuser).
    pub may_replicate: bool,
    /// Whether it may CREATE on the database.
    pub may_create: bool,
    /// The database's encoding, such as `UTF8`.
    pub encoding: String,
}

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationInfo {
    /// Its oid.
    pub oid: u32,
    /// Whether it is FOR ALL TABLES.
    pub all_tables: bool,
    /// Whether it publishes INSERT.
    pub insert: bool,
    /// Whether it publishes UPDATE.
    pub update: bool,
    /// Whether it publishes DELETE.
    pub delete: bool,
    /// Whether it publishes TRUNCATE.
    pub truncate: bool,
    /// Whether a partition's changes come under the partitioned table's name.
    pub via_root: bool,
    /// Whether the role owns it (or may act as its owner).
    pub owned: bool,
    /// The owner's name.
    pub owner: String,
    /// The tables whose changes it publishes, by whatever clause.
    pub members: Vec<Member>,
    /// Changes whenever the publication, or the place of one of the tables asked for in it, was altered.
    pub fingerprint: String,
}

/// A table of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The table's oid.
    pub oid: u32,
    /// Whether it is published with a WHERE clause.
    pub has_filter: bool,
    /// Whether it is published with a column list.
    pub has_columns: bool,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its plugin; absent for a physical slot.
    pub plugin: Option<String>,
    /// Its database; absent for a physical slot.
    pub database: Option<String>,
    /// Whether a session is streaming from it.
    pub active: bool,
    /// That session's process.
    pub active_pid: Option<i32>,
    /// Up to here the client has confirmed.
    pub confirmed_flush: Option<Lsn>,
    /// From here the log is kept.
    pub restart_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Why it can no longer be used, where the server (17 and later; 16 for `conflict`) says so.
    pub invalidation: Option<String>,
    /// Whether it goes with its session.
    pub temporary: bool,
}

impl SlotInfo {
    /// Whether the server has given it up.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.invalidation.is_some() || self.wal_status.as_deref() == Some("lost")
    }
}

const SERVER: &str = "
select current_setting('server_version_num')::int4, current_setting('wal_level'), pg_is_in_recovery(),
       current_setting('max_replication_slots')::int4, (select count(*)::int4 from pg_replication_slots),
       current_setting('max_wal_senders')::int4, (select count(*)::int4 from pg_stat_replication),
       current_database()::text, current_user::text, r.rolsuper, r.rolsuper or r.rolreplication,
       has_database_privilege(current_database(), 'CREATE'), current_setting('server_encoding')
from pg_roles r where r.rolname = current_user";

/// Asks the server about itself and the role.
///
/// # Errors
/// [`SourceError`] where the server cannot be asked.
pub async fn server(client: &Client) -> Result<Server, SourceError> {
    let rows = query(client, SERVER, &[]).await?;
    let row =
        rows.first().ok_or_else(|| SourceError::new(SourceErrorKind::Incompatible, "the role is not in pg_roles"))?;
    Ok(Server {
        version_num: get(row, 0)?,
        wal_level: get(row, 1)?,
        in_recovery: get(row, 2)?,
        max_replication_slots: get(row, 3)?,
        used_replication_slots: get(row, 4)?,
        max_wal_senders: get(row, 5)?,
        used_wal_senders: get(row, 6)?,
        database: get(row, 7)?,
        role: get(row, 8)?,
        superuser: get(row, 9)?,
        may_replicate: get(row, 10)?,
        may_create: get(row, 11)?,
        encoding: get(row, 12)?,
    })
}

const PUBLICATION: &str = "
select p.oid, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
       pg_has_role(p.pubowner, 'USAGE'), pg_get_userbyid(p.pubowner)::text, p.xmin::text
from pg_publication p where p.pubname = $1";

// Filters and column lists came with 15: `to_jsonb` gives null where the catalog has no such column.
const MEMBERS: &str = "
select c.oid, coalesce(to_jsonb(r) ->> 'prqual', '') <> '', coalesce(to_jsonb(r) ->> 'prattrs', '') <> ''
from pg_publication_tables t
join pg_namespace n on n.nspname = t.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
left join pg_publication_rel r on r.prpubid = $2 and r.prrelid = c.oid
where t.pubname = $1 order by c.oid";

const FINGERPRINT: &str = "
select coalesce(string_agg(format('%s:%s', r.oid, r.xmin), ',' order by r.oid), '')
from pg_publication_rel r
where r.prpubid = $1 and (r.prrelid = any($2)
  or r.prrelid in (select a.relid from unnest($2) t(oid) cross join lateral pg_partition_ancestors(t.oid) a))";

const SCHEMAS_FINGERPRINT: &str = "
select coalesce(string_agg(format('%s:%s', s.oid, s.xmin), ',' order by s.oid), '')
from pg_publication_namespace s
where s.pnpubid = $1 and s.pnnspid in (select relnamespace from pg_class where oid = any($2))";

/// Looks up a publication; `tables` are the oids that its fingerprint is to watch.
///
/// # Errors
/// [`SourceError`] where the server cannot be asked.
pub async fn publication(client: &Client, name: &str, tables: &[u32]) -> Result<Option<PublicationInfo>, SourceError> {
    let rows = query(client, PUBLICATION, &[(&name, PgType::NAME)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let oid: u32 = get(row, 0)?;
    let mut members = Vec::new();
    for row in query(client, MEMBERS, &[(&name, PgType::NAME), (&oid, PgType::OID)]).await? {
        members.push(Member { oid: get(&row, 0)?, has_filter: get(&row, 1)?, has_columns: get(&row, 2)? });
    }
    let mut fingerprint = format!("{oid}:{}", get::<String>(row, 9)?);
    let with_schemas = "select to_regclass('pg_catalog.pg_publication_namespace') is not null";
    let with_schemas = match query(client, with_schemas, &[]).await?.first() {
        Some(row) => get(row, 0)?,
        None => false,
    };
    for sql in [Some(FINGERPRINT), with_schemas.then_some(SCHEMAS_FINGERPRINT)].into_iter().flatten() {
        for row in query(client, sql, &[(&oid, PgType::OID), (&tables, PgType::OID_ARRAY)]).await? {
            fingerprint.push(';');
            fingerprint.push_str(&get::<String>(&row, 0)?);
        }
    }
    Ok(Some(PublicationInfo {
        oid,
        all_tables: get(row, 1)?,
        insert: get(row, 2)?,
        update: get(row, 3)?,
        delete: get(row, 4)?,
        truncate: get(row, 5)?,
        via_root: get(row, 6)?,
        owned: get(row, 7)?,
        owner: get(row, 8)?,
        members,
        fingerprint,
    }))
}

const SLOT: &str = "
select s.plugin::text, s.database::text, s.active, s.active_pid, s.confirmed_flush_lsn::text, s.restart_lsn::text,
       s.wal_status, coalesce(to_jsonb(s) ->> 'invalidation_reason',
                              case when to_jsonb(s) ->> 'conflicting' = 'true' then 'conflict' end),
       s.temporary
from pg_replication_slots s where s.slot_name = $1";

/// Looks up a slot.
///
/// # Errors
/// [`SourceError`] where the server cannot be asked.
pub async fn slot(client: &Client, name: &str) -> Result<Option<SlotInfo>, SourceError> {
    let rows = query(client, SLOT, &[(&name, PgType::NAME)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let lsn = |index| get::<Option<String>>(row, index).map(|text| text.and_then(|text| text.parse().ok()));
    Ok(Some(SlotInfo {
        plugin: get(row, 0)?,
        database: get(row, 1)?,
        active: get(row, 2)?,
        active_pid: get(row, 3)?,
        confirmed_flush: lsn(4)?,
        restart_lsn: lsn(5)?,
        wal_status: get(row, 6)?,
        invalidation: get(row, 7)?,
        temporary: get(row, 8)?,
    }))
}

async fn query(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), PgType)],
) -> Result<Vec<Row>, SourceError> {
    Ok(client.query_typed(sql, parameters).await?)
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, SourceError> {
    Ok(row.try_get(index)?)
}

fn letter(row: &Row, index: usize) -> Result<char, SourceError> {
    get::<&str>(row, index).map(|text| text.chars().next().unwrap_or('-'))
}
