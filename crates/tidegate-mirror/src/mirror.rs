//! The reading end of the store: a handle on its reader threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, TrySendError, bounded};
use tidegate_model::{
    Catalog, EntityId, Page, Position, Row, RowSource, ScanError, ScanReply, ScanRequest, Tenant, Value,
};
use uuid::Uuid;

use crate::reader::{Job, Reader};
use crate::{Metrics, MirrorError, Options, Writer, backup, migrate, store};

/// The reading end of the store. Reads are answered by a pool of threads, which end when this is dropped.
#[derive(Debug)]
pub struct Mirror {
    /// Taken when dropped, so that the readers see the end.
    jobs: Option<Sender<Job>>,
    readers: Vec<JoinHandle<()>>,
    metrics: Arc<Metrics>,
    data_dir: PathBuf,
    store_id: Uuid,
    incarnation: u64,
}

impl Mirror {
    /// Opens the store in `data_dir`, makes it where there is none, and brings it to `catalog`: an entity that is new
    /// or changed is made or migrated in one SQL transaction. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`MirrorError`], saying what to do; the store is then as it was.
    pub fn open(data_dir: &Path, catalog: &Catalog, options: &Options) -> Result<(Self, Writer), MirrorError> {
        let lock = Arc::new(store::lock(data_dir)?);
        let db = store::open_writer(data_dir, options)?;
        let tables = migrate::prepare(&db, catalog)?;
        let store_id = store::store_id(&db)?;
        let metrics = Arc::new(Metrics::default());
        let (jobs, queue) = bounded(options.queue);
        let mut readers = Vec::new();
        for number in 0..options.readers.max(1) {
            let db = store::open_reader(data_dir)?;
            let (tables, options, metrics) = (tables.clone(), options.clone(), metrics.clone());
            let reader = Reader { db, tables, options, metrics };
            let queue = queue.clone();
            let thread = thread::Builder::new().name(format!("mirror-read-{number}"));
            let spawned = thread.spawn(move || reader.run(&queue));
            readers.push(spawned.map_err(|source| MirrorError::Io { path: data_dir.to_owned(), source })?);
        }
        // The random bits of a new id: continuity is of one run of one store.
        let incarnation = Uuid::now_v7().as_u128() as u64;
        let data_dir = data_dir.to_owned();
        let writer = Writer::new(db, tables, options.clone(), metrics.clone(), data_dir.clone(), lock)?;
        Ok((Self { jobs: Some(jobs), readers, metrics, data_dir, store_id, incarnation }, writer))
    }

    /// The id that the store was given when it was made.
    #[must_use]
    pub fn store_id(&self) -> Uuid {
        self.store_id
    }

    /// A number of this run of this store, as resume tokens carry it.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Counters of the store.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Reads waiting for a reader.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jobs.as_ref().map_or(0, Sender::len)
    }

    /// One row by its key, one value per key column, and the position it was read at. Blocks.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn get(
        &self,
        entity: EntityId,
        tenant: &Tenant,
        key: Vec<Value>,
    ) -> Result<(Option<Arc<Row>>, Position), ScanError> {
        let tenant = tenant.clone();
        self.ask(|reply| Job::Get(entity, tenant, key, reply))
    }

    /// Up to `want` rows, all at one position, however many have to be looked at (a page still ends early at
    /// [`Options::page_bytes_max`]). Blocks.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn page(&self, request: ScanRequest) -> Result<Page, ScanError> {
        self.ask(|reply| Job::Page(request, reply))
    }

    /// Rows of an entity, those of all tenants together. Reads the whole of its smallest index. Blocks.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn row_count(&self, entity: EntityId) -> Result<u64, ScanError> {
        self.ask(|reply| Job::Count(entity, reply))
    }

    /// Copies the store to a new file while it is in use. Blocks.
    ///
    /// # Errors
    /// [`MirrorError::BackupExists`], or why the copy failed.
    pub fn backup(&self, target: &Path) -> Result<Position, MirrorError> {
        backup::backup(&self.data_dir, target)
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(Box<dyn FnOnce(Result<T, ScanError>) + Send>) -> Job,
    ) -> Result<T, ScanError> {
        let (sender, answer) = bounded(1);
        // The one message always has room; nobody listens only if this thread is gone.
        self.send(job(Box::new(move |result| drop(sender.send(result)))));
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    fn send(&self, job: Job) {
        match self.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) | None => {}
            Some(Err(TrySendError::Full(job))) => {
                Metrics::add(&self.metrics.busy, 1);
                job.refuse(ScanError::Busy);
            }
            Some(Err(TrySendError::Disconnected(job))) => job.refuse(closed()),
        }
    }
}

impl RowSource for Mirror {
    fn scan(&self, request: ScanRequest, reply: ScanReply) {
        self.send(Job::Scan(request, reply));
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.jobs = None;
        for reader in self.readers.drain(..) {
            // A reply may hold the last handle: then this is that reader's thread, which ends by itself.
            if reader.thread().id() != thread::current().id() && reader.join().is_err() {
                tracing::error!("a reader of the store panicked");
            }
        }
    }
}

fn closed() -> ScanError {
    ScanError::Store("the store is closed".to_owned())
}
