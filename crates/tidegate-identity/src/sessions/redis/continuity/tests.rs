use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A stream as Redis keeps it, and what nobody has read.
#[derive(Debug, Default)]
struct Stream {
    entries: BTreeSet<EntryId>,
    state: StreamState,
    /// Entries of this stream and of those before it, since the place was taken.
    unread: BTreeSet<(usize, EntryId)>,
    incarnation: usize,
    /// Entries were removed before they were read, or the stream is another one.
    has_gap: bool,
}

impl Stream {
    fn add(&mut self, step: u64) {
        let id = EntryId::new(self.state.last_generated.ms + step, 0);
        self.entries.insert(id);
        self.unread.insert((self.incarnation, id));
        self.state = StreamState { last_generated: id, entries_added: self.state.entries_added + 1 };
    }

    fn remove(&mut self, id: EntryId) {
        self.entries.remove(&id);
        self.has_gap |= self.unread.contains(&(self.incarnation, id));
    }

    /// Another stream under the same name: its ids go on, or begin anew and stay lower.
    fn recreate(&mut self, read_to: EntryId, goes_on: bool, added: usize) {
        self.has_gap = true;
        let goes_on = goes_on || added as u64 >= read_to.ms;
        let first = if goes_on { self.state.last_generated } else { EntryId::default() };
        self.incarnation += 1;
        self.entries.clear();
        self.state = StreamState { last_generated: first, entries_added: 0 };
        (0..added).for_each(|_| self.add(1));
        if added == 0 {
            self.state = StreamState::default();
        }
    }

    fn read(&mut self, place: &mut Place, max: usize) -> usize {
        let after = (std::ops::Bound::Excluded(place.position()), std::ops::Bound::Unbounded);
        let read: Vec<_> = self.entries.range(after).take(max).copied().collect();
        for id in &read {
            place.pass(*id);
            self.unread.remove(&(self.incarnation, *id));
        }
        read.len()
    }

    fn count_unread(&self, place: &Place) -> usize {
        let after = (std::ops::Bound::Excluded(place.position()), std::ops::Bound::Unbounded);
        self.entries.range(after).take(BATCH_MAX).count()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add { count: usize, step: u64 },
    Trim(usize),
    Delete(prop::sample::Index),
    Recreate { goes_on: bool, added: usize },
    Read(usize),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..200_usize, 1..5_u64).prop_map(|(count, step)| Step::Add { count, step }),
        1 => (0..50_usize).prop_map(Step::Trim),
        1 => any::<prop::sample::Index>().prop_map(Step::Delete),
        1 => (any::<bool>(), 0..5_usize).prop_map(|(goes_on, added)| Step::Recreate { goes_on, added }),
        3 => (1..=BATCH_MAX).prop_map(Step::Read),
        3 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..60)
}

/// Looks until it is decided, as the subscriber does.
fn look(stream: &mut Stream, place: &mut Place) -> Continuity {
    loop {
        let unread = stream.count_unread(place);
        match place.judge(stream.state, unread) {
            Continuity::More => assert_eq!(stream.read(place, BATCH_MAX), BATCH_MAX),
            Continuity::Proven => {
                stream.read(place, BATCH_MAX);
                return Continuity::Proven;
            }
            Continuity::Gap => {
                *place = Place::at_end(stream.state);
                return Continuity::Gap;
            }
        }
    }
}

proptest! {
    /// A gap is seen at the next look, and nothing else is taken for one. But two numbers cannot tell everything: here a
    /// stream that is made anew was not empty, and is looked at before it is trimmed and before lower ids reach the old ones.
    #[test]
    fn every_gap_is_seen_and_nothing_else_is_one(before in 0..300_usize, steps in steps()) {
        let mut stream = Stream::default();
        (0..before).for_each(|_| stream.add(1));
        let mut place = Place::at_end(stream.state);
        stream.unread.clear();
        for step in steps.into_iter().chain([Step::Look]) {
            let must_look = matches!(step, Step::Recreate { .. } | Step::Look);
            match step {
                Step::Add { count, step } => (0..count).for_each(|_| stream.add(step)),
                Step::Trim(keep) => {
                    let many = stream.entries.len().saturating_sub(keep);
                    let oldest: Vec<_> = stream.entries.iter().take(many).copied().collect();
                    oldest.into_iter().for_each(|id| stream.remove(id));
                }
                Step::Delete(index) if !stream.entries.is_empty() => {
                    let id = *index.get(&stream.entries.iter().copied().collect::<Vec<_>>());
                    stream.remove(id);
                }
                Step::Recreate { .. } if place.counted == 0 => {}
                Step::Delete(_) | Step::Look => {}
                Step::Recreate { goes_on, added } => stream.recreate(place.position(), goes_on, added),
                Step::Read(max) => drop(stream.read(&mut place, max)),
            }
            if must_look {
                let expected = if stream.has_gap { Continuity::Gap } else { Continuity::Proven };
                prop_assert_eq!(look(&mut stream, &mut place), expected);
                if expected == Continuity::Proven {
                    prop_assert!(stream.unread.is_empty());
                }
                stream.has_gap = false;
                stream.unread.clear();
            }
        }
    }
}

#[test]
fn an_id_is_two_numbers_in_order() {
    assert_eq!("12-3".parse(), Ok(EntryId::new(12, 3)));
    assert_eq!(EntryId::new(12, 3).to_string(), "12-3");
    for text in ["", "12", "12-", "-3", "a-b", "1-2-3", "18446744073709551616-0"] {
        assert_eq!(text.parse::<EntryId>(), Err(()), "{text}");
    }
    assert!(EntryId::new(2, 0) > EntryId::new(1, u64::MAX));
}

/// Trimmed entries that had been read are not missed; those that had not are.
#[test]
fn only_what_was_not_read_is_missed() {
    let stream = |last, entries_added| StreamState { last_generated: EntryId::new(last, 0), entries_added };
    let place = Place::at_end(stream(5, 10));
    assert_eq!(place.judge(stream(5, 10), 0), Continuity::Proven);
    assert_eq!(place.judge(stream(7, 12), 2), Continuity::Proven);
    assert_eq!(place.judge(stream(7, 12), 1), Continuity::Gap);
    assert_eq!(place.judge(stream(4, 10), 0), Continuity::Gap);
    assert_eq!(place.judge(stream(9, 3), 3), Continuity::Gap);
    assert_eq!(place.judge(StreamState::default(), 0), Continuity::Gap);
    assert_eq!(place.judge(stream(500, 400), BATCH_MAX), Continuity::More);
    assert_eq!(place.judge(stream(500, 20), BATCH_MAX), Continuity::Gap);
    assert_eq!(Place::at_end(StreamState::default()).judge(StreamState::default(), 0), Continuity::Proven);
}
