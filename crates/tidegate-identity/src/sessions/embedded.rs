//! The embedded store of device sessions and marks: one thread that has the file, and a bounded queue before it.
//!
//! What has gathered in the queue is one commit, and nothing is answered before it is durable. What was revoked stays so: a
//! session by its id, a user or a tenant by a mark.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::file::{self, Ask, Done, File, OpenError};
use super::marks::{MARKS_MAX, Mark, Marks};
use super::snapshot::{NAME_BYTES_MAX, Snapshot};
use crate::Principal;

/// Questions that wait; past it [`EmbeddedError::Busy`].
const QUEUE_MAX: usize = 4_096;
/// Questions of one commit.
const COMMIT_MAX: usize = 256;

/// The store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EmbeddedError {
    /// A session that was revoked stays so.
    #[error("the session is revoked for good; a new one needs another id")]
    IsRevoked,
    /// A name of nothing.
    #[error("a session, user or tenant has a name of 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    /// Nothing was changed.
    #[error("too much is asked of the store of sessions at once")]
    Busy,
    /// Its thread has ended.
    #[error("the store of sessions is closed")]
    Closed,
    /// Nothing was changed.
    #[error("the store of sessions failed: {0}")]
    Sqlite(Arc<rusqlite::Error>),
}

/// The open store; cheap to clone. With the last one it is closed, which waits for what is under way.
#[derive(Clone)]
pub(crate) struct Embedded {
    thread: Arc<Thread>,
    marks: Arc<RwLock<Marks>>,
}

struct Thread {
    /// `None` once it is to end.
    questions: Option<mpsc::Sender<Question>>,
    handle: Option<JoinHandle<()>>,
}

struct Question {
    ask: Ask,
    reply: oneshot::Sender<Result<Done, EmbeddedError>>,
}

impl Embedded {
    /// Opens the file, making it where there is none. Blocks for as long as it takes to check it.
    ///
    /// # Errors
    /// It is in use, damaged, of a newer version or of something else; or the thread could not be started.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, MARKS_MAX)
    }

    fn open_with(path: &Path, marks_max: usize) -> Result<Self, OpenError> {
        let file = File::open(path)?;
        let marks = file.marks(marks_max).map_err(|error| file::refused(path, error))?;
        let marks = Arc::new(RwLock::new(marks));
        let (questions, asked) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::clone(&marks);
        let spawned = thread::Builder::new().name("sessions".to_owned()).spawn(move || serve(&file, &shared, asked));
        let handle = spawned.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let thread = Thread { questions: Some(questions), handle: Some(handle) };
        Ok(Self { thread: Arc::new(thread), marks })
    }

    /// What is stored about a session.
    pub(crate) async fn get(&self, id: &str) -> Result<Option<Snapshot>, EmbeddedError> {
        match self.ask(Ask::Get(id.into())).await? {
            Done::Found(snapshot) => Ok(snapshot),
            Done::Written | Done::IsRevoked => Ok(None),
        }
    }

    /// Stores a session as it is now.
    pub(crate) async fn put(&self, snapshot: Snapshot) -> Result<(), EmbeddedError> {
        self.write(Ask::Put(snapshot)).await
    }

    /// Revokes a session for good, also one that is not known: without a user and a key then.
    pub(crate) async fn revoke(&self, id: &str, at_ms: u64) -> Result<(), EmbeddedError> {
        bounded(id)?;
        self.write(Ask::Revoke(id.into(), i64::try_from(at_ms).unwrap_or(i64::MAX))).await
    }

    /// Ends the tokens of whoever is in the mark that were issued by then.
    pub(crate) async fn mark(&self, mark: Mark, at_ms: u64) -> Result<(), EmbeddedError> {
        let (user, tenant) = match &mark {
            Mark::Everybody => (None, None),
            Mark::Tenant(tenant) => (None, Some(tenant)),
            Mark::User { user, tenant } => (Some(&**user), tenant.as_ref()),
        };
        user.into_iter().chain(tenant.map(|tenant| tenant.name())).try_for_each(bounded)?;
        self.write(Ask::Mark(mark, at_ms)).await
    }

    /// Whether the principal's token ended with a mark. Does not wait for the file.
    pub(crate) fn is_marked(&self, principal: &Principal) -> bool {
        self.marks.read().unwrap_or_else(PoisonError::into_inner).refuses(principal)
    }

    /// Waits for room in the queue: who is to go is not kept waiting at the door by those who come.
    async fn write(&self, ask: Ask) -> Result<(), EmbeddedError> {
        let (reply, done) = oneshot::channel();
        let questions = self.questions()?;
        questions.send(Question { ask, reply }).await.map_err(|_| EmbeddedError::Closed)?;
        match done.await.unwrap_or(Err(EmbeddedError::Closed))? {
            Done::Written | Done::Found(_) => Ok(()),
            Done::IsRevoked => Err(EmbeddedError::IsRevoked),
        }
    }

    fn questions(&self) -> Result<&mpsc::Sender<Question>, EmbeddedError> {
        self.thread.questions.as_ref().ok_or(EmbeddedError::Closed)
    }

    async fn ask(&self, ask: Ask) -> Result<Done, EmbeddedError> {
        let (reply, done) = oneshot::channel();
        self.questions()?.try_send(Question { ask, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EmbeddedError::Busy,
            mpsc::error::TrySendError::Closed(_) => EmbeddedError::Closed,
        })?;
        done.await.unwrap_or(Err(EmbeddedError::Closed))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the thread of the store of sessions had panicked");
        }
    }
}

/// Answers until nobody can ask any more.
fn serve(file: &File, marks: &RwLock<Marks>, mut asked: mpsc::Receiver<Question>) {
    let mut questions = Vec::with_capacity(COMMIT_MAX);
    while asked.blocking_recv_many(&mut questions, COMMIT_MAX) > 0 {
        match file.commit(questions.iter().map(|question| &question.ask)) {
            Ok(done) => {
                remember(file, marks, &questions);
                for (question, done) in questions.drain(..).zip(done) {
                    // Whoever asked may have stopped waiting.
                    let _ = question.reply.send(Ok(done));
                }
            }
            Err(error) => {
                tracing::error!(%error, "the store of sessions failed");
                let error = EmbeddedError::Sqlite(Arc::new(error));
                for question in questions.drain(..) {
                    let _ = question.reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Takes the marks that were committed into memory too, before they are answered.
fn remember(file: &File, marks: &RwLock<Marks>, questions: &[Question]) {
    let mut marks = marks.write().unwrap_or_else(PoisonError::into_inner);
    for question in questions {
        if let Ask::Mark(mark, at_ms) = &question.ask {
            marks.insert(mark.clone(), *at_ms);
        }
    }
    let folded = marks.fold();
    drop(marks);
    let Some(until_ms) = folded else { return };
    tracing::warn!(until_ms, "too many revoked users and tenants: older tokens are accepted from nobody any more");
    if let Err(error) = file.fold(until_ms) {
        // The file then holds more than need be, until the next time.
        tracing::error!(%error, "marks could not be folded in the store of sessions");
    }
}

fn bounded(name: &str) -> Result<(), EmbeddedError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) { Ok(()) } else { Err(EmbeddedError::Name) }
}

#[cfg(test)]
mod tests;
