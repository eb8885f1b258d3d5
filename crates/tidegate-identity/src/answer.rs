//! An answer that is there, or will be.

use std::fmt;
use std::pin::Pin;

use crate::Refusal;

/// An answer that has to be fetched. It goes on only while it is polled, may be polled on any thread, and is bounded in time
/// by whoever made it.
pub type Later<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// What the authority says: mostly at once, from what it holds.
pub enum Answer<T> {
    /// At once.
    Now(Result<T, Refusal>),
    /// A key, a session or the application has to be asked first.
    Later(Later<T>),
}

impl<T: Send + 'static> Answer<T> {
    /// Waits for it.
    ///
    /// # Errors
    /// The refusal to send.
    pub async fn wait(self) -> Result<T, Refusal> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }

    /// Goes on with what `next` says about a yes.
    #[must_use]
    pub fn and_then<U: Send + 'static>(self, next: impl FnOnce(T) -> Answer<U> + Send + 'static) -> Answer<U> {
        match self {
            Self::Now(Ok(value)) => next(value),
            Self::Now(Err(refusal)) => Answer::Now(Err(refusal)),
            Self::Later(answer) => Answer::Later(Box::pin(async move { next(answer.await?).wait().await })),
        }
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(Ok(_)) => "Now(Ok)",
            Self::Now(Err(_)) => "Now(Err)",
            Self::Later(_) => "Later",
        })
    }
}
