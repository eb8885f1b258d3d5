//! What tells that rows of a table may have changed without the stream saying so: its place in the publication, its
//! columns, and the files of its partitions.
//!
//! A table that left the publication and came back has missed changes, and nothing in the stream says so; but its
//! membership is another row of the catalog then. With `publish_via_partition_root` the truncation of a single
//! partition is not published, nor is a partition attached or detached; but the set of the partitions' files is another
//! one. (So it is after `VACUUM FULL` of a partition: copied again without need.) A column whose type is set anew may have
//! been rewritten by any expression, though its type is the same; but its row in the catalog is another one. (So it is
//! after other changes of the column.)

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::error::SourceError;
use super::session::Source;

/// `None`: the table is not in the publication, or in part only, or not there at all.
pub(crate) type Mark = Option<String>;

const MEMBERSHIP: &str = "
select t.oid, case when exists (
    select from pg_publication_tables p join pg_namespace n on n.nspname = p.schemaname
    join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
    where p.pubname = $1 and c.oid = t.oid)
    and not exists (
    select from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
    where p.pubname = $1
      and (r.prrelid = t.oid or r.prrelid in (select relid from pg_partition_ancestors(t.oid) a(relid)))
      and (coalesce(to_jsonb(r) ->> 'prqual', '') <> '' or coalesce(to_jsonb(r) ->> 'prattrs', '') <> ''))
  then (select coalesce(string_agg(format('%s:%s', r.oid, r.xmin), ',' order by r.oid), '')
        from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
        where p.pubname = $1
          and (r.prrelid = t.oid or r.prrelid in (select relid from pg_partition_ancestors(t.oid) a(relid))))
    || ';' ||
       (select coalesce(string_agg(format('%s:%s', c.oid, c.relfilenode), ',' order by c.oid), '')
        from pg_partition_tree(t.oid) tree join pg_class c on c.oid = tree.relid
        where tree.isleaf and tree.relid <> t.oid)
    || ';' ||
       (select coalesce(string_agg(format('%s:%s', a.attnum, a.xmin), ',' order by a.attnum), '')
        from pg_attribute a join unnest($3, $4) followed(relid, number)
          on (followed.relid, followed.number) = (a.attrelid, a.attnum)
        where a.attrelid = t.oid)
  end
from (select distinct unnest($2)) t(oid)";

/// Publications of whole schemas came with 15.
const SCHEMAS: &str = "
select coalesce(string_agg(format('%s:%s', s.oid, s.xmin), ',' order by s.oid), '')
from pg_publication_namespace s join pg_publication p on p.oid = s.pnpubid
where p.pubname = $1";

/// The marks of the entities' tables, in the order of the entities.
pub(crate) async fn marks(client: &Client, source: &Source) -> Result<Vec<Mark>, SourceError> {
    let publication = &source.settings.publication;
    let oids: Vec<u32> = source.followed.iter().map(|followed| followed.mapping.oid).collect();
    let columns = source.followed.iter().flat_map(|followed| {
        let mapping = &followed.mapping;
        mapping.columns.iter().map(|column| (mapping.oid, column.number))
    });
    let columns: BTreeSet<(u32, i16)> = columns.collect();
    let (tables, numbers): (Vec<u32>, Vec<i16>) = columns.into_iter().unzip();
    let mut schemas = String::new();
    if source.version_num >= 150_000 {
        for row in client.query_typed(SCHEMAS, &[(publication, Type::NAME)]).await? {
            schemas = row.try_get(0)?;
        }
    }
    let parameters: [(&(dyn ToSql + Sync), Type); 4] =
        [(publication, Type::NAME), (&oids, Type::OID_ARRAY), (&tables, Type::OID_ARRAY), (&numbers, Type::INT2_ARRAY)];
    let rows = client.query_typed(MEMBERSHIP, &parameters).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let mark: Option<String> = row.try_get(1)?;
        found.push((row.try_get::<_, u32>(0)?, mark.map(|mark| format!("{mark};{schemas}"))));
    }
    let of = |oid: &u32| found.iter().find(|(other, _)| other == oid).and_then(|(_, mark)| mark.clone());
    Ok(oids.iter().map(of).collect())
}
