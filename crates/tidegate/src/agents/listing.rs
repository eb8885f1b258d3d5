//! The jobs that a session's user may see, page by page.

use serde_json::Value;

use super::At;
use super::client::{Client, ClientError, Heard};
use super::wire::Refused;
use crate::cli::Failure;
use crate::jobs::Page;

/// A session that asks for jobs.
pub(crate) struct Listing(Client);

impl Listing {
    pub(crate) async fn open(at: At) -> Result<Self, Failure> {
        Ok(Self(Client::connect(at.runtime()).await?.0))
    }

    /// One page, for the payload of a `session.list_jobs`.
    pub(crate) async fn page(&mut self, wanted: &Value) -> Result<Page, Failure> {
        self.0.send("session.list_jobs", wanted).await;
        loop {
            match self.0.next().await? {
                Heard::Frame(frame) if frame.kind == "session.jobs" => return Ok(frame.payload()?),
                Heard::Frame(frame) if frame.kind == "session.error" => {
                    let Refused { code, message, retryable, .. } = frame.payload()?;
                    return Err(ClientError::Refused { code, message, retryable }.into());
                }
                Heard::Back { .. } => drop(self.0.send("session.list_jobs", wanted).await),
                Heard::Frame(_) | Heard::Lost(_) => {}
            }
        }
    }

    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}
