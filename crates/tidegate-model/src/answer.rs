//! An answer that is there, or will be.

use std::fmt;
use std::pin::Pin;

/// An answer that has to be fetched. It goes on only while it is polled, may be polled on any thread, and is bounded in time
/// by whoever made it.
pub type Later<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What a room says to one who must not wait: mostly at once, from what it holds.
pub enum Answer<T, E> {
    /// At once.
    Now(Result<T, E>),
    /// Somebody else has to be asked first.
    Later(Later<T, E>),
}

impl<T: Send + 'static, E: Send + 'static> Answer<T, E> {
    /// Waits for it.
    ///
    /// # Errors
    /// What the answer says.
    pub async fn wait(self) -> Result<T, E> {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }

    /// Goes on with what `next` says about a yes.
    #[must_use]
    pub fn and_then<U: Send + 'static>(self, next: impl FnOnce(T) -> Answer<U, E> + Send + 'static) -> Answer<U, E> {
        match self {
            Self::Now(Ok(value)) => next(value),
            Self::Now(Err(error)) => Answer::Now(Err(error)),
            Self::Later(answer) => Answer::Later(Box::pin(async move { next(answer.await?).wait().await })),
        }
    }
}

impl<T, E> fmt::Debug for Answer<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(Ok(_)) => "Now(Ok)",
            Self::Now(Err(_)) => "Now(Err)",
            Self::Later(_) => "Later",
        })
    }
}
