//! What concerns all channels: which has something to do when, and which was used longest ago.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Topic;

/// When a channel's alarm is, and its number among all.
pub(super) type Alarm = (u64, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Agenda {
    alarms: BTreeMap<Alarm, Arc<Topic>>,
    last_alarm: u64,
    /// All channels.
    pub(super) channels: Order,
    /// Those that have a history.
    pub(super) histories: Order,
    /// The timer has to end.
    pub(super) is_over: bool,
}

impl Agenda {
    /// Sets an alarm.
    pub(super) fn arm(&mut self, topic: &Arc<Topic>, at_ms: u64) -> Alarm {
        self.last_alarm += 1;
        let alarm = (at_ms, self.last_alarm);
        self.alarms.insert(alarm, topic.clone());
        alarm
    }

    /// The other way round.
    pub(super) fn disarm(&mut self, alarm: Alarm) {
        self.alarms.remove(&alarm);
    }

    /// When the next alarm is.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.alarms.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Takes the next alarm if its time has come.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<(Alarm, Arc<Topic>)> {
        let next = self.alarms.first_entry().filter(|next| next.key().0 <= now_ms)?;
        Some(next.remove_entry())
    }
}

/// Topics by when they were used. A place is only brought up to date when it is looked at: whoever takes the first one asks
/// its channel whether it was used since, and if so enters it again where it belongs. So the first that was not is the one
/// that was used longest ago, and using a channel changes nothing here.
#[derive(Default)]
pub(super) struct Order(BTreeMap<u64, Arc<Topic>>);

impl Order {
    /// `used` is different for every use of anything.
    pub(super) fn enter(&mut self, used: u64, topic: Arc<Topic>) {
        self.0.insert(used, topic);
    }

    pub(super) fn remove(&mut self, used: u64) {
        self.0.remove(&used);
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<(u64, Arc<Topic>)> {
        self.0.pop_first()
    }
}
