//! What a thread of a crowd is told to do.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::board::Samples;

/// What the loop is told to do.
pub(super) enum Order {
    /// Opens so many more, `at_once` of them under way at a time, at most so many a second (0 = no limit).
    Open {
        count: usize,
        at_once: usize,
        per_second: f64,
    },
    /// At most so many of those that were dropped and stay away come back.
    BringBack(usize),
    /// Opens no more of those that it was told to open.
    Hold,
    /// Ends this share of those that are ready, half by FIN and half by RST. They come back over the time, if one is given.
    Drop {
        share: f64,
        back: Option<Duration>,
    },
    /// This share of those that are ready stops reading; all others read (again).
    Stall {
        share: f64,
    },
    /// Sends echoes: so many a second over all (0 = each connection again as soon as its own is back); `None` stops.
    Echo(Option<f64>),
    /// Hands over what was gathered.
    Take(Sender<Samples>),
    End,
}
