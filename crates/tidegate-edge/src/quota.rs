//! What one user, and one tenant, may have of the gateway: connections, subscriptions, messages a second.
//!
//! Counted for this process. Strangers have no user to be counted by, only the tenant that they share; servers are not
//! limited. Where nothing is limited nothing is counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_identity::{Principal, PrincipalKind, Refusal};
use tidegate_model::Tenant;
use tidegate_session::Share;
use tokio::time::Instant;

use crate::rate::Bucket;

/// What one of them may have; 0 = as much as the gateway has, the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Live connections. Past it: `429`.
    pub connections: usize,
    /// Subscriptions of all its connections. Past it the subscribe is refused.
    pub subscriptions: usize,
    /// Messages of all its WebSockets a second, and twice as many at once. Past it they wait in the sockets.
    pub messages_per_second: u32,
}

/// Quotas by whom they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of one user of one tenant.
    pub user: Quota,
    /// Of all users of a tenant.
    pub tenant: Quota,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    User(Option<Tenant>, Arc<str>),
    Tenant(Tenant),
}

impl Holder {
    fn name(&self) -> &'static str {
        match self {
            Self::User(..) => "user",
            Self::Tenant(_) => "tenant",
        }
    }
}

/// What every holder with a connection uses.
#[derive(Debug)]
pub(crate) struct Ledger {
    quotas: Quotas,
    accounts: Mutex<HashMap<Holder, Arc<Account>>>,
}

#[derive(Debug)]
struct Account {
    connections: AtomicUsize,
    subscriptions: Arc<Share>,
    messages: Option<Mutex<Bucket>>,
}

/// A connection's part in the accounts that it belongs to. Dropping it gives back the connection.
#[derive(Debug)]
pub(crate) struct Grip {
    ledger: Arc<Ledger>,
    accounts: Vec<(Holder, Arc<Account>)>,
}

impl Ledger {
    pub(crate) fn new(quotas: Quotas) -> Arc<Self> {
        Arc::new(Self { quotas, accounts: Mutex::default() })
    }

    /// A connection for this one; `None` where nothing is limited for it. `held` is what it has already: the same holders
    /// keep it.
    ///
    /// # Errors
    /// A refusal that names what is used up.
    pub(crate) fn hold(
        self: &Arc<Self>,
        principal: &Principal,
        held: Option<&Arc<Grip>>,
        now: Instant,
    ) -> Result<Option<Arc<Grip>>, Refusal> {
        let holders = self.holders(principal);
        if holders.is_empty() {
            return Ok(None);
        }
        if let Some(held) = held
            && held.accounts.iter().map(|(holder, _)| holder).eq(holders.iter().map(|(holder, _)| holder))
        {
            return Ok(Some(held.clone()));
        }
        let mut grip = Grip { ledger: self.clone(), accounts: Vec::with_capacity(holders.len()) };
        for (holder, quota) in holders {
            let account = self.take(&holder, quota, now).ok_or_else(|| Refusal {
                code: if holder.name() == "user" { "user_connections" } else { "tenant_connections" },
                message: format!("the {} has its {} connections; close one first", holder.name(), quota.connections),
                retryable: true,
                status: 429,
            })?;
            grip.accounts.push((holder, account));
        }
        Ok(Some(Arc::new(grip)))
    }

    /// Whoever is limited in anything is counted.
    fn holders(&self, principal: &Principal) -> Vec<(Holder, Quota)> {
        let is_limited = |quota: &Quota| *quota != Quota::default() && principal.kind != PrincipalKind::ApiKey;
        let tenant = &principal.tenant;
        let user = (!principal.user.is_empty()).then(|| Holder::User(tenant.clone(), principal.user.clone()));
        let user = user.map(|holder| (holder, self.quotas.user));
        let tenant = tenant.clone().map(|tenant| (Holder::Tenant(tenant), self.quotas.tenant));
        user.into_iter().chain(tenant).filter(|(_, quota)| is_limited(quota)).collect()
    }

