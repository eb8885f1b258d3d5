//! Which pages may connect: the `Origin` check, and CORS by the same list.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::{ApiError, Edge, Refused};

/// Refuses foreign origins, answers preflights, and names the origin on what goes back.
pub(crate) async fn guard(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    if !is_allowed(&edge.config().allowed_origins, &origin, request.headers()) {
        edge.metrics().refuse(Refused::Origin);
        let message = "pages of this origin may not connect; the operator may list it in allowed_origins";
        return ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message).into_response();
    }
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { preflight(request.headers()) } else { next.run(request).await };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

/// No `Origin` at all (no browser) has been let through before this.
fn is_allowed(list: &[String], origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    if list.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
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
        let allowed = |origin: &'static str, host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            is_allowed(&list, &HeaderValue::from_static(origin), &headers)
        };
        assert!(allowed("http://127.0.0.1:8470", "127.0.0.1:8470"));
        assert!(allowed("https://Gate.example", "gate.example:443"));
        assert!(allowed("https://app.example", "gate.example"));
        assert!(!allowed("https://evil.example", "gate.example"));
        assert!(!allowed("http://gate.example:81", "gate.example"));
        assert!(!allowed("null", "null"));
        assert!(!allowed("https://app.example.evil", "gate.example"));
        assert!(is_allowed(&["*".to_owned()], &HeaderValue::from_static("null"), &HeaderMap::new()));
    }
}
