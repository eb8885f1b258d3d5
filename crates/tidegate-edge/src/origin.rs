//! Which pages may connect: the `Origin` check, and CORS by the same list.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use crate::{ApiError, Edge, Refused};

/// The origin to be named on the answer, if there is one; a foreign one is refused.
pub(crate) fn check(edge: &Edge, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
    if is_allowed(&edge.config().allowed_origins, origin, host(uri, headers)) {
        return Ok(Some(origin.clone()));
    }
    edge.metrics().refuse(Refused::Origin);
    let message = "pages of this origin may not connect; the operator may list it in allowed_origins";
    Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message))
}

/// Names the origin on what goes back. Where a cookie may carry a token, pages may have it sent along.
pub(crate) fn allow(edge: &Edge, origin: HeaderValue, headers: &mut HeaderMap) {
    if edge.config().cookie.is_some() {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// The answer to a preflight, if this is one.
pub(crate) fn preflight(method: &Method, asked: &HeaderMap) -> Option<Response> {
    if method != Method::OPTIONS || !asked.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    Some(response)
}

/// Whom the request is for: over HTTP/2 the address says it, and there is no `Host`.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or_else(host)
}

/// No `Origin` at all (no browser) has been let through before this.
pub(crate) fn is_allowed(list: &[String], origin: &HeaderValue, host: Option<&str>) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if list.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let own = origin.split_once("://").zip(host);
    own.is_some_and(|((scheme, authority), host)| {
        let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let bare = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
        bare(authority) == bare(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_host_and_listed_origins_are_let_in_and_nobody_else() {
        let list = ["https://app.example".to_owned()];
        let allowed =
            |origin: &'static str, host: &str| is_allowed(&list, &HeaderValue::from_static(origin), Some(host));
        assert!(allowed("http://127.0.0.1:8470", "127.0.0.1:8470"));
        assert!(allowed("https://Gate.example", "gate.example:443"));
        assert!(allowed("https://app.example", "gate.example"));
        assert!(!allowed("https://evil.example", "gate.example"));
        assert!(!allowed("http://gate.example:81", "gate.example"));
        assert!(!allowed("null", "null"));
        assert!(!allowed("https://app.example.evil", "gate.example"));
        assert!(is_allowed(&["*".to_owned()], &HeaderValue::from_static("null"), None));
    }

    #[test]
    fn the_host_is_where_either_http_has_it() {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("gate.example"))]);
        assert_eq!(host(&Uri::from_static("/ws"), &headers), Some("gate.example"));
        let whole = Uri::from_static("https://gate.example:8470/ws");
        assert_eq!(host(&whole, &HeaderMap::new()), Some("gate.example:8470"));
        assert_eq!(host(&Uri::from_static("/ws"), &HeaderMap::new()), None);
    }
}
