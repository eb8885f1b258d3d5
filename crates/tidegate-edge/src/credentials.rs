//! Where a handshake carries its credentials.

use std::borrow::Cow;

use axum::extract::Query;
use axum::http::header::{self, AsHeaderName};
use axum::http::{HeaderMap, HeaderValue, Uri};
use tidegate_identity::{Credential, Proof, Refusal, Shown};

use crate::EdgeConfig;
use crate::origin;

const API_KEY: &str = "x-api-key";
const PROOF: &str = "tidegate-proof";
const BEARER_PROTOCOL: &str = "bearer.";
const PROOF_PROTOCOL: &str = "proof.";

/// Where credentials are looked for.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The cookie that may carry a token.
    cookie: Option<Box<str>>,
    /// Whether `?access_token=` may.
    query: bool,
    /// Whose pages a cookie is believed from.
    origins: Vec<String>,
}

/// The credentials of one request. Never printed.
pub struct Presented<'a> {
    headers: Cow<'a, HeaderMap>,
    text: Cow<'a, str>,
    is_api_key: bool,
    proof: Option<Cow<'a, str>>,
}

impl Credentials {
    /// As the edge is configured.
    #[must_use]
    pub fn of(config: &EdgeConfig) -> Self {
        Self {
            cookie: config.cookie.as_deref().map(Into::into),
            query: config.query_token,
            origins: config.allowed_origins.clone(),
        }
    }

    /// What a request shows: `Authorization: Bearer`, else `X-API-Key`, else a `Sec-WebSocket-Protocol` entry
    /// `bearer.<token>`, else, where that is switched on, the cookie or `access_token` in the address; and beside any of them
    /// `Tidegate-Proof`, an entry `proof.<proof>` or `proof` in the address.
    ///
    /// # Errors
    /// A refusal where one is there but can't be read, or is there twice: that is a bad credential, not the absence of one. A cookie that comes
    /// without word of whose page sent it is refused: any page could have had it sent.
    pub fn find<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Presented<'a>, Refusal> {
        let mut presented =
            Presented { headers: own_cookies(headers), text: "".into(), is_api_key: false, proof: None };
        presented.proof = match single(headers, PROOF)? {
            Some(proof) => Some(text(proof)?.into()),
            None => one(protocols(headers, PROOF_PROTOCOL))?.map(|entry| entry[PROOF_PROTOCOL.len()..].into()),
        };
        // Good for one handshake only, so an address may have it.
        presented.proof = match presented.proof {
            None => in_address(uri, "proof")?.map(Into::into),
            proof => proof,
        };
        let token: Cow<'a, str> = if let Some(value) = single(headers, header::AUTHORIZATION)? {
            let token = text(value)?.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let (_, token) = token.ok_or_else(|| unreadable("Authorization must be `Bearer <token>`"))?;
            token.trim().into()
        } else if let Some(value) = single(headers, API_KEY)? {
            presented.is_api_key = true;
            text(value)?.into()
        } else if let Some(entry) = one(protocols(headers, BEARER_PROTOCOL))? {
            entry[BEARER_PROTOCOL.len()..].into()
        } else if let Some(token) = self.cookie.as_deref().and_then(|name| cookie(headers, name)) {
            self.believe_cookie(uri, headers)?;
            token.into()
        } else if let Some(token) = if self.query { in_address(uri, "access_token")? } else { None } {
            token.into()
        } else {
            return Ok(presented);
        };
        // An empty one is no absence.
        if token.is_empty() {
            return Err(unreadable("the credential is empty"));
        }
        presented.text = token;
        Ok(presented)
    }

    /// A browser says whose page a request comes from where that is another one, and on every WebSocket.
    fn believe_cookie(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_believed = match headers.get(header::ORIGIN) {
            Some(origin) => origin::is_allowed(&self.origins, origin, origin::host(uri, headers)),
            None => headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin"),
        };
        let message = "a cookie is taken only with an Origin that may connect; send the token in a header instead";
        if is_believed { Ok(()) } else { Err(Refusal { code: "foreign_origin", ..Refusal::forbidden(message) }) }
    }
}

