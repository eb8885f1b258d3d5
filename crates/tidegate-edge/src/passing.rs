//! How someone gets a pass: settle who it is, register, and only then ask whether that one still stands.
//!
//! In this order no revocation falls between: one that came before is what the check finds, one that comes after finds the
//! entry in the register.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use axum::http::{HeaderMap, Request, Uri};
use hyper::body::Incoming;
use tidegate_identity::{Answer, Credential, Principal, Proof, Refusal, Shown};
use tidegate_session::CloseReason;
use tokio::time::Instant;

use crate::quota::Grip;
use crate::register::{Pass, Register};
use crate::worker::Worker;
use crate::{ApiError, Edge};

/// A pass that is being found out about.
pub(crate) type Passing = Pin<Box<dyn Future<Output = Result<Pass, Refusal>>>>;

/// Credentials that came in a message. Never printed.
pub struct Ask {
    says: Says,
    proof: Option<Box<str>>,
}

enum Says {
    /// What the authority is to find out about.
    Token(Box<str>),
    /// Nothing.
    Nothing,
    /// Who it is, where the protocol has found that out itself.
    Known(Arc<Principal>),
}

impl Ask {
    /// What a client said of who it is.
    pub fn new(token: impl Into<Box<str>>, proof: Option<Box<str>>) -> Self {
        Self { says: Says::Token(token.into()), proof }
    }

    /// What is known of one who says nothing of who it is: strangers are let in, or they are not.
    pub(crate) fn of_nobody() -> Self {
        Self { says: Says::Nothing, proof: None }
    }

    /// Who it is, from a token that the authority does not know of: whether that one still stands is to be found out.
    pub(crate) fn of(principal: Arc<Principal>) -> Self {
        Self { says: Says::Known(principal), proof: None }
    }

    /// Begins to find out about it.
    pub(crate) fn begin(self, edge: Edge, register: Rc<Register>, held: Option<Arc<Grip>>) -> Passing {
        Box::pin(async move {
            let headers = HeaderMap::new();
            let authenticate = |credential| edge.authority().authenticate(&Shown { credential, headers: &headers });
            let answer = match self.says {
                Says::Known(principal) => Answer::Now(Ok(principal)),
                Says::Token(token) => authenticate(Credential::Bearer(&token)),
                Says::Nothing => authenticate(Credential::None),
            };
            pass(&edge, &register, answer, Proof::Shown(self.proof.as_deref()), held.as_ref()).await
        })
    }
}

impl Worker {
    /// A pass for whoever sends this request.
    pub(crate) async fn pass(&self, request: &Request<Incoming>) -> Result<Pass, ApiError> {
        self.pass_of(request.uri(), request.headers()).await
    }

    /// The same of a request's parts.
    pub(crate) async fn pass_of(&self, uri: &Uri, headers: &HeaderMap) -> Result<Pass, ApiError> {
        self.passed(uri, headers).await.map_err(|refusal| self.edge.refuse(refusal))
    }

    /// The same where it may still be said in a message who this is: `None` if it has to be.
    pub(crate) async fn pass_or_wait(&self, request: &Request<Incoming>) -> Result<Option<Pass>, ApiError> {
        self.pass_or_wait_of(request.uri(), request.headers()).await
    }

    /// The same of a request's parts.
    pub(crate) async fn pass_or_wait_of(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<Pass>, ApiError> {
        let shows_nothing = || {
            let presented = self.edge.credentials().find(uri, headers);
            presented.is_ok_and(|presented| presented.shown().credential == Credential::None)
        };
        match self.passed(uri, headers).await {
            Ok(pass) => Ok(Some(pass)),
            // Any other no is one: of the application, of a quota, or because nobody could be asked.
            Err(refusal) if refusal.code == "unauthenticated" && shows_nothing() => Ok(None),
            Err(refusal) => Err(self.edge.refuse(refusal)),
        }
    }

    async fn passed(&self, uri: &Uri, headers: &HeaderMap) -> Result<Pass, Refusal> {
        let presented = self.edge.credentials().find(uri, headers)?;
        let answer = self.edge.authority().authenticate(&presented.shown());
        pass(&self.edge, &self.register, answer, presented.proof(), None).await
    }
}

async fn pass(
    edge: &Edge,
    register: &Rc<Register>,
    answer: Answer<Arc<Principal>>,
    proof: Proof<'_>,
    held: Option<&Arc<Grip>>,
) -> Result<Pass, Refusal> {
    let mut pass = register.enter(answer.wait().await?);
    edge.authority().check(pass.principal(), proof).wait().await?;
    // Last, so that whoever is refused uses up nothing of anybody's.
    let grip = edge.ledger().hold(pass.principal(), held, Instant::now())?;
    pass.hold(grip);
    match pass.ended() {
        None => Ok(pass),
        Some(reason) => Err(refusal(reason)),
    }
}

/// What whoever has to go is told where there is no close to say it; none where coming back is all that is to be done.
pub(crate) fn farewell(reason: CloseReason) -> Option<ApiError> {
    let is_out = matches!(
        reason,
        CloseReason::Revoked
            | CloseReason::Expired
            | CloseReason::Unverified
            | CloseReason::Unauthenticated
            | CloseReason::Dismissed
    );
    is_out.then(|| refusal(reason).into())
}

/// To whoever was on the way in when it ended.
pub(crate) fn refusal(reason: CloseReason) -> Refusal {
    match reason {
        CloseReason::Expired => Refusal { code: "expired", ..Refusal::unauthenticated("the token has expired") },
        CloseReason::Unauthenticated => {
            Refusal::unauthenticated("the session is not known here any more; sign in again")
        }
        CloseReason::Unverified => {
            Refusal::unavailable("whether the session still stands is not known; come back later")
        }
        _ => Refusal::revoked(),
    }
}
