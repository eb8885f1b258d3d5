//! The predicate index: which views may a row concern?
//!
//! A view is filed under one conjunct of its filter, the most selective: values (`eq`, `in`, `isnull`) under a hash of
//! column and encoded value, prefixes (`like 'ab%'`) under a hash of column and prefix, ranges in [`Intervals`] over the
//! first bytes of the encoded value, an `or` under each of its branches, and what offers nothing in a list. A lookup may
//! name a view too many (hashes collide, bytes are cut) and may name one twice, but never misses one: whoever asks
//! evaluates the whole filter.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHasher};
use smallvec::SmallVec;
use tidegate_model::{Comparison, Filter, InList, Row, Type, Value, key};

use crate::intervals::{Interval, Intervals};

/// Longest prefix that is filed; a longer one is filed under its beginning. Bounds the lookups for one text.
const PREFIX_BYTES_MAX: usize = 32;

/// Where a view is filed. Kept with the view to take it out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Value { column: u16, hash: u64 },
    Prefix { column: u16, len: u8, hash: u64 },
    Range { column: u16, low: u64, high: u64 },
    Everything,
}

/// The places of one view: none where its filter can't be true.
pub(crate) type Places = SmallVec<[Place; 1]>;

/// The views under one hash: mostly a single one, which costs no allocation.
#[derive(Debug, Default)]
enum Slots {
    #[default]
    None,
    One(u32),
    // A box keeps the table's entries small.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<u32>>),
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    values: HashMap<u64, Slots, FxBuildHasher>,
    /// How many views are filed under values of each column.
    value_columns: Vec<(u16, usize)>,
    /// The same for prefixes, by column and length.
    prefix_columns: Vec<((u16, u8), usize)>,
    ranges: Vec<(u16, Intervals)>,
    everything: Vec<u32>,
}

impl Index {
    pub(crate) fn insert(&mut self, slot: u32, places: &[Place]) {
        for place in places {
            match *place {
                Place::Value { column, hash } => {
                    self.values.entry(hash).or_default().push(slot);
                    count(&mut self.value_columns, column, 1);
                }
                Place::Prefix { column, len, hash } => {
                    self.values.entry(hash).or_default().push(slot);
                    count(&mut self.prefix_columns, (column, len), 1);
                }
                Place::Range { column, low, high } => {
                    let at = self.ranges.iter().position(|(other, _)| *other == column).unwrap_or_else(|| {
                        self.ranges.push((column, Intervals::default()));
                        self.ranges.len() - 1
                    });
                    self.ranges[at].1.insert(Interval { low, high, slot });
                }
                Place::Everything => self.everything.push(slot),
            }
        }
    }

    pub(crate) fn remove(&mut self, slot: u32, places: &[Place]) {
        for place in places {
            match *place {
                Place::Value { hash, .. } | Place::Prefix { hash, .. } => {
                    if let Some(slots) = self.values.get_mut(&hash) {
                        slots.remove(slot);
                        if slots.as_slice().is_empty() {
                            self.values.remove(&hash);
                        }
                    }
                    match *place {
                        Place::Prefix { column, len, .. } => count(&mut self.prefix_columns, (column, len), -1),
                        Place::Value { column, .. } => count(&mut self.value_columns, column, -1),
                        _ => {}
                    }
                }
                Place::Range { column, low, high } => {
                    if let Some((_, intervals)) = self.ranges.iter_mut().find(|(other, _)| *other == column) {
                        intervals.remove(Interval { low, high, slot });
                    }
                    self.ranges.retain(|(_, intervals)| !intervals.is_empty());
                }
                Place::Everything => {
                    if let Some(at) = self.everything.iter().position(|other| *other == slot) {
                        self.everything.swap_remove(at);
                    }
                }
            }
        }
    }

    /// Names every view that `old` or `new` may match. `scratch` is reused and holds nothing of interest afterwards.
    pub(crate) fn find(
        &self,
        old: Option<&Row>,
        new: Option<&Row>,
        scratch: &mut Vec<u8>,
        found: &mut impl FnMut(u32),
    ) {
        let cells = |column: u16, each: &mut dyn FnMut(&Value)| {
            let (old, new) = (old.map(|row| row.value(column)), new.map(|row| row.value(column)));
            old.into_iter().for_each(&mut *each);
            new.into_iter().filter(|new| old != Some(new)).for_each(each);
        };
        for (column, _) in &self.value_columns {
            cells(*column, &mut |cell| self.find_hash(value_hash(*column, cell, scratch), found));
        }
        for ((column, len), _) in &self.prefix_columns {
            cells(*column, &mut |cell| {
                if let Value::Text(text) = cell
                    && let Some(prefix) = text.as_bytes().get(..usize::from(*len))
                {
                    self.find_hash(prefix_hash(*column, prefix), found);
                }
            });
        }
        for (column, intervals) in &self.ranges {
            cells(*column, &mut |cell| {
                if !cell.is_null() {
                    intervals.find(point(cell, scratch), found);
                }
            });
        }
        self.everything.iter().copied().for_each(found);
    }

    fn find_hash(&self, hash: u64, found: &mut impl FnMut(u32)) {
        if let Some(slots) = self.values.get(&hash) {
            slots.as_slice().iter().copied().for_each(found);
        }
    }
}

