//! Who is let in: how many sockets and live connections, how many new ones a second, and up to which size of the process.
//!
//! A refusal costs what it takes to find out: an atomic or two, or a short lock. Nothing is allocated, and what was taken on
//! the way is given back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::cap::{Cap, Place};
use crate::rate::Bucket;
use crate::{EdgeConfig, Refused};

/// Seconds that whoever is refused is told to wait at least, and at most beyond those.
const RETRY_AFTER: u64 = 5;

/// The counts that all workers share.
#[derive(Debug)]
pub(crate) struct Admission {
    sockets: Arc<Cap>,
    connections: Arc<Cap>,
    rate: Option<Mutex<Bucket>>,
    /// Of new connections that are left to those who resume.
    reserve: u32,
    /// 0 = off.
    max_memory_bytes: u64,
    memory: AtomicU64,
}

impl Admission {
    pub(crate) fn new(config: &EdgeConfig, now: Instant) -> Arc<Self> {
        let rate = config.connections_per_second;
        Arc::new(Self {
            sockets: Cap::new(config.max_connections.saturating_add(config.max_other_sockets)),
            connections: Cap::new(config.max_connections),
            rate: (rate > 0).then(|| Mutex::new(Bucket::new(rate, rate, now))),
            reserve: rate / 4,
            max_memory_bytes: config.max_memory_bytes,
            memory: AtomicU64::new(0),
        })
    }

    /// A place for a socket, whatever it will be.
    pub(crate) fn socket(&self) -> Result<Place, Refused> {
        self.sockets.take().ok_or(Refused::Sockets)
    }

    /// A place for a live connection. `resumes`: it says that it comes back.
    pub(crate) fn connection(&self, resumes: bool, now: Instant) -> Result<Place, Refused> {
        if self.is_too_large(resumes) {
            return Err(Refused::Memory);
        }
        let place = self.connections.take().ok_or(Refused::Capacity)?;
        if let Some(rate) = &self.rate {
            let reserve = if resumes { 0 } else { self.reserve };
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.take_but(reserve, now).map_err(|_| Refused::Rate)?;
        }
        Ok(place)
    }

    /// How large the process is now; 0 if nobody knows.
    pub(crate) fn set_memory(&self, resident_bytes: u64) {
        self.memory.store(resident_bytes, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.taken()
    }

    fn is_too_large(&self, resumes: bool) -> bool {
        let max = self.max_memory_bytes;
        let max = if resumes { max.saturating_add(max / 10) } else { max };
        max > 0 && self.memory.load(Ordering::Relaxed) >= max
    }
}

/// Seconds for `Retry-After`, evenly from 5 to 10 by `random`, which is in `0.0..1.0`: so that those who are refused
/// together do not come again together.
pub(crate) fn retry_after(random: f64) -> u64 {
    RETRY_AFTER + (random * (RETRY_AFTER + 1) as f64) as u64
}