impl Presented<'_> {
    /// For the authority.
    #[must_use]
    pub fn shown(&self) -> Shown<'_> {
        let credential = match (self.is_api_key, &*self.text) {
            (true, key) => Credential::ApiKey(key),
            (false, "") => Credential::None,
            (false, token) => Credential::Bearer(token),
        };
        Shown { credential, headers: &self.headers }
    }

    /// What proves that the client holds its session's key.
    #[must_use]
    pub fn proof(&self) -> Proof<'_> {
        Proof::Shown(self.proof.as_deref())
    }
}

/// The subprotocol that carries the token, to be answered as the one chosen: a browser takes a handshake only if one of
/// those that it offered comes back.
pub(crate) fn bearer_protocol(headers: &HeaderMap) -> Option<&str> {
    protocols(headers, BEARER_PROTOCOL).next()
}

fn protocols<'a>(headers: &'a HeaderMap, prefix: &str) -> impl Iterator<Item = &'a str> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(move |entry| entry.starts_with(prefix))
}

/// A parameter of the address, decoded.
fn in_address(uri: &Uri, name: &str) -> Result<Option<String>, Refusal> {
    if !uri.query().is_some_and(|query| query.contains(name)) {
        return Ok(None);
    }
    let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(parameters)| parameters);
    let parameters = parameters.map_err(|_| unreadable("the address cannot be read"))?;
    one(parameters.into_iter().filter(|(other, _)| other == name).map(|(_, value)| value))
}

fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&HeaderValue>, Refusal> {
    one(headers.get_all(name).into_iter())
}

/// The one that there is. Of two, who stands in front may have looked at the other.
fn one<T>(mut found: impl Iterator<Item = T>) -> Result<Option<T>, Refusal> {
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(unreadable("a credential is there twice")),
        (found, None) => Ok(found),
    }
}

/// The headers, without cookies that a browser sent along for a page of another site: nobody who lets people in by a cookie
/// shall see those. Where there is an `Origin` it has been looked at by now.
fn own_cookies(headers: &HeaderMap) -> Cow<'_, HeaderMap> {
    let site = headers.get("sec-fetch-site").filter(|_| !headers.contains_key(header::ORIGIN));
    if site.is_none_or(|site| site == "same-origin" || site == "none") || !headers.contains_key(header::COOKIE) {
        return Cow::Borrowed(headers);
    }
    let mut own = headers.clone();
    own.remove(header::COOKIE);
    Cow::Owned(own)
}

/// The value of a cookie, by the first of its name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(other, _)| *other == name).map(|(_, value)| value.trim_matches('"')).filter(|value| !value.is_empty())
}

fn text(value: &HeaderValue) -> Result<&str, Refusal> {
    value.to_str().map_err(|_| unreadable("a credential has only visible ASCII characters"))
}

