//! What a PostgreSQL server (14 and later) says of itself, its tables, a publication and a slot.
//!
//! Every statement is sent unnamed, so that a pooler between is no obstacle.

use tokio_postgres::types::{ToSql, Type as PgType};
use tokio_postgres::{Client, Row};

use super::{Lsn, SourceError, SourceErrorKind};

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

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableInfo {
    /// Its oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `r`, or `p` where it is partitioned; other letters (views, foreign tables) as in `pg_class.relkind`.
    pub kind: char,
    /// Whether it is a partition of another.
    pub is_partition: bool,
    /// The oids of the tables that it is a partition of, directly or not.
    pub ancestors: Vec<u32>,
    /// `p`; `u` where it is UNLOGGED, `t` where temporary.
    pub persistence: char,
    /// Its columns in order, without dropped ones.
    pub columns: Vec<ColumnInfo>,
    /// The primary key's columns in the key's order; empty where there is none.
    pub primary_key: Vec<String>,
    /// The columns of each index that keeps rows apart at once and wholly (unique, not partial, not deferrable, valid);
    /// the primary key's is one unless it is deferrable.
    pub unique: Vec<Vec<String>>,
    /// What an update or delete tells of the row as it was.
    pub identity: Identity,
    /// The partitions (schema and name) that hold rows and tell of them by no identity, or by an index.
    pub odd_partitions: Vec<(String, String)>,
    /// Whether the role may SELECT all of it.
    pub readable: bool,
    /// Whether the role owns it (or may act as its owner).
    pub owned: bool,
    /// The owner's name.
    pub owner: String,
    /// Rows, as the planner believes; 0 where it was never analyzed.
    pub estimated_rows: f64,
    /// Whether row security hides rows from the role.
    pub row_security: bool,
}

/// A table's replica identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The primary key, where there is one.
    Default,
    /// None.
    Nothing,
    /// The whole row.
    Full,
    /// These columns of a unique index.
    Index(Vec<String>),
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its number within the table, from 1; never used again once dropped.
    pub number: i16,
    /// Its type; a domain's own oid.
    pub type_oid: u32,
    /// The type's modifier, or -1.
    pub typmod: i32,
    /// The type as SQL writes it, such as `numeric(10,2)`.
    pub type_name: String,
    /// The type under all domains; `type_oid` where it is no domain.
    pub base_oid: u32,
    /// Its modifier.
    pub base_typmod: i32,
    /// What the base type is: `b` base, `e` enum, `c` composite, `r` range, `m` multirange, `p` pseudo.
    pub type_kind: char,
    /// Where the base type is an array: its elements' type under all domains; else 0.
    pub element_oid: u32,
    /// What that is, as in `type_kind`; `-` where there is none.
    pub element_kind: char,
    /// Whether it may not be null.
    pub not_null: bool,
    /// Whether it is calculated from others (GENERATED ALWAYS AS … STORED), so not replicated.
    pub generated: bool,
    /// The labels of an enum in their order; empty for other types.
    pub labels: Vec<String>,
    /// Whether equal text is equal bytes: false where the column's collation says otherwise.
    pub deterministic: bool,
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

const TABLES: &str = "
select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relispartition,
       array(select relid::oid from pg_partition_ancestors(c.oid) where relid <> c.oid), c.relpersistence::text,
       c.relreplident::text, has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT'),
       pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner)::text,
       case when c.relkind = 'p' then
         (select coalesce(sum(greatest(p.reltuples, 0)), 0)::float8 from pg_partition_tree(c.oid) t
          join pg_class p on p.oid = t.relid where t.isleaf)
       else greatest(c.reltuples, 0)::float8 end,
       row_security_active(c.oid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where case when $1 then (n.nspname, c.relname) in (select * from unnest($2::text[], $3::text[]))
      else c.relkind in ('r', 'p') and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' end
order by n.nspname, c.relname";

const INDEXES: &str = "
select i.indrelid,
       array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(number, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
             where place <= i.indnkeyatts order by place),
       i.indisprimary, i.indisreplident,
       i.indpred is null and i.indexprs is null and i.indimmediate and i.indisvalid
from pg_index i where i.indrelid = any($1) and i.indisunique order by i.indrelid, i.indexrelid";

const ODD_PARTITIONS: &str = "
select r.oid, n.nspname::text, c.relname::text
from unnest($1) r(oid) cross join lateral pg_partition_tree(r.oid) t
join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace
where t.isleaf and t.relid <> r.oid and c.relreplident in ('n', 'i') order by 1, 2, 3";

const COLUMNS: &str = "
select a.attrelid, a.attname::text, a.attnum, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod),
       b.oid, b.typmod, bt.typtype::text, coalesce(e.oid, 0::oid), coalesce(e.kind, '-'), a.attnotnull,
       a.attgenerated <> '', array(select l.enumlabel::text from pg_enum l where l.enumtypid = b.oid order by l.enumsortorder),
       coalesce(k.collisdeterministic, true)
