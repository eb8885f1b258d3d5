//! What tells that rows of a table may have changed without the stream saying so: its place in the publication, and the
//! files of its partitions.
//!
//! A table that left the publication and came back has missed changes, and nothing in the stream says so; but its
//! membership is another row of the catalog then. With `publish_via_partition_root` the truncation of a single
//! partition is not published, nor is a partition attached or detached; but the set of the partitions' files is another
//! one. (So it is after `VACUUM FULL` of a partition: copied again without need.)

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::SourceError;

/// `None`: the table is not in the publication, or not there at all.
pub(crate) type Mark = Option<String>;

const MEMBERSHIP: &str = "
select t.oid, case when exists (
    select from pg_publication_tables p join pg_namespace n on n.nspname = p.schemaname
    join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
    where p.pubname = $1 and c.oid = t.oid)
  then (select coalesce(string_agg(format('%s:%s', r.oid, r.xmin), ',' order by r.oid), '')
        from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where p.pubname = $1
          and (r.prrelid = t.oid or r.prrelid in (select relid from pg_partition_ancestors(t.oid) a(relid))))
    || ';' ||
       (select coalesce(string_agg(format('%s:%s', c.oid, c.relfilenode), ',' order by c.oid), '')
        from pg_partition_tree(t.oid) tree join pg_class c on c.oid = tree.relid
        where tree.isleaf and tree.relid <> t.oid)
  end
from unnest($2) t(oid)";

/// Publications of whole schemas came with 15.
const SCHEMAS: &str = "
select coalesce(string_agg(format('%s:%s', s.oid, s.xmin), ',' order by s.oid), '')
from pg_publication_namespace s join pg_publication p on p.oid = s.pnpubid
where p.pubname = $1";

/// The marks of tables, by oid and in that order.
pub(crate) async fn marks(
    client: &Client,
    publication: &str,
    oids: &[u32],
    version_num: i32,
) -> Result<Vec<Mark>, SourceError> {
    let mut schemas = String::new();
    if version_num >= 150_000 {
        for row in client.query_typed(SCHEMAS, &[(&publication, Type::NAME)]).await? {
            schemas = row.try_get(0)?;
        }
    }
    let rows = client.query_typed(MEMBERSHIP, &[(&publication, Type::NAME), (&oids, Type::OID_ARRAY)]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let mark: Option<String> = row.try_get(1)?;
        found.push((row.try_get::<_, u32>(0)?, mark.map(|mark| format!("{mark};{schemas}"))));
    }
    let of = |oid: &u32| found.iter().find(|(other, _)| other == oid).and_then(|(_, mark)| mark.clone());
    Ok(oids.iter().map(of).collect())
}
