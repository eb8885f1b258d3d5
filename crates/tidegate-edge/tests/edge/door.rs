//! An authority that does as it is told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_identity::{
    AgentVerb, Answer, Authority, Credential, Principal, PrincipalKind, Proof, Refusal, Revocation, Shown, TopicVerb,
    WriteScope,
};
use tidegate_model::{Comparison, Entity, Filter, Query, Tenant, Value};
use tokio::sync::{broadcast, watch};

/// Knows the tokens `good`, `bob` and `user/session/tenant/role/milliseconds`, of which the last four may be empty; the key
/// `key`; strangers as told. Whoever has the role `cold` sees what is below zero, whoever has `blind` nothing.
pub(crate) struct Door {
    anonymous: bool,
    revocations: broadcast::Sender<Revocation>,
    revoked: Mutex<HashSet<String>>,
    /// While false no check of a session is answered.
    is_answering: watch::Sender<bool>,
    /// Sessions whose check has begun.
    pub(crate) asked: watch::Sender<u64>,
}

impl Door {
    pub(crate) fn new(anonymous: bool) -> Arc<Self> {
        let revocations = broadcast::Sender::new(64);
        let (is_answering, asked) = (watch::Sender::new(true), watch::Sender::new(0));
        Arc::new(Self { anonymous, revocations, revoked: Mutex::default(), is_answering, asked })
    }

    /// Notes it, and tells.
    pub(crate) fn revoke(&self, session: &str) {
        self.forget(session);
        self.tell(Revocation::Session(session.into()));
    }

    /// From now on the session, or the user without one, does not stand, but nobody is told.
    pub(crate) fn forget(&self, session: &str) {
        self.revoked.lock().unwrap().insert(session.to_owned());
    }

    pub(crate) fn tell(&self, revocation: Revocation) {
        self.revocations.send(revocation).unwrap();
    }

    pub(crate) fn answer(&self, is_answering: bool) {
        self.is_answering.send_replace(is_answering);
    }
}

fn principal(token: &str) -> Option<Principal> {
    let parts: Vec<&str> = token.split('/').collect();
    let [user, session, tenant, role, ms] = parts[..].try_into().ok()?;
    let given = |part: &str| (!part.is_empty()).then(|| part.to_owned());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ends = |ms: String| (now_ms + Duration::from_millis(ms.parse().unwrap())).as_millis();
    Some(Principal {
        user: user.into(),
        session: given(session).map(Into::into),
        tenant: given(tenant).map(|tenant| Tenant::new(&tenant)),
        roles: given(role).map(Into::into).into_iter().collect(),
        expires_at_ms: given(ms).map(|ms| ends(ms).try_into().unwrap()),
        ..Principal::new(PrincipalKind::User)
    })
}

impl Authority for Door {
    fn authenticate(&self, shown: &Shown<'_>) -> Answer<Arc<Principal>> {
        if shown.headers.contains_key("x-nobody-to-ask") {
            return Answer::Now(Err(Refusal::unavailable("nobody can be asked")));
        }
        let known = match shown.credential {
            Credential::None if self.anonymous => Some(Principal::new(PrincipalKind::Anonymous)),
            Credential::Bearer("good") => principal("ann////"),
            Credential::Bearer("bob") => principal("bob////"),
            Credential::Bearer(token) => principal(token),
            Credential::ApiKey("key") => Some(Principal::new(PrincipalKind::ApiKey)),
            _ => None,
        };
        Answer::Now(known.map(Arc::new).ok_or_else(|| Refusal::unauthenticated("no valid credentials")))
    }

    fn check(&self, principal: &Arc<Principal>, _: Proof<'_>) -> Answer<()> {
        let bound_to = principal.session.as_ref().unwrap_or(&principal.user);
        let standing = match self.revoked.lock().unwrap().contains(&**bound_to) {
            true => Err(Refusal::revoked()),
            false => Ok(()),
        };
        if principal.session.is_none() {
            return Answer::Now(standing);
        }
        let mut is_answering = self.is_answering.subscribe();
        self.asked.send_modify(|asked| *asked += 1);
        if *is_answering.borrow() {
            return Answer::Now(standing);
        }
        Answer::Later(Box::pin(async move {
            is_answering.wait_for(|answers| *answers).await.unwrap();
            standing
        }))
    }

    fn revocations(&self) -> Option<broadcast::Receiver<Revocation>> {
        Some(self.revocations.subscribe())
    }

    fn read(&self, principal: &Principal, mut query: Query) -> Result<(Tenant, Query), Refusal> {
        let has = |role: &str| principal.roles.iter().any(|other| &**other == role);
        if has("blind") {
            return Err(Refusal::forbidden("you may see nothing"));
        }
        if has("cold") {
            let temp = query.entity.column_index("temp").unwrap();
            let below = Filter::Compare { column: temp, op: Comparison::Lt, value: Value::Float(0.0) };
            query.filter = Filter::all(vec![query.filter, below]);
        }
        Ok((Tenant::common(), query))
    }

    fn write(&self, _: &Principal, _: &Entity) -> Result<WriteScope, Refusal> {
        Ok(WriteScope::Named)
    }

    fn agent(&self, _: &Principal, verb: AgentVerb, agent: &str) -> Result<(), Refusal> {
        let is_granted = verb == AgentVerb::Submit || verb == AgentVerb::Serve && agent != "shut";
        is_granted.then_some(()).ok_or_else(|| Refusal::forbidden("only one's own jobs are shown"))
    }

    fn topic(&self, principal: &Principal, _: TopicVerb, topic: &str) -> Result<(), Refusal> {
        let is_blind = principal.roles.iter().any(|role| &**role == "blind");
        match is_blind || topic.starts_with("closed:") {
            true => Err(Refusal::forbidden("you may not do that here")),
            false => Ok(()),
        }
    }
}