fn count<K: PartialEq>(counts: &mut Vec<(K, usize)>, key: K, by: isize) {
    match counts.iter().position(|(other, _)| *other == key) {
        Some(at) => {
            counts[at].1 = counts[at].1.saturating_add_signed(by);
            if counts[at].1 == 0 {
                counts.swap_remove(at);
            }
        }
        None => counts.push((key, 1)),
    }
}

impl Slots {
    fn as_slice(&self) -> &[u32] {
        match self {
            Slots::None => &[],
            Slots::One(slot) => std::slice::from_ref(slot),
            Slots::Many(slots) => slots,
        }
    }

    fn push(&mut self, slot: u32) {
        match self {
            Slots::None => *self = Slots::One(slot),
            Slots::One(first) => *self = Slots::Many(Box::new(vec![*first, slot])),
            Slots::Many(slots) => slots.push(slot),
        }
    }

    fn remove(&mut self, slot: u32) {
        match self {
            Slots::Many(slots) => {
                if let Some(at) = slots.iter().position(|other| *other == slot) {
                    slots.swap_remove(at);
                }
            }
            Slots::One(only) if *only == slot => *self = Slots::None,
            _ => {}
        }
    }
}

fn value_hash(column: u16, value: &Value, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    key::encode(value, false, scratch);
    let mut hasher = FxHasher::default();
    hasher.write_u16(column);
    hasher.write(scratch);
    FxBuildHasher.hash_one(hasher.finish())
}

fn prefix_hash(column: u16, prefix: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(u32::from(column) | 1 << 31);
    hasher.write(prefix);
    FxBuildHasher.hash_one(hasher.finish())
}

/// The first eight payload bytes of a value's encoding: greater or equal for greater values.
fn point(value: &Value, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    key::encode(value, false, scratch);
    let mut bytes = [0; 8];
    let payload = &scratch[1..];
    let len = payload.len().min(8);
    bytes[..len].copy_from_slice(&payload[..len]);
    u64::from_be_bytes(bytes)
}

/// Where a view with this filter is filed.
pub(crate) fn places(filter: &Filter) -> Places {
    best(filter).map_or_else(|| SmallVec::from_slice(&[Place::Everything]), |(_, places)| places)
}

/// Lower is more selective.
type Rank = u8;

fn best(filter: &Filter) -> Option<(Rank, Places)> {
    let conjuncts = filter.conjuncts();
    let single = conjuncts.iter().filter_map(|conjunct| match conjunct {
        Filter::Compare { value: Value::Null, .. } => Some((0, Places::new())),
        Filter::Compare { column, op: Comparison::Eq, value } => {
            let rank = if value.kind() == Some(Type::Bool) { 6 } else { 1 };
            Some((rank, SmallVec::from_slice(&[value_place(*column, value)])))
        }
        Filter::In(list) => Some((if list.values.len() <= 16 { 2 } else { 4 }, in_places(list))),
        Filter::Like { column, pattern } => {
            let prefix = pattern.prefix()?;
            let prefix = &prefix.as_bytes()[..prefix.len().min(PREFIX_BYTES_MAX)];
            let place = Place::Prefix { column: *column, len: prefix.len() as u8, hash: prefix_hash(*column, prefix) };
            Some((3, SmallVec::from_slice(&[place])))
        }
        Filter::IsNull { column } => Some((5, SmallVec::from_slice(&[value_place(*column, &Value::Null)]))),
        Filter::Any(branches) => {
            let mut rank = 5;
            let mut places = Places::new();
            for branch in branches {
                let (branch_rank, branch_places) = best(branch)?;
                rank = rank.max(branch_rank);
                places.extend(branch_places);
            }
            Some((rank, places))
        }
        Filter::All(inner) if !inner.is_empty() => best(conjunct),
        _ => None,
    });
    single.chain(ranges(conjuncts)).min_by_key(|(rank, places)| (*rank, places.len()))
}

fn value_place(column: u16, value: &Value) -> Place {
    Place::Value { column, hash: value_hash(column, value, &mut Vec::new()) }
}

fn in_places(list: &InList) -> Places {
    list.values.iter().map(|value| value_place(list.column, value)).collect()
}

/// The bounds that the conjuncts set on each column, both sides together.
fn ranges(conjuncts: &[Filter]) -> impl Iterator<Item = (Rank, Places)> {
    let mut columns: Vec<(u16, u64, u64)> = Vec::new();
    for conjunct in conjuncts {
        let Filter::Compare { column, op, value } = conjunct else { continue };
        if value.is_null() {
            continue;
        }
        let at = point(value, &mut Vec::new());
        let (low, high) = match op {
            Comparison::Gt | Comparison::Gte => (at, u64::MAX),
            Comparison::Lt | Comparison::Lte => (0, at),
            Comparison::Eq | Comparison::Ne => continue,
        };
        match columns.iter_mut().find(|(other, ..)| other == column) {
            Some(bounds) => (bounds.1, bounds.2) = (bounds.1.max(low), bounds.2.min(high)),
            None => columns.push((*column, low, high)),
        }
    }
    columns.into_iter().map(|(column, low, high)| {
        let rank = if low > 0 && high < u64::MAX { 4 } else { 7 };
        (rank, SmallVec::from_slice(&[Place::Range { column, low, high }]))
    })
}