from pg_attribute a
cross join lateral (
  with recursive d(oid, typmod, step) as (
    select a.atttypid, a.atttypmod, 0
    union all
    select t.typbasetype, t.typtypmod, step + 1 from d join pg_type t on t.oid = d.oid where t.typtype = 'd')
  select oid, typmod from d order by step desc limit 1) b
join pg_type bt on bt.oid = b.oid
left join pg_collation k on k.oid = a.attcollation
left join pg_type et on et.oid = bt.typelem and et.typarray = bt.oid
left join lateral (
  with recursive d(oid, step) as (
    select et.oid, 0
    union all
    select t.typbasetype, step + 1 from d join pg_type t on t.oid = d.oid where t.typtype = 'd')
  select d.oid, t.typtype::text as kind from d join pg_type t on t.oid = d.oid order by step desc limit 1) e on true
where a.attrelid = any($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum";

/// Looks up tables: those `wanted` by schema and name (what is not there is left out), or every table of every user's
/// schema.
///
/// # Errors
/// [`SourceError`] where the server cannot be asked.
pub async fn tables(client: &Client, wanted: Option<&[(String, String)]>) -> Result<Vec<TableInfo>, SourceError> {
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        wanted.unwrap_or_default().iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let parameters: [(&(dyn ToSql + Sync), PgType); 3] =
        [(&wanted.is_some(), PgType::BOOL), (&schemas, PgType::TEXT_ARRAY), (&names, PgType::TEXT_ARRAY)];
    let mut tables = query(client, TABLES, &parameters).await?.iter().map(table).collect::<Result<Vec<_>, _>>()?;
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    for (sql, add) in [(COLUMNS, add_column as Add), (INDEXES, add_index), (ODD_PARTITIONS, add_odd_partition)] {
        for row in query(client, sql, &[(&oids, PgType::OID_ARRAY)]).await? {
            let oid: u32 = get(&row, 0)?;
            if let Some(table) = tables.iter_mut().find(|table| table.oid == oid) {
                add(table, &row)?;
            }
        }
    }
    Ok(tables)
}

/// Takes one row of a statement over many tables into its table.
type Add = fn(&mut TableInfo, &Row) -> Result<(), SourceError>;

fn table(row: &Row) -> Result<TableInfo, SourceError> {
    Ok(TableInfo {
        oid: get(row, 0)?,
        schema: get(row, 1)?,
        name: get(row, 2)?,
        kind: letter(row, 3)?,
        is_partition: get(row, 4)?,
        ancestors: get(row, 5)?,
        persistence: letter(row, 6)?,
        columns: Vec::new(),
        primary_key: Vec::new(),
        unique: Vec::new(),
        identity: match letter(row, 7)? {
            'n' => Identity::Nothing,
            'f' => Identity::Full,
            // Its columns come with the indexes.
            'i' => Identity::Index(Vec::new()),
            _ => Identity::Default,
        },
        odd_partitions: Vec::new(),
        readable: get(row, 8)?,
        owned: get(row, 9)?,
        owner: get(row, 10)?,
        estimated_rows: get(row, 11)?,
        row_security: get(row, 12)?,
    })
}

fn add_column(table: &mut TableInfo, row: &Row) -> Result<(), SourceError> {
    table.columns.push(ColumnInfo {
        name: get(row, 1)?,
        number: get(row, 2)?,
        type_oid: get(row, 3)?,
        typmod: get(row, 4)?,
        type_name: get(row, 5)?,
        base_oid: get(row, 6)?,
        base_typmod: get(row, 7)?,
        type_kind: letter(row, 8)?,
        element_oid: get(row, 9)?,
        element_kind: letter(row, 10)?,
        not_null: get(row, 11)?,
        generated: get(row, 12)?,
        labels: get(row, 13)?,
        deterministic: get(row, 14)?,
    });
    Ok(())
}

fn add_index(table: &mut TableInfo, row: &Row) -> Result<(), SourceError> {
    let columns: Vec<String> = get(row, 1)?;
    if get(row, 2)? {
        table.primary_key.clone_from(&columns);
    }
    if let (true, Identity::Index(identity)) = (get(row, 3)?, &mut table.identity) {
        identity.clone_from(&columns);
    }
    if get(row, 4)? {
        table.unique.push(columns);
    }
    Ok(())
}

fn add_odd_partition(table: &mut TableInfo, row: &Row) -> Result<(), SourceError> {
    table.odd_partitions.push((get(row, 1)?, get(row, 2)?));
    Ok(())
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
