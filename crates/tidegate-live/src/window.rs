//! A window: a prefix of the matching rows after an anchor, held up to a horizon.
//!
//! Invariant: `rows` are exactly the rows of the data that match and whose key lies in `anchor < key <= horizon`, in key
//! order. The horizon is a key bound and not the last row: deleting the last row does not move it. A row past it is
//! unknown territory, however short the window is, because appending it would leave a hole.

use std::sync::Arc;

use tidegate_model::{Key, Row};

/// A row of a window with its key under the window's order.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) key: Key,
    pub(crate) row: Arc<Row>,
}

/// How far a window knows the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Horizon {
    /// Up to this key, inclusive.
    At(Key),
    /// To the end.
    Complete,
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

/// One image of a changed row as a window sees it: its key, and whether it matches the view's filter.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) row: &'a Arc<Row>,
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
        let reaches = match &other.horizon {
            Horizon::At(horizon) => anchor <= &**horizon,
            Horizon::Complete => true,
        };
        if !starts_inside || !reaches {
            return;
        }
        let from = other.rows.partition_point(|held| &*held.key <= anchor);
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
        let below = match &self.horizon {
            Horizon::Complete => true,
            Horizon::At(horizon) => key <= &**horizon,
        };
        below && self.is_after_anchor(key)
    }

    /// Whether a key lies past the anchor.
    #[inline]
    pub(crate) fn is_after_anchor(&self, key: &[u8]) -> bool {
        self.anchor.as_deref().is_none_or(|anchor| anchor < key)
    }

    #[inline]
    fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.rows.binary_search_by(|held| (*held.key).cmp(key))
    }

    /// Folds one change in: takes out the row of the old image and puts in that of the new one. Images that do not
    /// match, or that lie outside, are given as `None`. `make_key` is called only when a key has to be stored.
    #[inline]
    pub(crate) fn fold(
        &mut self,
        old: Option<Image<'_>>,
        new: Option<Image<'_>>,
        make_key: impl FnOnce() -> Key,
    ) -> Fold {
        let from = match old {
            // A matching old image inside the bounds is held: that is the invariant.
            Some(image) => self.search(image.key).ok(),
            None => None,
        };
        match (from, new) {
            (None, None) => Fold::Nothing,
            (Some(at), Some(image)) if *self.rows[at].key == *image.key => {
                self.rows[at].row = image.row.clone();
                Fold::Replaced { at }
            }
            (Some(from), None) => Fold::Removed { from, old: self.rows.remove(from), to: None },
            (Some(from), Some(image)) => {
                let old = self.rows.remove(from);
                Fold::Removed { from, old, to: Some(self.insert(image, make_key)) }
            }
            (None, Some(image)) => Fold::Inserted { to: self.insert(image, make_key) },
        }
    }

    fn insert(&mut self, image: Image<'_>, make_key: impl FnOnce() -> Key) -> usize {
        let at = self.search(image.key).unwrap_or_else(|at| at);
        self.rows.insert(at, Held { key: make_key(), row: image.row.clone() });
        at
    }

    /// Drops the tail past `capacity` rows and lowers the horizon to the new last row.
    #[inline]
    pub(crate) fn trim(&mut self, capacity: usize) {
        if self.rows.len() > capacity {
            self.rows.truncate(capacity);
            if let Some(last) = self.rows.last() {
                self.horizon = Horizon::At(last.key.clone());
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
