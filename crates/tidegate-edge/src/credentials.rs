//! Where a handshake carries its credentials.

use axum::http::{HeaderMap, HeaderValue, header};
use tidegate_identity::{Credential, Refusal};

const API_KEY: &str = "x-api-key";
const BEARER_PROTOCOL: &str = "bearer.";

/// The credential of a request: `Authorization: Bearer`, else `X-API-Key`, else a `Sec-WebSocket-Protocol` entry
/// `bearer.<token>`.
///
/// # Errors
/// A refusal where a header is there but can't be read: that is a bad credential, not the absence of one.
pub fn credential(headers: &HeaderMap) -> Result<Credential<'_>, Refusal> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = text(value)?.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token.ok_or_else(|| unreadable("Authorization must be `Bearer <token>`"))?;
        return Ok(Credential::Bearer(token.trim()));
    }
    if let Some(value) = headers.get(API_KEY) {
        return Ok(Credential::ApiKey(text(value)?));
    }
    Ok(bearer_protocol(headers).map_or(Credential::None, |entry| Credential::Bearer(&entry[BEARER_PROTOCOL.len()..])))
}

/// The subprotocol that carries the token, to be answered as the one chosen: a browser takes a handshake only if one of
/// those that it offered comes back.
pub(crate) fn bearer_protocol(headers: &HeaderMap) -> Option<&str> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find(|entry| entry.starts_with(BEARER_PROTOCOL))
}

fn text(value: &HeaderValue) -> Result<&str, Refusal> {
    value.to_str().map_err(|_| unreadable("a credential has only visible ASCII characters"))
}

fn unreadable(message: &str) -> Refusal {
    Refusal { code: "unauthenticated", message: message.to_owned(), retryable: false, status: 401 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        entries.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_credential_is_found_wherever_it_may_stand() {
        let found = |entries: &[(&'static str, &'static str)], expected: Credential<'_>| {
            assert!(credential(&headers(entries)).unwrap() == expected);
        };
        found(&[], Credential::None);
        found(&[("authorization", "bearer t1")], Credential::Bearer("t1"));
        found(&[("x-api-key", "k1")], Credential::ApiKey("k1"));
        found(&[("sec-websocket-protocol", "chat, bearer.a.b.c")], Credential::Bearer("a.b.c"));
        found(&[("authorization", "Bearer t1"), ("x-api-key", "k1")], Credential::Bearer("t1"));
        assert!(credential(&headers(&[("authorization", "Basic abc")])).is_err());
    }
}
