//! The authority as it is put together: identity for a process, permissions for a run of its rooms.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tidegate_model::{Entity, Query, Tenant};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use crate::fetch::{Fetch, FetchError};
use crate::hook::Hook;
use crate::said::ANONYMOUS;
use crate::{
    AgentVerb, Answer, Authority, Clock, Credential, HookMetrics, Permissions, Principal, PrincipalKind, Proof, Proofs,
    Refusal, Revocation, Secret, SessionStore, Sessions, SessionsError, Settings, Shown, Tokens, TokensError,
    TopicVerb, WriteScope,
};

/// Why identity cannot be had as configured.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// An issuer.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The store of sessions.
    #[error(transparent)]
    Sessions(#[from] SessionsError),
    /// The client that asks other services.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// How a process finds out who is there and whether they still may be. What it keeps and follows ends with it.
pub struct Identity {
    api_keys: Vec<Secret>,
    guest_token: Option<Arc<str>>,
    /// Who strangers are, where they are let in: the same for all.
    stranger: Option<Arc<Principal>>,
    server: Arc<Principal>,
    tokens: Tokens,
    hook: Option<Asked>,
    sessions: Sessions,
    proofs: Proofs,
    is_proof_required: bool,
    follows_a_stream: bool,
}

/// The application, and what it is told.
struct Asked {
    hook: Hook,
    headers: Vec<HeaderName>,
}

impl Identity {
    /// Opens the store of sessions or begins to follow them; what is fetched and followed lives on `runtime`. Services that
    /// are not there yet are no error: until they are, who needs them is answered with 503.
    ///
    /// # Errors
    /// What of the settings cannot be used, by its name and without its value; a store that cannot be opened.
    pub async fn start(settings: &Settings, runtime: Handle, clock: Clock) -> Result<Arc<Self>, IdentityError> {
        let fetch = Fetch::new(runtime.clone())?;
        let tokens = Tokens::new(settings, &fetch, &runtime, clock.clone())?;
        let hook = settings.hook.clone().map(|hook| Asked {
            headers: hook.headers.clone(),
            hook: Hook::new(hook, fetch, runtime.clone(), clock.clone()),
        });
        let sessions = Sessions::start(&settings.sessions, runtime, clock.clone()).await?;
        let stranger = settings.anonymous.then(|| {
            Arc::new(Principal {
                tenant: Some(Tenant::new(ANONYMOUS)),
                roles: [ANONYMOUS.into()].into(),
                ..Principal::new(PrincipalKind::Anonymous)
            })
        });
        Ok(Arc::new(Self {
            api_keys: settings.api_keys.clone(),
            guest_token: settings.guest_token.clone(),
            stranger,
            server: Arc::new(Principal::new(PrincipalKind::ApiKey)),
            tokens,
            hook,
            sessions,
            proofs: Proofs::new(&settings.proof, clock),
            is_proof_required: settings.proof.required,
            follows_a_stream: matches!(settings.sessions.store, SessionStore::Redis(_)),
        }))
    }

    /// Tokens and their metrics.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Device sessions, for those who end them.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether sessions are announced on a stream in Redis.
    #[must_use]
    pub fn follows_a_stream(&self) -> bool {
        self.follows_a_stream
    }

    /// Challenges, for those who have to prove something.
    #[must_use]
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// What the application was asked, where it is.
    #[must_use]
    pub fn hook_metrics(&self) -> Option<&Arc<HookMetrics>> {
        self.hook.as_ref().map(|asked| asked.hook.metrics())
    }

    /// Every key is compared in full, so that the time taken tells nothing about which comes close.
    fn knows_key(&self, given: &str) -> bool {
        self.api_keys.iter().fold(false, |known, key| known | key.is(given))
    }

    fn stranger(&self) -> Result<Arc<Principal>, Refusal> {
        self.stranger.clone().ok_or_else(|| Refusal::unauthenticated("credentials are needed"))
    }

    /// Whoever shows no credential: somebody that the application knows, or a stranger.
    fn without_credential(&self, headers: &HeaderMap, named: &Arc<[Box<str>]>) -> Answer<Arc<Principal>> {
        match &self.hook {
            Some(asked) if asked.headers.iter().any(|name| headers.contains_key(name)) => {
                asked.hook.ask(headers, named)
            }
            _ => Answer::Now(self.stranger()),
        }
    }

    /// Whether the proof is there where it has to be, and good.
    fn prove(&self, session: &str, public_key: Option<&str>, proof: Option<&str>) -> Result<(), Refusal> {
        let proof = proof.ok_or_else(proof_needed)?;
        let public_key = public_key.ok_or_else(|| {
            Refusal::unauthenticated("the session is not known here, so nothing can be proven about its key")
        })?;
        self.proofs.check(proof, session, public_key)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn proof_needed() -> Refusal {
    let message = "prove that you hold the session's key: sign a challenge of POST /v1/challenge and send \
                   <challenge>.<signature> beside the token, as Tidegate-Proof or `proof`";
    Refusal { code: "proof_needed", ..Refusal::unauthenticated(message) }
}

/// The authority that configuration describes.
#[derive(Debug)]
pub struct Access {
    identity: Arc<Identity>,
    permissions: Permissions,
    /// The claims that they name.
    named: Arc<[Box<str>]>,
}

impl Access {
    /// For one run of the rooms: permissions speak of the entities of one catalog.
    #[must_use]
    pub fn new(identity: Arc<Identity>, permissions: Permissions) -> Self {
        Self { identity, named: permissions.named_claims(), permissions }
    }

    /// Whether everybody may do everything within their tenant: strangers are let in and no permission says what they may do.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.identity.stranger.is_some() && self.permissions.is_empty()
    }
}

impl Authority for Access {
    fn authenticate(&self, shown: &Shown<'_>) -> Answer<Arc<Principal>> {
        let identity = &self.identity;
        match shown.credential {
            Credential::None => identity.without_credential(shown.headers, &self.named),
            Credential::Bearer(key) | Credential::ApiKey(key) if identity.knows_key(key) => {
                Answer::Now(Ok(identity.server.clone()))
            }
            Credential::ApiKey(_) => Answer::Now(Err(Refusal::unauthenticated("the API key is not valid"))),
            Credential::Bearer(token) if identity.guest_token.as_deref() == Some(token) => {
                Answer::Now(identity.stranger())
            }
            Credential::Bearer(_) if identity.tokens.is_empty() => {
                Answer::Now(Err(Refusal::unauthenticated("the token is not valid here")))
            }
            Credential::Bearer(token) => identity.tokens.verify(token, &self.named),
        }
    }

    fn check(&self, principal: &Arc<Principal>, proof: Proof<'_>) -> Answer<()> {
        if principal.kind != PrincipalKind::User {
            return Answer::Now(Ok(()));
        }
        let sessions = &self.identity.sessions;
        match (&principal.session, proof) {
            (Some(session), Proof::Shown(proof)) if self.identity.is_proof_required => {
                let (identity, session) = (self.identity.clone(), session.clone());
                let proof: Option<Box<str>> = proof.map(Into::into);
                let key = sessions.check(principal);
                key.and_then(move |key| Answer::Now(identity.prove(&session, key.as_deref(), proof.as_deref())))
            }
            (None, Proof::Shown(_)) if self.identity.is_proof_required => {
                let message = "a proof is needed, and without a device session there is no key to prove it with";
                Answer::Now(Err(Refusal { code: "proof_needed", ..Refusal::unauthenticated(message) }))
            }
            _ => sessions.check_alone(principal),
        }
    }

    fn revocations(&self) -> Option<broadcast::Receiver<Revocation>> {
        Some(self.identity.sessions.revocations())
    }

    fn read(&self, principal: &Principal, query: Query) -> Result<(Tenant, Query), Refusal> {
        self.permissions.read(principal, query, self.is_open())
    }

    fn write(&self, principal: &Principal, entity: &Entity) -> Result<WriteScope, Refusal> {
        self.permissions.write(principal, entity, self.is_open())
    }

    fn topic(&self, principal: &Principal, verb: TopicVerb, topic: &str) -> Result<(), Refusal> {
        self.permissions.topic(principal, verb, topic, self.is_open())
    }

    fn agent(&self, principal: &Principal, verb: AgentVerb, agent: &str) -> Result<(), Refusal> {
        self.permissions.agent(principal, verb, agent, self.is_open())
    }
}

#[cfg(test)]
mod tests;
