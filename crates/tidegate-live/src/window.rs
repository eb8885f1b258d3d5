//! A window: a prefix of the matching rows after an anchor, held up to a horizon.
//!
//! Invariant: `rows` are exactly the rows of the data that match and whose key lies in `anchor < key <= horizon`, in key
//! order. The horizon is a key bound and not the last row: deleting the last row does not move it. A row past it is
//! unknown territory, however short the window is, because appending it would leave a hole.

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_model::{Key, Row};

/// A row with its key under one order, shared by the windows of that order that hold it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keyed {
    /// The first bytes of the key: most searches look at nothing else.
    prefix: u64,
    pub(crate) key: SmallVec<[u8; 40]>,
    pub(crate) row: Arc<Row>,
}

impl Keyed {
    pub(crate) fn new(key: &[u8], row: Arc<Row>) -> Held {
        Arc::new(Self { prefix: prefix(key), key: SmallVec::from_slice(key), row })
    }
}

/// The first eight bytes of a key: not greater for a smaller key.
#[inline]
pub(crate) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

/// A row of a window.
pub(crate) type Held = Arc<Keyed>;

/// How far a window knows the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Horizon {
    /// Up to this key, inclusive.
    At(Key),
    /// Up to the key that this row had when the tail behind it was dropped, inclusive.
    AtRow(Held),
    /// To the end.
    Complete,
}

impl Horizon {
    /// The key, unless the window knows everything.
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match self {
            Horizon::At(key) => Some(key),
            Horizon::AtRow(held) => Some(&held.key),
            Horizon::Complete => None,
        }
    }
}

/// What one change did to a window's rows.
#[derive(Debug)]
pub(crate) enum Fold {
    Nothing,
    /// Taken out from the index, and perhaps put in at another, which counts after the removal.
    Removed {
        from: usize,
        old: Held,
        to: Option<usize>,
    },
    Inserted {
        to: usize,
    },
    /// Same key, new content.
    Replaced {
        at: usize,
    },
}

/// One image of a changed row as a window sees it. The form that windows keep is made when the first of them needs it
/// and shared by all of the order.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) row: &'a Arc<Row>,
    pub(crate) shared: &'a OnceCell<Held>,
}

impl Image<'_> {
    pub(crate) fn held(&self) -> Held {
        self.shared.get_or_init(|| Keyed::new(self.key, self.row.clone())).clone()
    }
}

#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) anchor: Option<Key>,
    pub(crate) horizon: Horizon,
    pub(crate) rows: Vec<Held>,
    /// Visible rows.
    pub(crate) limit: u32,
    /// Rows kept beyond the visible ones.
    pub(crate) cushion: u32,
}

impl Window {
    /// A window that knows nothing yet.
    pub(crate) fn new(anchor: Option<Key>, limit: u32, cushion: u32) -> Self {
        // Every key is greater than the empty one.
        let horizon = Horizon::At(anchor.clone().unwrap_or_else(|| Arc::from([])));
        Self { anchor, horizon, rows: Vec::new(), limit, cushion }
    }

    /// Takes over what `other` knows after this window's anchor, if that leaves no hole.
    pub(crate) fn seed_from(&mut self, other: &Window) {
        let anchor: &[u8] = self.anchor.as_deref().unwrap_or_default();
        let starts_inside = other.anchor.as_deref().unwrap_or_default() <= anchor;
        let reaches = other.horizon.key().is_none_or(|horizon| anchor <= horizon);
        if !starts_inside || !reaches {
            return;
        }
        let from = other.rows.partition_point(|held| &held.key[..] <= anchor);
        self.rows = other.rows[from..].to_vec();
        self.horizon = other.horizon.clone();
        self.trim(self.capacity());
    }

    /// Most rows held at rest.
    pub(crate) fn capacity(&self) -> usize {
        self.limit as usize + self.cushion as usize
    }

    /// The rows that subscribers see.
    pub(crate) fn visible(&self) -> &[Held] {
        &self.rows[..self.rows.len().min(self.limit as usize)]
    }

    /// Whether rows that should be visible may lie past the horizon.
    pub(crate) fn is_short(&self) -> bool {
        self.rows.len() < self.limit as usize && self.horizon != Horizon::Complete
    }

    /// Whether the cushion has run low and there is something to fetch.
    pub(crate) fn wants_refill(&self) -> bool {
        self.rows.len() < self.limit as usize + self.cushion as usize / 2 && self.horizon != Horizon::Complete
    }

    /// Whether a key lies between anchor and horizon.
    #[inline]
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        let below = self.horizon.key().is_none_or(|horizon| key <= horizon);
        below && self.is_after_anchor(key)
    }

    /// Whether a key lies past the anchor.
    #[inline]
    pub(crate) fn is_after_anchor(&self, key: &[u8]) -> bool {
        self.anchor.as_deref().is_none_or(|anchor| anchor < key)
    }

    #[inline]
    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = prefix(key);
        self.rows.binary_search_by(|held| held.prefix.cmp(&prefix).then_with(|| held.key[..].cmp(key)))
    }

    /// Folds one change in: takes out the row of the old image and puts in that of the new one. Images that do not
    /// match, or that lie outside, are given as `None`.
    #[inline]
    pub(crate) fn fold(&mut self, old: Option<Image<'_>>, new: Option<Image<'_>>) -> Fold {
        // A matching old image inside the bounds is held: that is the invariant.
        let from = old.and_then(|image| self.search(image.key).ok());
        match (from, new) {
            (None, None) => Fold::Nothing,
            (Some(at), Some(image)) if self.rows[at].key[..] == *image.key => {
                self.rows[at] = image.held();
                Fold::Replaced { at }
            }
            (Some(from), None) => Fold::Removed { from, old: self.rows.remove(from), to: None },
            (Some(from), Some(image)) => {
                let old = self.rows.remove(from);
                Fold::Removed { from, old, to: Some(self.insert(image)) }
            }
            (None, Some(image)) => Fold::Inserted { to: self.insert(image) },
        }
    }

    fn insert(&mut self, image: Image<'_>) -> usize {
        let at = self.search(image.key).unwrap_or_else(|at| at);
        self.rows.insert(at, image.held());
        at
    }

    /// Drops the tail past `capacity` rows and lowers the horizon to the new last row.
    #[inline]
    pub(crate) fn trim(&mut self, capacity: usize) {
        if self.rows.len() > capacity {
            self.rows.truncate(capacity);
            if let Some(last) = self.rows.last() {
                self.horizon = Horizon::AtRow(last.clone());
            }
        }
    }

    /// Appends rows that lie strictly past the horizon, in order, and moves the horizon to `upto`.
    pub(crate) fn extend(&mut self, rows: Vec<Held>, upto: Option<Key>) {
        debug_assert!(rows.iter().all(|held| !self.covers(&held.key)));
        self.rows.extend(rows);
        self.horizon = upto.map_or(Horizon::Complete, Horizon::At);
    }
}
