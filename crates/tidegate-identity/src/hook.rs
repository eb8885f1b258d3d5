//! The application's connect hook: who is there, for those without tokens.
//!
//! # What goes over the wire
//! A `POST` of `{"headers":{"cookie":"…"}}` with those headers of the handshake that configuration names, as far as they were
//! sent (repeated ones in one text), signed: `Tidegate-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret,
//! "<t>.<body>")>`. The answers:
//!
//! | status | body | for the client |
//! |---|---|---|
//! | 200 | `{"user":"…","tenant?":"…","session?":"…","roles?":["…"],"claims?":{…},"expires_in_ms?":…,"cache_ms?":…}` | it is that one |
//! | 401, 403 | `{"cache_ms?":…}`, or anything | unauthenticated, forbidden |
//! | any other, an answer that is not as above, or none in time | | 503, may be tried again |
//!
//! # How often the application is asked
//! Once at a time about the same headers, whoever waits; not at all about who shows none of them; and not again for the
//! `cache_ms` that it said, or until the identity ends. What went wrong is not kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::answers::Answers;
use self::question::{Key, Question};
use self::said::Said;
use crate::fetch::{Bounds, Fetch};
use crate::{Answer, Clock, HookSettings, Principal, Refusal, Signer};

mod answers;
mod question;
mod said;

/// Of an answer: several times what the longest fields take.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Who somebody is, or why not.
type Verdict = Result<Arc<Principal>, Refusal>;

/// Counts of the connect hook.
#[derive(Debug, Default)]
pub struct HookMetrics {
    /// Questions to the application.
    pub asked: AtomicU64,
    /// Of these, such as were answered with somebody.
    pub accepted: AtomicU64,
    /// Answered with a no.
    pub refused: AtomicU64,
    /// Not answered in time, or not as agreed.
    pub failed: AtomicU64,
    /// Handshakes that were served from what the application had said before.
    pub cached: AtomicU64,
    /// Handshakes that waited for a question already under way.
    pub joined: AtomicU64,
    /// Handshakes turned away because too many questions were under way.
    pub turned_away: AtomicU64,
}

/// Asks the application.
pub(crate) struct Hook(Arc<Inner>);

struct Inner {
    settings: HookSettings,
    signer: Signer,
    fetch: Fetch,
    runtime: Handle,
    clock: Clock,
    metrics: Arc<HookMetrics>,
    book: Mutex<Book>,
}

struct Book {
    answers: Answers<Verdict>,
    asking: HashMap<Key, Asking>,
    /// The last question was not answered: said once, not for everybody.
    is_failing: bool,
}

struct Asking {
    verdict: watch::Receiver<Option<Verdict>>,
    task: AbortOnDropHandle<()>,
}

impl Hook {
    /// Questions go out from `runtime`.
    pub(crate) fn new(settings: HookSettings, fetch: Fetch, runtime: Handle, clock: Clock) -> Self {
        let signer = Signer::new(&settings.secret);
        let answers = Answers::new(settings.cache_max);
        let book = Mutex::new(Book { answers, asking: HashMap::new(), is_failing: false });
        Self(Arc::new(Inner { settings, signer, fetch, runtime, clock, metrics: Arc::default(), book }))
    }

    pub(crate) fn metrics(&self) -> &Arc<HookMetrics> {
        &self.0.metrics
    }

    /// Who shows these headers. `named`: the claims that permissions name.
    pub(crate) fn ask(&self, headers: &HeaderMap, named: &Arc<[Box<str>]>) -> Answer<Arc<Principal>> {
        let inner = &self.0;
        let Some(question) = Question::new(&inner.settings.headers, headers, named) else {
            return Answer::Now(Err(Refusal::unauthenticated("nothing was shown of who this is")));
        };
        let now = (inner.clock)();
        let mut book = inner.book();
        if let Some(verdict) = book.answers.get(&question.key, now) {
            inner.metrics.cached.fetch_add(1, Relaxed);
            return Answer::Now(verdict.clone());
        }
        // One that has finished without a verdict was cut off.
        if let Some(asking) = book.asking.get(&question.key).filter(|asking| !asking.task.is_finished()) {
            inner.metrics.joined.fetch_add(1, Relaxed);
            return Answer::Later(Box::pin(wait(asking.verdict.clone())));
        }
        if book.asking.len() >= inner.settings.asked_max {
            inner.metrics.turned_away.fetch_add(1, Relaxed);
            return Answer::Now(Err(Refusal::unavailable("too many are being asked about; try again")));
        }
        inner.metrics.asked.fetch_add(1, Relaxed);
        let (tell, verdict) = watch::channel(None);
        let key = question.key;
        let task = inner.runtime.spawn(inner.inquiry(question, now, tell));
        book.asking.insert(key, Asking { verdict: verdict.clone(), task: AbortOnDropHandle::new(task) });
        Answer::Later(Box::pin(wait(verdict)))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}

impl Inner {
    /// Asks the application once. Does not hold on to the hook, whose end is its end.
    fn inquiry(
        self: &Arc<Self>,
        question: Question,
        asked_ms: u64,
        tell: watch::Sender<Option<Verdict>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (this, fetch, url) = (Arc::downgrade(self), self.fetch.clone(), self.settings.url.clone());
        let headers = self.signer.headers(&question.body, asked_ms);
        let bounds = Bounds { timeout: self.settings.timeout, bytes_max: ANSWER_BYTES_MAX };
        async move {
            let answer = fetch.post(&url, headers, question.body, bounds).await;
            let said = answer
                .map_err(|error| error.to_string())
                .and_then(|(status, body)| said::read(status, &body, &question.named, asked_ms));
            if let Some(inner) = this.upgrade() {
                tell.send_replace(Some(inner.settle(&question.key, asked_ms, said)));
            }
        }
    }

    /// Takes down what came of a question, and keeps it for as long as the application says.
    fn settle(&self, key: &Key, asked_ms: u64, said: Result<Said, String>) -> Verdict {
        let mut book = self.book();
        book.asking.remove(key);
        let was_failing = std::mem::replace(&mut book.is_failing, said.is_err());
        match said {
            Ok(Said { verdict, until_ms }) => {
                let count = if verdict.is_ok() { &self.metrics.accepted } else { &self.metrics.refused };
                count.fetch_add(1, Relaxed);
                book.answers.keep(*key, verdict.clone(), asked_ms..until_ms);
                if was_failing {
                    tracing::info!("the connect hook answers again");
                }
                verdict
            }
            Err(reason) => {
                self.metrics.failed.fetch_add(1, Relaxed);
                if !was_failing {
                    tracing::warn!(reason, "the connect hook does not answer");
                }
                Err(unavailable())
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait(mut verdict: watch::Receiver<Option<Verdict>>) -> Verdict {
    let told = verdict.wait_for(Option::is_some).await.ok().and_then(|verdict| verdict.clone());
    told.unwrap_or_else(|| Err(unavailable()))
}

fn unavailable() -> Refusal {
    Refusal::unavailable("the application cannot be asked who this is now")
}

#[cfg(test)]
mod tests;
