//! Who a connection is, when that changes: the answer to `auth`, and what becomes of the subscriptions that it holds.

use std::sync::Arc;

use axum::http::StatusCode;
use tidegate_identity::{Principal, PrincipalKind, Refusal};
use tidegate_model::{Value, json};
use tidegate_session::{CloseReason, Session};
use tokio::time::Instant;

use super::{Events, error_event, error_message, error_reply, reply};
use crate::ApiError;
use crate::frames::put;
use crate::metrics::count;

impl Events {
    /// Takes on an identity, answers, and lets what is held follow.
    pub(super) fn become_known(
        &mut self,
        session: &mut Session,
        settled: Result<&Arc<Principal>, Refusal>,
    ) -> Result<bool, CloseReason> {
        let id = self.asking.take();
        let principal = match settled.map_err(ApiError::from).and_then(|principal| self.unless_another(principal)) {
            Ok(principal) => principal,
            Err(error) => {
                self.refuse(session, id.as_deref(), &error, Instant::now())?;
                return Ok(false);
            }
        };
        let before = self.principal.replace(principal.clone());
        if let Some(id) = id {
            session.reply(reply(&id, &known_as(session.name(), principal)));
        }
        if before.is_some_and(|before| !before.has_the_same_rights(principal)) {
            self.decide_again(session, principal);
        }
        Ok(true)
    }

    /// A connection that is somebody's never changes hands; a stranger's, or a server's, not under subscriptions that stand.
    fn unless_another<'p>(&self, principal: &'p Arc<Principal>) -> Result<&'p Arc<Principal>, ApiError> {
        let is_another = |known: &Principal| (&known.user, &known.tenant) != (&principal.user, &principal.tenant);
        let holds = !self.watched.is_empty() || !self.held.is_empty() || self.pending.is_some() || self.is_owner;
        let is_bound = |known: &Principal| known.kind == PrincipalKind::User || holds;
        if !self.principal.as_deref().is_some_and(|known| is_bound(known) && is_another(known)) {
            return Ok(principal);
        }
        let message = "the token is another user's; open another connection for them";
        Err(ApiError::new(StatusCode::FORBIDDEN, "other_user", message))
    }

    /// Has what is held follow what may be seen now: a list that becomes another one begins anew with a `reset`, one that may
    /// not be seen at all ends with `live.error`.
    fn decide_again(&mut self, session: &mut Session, principal: &Principal) {
        let mut ended = Vec::new();
        for watched in &mut self.watched {
            let asked = watched.asked.clone().unwrap_or_else(|| watched.query.clone());
            let decided = self.edge.authority().read(principal, (*asked).clone()).map_err(ApiError::from);
            let replaced = decided.and_then(|(_, query)| {
                let differs = query != *watched.query;
                let is_narrowed = query != *asked;
                if differs {
                    let query = Arc::new(query);
                    session.replace(watched.id, query.clone())?;
                    (watched.query, watched.is_shared) = (query, false);
                }
                watched.asked = is_narrowed.then_some(asked);
                Ok(())
            });
            if let Err(error) = replaced {
                ended.push((watched.id, error));
            }
        }
        self.decide_topics_again(session, principal);
        for (id, error) in ended {
            session.unsubscribe(id);
            let Some(watched) = self.forget(id) else { continue };
            for (_, waiting) in &watched.pending {
                session.reply(error_reply(waiting, &error));
            }
            session.reply(error_message(&watched.name, &error));
        }
    }

    /// Says no, as far as the client is told at all; why to close, where it has no other chance.
    pub(super) fn refuse(
        &mut self,
        session: &mut Session,
        id: Option<&str>,
        error: &ApiError,
        now: Instant,
    ) -> Result<(), CloseReason> {
        if error.is_malformed() {
            count(&self.edge.metrics().malformed);
        }
        match id {
            Some(id) => session.reply(error_reply(id, error)),
            None if self.errors.take(now).is_ok() => session.reply(error_event(error)),
            None => {}
        }
        match &self.principal {
            None if error.status == StatusCode::UNAUTHORIZED => Err(CloseReason::Unauthenticated),
            _ => Ok(()),
        }
    }
}

/// The data of the answer to `auth`.
fn known_as(name: &str, principal: &Principal) -> Vec<u8> {
    let mut data = Vec::new();
    put(&mut data, format_args!("{{\"client_id\":\"{name}\""));
    if let Some(ms) = principal.expires_at_ms {
        let micros = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        data.extend_from_slice(b",\"expires_at\":");
        json::write_value(&Value::Timestamp(micros), &mut data);
    }
    data.push(b'}');
    data
}
