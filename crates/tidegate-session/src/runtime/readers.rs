//! Threads that read events from the store for connections that are behind.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use tidegate_jobs::store::{Reader, Store, StoreError};
use tidegate_jobs::{Code, Entry, Fault};
use tokio::sync::mpsc;

use super::handle::RuntimeError;
use super::outcome::Read;
use super::{Letter, Reply};

/// Threads.
const READERS: usize = 2;
/// Reads that wait: one for each connection that is behind, at most.
const READS_MAX: usize = 16_384;
/// Bytes of one answer.
const PAGE_BYTES: usize = 512 << 10;

type Errand = (Read, mpsc::Sender<Vec<Letter>>);

pub(crate) struct Readers(SyncSender<Errand>);

impl Readers {
    pub(crate) fn start(store: &Store) -> Result<Self, RuntimeError> {
        let (errands, waiting) = sync_channel(READS_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..READERS {
            let (reader, waiting) = (store.reader()?, waiting.clone());
            std::thread::Builder::new().name(format!("job-reads-{number}")).spawn(move || work(reader, &waiting))?;
        }
        Ok(Self(errands))
    }

    /// Has events read; the answer goes to the connection.
    pub(crate) fn read(&self, read: Read, way_in: mpsc::Sender<Vec<Letter>>) {
        // Where so many wait the connection is let go, and comes back to ask again.
        if let Err(TrySendError::Full((read, way_in)) | TrySendError::Disconnected((read, way_in))) =
            self.0.try_send((read, way_in))
        {
            let fault = Fault::new(Code::InternalError, "too many are behind at once; come back later");
            let letter = Letter { to: read.to.client, reply: Reply::Refused(fault) };
            // A full port belongs to a worker that looks after others first; the connection is then found idle.
            let _ = way_in.try_send(vec![letter]);
        }
    }
}

fn work(mut reader: Reader, waiting: &Mutex<Receiver<Errand>>) {
    loop {
        let errand = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((read, way_in)) = errand else { return };
        let to = read.to.client;
        let reply = match entries(&mut reader, &read) {
            Ok(events) if events.is_empty() && !read.runs.is_empty() => Reply::Refused(Fault::new(
                Code::ResumeWindowExpired,
                "events that the client has not seen are not kept any more; begin a new session",
            )),
            Ok(events) => Reply::Events { after: read.after, events, head: read.head },
            Err(error) => {
                tracing::error!(%error, "events of jobs cannot be read");
                Reply::Refused(Fault::new(Code::InternalError, "events cannot be read now; come back later"))
            }
        };
        // A port that has ended has nobody waiting.
        let _ = way_in.blocking_send(vec![Letter { to, reply }]);
    }
}

/// In the order of their numbers. What was let go meanwhile is missing at the end: the connection asks again, and is told.
fn entries(reader: &mut Reader, read: &Read) -> Result<Vec<Arc<Entry>>, StoreError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    for run in &read.runs {
        let through = run.n + run.count - 1;
        let mut next = run.n;
        while next <= through && bytes < PAGE_BYTES {
            let found = reader.entries(run.job, next, through, PAGE_BYTES - bytes)?;
            if found.first().is_none_or(|first| first.n != next) {
                return Ok(events);
            }
            for entry in found {
                bytes += entry.bytes();
                next = entry.n + 1;
                events.push(Arc::new(entry));
            }
        }
        if next <= through {
            break;
        }
    }
    Ok(events)
}