    fn take(&self, holder: &Holder, quota: Quota, now: Instant) -> Option<Arc<Account>> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.entry(holder.clone()).or_insert_with(|| Arc::new(Account::new(holder, quota, now)));
        if quota.connections > 0 && account.connections.load(Ordering::Relaxed) >= quota.connections {
            return None;
        }
        account.connections.fetch_add(1, Ordering::Relaxed);
        Some(account.clone())
    }
}

impl Account {
    fn new(holder: &Holder, quota: Quota, now: Instant) -> Self {
        let rate = quota.messages_per_second;
        Self {
            connections: AtomicUsize::new(0),
            subscriptions: Arc::new(Share::new(holder.name(), quota.subscriptions)),
            messages: (rate > 0).then(|| Mutex::new(Bucket::new(rate, rate.saturating_mul(2), now))),
        }
    }
}

impl Grip {
    /// What the session's subscriptions are taken from.
    pub(crate) fn shares(&self) -> Vec<Arc<Share>> {
        self.accounts.iter().map(|(_, account)| account.subscriptions.clone()).collect()
    }

    /// Counts a message; until when no more are to be read, if there were too many.
    pub(crate) fn charge(&self, now: Instant) -> Option<Instant> {
        let buckets = self.accounts.iter().filter_map(|(_, account)| account.messages.as_ref());
        buckets.filter_map(|bucket| bucket.lock().unwrap_or_else(PoisonError::into_inner).charge(1, now)).max()
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        let mut accounts = self.ledger.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for (holder, account) in &self.accounts {
            // Its last connection takes the account with it.
            if account.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
                accounts.remove(holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn someone(user: &str, tenant: &str) -> Principal {
        Principal { user: user.into(), tenant: Some(Tenant::new(tenant)), ..Principal::new(PrincipalKind::User) }
    }

    fn ledger() -> Arc<Ledger> {
        let user = Quota { connections: 2, messages_per_second: 10, ..Quota::default() };
        Ledger::new(Quotas { user, tenant: Quota { connections: 3, ..Quota::default() } })
    }

    #[test]
    fn users_and_tenants_have_so_many_connections() {
        let (ledger, now) = (ledger(), Instant::now());
        let hold = |user, tenant| ledger.hold(&someone(user, tenant), None, now).map(Option::unwrap);
        let mut held = vec![hold("ann", "acme").unwrap(), hold("ann", "acme").unwrap()];
        assert_eq!(hold("ann", "acme").unwrap_err().code, "user_connections");
        // The same name elsewhere is somebody else.
        held.push(hold("ann", "umbrella").unwrap());
        held.push(hold("bob", "acme").unwrap());
        let refused = hold("cid", "acme").unwrap_err();
        assert_eq!((refused.code, refused.status, refused.retryable), ("tenant_connections", 429, true));
        // What was refused has taken nothing.
        held.remove(0);
        held.push(hold("cid", "acme").unwrap());
        drop(held);
        assert!(ledger.accounts.lock().unwrap().is_empty());
    }

    #[test]
    fn a_fresh_token_of_the_same_user_takes_no_further_connection() {
        let (ledger, now) = (ledger(), Instant::now());
        let first = ledger.hold(&someone("ann", "acme"), None, now).unwrap().unwrap();
        let _second = ledger.hold(&someone("ann", "acme"), None, now).unwrap();
        let again = ledger.hold(&someone("ann", "acme"), Some(&first), now).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn messages_of_all_its_connections_are_counted_together() {
        let (ledger, now) = (ledger(), Instant::now());
        let held = [(); 2].map(|()| ledger.hold(&someone("ann", "acme"), None, now).unwrap().unwrap());
        for message in 0..20 {
            assert_eq!(held[message % 2].charge(now), None, "{message}");
        }
        assert_eq!(held[0].charge(now), Some(now + Duration::from_millis(100)));
    }

    #[test]
    fn servers_are_not_limited_and_nothing_is_counted_without_a_quota() {
        let now = Instant::now();
        assert!(ledger().hold(&Principal::new(PrincipalKind::ApiKey), None, now).unwrap().is_none());
        assert!(Ledger::new(Quotas::default()).hold(&someone("ann", "acme"), None, now).unwrap().is_none());
    }
}
