//! What the application answers, read. Its word counts, but in its bounds: the same as a token's.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Verdict;
use crate::said::{ANONYMOUS, NAME_BYTES_MAX, ROLE_BYTES_MAX, ROLES_MAX, is_name, kept, roles as roles_of, tenant};
use crate::{Principal, PrincipalKind, Refusal};

const CLAIMS_BYTES_MAX: usize = 8 << 10;
/// A clear answer.
pub(super) struct Said {
    pub(super) verdict: Verdict,
    /// Until when it may be given again, in milliseconds since 1970.
    pub(super) until_ms: u64,
}

/// A field that is not known is a mistake: with `sesion` a principal would outlive its session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Somebody<'a> {
    user: String,
    tenant: Option<String>,
    session: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(borrow)]
    claims: Option<&'a RawValue>,
    expires_in_ms: Option<u64>,
    cache_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Nobody {
    cache_ms: Option<u64>,
}

/// Reads the answer to a question that was asked at `asked_ms`; what it says of times counts from there.
///
/// # Errors
/// It is none. Says what is wrong, and none of its values.
pub(super) fn read(status: StatusCode, body: &[u8], named: &[Box<str>], asked_ms: u64) -> Result<Said, String> {
    let refusal = match status {
        StatusCode::OK => return somebody(body, named, asked_ms),
        StatusCode::UNAUTHORIZED => Refusal::unauthenticated("the application does not know who this is"),
        StatusCode::FORBIDDEN => Refusal::forbidden("the application does not let this one in"),
        other => return Err(format!("the answer is {other}")),
    };
    let cache_ms = serde_json::from_slice::<Nobody>(body).ok().and_then(|nobody| nobody.cache_ms);
    Ok(Said { verdict: Err(refusal), until_ms: asked_ms.saturating_add(cache_ms.unwrap_or_default()) })
}

fn somebody(body: &[u8], named: &[Box<str>], asked_ms: u64) -> Result<Said, String> {
    let said: Somebody<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is not as agreed: line {}, column {}", error.line(), error.column()))?;
    let names = [("user", Some(&said.user)), ("session", said.session.as_ref())];
    if let Some((field, _)) = names.iter().find(|(_, text)| text.is_some_and(|text| !is_name(text))) {
        return Err(format!("`{field}` in the answer is empty or longer than {NAME_BYTES_MAX} bytes"));
    }
    let tenant = said.tenant.as_deref().map(|name| {
        let rule = || format!("`tenant` in the answer is empty, {ANONYMOUS:?}, or longer than {NAME_BYTES_MAX} bytes");
        tenant(name).ok_or_else(rule)
    });
    let roles: Vec<&str> = said.roles.iter().map(String::as_str).collect();
    let roles = roles_of(&roles).ok_or_else(|| {
        format!("`roles` in the answer are more than {ROLES_MAX} or one is longer than {ROLE_BYTES_MAX} bytes")
    })?;
    let expires_at_ms = said.expires_in_ms.map(|span| asked_ms.saturating_add(span));
    let cached_until_ms = asked_ms.saturating_add(said.cache_ms.unwrap_or_default());
    let principal = Principal {
        user: said.user.as_str().into(),
        tenant: tenant.transpose()?,
        roles,
        session: said.session.map(Into::into),
        claims: Arc::new(claims(said.claims, named)?),
        // What is revoked later than this was not known to the application.
        issued_at_ms: Some(asked_ms),
        expires_at_ms,
        ..Principal::new(PrincipalKind::User)
    };
    Ok(Said { verdict: Ok(Arc::new(principal)), until_ms: cached_until_ms.min(expires_at_ms.unwrap_or(u64::MAX)) })
}

/// The claims that permissions name.
fn claims(written: Option<&RawValue>, named: &[Box<str>]) -> Result<Map<String, Value>, String> {
    let Some(written) = written.filter(|written| written.get().len() <= CLAIMS_BYTES_MAX) else {
        let too_long = || format!("`claims` in the answer are longer than {CLAIMS_BYTES_MAX} bytes");
        return written.map_or_else(|| Ok(Map::new()), |_| Err(too_long()));
    };
    let all: Map<String, Value> =
        serde_json::from_str(written.get()).map_err(|_| "`claims` in the answer are no object".to_owned())?;
    Ok(kept(&all, named))
}
