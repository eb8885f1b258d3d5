//! Tables as the catalogs have them.

use tokio_postgres::types::{ToSql, Type as PgType};
use tokio_postgres::{Client, Row};

use super::{get, letter, query};
use crate::postgres::SourceError;

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
