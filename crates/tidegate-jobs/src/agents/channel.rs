//! The way from agents to the runtime: one for all jobs, bounded by number and bytes. Whoever says something waits for room, so an
//! agent is as fast as the store is, and no client slows it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{Chunk, Said, Spoken};

/// Utterances under way at most.
const UTTERANCES_MAX: usize = 4_096;
/// Bytes of them at most: 64 MiB.
const BYTES_MAX: usize = 64 << 20;
/// Bytes are counted in units of this many.
const UNIT_BYTES: usize = 1 << 10;
/// Bytes of one job's.
const SHARE_BYTES: usize = 2 << 20;
/// What an utterance counts for beside its text.
const AROUND_BYTES: usize = 256;

/// The way, from its beginning to its end.
#[must_use]
pub fn channel() -> (Sayings, Ear) {
    let (says, hears) = mpsc::channel(UTTERANCES_MAX);
    let bytes = Arc::new(Semaphore::new(BYTES_MAX / UNIT_BYTES));
    (Sayings { says, bytes }, Ear { hears })
}

/// Where agents speak into.
#[derive(Debug, Clone)]
pub struct Sayings {
    says: mpsc::Sender<Utterance>,
    bytes: Arc<Semaphore>,
}

/// Where the runtime hears them.
#[derive(Debug)]
pub struct Ear {
    hears: mpsc::Receiver<Utterance>,
}

/// Something that was said. Its room is free again when this is dropped.
#[derive(Debug)]
pub struct Utterance {
    /// What, about which job.
    pub spoken: Spoken,
    _room: OwnedSemaphorePermit,
    /// Of what its own job may have on the way.
    _share: Option<OwnedSemaphorePermit>,
}

/// Room for one utterance.
#[derive(Debug)]
pub(super) struct Room<'a> {
    place: mpsc::Permit<'a, Utterance>,
    bytes: OwnedSemaphorePermit,
}

/// The runtime hears nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is ending")]
pub(super) struct Deaf;

impl Sayings {
    /// Waits for room for an utterance of so many bytes. Whoever drops the future has said nothing.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room<'_>, Deaf> {
        let units = units(bytes, BYTES_MAX);
        let bytes = self.bytes.clone().acquire_many_owned(units).await.map_err(|_| Deaf)?;
        let place = self.says.reserve().await.map_err(|_| Deaf)?;
        Ok(Room { place, bytes })
    }
}

/// Permits for an utterance of so many bytes, of those for `of` bytes.
fn units(bytes: usize, of: usize) -> u32 {
    let units = (AROUND_BYTES + bytes).div_ceil(UNIT_BYTES).min(of / UNIT_BYTES);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// What one job may have on the way: so one that says much leaves room for the others, and holding it back takes effect soon.
#[derive(Debug, Clone)]
pub(super) struct Share(Arc<Semaphore>);

impl Share {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SHARE_BYTES / UNIT_BYTES)))
    }

    /// Waits for so much of it.
    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Deaf> {
        self.0.clone().acquire_many_owned(units(bytes, SHARE_BYTES)).await.map_err(|_| Deaf)
    }
}

impl Room<'_> {
    /// Says it, now. Utterances are heard in the order of these calls.
    pub(super) fn say(self, spoken: Spoken) {
        self.place.send(Utterance { spoken, _room: self.bytes, _share: None });
    }

    /// The same for a job that may not have more than its share on the way.
    pub(super) fn say_of(self, share: OwnedSemaphorePermit, spoken: Spoken) {
        self.place.send(Utterance { spoken, _room: self.bytes, _share: Some(share) });
    }
}

impl Ear {
    /// Waits for something to be said and takes what there is, at most `limit`; 0 when nobody can say anything any more.
    /// Whoever drops the future has taken nothing.
    pub async fn recv_many(&mut self, into: &mut Vec<Utterance>, limit: usize) -> usize {
        self.hears.recv_many(into, limit).await
    }

    /// How many were said that nobody has taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hears.len()
    }

    /// Whether everything that was said has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hears.is_empty()
    }

    /// Takes one, if there is one.
    pub fn try_recv(&mut self) -> Option<Utterance> {
        self.hears.try_recv().ok()
    }
}

/// What it counts for.
pub(super) fn bytes(said: &Said) -> usize {
    match said {
        Said::Event { body, .. } => body.get().len(),
        Said::Chunk { data: Chunk::Text(text), .. } => text.len(),
        Said::Chunk { data: Chunk::Binary(bytes), .. } => bytes.len(),
        Said::Authorize { target, .. } => target.len(),
        Said::Back { .. } => 0,
        Said::Delegate { delegation, .. } => delegation.input.get().len(),
        Said::Done { result, summary } => {
            result.as_ref().map_or(0, |result| result.get().len()) + summary.as_ref().map_or(0, String::len)
        }
        Said::Failed(fault) => fault.message.len() + fault.details.as_ref().map_or(0, |details| details.get().len()),
    }
}
