//! Marks: whose tokens end, all of them that were issued by then.
//!
//! They are bounded: past the cap the oldest tenth becomes one mark for everybody. What follows is that tokens that are as old as
//! those, or do not say when they were issued, are no longer accepted from anybody: a new one has to be fetched. Nobody who was
//! revoked comes back.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_model::Tenant;

use crate::{Principal, PrincipalKind};

/// Default cap.
pub(crate) const MARKS_MAX: usize = 100_000;

/// Who is in a mark.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// All users, from marks that were too many.
    Everybody,
    /// The users of a tenant.
    Tenant(Tenant),
    /// One user.
    User {
        /// Its name.
        user: Arc<str>,
        /// Only there; `None`: in whichever, and in none.
        tenant: Option<Tenant>,
    },
}

/// The marks, and when each was made.
#[derive(Debug)]
pub(crate) struct Marks {
    at_ms: HashMap<Mark, u64>,
    max: usize,
}

impl Marks {
    pub(crate) fn new(max: usize) -> Self {
        Self { at_ms: HashMap::new(), max: max.max(1) }
    }

    /// Whether the principal's token ended with a mark: it was issued by then, to the millisecond, or does not say when. Strangers
    /// and servers have none.
    pub(crate) fn refuses(&self, principal: &Principal) -> bool {
        if principal.kind != PrincipalKind::User || self.at_ms.is_empty() {
            return false;
        }
        let user = |tenant| Mark::User { user: principal.user.clone(), tenant };
        let of_tenant =
            principal.tenant.iter().flat_map(|tenant| [Mark::Tenant(tenant.clone()), user(Some(tenant.clone()))]);
        let mut at_ms =
            [Mark::Everybody, user(None)].into_iter().chain(of_tenant).filter_map(|mark| self.at_ms.get(&mark));
        at_ms.any(|&at_ms| principal.issued_at_ms.is_none_or(|issued_at_ms| issued_at_ms <= at_ms))
    }

    /// A mark holds from its latest time.
    pub(crate) fn insert(&mut self, mark: Mark, at_ms: u64) {
        self.at_ms.entry(mark).and_modify(|there| *there = at_ms.max(*there)).or_insert(at_ms);
    }

    /// Past the cap: makes the oldest tenth one mark for everybody, and says from when that is.
    pub(crate) fn fold(&mut self) -> Option<u64> {
        if self.at_ms.len() <= self.max {
            return None;
        }
        let mut times: Vec<u64> = self.at_ms.values().copied().collect();
        let (_, &mut until_ms, _) = times.select_nth_unstable(self.max / 10);
        self.at_ms.retain(|_, at_ms| *at_ms > until_ms);
        self.insert(Mark::Everybody, until_ms);
        Some(until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, tenant: Option<&str>) -> Mark {
        Mark::User { user: name.into(), tenant: tenant.map(Tenant::new) }
    }

    fn token(user: &str, tenant: Option<&str>, issued_at_ms: Option<u64>) -> Principal {
        let tenant = tenant.map(Tenant::new);
        Principal { user: user.into(), tenant, issued_at_ms, ..Principal::new(PrincipalKind::User) }
    }

    #[test]
    fn a_token_that_was_issued_by_then_is_refused() {
        let mut marks = Marks::new(10);
        marks.insert(user("ann", None), 1_000);
        for (issued_at_ms, refused) in [(None, true), (Some(0), true), (Some(1_000), true), (Some(1_001), false)] {
            assert_eq!(marks.refuses(&token("ann", None, issued_at_ms)), refused, "{issued_at_ms:?}");
        }
    }

    #[test]
    fn a_mark_is_of_those_it_names() {
        let tokens = [("ann", None), ("ann", Some("x")), ("ann", Some("y")), ("bob", None), ("bob", Some("x"))];
        for (mark, refused) in [
            (user("ann", None), [true, true, true, false, false]),
            (user("ann", Some("x")), [false, true, false, false, false]),
            (Mark::Tenant(Tenant::new("x")), [false, true, false, false, true]),
            (Mark::Everybody, [true; 5]),
        ] {
            let mut marks = Marks::new(10);
            marks.insert(mark.clone(), 1_000);
            let found = tokens.map(|(user, tenant)| marks.refuses(&token(user, tenant, Some(1))));
            assert_eq!(found, refused, "{mark:?}");
            let others = [PrincipalKind::Anonymous, PrincipalKind::ApiKey];
            assert!(
                others.iter().all(|kind| !marks.refuses(&Principal { kind: *kind, ..token("ann", Some("x"), None) }))
            );
        }
    }

    #[test]
    fn a_mark_never_goes_back() {
        let mut marks = Marks::new(10);
        marks.insert(user("ann", None), 1_000);
        marks.insert(user("ann", None), 500);
        assert!(marks.refuses(&token("ann", None, Some(1_000))));
    }

    #[test]
    fn past_the_cap_the_oldest_become_everybodys() {
        let mut marks = Marks::new(100);
        let name = |n: u64| format!("user-{n}");
        for n in 1..=1_000 {
            marks.insert(user(&name(n), None), n);
            marks.fold();
            assert!(marks.at_ms.len() <= 100);
        }
        for n in 1..=1_000 {
            assert!(marks.refuses(&token(&name(n), None, Some(n))), "{n}");
            assert!(!marks.refuses(&token(&name(n), None, Some(1_001))), "{n}");
        }
        assert!(marks.refuses(&token("stranger to all marks", None, Some(900))));
        assert!(!marks.refuses(&token("stranger to all marks", None, Some(950))));
    }
}
