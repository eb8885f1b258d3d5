//! Reading: what a reader thread does with one request, in one short transaction of its own connection.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use rusqlite::Connection;
use tidegate_model::{EntityId, Page, Position, Row, ScanError, ScanReply, ScanRequest, Tenant, Value};

use crate::copy::State;
use crate::pass::Pass;
use crate::table::Table;
use crate::walk::{Step, Walk};
use crate::{Metrics, MirrorError, Options, copy, path, store};

/// A row, if there is one, and the position it was read at.
pub(crate) type GetResult = Result<(Option<Arc<Row>>, Position), ScanError>;

/// What a reader is asked for, and how it answers.
pub(crate) enum Job {
    Scan(ScanRequest, ScanReply),
    Page(ScanRequest, ScanReply),
    Get(EntityId, Tenant, Vec<Value>, Box<dyn FnOnce(GetResult) + Send>),
    Count(EntityId, Box<dyn FnOnce(Result<u64, ScanError>) + Send>),
}

impl Job {
    pub(crate) fn refuse(self, error: ScanError) {
        match self {
            Job::Scan(_, reply) | Job::Page(_, reply) => reply(Err(error)),
            Job::Get(_, _, _, reply) => reply(Err(error)),
            Job::Count(_, reply) => reply(Err(error)),
        }
    }
}

pub(crate) struct Reader {
    pub(crate) db: Connection,
    pub(crate) tables: Arc<[Table]>,
    pub(crate) options: Options,
    pub(crate) metrics: Arc<Metrics>,
}

impl Reader {
    /// Answers until every sender is gone.
    pub(crate) fn run(self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Scan(request, reply) => reply(answered(self.scan(&request, self.options.scan_rows_max))),
                Job::Page(request, reply) => reply(answered(self.scan(&request, usize::MAX))),
                Job::Get(entity, tenant, key, reply) => reply(answered(self.get(entity, &tenant, &key))),
                Job::Count(entity, reply) => reply(answered(self.count(entity))),
            }
        }
    }

    /// The entity's table, if it may be read in the connection's snapshot.
    fn table(&self, entity: EntityId) -> Result<&Table, ReadError> {
        let table = &self.tables[entity.0 as usize];
        if let Some(reason) = table.unavailable() {
            return Err(ReadError::Refused(ScanError::Unavailable(reason)));
        }
        match copy::state(&self.db, table)? {
            State::Ready => Ok(table),
            State::Filling => Err(ReadError::Refused(ScanError::NotReady)),
        }
    }

    /// One page; along an index it looks at no more than `rows_max` rows.
    fn scan(&self, request: &ScanRequest, rows_max: usize) -> Result<Page, ReadError> {
        let db = self.db.unchecked_transaction()?;
        let position = store::position(&db)?;
        let table = self.table(request.entity)?;
        let narrowed = path::narrowed(table, request);
        let pass = Pass { db: &db, table, request, path: &narrowed, bytes_max: self.options.page_bytes_max };
        Metrics::add(&self.metrics.scans, 1);
        if let Some(ordered) = path::ordered(table, request) {
            // Few rows in another index beat many in order, and counting to "few" costs next to nothing.
            let few_max = self.options.scan_rows_max / FEW_SHARE;
            let few = narrowed.narrows() && narrowed.by != ordered.by && pass.is_at_most(few_max)?;
            if !few {
                let tenant = request.tenant.name().as_bytes();
                let (order, want) = (&*request.order, request.want);
                let walk = Walk { db: &db, table, tenant, order, path: &ordered, want };
                return Ok(self.walk(&walk, request, rows_max, position)?);
            }
        }
        Metrics::add(&self.metrics.passes, 1);
        let found = pass.run()?;
        Metrics::add(&self.metrics.rows_scanned, found.scanned);
        Ok(Page { rows: found.rows, upto: found.upto, position })
    }

    fn walk(
        &self,
        walk: &Walk<'_>,
        request: &ScanRequest,
        rows_max: usize,
        position: Position,
    ) -> Result<Page, MirrorError> {
        let want = request.want.max(1);
        let (mut rows, mut bytes, mut scanned) = (Vec::new(), 0, 0);
        let mut upto = None;
        let end = walk.run(|row| {
            scanned += 1;
            let matches = request.predicate.matches(&row);
            let last = scanned >= rows_max;
            if matches || last {
                let key = walk.path.key(walk.order, &row);
                upto = Some(key.clone());
                if matches {
                    bytes += row.size() + key.len();
                    rows.push((key, row));
                }
            }
            let full = rows.len() >= want || bytes > self.options.page_bytes_max;
            if last || full { Step::Break(()) } else { Step::Continue(()) }
        })?;
        Metrics::add(&self.metrics.rows_scanned, scanned as u64);
        Ok(Page { rows, upto: upto.filter(|_| end.is_break()), position })
    }

    fn get(&self, entity: EntityId, tenant: &Tenant, key: &[Value]) -> Result<(Option<Arc<Row>>, Position), ReadError> {
        let db = self.db.unchecked_transaction()?;
        let position = store::position(&db)?;
        let table = self.table(entity)?;
        Ok((table.get(&db, tenant.name().as_bytes(), &table.key_of_values(key))?, position))
    }

    fn count(&self, entity: EntityId) -> Result<u64, ReadError> {
        let db = self.db.unchecked_transaction()?;
        let table = self.table(entity)?;
        // Hidden rows are nobody's.
        let shown = if table.entity.is_sourced() { " WHERE tenant <> x'FF'" } else { "" };
        let sql = format!("SELECT count(*) FROM {}{shown}", table.name);
        Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }
}

/// The part of a page's rows that are rather sorted here than looked for in order.
const FEW_SHARE: usize = 4;

/// A read that was not answered.
enum ReadError {
    Refused(ScanError),
    Store(MirrorError),
}

impl<E: Into<MirrorError>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

fn answered<T>(result: Result<T, ReadError>) -> Result<T, ScanError> {
    result.map_err(|error| match error {
        ReadError::Refused(error) => error,
        ReadError::Store(error) => {
            tracing::error!(%error, "a read failed");
            ScanError::Store(error.to_string())
        }
    })
}
