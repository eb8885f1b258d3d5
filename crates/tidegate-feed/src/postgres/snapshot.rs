//! Which transactions a snapshot has seen.

use super::error::{SourceError, SourceErrorKind};

/// A snapshot as `pg_current_snapshot()` prints it: `xmin:xmax:xip,xip,…`, 64-bit transaction ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct XidSnapshot {
    /// Every transaction below has ended.
    pub(crate) xmin: u64,
    /// No transaction from here on had ended.
    pub(crate) xmax: u64,
    /// Those in between that were under way, ascending.
    pub(crate) in_progress: Vec<u64>,
}

impl XidSnapshot {
    /// Parses what the server printed.
    ///
    /// # Errors
    /// [`SourceErrorKind::Protocol`] where it is not of that form.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        Self::read(text)
            .ok_or_else(|| SourceError::new(SourceErrorKind::Protocol, "the server printed a snapshot that is none"))
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax, list) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let in_progress: Vec<u64> =
            list.split(',').filter(|xid| !xid.is_empty()).map(str::parse).collect::<Result<_, _>>().ok()?;
        let within = in_progress.iter().all(|xid| (xmin..xmax).contains(xid)) && in_progress.is_sorted();
        (parts.next().is_none() && xmin <= xmax && within).then_some(Self { xmin, xmax, in_progress })
    }

    /// Whether what transaction `xid`, known to have committed, did is in the snapshot.
    pub(crate) fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.in_progress.binary_search(&xid).is_err())
    }

    /// The 64-bit id of a transaction of which the log tells the lower half: the one nearest to the snapshot.
    ///
    /// Right for every transaction within 2^31 of the snapshot, which is as far as PostgreSQL lets them live.
    pub(crate) fn extend(&self, xid: u32) -> u64 {
        extend(self.xmax, xid)
    }
}

/// The 64-bit number that ends in `low` and is nearest to `near`.
pub(crate) fn extend(near: u64, low: u32) -> u64 {
    const EPOCH: u64 = 1 << 32;
    let here = near & !(EPOCH - 1) | u64::from(low);
    let candidates = [here.checked_sub(EPOCH), Some(here), here.checked_add(EPOCH)];
    candidates.into_iter().flatten().min_by_key(|xid| xid.abs_diff(near)).unwrap_or(here)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_it_prints_is_what_is_seen() {
        let snapshot = XidSnapshot::parse("10:20:10,14,15").unwrap();
        let seen: Vec<u64> = (8..24).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(seen, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
        assert!(!XidSnapshot::parse("10:10:").unwrap().sees(10));
        for wrong in ["", "1", "1:2", "2:1:", "1:2:3", "1:5:3,2", "a:b:c", "1:2::", "1:2:1:", "-1:2:", "1:9:x"] {
            assert!(XidSnapshot::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_wrap_around() {
        let at = |near: u64, low: u32| extend(near, low);
        assert_eq!(at(5, 3), 3);
        assert_eq!(at(5, 9), 9);
        // Just after the wrap, an id of just before it, and the other way about.
        assert_eq!(at((1 << 32) + 5, u32::MAX), u64::from(u32::MAX));
        assert_eq!(at(u64::from(u32::MAX), 3), (1 << 32) + 3);
        assert_eq!(at((7 << 32) + 100, 100), (7 << 32) + 100);
        // In the first epoch there is nothing before.
        assert_eq!(at(0, u32::MAX), u64::from(u32::MAX));
        assert_eq!(at(u64::MAX, 0), !0xFFFF_FFFF);
    }

    proptest! {
        #[test]
        fn the_nearest_is_found(near in 1u64 << 33..1 << 60, distance in -(1i64 << 31) + 1..1 << 31) {
            let xid = near.checked_add_signed(distance).unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is what the log tells")]
            let low = xid as u32;
            prop_assert_eq!(extend(near, low), xid);
        }

        #[test]
        fn no_text_is_too_wrong(text in "[0-9:,x]{0,20}") {
            let _ = XidSnapshot::parse(&text);
        }
    }
}
