//! Tokens of applications that come from Centrifugo: HS256 with one shared secret, without an issuer. One kind says who
//! connects, the other that somebody may subscribe to a channel.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};
use tidegate_model::Tenant;

use super::header::Unverified;
use super::json;
use crate::said::{ANONYMOUS, is_name};
use crate::{Algorithm, Clock, Principal, PrincipalKind, Secret};

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Channels that a connection token may bring.
const CHANNELS_MAX: usize = 128;

/// Verifies such tokens.
pub struct ClientTokens {
    key: DecodingKey,
    clock: Clock,
}

/// A connection token that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionToken {
    /// Who connects: without `sub` a stranger. Its tenant and its roles are not said.
    pub principal: Arc<Principal>,
    /// What others see of the connection (`info`), as JSON.
    pub info: Option<String>,
    /// What it is subscribed to from the start (`channels`, `subs`). At most 128.
    pub channels: Vec<ServerSide>,
}

/// A channel of a connection token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSide {
    /// Its name.
    pub channel: String,
    /// What others see of the connection there, as JSON.
    pub info: Option<String>,
    /// What the client is told with it, as JSON.
    pub data: Option<String>,
}

/// A subscription token that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionToken {
    /// Where.
    pub channel: String,
    /// For whom; empty for strangers.
    pub user: String,
    /// What others see of the connection there, as JSON.
    pub info: Option<String>,
    /// When the subscription ends, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientTokenError {
    /// It is not signed with the secret; somebody else's token may be.
    #[error("the token is not signed with the secret")]
    Foreign,
    /// It is, and says something else than such a token says.
    #[error("the token's claims are not those of such a token")]
    Claims,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

impl ClientTokens {
    /// Those signed with this secret.
    #[must_use]
    pub fn new(secret: &Secret, clock: Clock) -> Self {
        Self { key: DecodingKey::from_secret(secret.expose().as_bytes()), clock }
    }

    /// Who connects.
    ///
    /// # Errors
    /// [`ClientTokenError`].
    pub fn connection(&self, token: &str) -> Result<ConnectionToken, ClientTokenError> {
        let (claims, expires_at_ms) = self.claims(token)?;
        // A token for a channel says nothing about who connects.
        if claims.contains_key("channel") {
            return Err(ClientTokenError::Claims);
        }
        let user = user(&claims)?;
        let principal = match &*user {
            "" => Principal {
                tenant: Some(Tenant::new(ANONYMOUS)),
                roles: [ANONYMOUS.into()].into(),
                expires_at_ms,
                ..Principal::new(PrincipalKind::Anonymous)
            },
            user => Principal { user: user.into(), expires_at_ms, ..Principal::new(PrincipalKind::User) },
        };
        Ok(ConnectionToken { principal: Arc::new(principal), info: raw(&claims, "info"), channels: channels(&claims)? })
    }

    /// That somebody may subscribe.
    ///
    /// # Errors
    /// [`ClientTokenError`].
    pub fn subscription(&self, token: &str) -> Result<SubscriptionToken, ClientTokenError> {
        let (claims, expires_at_ms) = self.claims(token)?;
        let Some(Value::String(channel)) = claims.get("channel") else { return Err(ClientTokenError::Claims) };
        let (channel, user) = (channel.clone(), user(&claims)?);
        Ok(SubscriptionToken { channel, user, info: raw(&claims, "info"), expires_at_ms })
    }

    /// The claims of a token whose signature and times are right, and when it ends.
    fn claims(&self, token: &str) -> Result<(Map<String, Value>, Option<u64>), ClientTokenError> {
        let unverified = Unverified::read(token, TOKEN_BYTES_MAX).map_err(|_| ClientTokenError::Foreign)?;
        if unverified.algorithm != Algorithm::Hs256 || !unverified.is_signed_with(&self.key) {
            return Err(ClientTokenError::Foreign);
        }
        let payload = unverified.payload().map_err(|_| ClientTokenError::Claims)?;
        let claims = json::members(&payload).map_err(|_| ClientTokenError::Claims)?;
        let (now_ms, expires, begins) = ((self.clock)(), time_ms(&claims, "exp")?, time_ms(&claims, "nbf")?);
        if expires.is_some_and(|expires| expires <= now_ms) {
            return Err(ClientTokenError::Expired);
        }
        if begins.is_some_and(|begins| begins > now_ms) {
            return Err(ClientTokenError::Claims);
        }
        Ok((claims, expires))
    }
}

impl fmt::Debug for ClientTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTokens").finish_non_exhaustive()
    }
}

fn user(claims: &Map<String, Value>) -> Result<String, ClientTokenError> {
    match claims.get("sub") {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(user)) if user.is_empty() || is_name(user) => Ok(user.clone()),
        Some(_) => Err(ClientTokenError::Claims),
    }
}

/// A numeric date in milliseconds since 1970; 0 is none, as those who write such tokens have it.
fn time_ms(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, ClientTokenError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(seconds)) => match seconds.as_f64() {
            // A cast of a float saturates.
            Some(seconds) => Ok(Some((seconds * 1000.0) as u64).filter(|ms| *ms > 0)),
            None => Err(ClientTokenError::Claims),
        },
        Some(_) => Err(ClientTokenError::Claims),
    }
}

