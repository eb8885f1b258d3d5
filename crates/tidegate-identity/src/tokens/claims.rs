//! What a verified token says, and what of it is believed.

use std::sync::Arc;

use serde_json::{Map, Number, Value};
use tidegate_model::Tenant;

use super::fault::Fault;
use crate::said::{self, ROLES_MAX, claim};
use crate::{ClaimNames, Principal, PrincipalKind, Settings};

/// What every token has to keep, whoever issued it.
pub(super) struct Rules {
    names: ClaimNames,
    required: Vec<String>,
    leeway_ms: u64,
}

/// What the issuer whose key made the signature has to have written.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: Option<&'a str>,
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            names: settings.claims.clone(),
            required: settings.required_claims.clone(),
            leeway_ms: u64::try_from(settings.leeway.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Who the claims of a verified token speak of, at `now_ms`, with those of its claims that are `named`.
    pub(super) fn principal(
        &self,
        claims: &Map<String, Value>,
        expected: &Expected<'_>,
        now_ms: u64,
        named: &[Box<str>],
    ) -> Result<Principal, Fault> {
        if !matches!(claims.get("iss"), Some(Value::String(issuer)) if issuer == expected.issuer) {
            return Err(Fault::Issuer);
        }
        if !is_for(claims.get("aud"), expected.audience)? {
            return Err(Fault::Audience);
        }
        let (issued_at_ms, expires_at_ms) = self.times(claims, now_ms)?;
        if let Some(missing) = self.required.iter().find(|name| claim(claims, name).is_none()) {
            return Err(Fault::Missing(missing.as_str().into()));
        }
        let user = name(claims, &self.names.user)?.ok_or_else(|| Fault::Missing(self.names.user.as_str().into()))?;
        Ok(Principal {
            user: user.into(),
            tenant: tenant(claims, &self.names.tenant)?,
            roles: roles(claims, &self.names.roles)?,
            session: name(claims, &self.names.session)?.map(Arc::from),
            claims: Arc::new(said::kept(claims, named)),
            issued_at_ms,
            expires_at_ms,
            ..Principal::new(PrincipalKind::User)
        })
    }

    /// `iat`, and when the identity ends, once they and `nbf` agree with the clock: at `exp`. Who is let in within the leeway
    /// after that has the rest of it, and is not turned out at once.
    fn times(&self, claims: &Map<String, Value>, now_ms: u64) -> Result<(Option<u64>, Option<u64>), Fault> {
        let [issued, begins, expires] = ["iat", "nbf", "exp"].map(|name| time_ms(claims, name));
        let (issued, begins, expires) = (issued?, begins?, expires?);
        let is_ahead = |time: Option<u64>| time.is_some_and(|time| time > now_ms.saturating_add(self.leeway_ms));
        let late = |expires: u64| expires.saturating_add(self.leeway_ms);
        if expires.is_some_and(|expires| now_ms >= late(expires)) {
            return Err(Fault::Expired);
        }
        if is_ahead(begins) {
            return Err(Fault::TooEarly);
        }
        if is_ahead(issued) {
            return Err(Fault::Future);
        }
        Ok((issued, expires.map(|expires| if now_ms < expires { expires } else { late(expires) })))
    }
}

/// RFC 7519, 4.1.3: a token that names audiences is refused by whoever is none of them.
fn is_for(audience: Option<&Value>, expected: Option<&str>) -> Result<bool, Fault> {
    let is_expected = |value: &Value| value.as_str().map(|text| Some(text) == expected);
    match audience {
        None => Ok(expected.is_none()),
        Some(Value::Array(all)) => {
            all.iter().map(is_expected).try_fold(false, |found, is| Some(found | is?)).ok_or(Fault::Claim("aud".into()))
        }
        Some(one) => is_expected(one).ok_or(Fault::Claim("aud".into())),
    }
}

/// A numeric date in milliseconds since 1970; one before is 0.
fn time_ms(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Fault> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(seconds)) => Ok(Some(milliseconds(seconds))),
        Some(_) => Err(Fault::Claim(name.into())),
    }
}

fn milliseconds(seconds: &Number) -> u64 {
    match (seconds.as_u64(), seconds.as_f64()) {
        (Some(whole), _) => whole.saturating_mul(1000),
        // A cast of a float saturates.
        (None, Some(seconds)) => (seconds * 1000.0) as u64,
        (None, None) => 0,
    }
}

/// A text that names somebody.
fn name<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Fault> {
    match claim(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) if said::is_name(text) => Ok(Some(text)),
        Some(_) => Err(Fault::Claim(name.into())),
    }
}

fn tenant(claims: &Map<String, Value>, claim: &str) -> Result<Option<Tenant>, Fault> {
    let named = name(claims, claim)?.map(|name| said::tenant(name).ok_or_else(|| Fault::Claim(claim.into())));
    named.transpose()
}

fn roles(claims: &Map<String, Value>, name: &str) -> Result<Arc<[Arc<str>]>, Fault> {
    let wrong = || Fault::Claim(name.into());
    let all: Vec<&str> = match claim(claims, name) {
        None => Vec::new(),
        Some(Value::String(text)) => text.split_ascii_whitespace().take(ROLES_MAX + 1).collect(),
        Some(Value::Array(all)) => all.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    said::roles(&all).ok_or_else(wrong)
}
