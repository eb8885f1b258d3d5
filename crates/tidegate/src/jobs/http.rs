//! What operators ask a gateway about jobs, over its HTTP API.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tidegate_identity::{Bounds, Fetch};
use tokio::runtime::Handle;

use super::Page;
use crate::cli::Failure;
use crate::sessions::escaped;

/// For one answer: a page of jobs with their leases.
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(15), bytes_max: 64 << 20 };

/// A gateway, and the key that it is asked with.
pub(super) struct Operator {
    fetch: Fetch,
    url: String,
    key: HeaderValue,
    tenant: Option<String>,
}

impl Operator {
    pub(super) fn new(url: &str, key: &str, tenant: Option<String>) -> Result<Self, Failure> {
        let mut key = HeaderValue::from_str(key).map_err(|_| "--api-key: must be visible ASCII")?;
        key.set_sensitive(true);
        let fetch = Fetch::new(Handle::current())?;
        Ok(Self { fetch, url: url.trim_end_matches('/').to_owned(), key, tenant })
    }

    pub(super) async fn list(
        &self,
        status: &[&str],
        agent: Option<&str>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, Failure> {
        let mut path = format!("/v1/jobs?limit={limit}");
        let status = (!status.is_empty()).then(|| status.join(","));
        for (name, value) in [("status", status.as_deref()), ("agent", agent), ("cursor", cursor)] {
            if let Some(value) = value {
                path = format!("{path}&{name}={}", escaped(value));
            }
        }
        let answer = self.ask(Method::GET, self.of_tenant(path), Bytes::new()).await?;
        Ok(serde_json::from_value(answer)?)
    }

    pub(super) async fn cancel(&self, job: &str, reason: Option<&str>) -> Result<Value, Failure> {
        let path = self.of_tenant(format!("/v1/jobs/{}/cancel", escaped(job)));
        let body = reason.map(|reason| json!({ "reason": reason }).to_string()).unwrap_or_default();
        self.ask(Method::POST, path, body.into()).await
    }

    fn of_tenant(&self, path: String) -> String {
        let Some(tenant) = &self.tenant else { return path };
        let sign = if path.contains('?') { '&' } else { '?' };
        format!("{path}{sign}tenant={}", escaped(tenant))
    }

    async fn ask(&self, method: Method, path: String, body: Bytes) -> Result<Value, Failure> {
        let url: Uri = format!("{}{path}", self.url)
            .parse()
            .map_err(|_| format!("--url {}: must be http://host:port or https://host", self.url))?;
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), self.key.clone())]);
        let asked = self.fetch.ask(method, &url, headers, body, BOUNDS).await;
        let (status, body) = asked.map_err(|error| format!("{}: {error}; is a Tidegate running there?", self.url))?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let part = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_owned();
        Err(match part("code").as_str() {
            "" => format!("{}: the answer is {status}", self.url).into(),
            code => format!("{code}: {}", part("message")).into(),
        })
    }
}