/// A claim's value as JSON; null is none.
fn raw(claims: &Map<String, Value>, name: &str) -> Option<String> {
    claims.get(name).filter(|value| !value.is_null()).map(Value::to_string)
}

fn channels(claims: &Map<String, Value>) -> Result<Vec<ServerSide>, ClientTokenError> {
    let mut all = Vec::new();
    match claims.get("channels") {
        None | Some(Value::Null) => {}
        Some(Value::Array(names)) => {
            for name in names {
                let channel = name.as_str().ok_or(ClientTokenError::Claims)?.to_owned();
                all.push(ServerSide { channel, info: None, data: None });
            }
        }
        Some(_) => return Err(ClientTokenError::Claims),
    }
    match claims.get("subs") {
        None | Some(Value::Null) => {}
        Some(Value::Object(subs)) => {
            for (channel, options) in subs {
                let options = options.as_object().ok_or(ClientTokenError::Claims)?;
                all.retain(|other: &ServerSide| other.channel != *channel);
                let (info, data) = (raw(options, "info"), raw(options, "data"));
                all.push(ServerSide { channel: channel.clone(), info, data });
            }
        }
        Some(_) => return Err(ClientTokenError::Claims),
    }
    all.sort_by(|a, b| a.channel.cmp(&b.channel));
    all.dedup_by(|a, b| a.channel == b.channel);
    if all.len() > CHANNELS_MAX { Err(ClientTokenError::Claims) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    fn signed(algorithm: jsonwebtoken::Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn of(claims: &Value) -> String {
        signed(jsonwebtoken::Algorithm::HS256, "secret", claims)
    }

    fn tokens() -> ClientTokens {
        ClientTokens::new(&Secret::new("secret"), Arc::new(|| 1_000_000))
    }

    #[test]
    fn a_connection_token_says_who_connects_and_where() {
        let claims = json!({
            "sub": "ann", "exp": 1_060, "info": {"name": "Ann"}, "channels": ["b", "a", "b"],
            "subs": {"a": {"data": {"x": 1}, "info": null}}
        });
        let token = tokens().connection(&of(&claims)).unwrap();
        assert_eq!((&*token.principal.user, token.principal.kind), ("ann", PrincipalKind::User));
        assert_eq!(token.principal.expires_at_ms, Some(1_060_000));
        assert_eq!(token.info.as_deref(), Some(r#"{"name":"Ann"}"#));
        let side = |channel: &str, data: Option<&str>| ServerSide {
            channel: channel.into(),
            info: None,
            data: data.map(Into::into),
        };
        assert_eq!(token.channels, [side("a", Some(r#"{"x":1}"#)), side("b", None)]);
        let stranger = tokens().connection(&of(&json!({"iat": 1}))).unwrap();
        assert_eq!((&*stranger.principal.user, stranger.principal.kind), ("", PrincipalKind::Anonymous));
    }

    #[test]
    fn a_subscription_token_says_for_whom_and_where() {
        let token = tokens().subscription(&of(&json!({"sub": "ann", "channel": "x", "exp": 1_001}))).unwrap();
        assert_eq!((&*token.user, &*token.channel, token.expires_at_ms), ("ann", "x", Some(1_001_000)));
    }

    #[test]
    fn one_kind_is_not_the_other_and_others_are_foreign() {
        let is = |claims: Value| {
            (tokens().connection(&of(&claims)).map(drop), tokens().subscription(&of(&claims)).map(drop))
        };
        let wrong = Err(ClientTokenError::Claims);
        assert_eq!(is(json!({"sub": "ann", "channel": "x"})), (wrong, Ok(())));
        assert_eq!(is(json!({"sub": "ann"})), (Ok(()), wrong));
        assert_eq!(is(json!({"sub": 1})), (wrong, wrong));
        assert_eq!(is(json!({"exp": "soon"})), (wrong, wrong));
        assert_eq!(is(json!({"nbf": 1_001})), (wrong, wrong));
        assert_eq!(is(json!({"exp": 1_000})).0, Err(ClientTokenError::Expired));
        assert_eq!(tokens().connection(&of(&json!({"channels": [1]}))), wrong.map(|()| unreachable!()));
        let many: Vec<_> = (0..=CHANNELS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(tokens().connection(&of(&json!({"channels": many}))), wrong.map(|()| unreachable!()));
        for foreign in [
            signed(jsonwebtoken::Algorithm::HS256, "other", &json!({})),
            signed(jsonwebtoken::Algorithm::HS512, "secret", &json!({})),
            "eyJhbGciOiJub25lIn0.e30.".into(),
            "x".into(),
        ] {
            assert_eq!(tokens().connection(&foreign).map(drop), Err(ClientTokenError::Foreign), "{foreign}");
        }
    }

    /// A token that a public test suite of the protocol carries.
    #[test]
    fn a_token_of_somebody_else_making_reads() {
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3Mzc1MzIzNDgsImNoYW5uZWwiOiJ0ZXN0MSJ9.eqPQxbBtyYxL8Hvbkm-P6aH7chUsSG_EMWe-rTwF_HI";
        assert_eq!(tokens().subscription(token).unwrap().channel, "test1");
    }
}