fn unreadable(message: &str) -> Refusal {
    Refusal::unauthenticated(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        entries.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn everywhere() -> Credentials {
        Credentials { cookie: Some("gate".into()), query: true, origins: vec!["https://app.example".into()] }
    }

    fn found(
        places: &Credentials,
        uri: &'static str,
        entries: &[(&'static str, &'static str)],
    ) -> Result<String, Refusal> {
        let (uri, headers) = (Uri::from_static(uri), headers(entries));
        let presented = places.find(&uri, &headers)?;
        let proof = presented.proof.as_deref().map(|proof| format!(" with {proof}")).unwrap_or_default();
        Ok(match presented.shown().credential {
            Credential::None => format!("none{proof}"),
            Credential::Bearer(token) => format!("bearer {token}{proof}"),
            Credential::ApiKey(key) => format!("key {key}{proof}"),
        })
    }

    fn twice(name: &'static str, values: [&'static str; 2]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            let _ = headers.append(name, HeaderValue::from_static(value));
        }
        everywhere().find(&Uri::from_static("/ws"), &headers).map(drop)
    }

    #[test]
    fn a_credential_is_found_wherever_it_may_stand() {
        let expect = |uri, entries: &[(&'static str, &'static str)], expected: &str| {
            assert_eq!(found(&everywhere(), uri, entries).unwrap(), expected);
        };
        expect("/ws", &[], "none");
        expect("/ws", &[("authorization", "bearer t1")], "bearer t1");
        expect("/ws", &[("x-api-key", "k1")], "key k1");
        expect("/ws", &[("sec-websocket-protocol", "chat, bearer.a.b.c, proof.p.q")], "bearer a.b.c with p.q");
        expect("/ws", &[("authorization", "Bearer t1"), ("x-api-key", "k1")], "bearer t1");
        expect("/ws", &[("cookie", "a=b; gate=t1; c=d"), ("origin", "https://app.example")], "bearer t1");
        expect("/ws", &[("cookie", "gate=t1"), ("sec-fetch-site", "same-origin")], "bearer t1");
        expect("/ws?x=1&access_token=t%2B1&proof=p", &[], "bearer t+1 with p");
        expect("/ws?proof=p", &[("authorization", "Bearer t1"), ("tidegate-proof", "q")], "bearer t1 with q");
    }

    #[test]
    fn what_cannot_be_read_is_a_bad_credential() {
        for value in ["Basic abc", "Bearer", "Bearer ", "t1", ""] {
            assert_eq!(found(&everywhere(), "/ws", &[("authorization", value)]).unwrap_err().status, 401, "{value}");
        }
        assert_eq!(found(&everywhere(), "/ws", &[("x-api-key", "")]).unwrap_err().status, 401);
        for uri in ["/ws?access_token=", "/ws?access_token", "/ws?access_token=a&access_token=b", "/ws?proof=p&proof=q"]
        {
            assert_eq!(found(&everywhere(), uri, &[]).unwrap_err().status, 401, "{uri}");
        }
        for (name, values) in [("authorization", ["Bearer a", "Bearer b"]), ("x-api-key", ["a", "b"])] {
            assert_eq!(twice(name, values).unwrap_err().status, 401, "{name}");
        }
        assert_eq!(twice("sec-websocket-protocol", ["bearer.a", "bearer.b"]).unwrap_err().status, 401);
    }

    #[test]
    fn cookies_and_addresses_are_looked_at_where_that_is_switched_on() {
        let cookie = [("cookie", "gate=t1"), ("origin", "https://app.example")];
        assert_eq!(found(&Credentials::default(), "/ws?access_token=t1", &cookie).unwrap(), "none");
    }

    #[test]
    fn cookies_that_another_site_had_sent_are_not_passed_on() {
        let passed = |entries: &[(&'static str, &'static str)]| {
            let (uri, headers) = (Uri::from_static("/ws"), headers(entries));
            let presented = Credentials::default().find(&uri, &headers).unwrap();
            presented.shown().headers.contains_key("cookie")
        };
        for site in ["cross-site", "same-site"] {
            assert!(!passed(&[("cookie", "a=b"), ("sec-fetch-site", site)]), "{site}");
            assert!(
                passed(&[("cookie", "a=b"), ("sec-fetch-site", site), ("origin", "https://app.example")]),
                "{site}"
            );
        }
        for site in ["same-origin", "none"] {
            assert!(passed(&[("cookie", "a=b"), ("sec-fetch-site", site)]), "{site}");
        }
        assert!(passed(&[("cookie", "a=b")]));
    }

    #[test]
    fn a_cookie_is_believed_only_from_a_known_page() {
        for entries in [
            &[("cookie", "gate=t1")][..],
            &[("cookie", "gate=t1"), ("origin", "https://evil.example")],
            &[("cookie", "gate=t1"), ("sec-fetch-site", "cross-site")],
        ] {
            let refused = found(&everywhere(), "/ws", entries).unwrap_err();
            assert_eq!((refused.status, refused.code), (403, "foreign_origin"));
        }
    }
}
