//! `tidegate sessions`: ends device sessions, users and tenants of a running gateway.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use clap::{Args, Subcommand};
use serde_json::Value;
use tidegate_identity::{Bounds, Fetch};
use tokio::runtime::Handle;

use crate::cli::{Failure, say};

/// For one answer: a revocation waits for a disk or for Redis.
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(15), bytes_max: 64 << 10 };

/// What is done with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// End a session, all sessions of a user, or all of a tenant, with their connections
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The session's id
    #[arg(required_unless_present_any = ["user", "tenant"], conflicts_with_all = ["user", "tenant"])]
    id: Option<String>,
    /// Everything that this user was let in with until now
    #[arg(long)]
    user: Option<String>,
    /// Only in this tenant; without --user everybody's of it
    #[arg(long)]
    tenant: Option<String>,
    /// The gateway
    #[arg(long, default_value = "http://127.0.0.1:8470")]
    url: String,
    /// A server's key
    #[arg(long, env = "TIDEGATE_API_KEY", hide_env_values = true)]
    api_key: String,
    /// Say what was done as one JSON object
    #[arg(long)]
    json: bool,
}

impl Sessions {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Revoke {
    async fn run(self) -> Result<(), Failure> {
        let url: Uri = format!("{}{}", self.url.trim_end_matches('/'), self.path())
            .parse()
            .map_err(|_| format!("--url {}: must be http://host:port or https://host", self.url))?;
        let mut key = HeaderValue::from_str(&self.api_key).map_err(|_| "--api-key: must be visible ASCII")?;
        key.set_sensitive(true);
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), key)]);
        let posted = Fetch::new(Handle::current())?.post(&url, headers, Bytes::new(), BOUNDS).await;
        let (status, body) = posted.map_err(|error| format!("{}: {error}; is a Tidegate running there?", self.url))?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status != StatusCode::OK {
            let part = |name: &str| answer["error"][name].as_str().unwrap_or_default().to_owned();
            return Err(match part("code").as_str() {
                "" => format!("{}: the answer is {status}", self.url).into(),
                code => format!("{code}: {}", part("message")).into(),
            });
        }
        if self.json {
            return say(&answer);
        }
        say(&match (&self.id, &self.user, &self.tenant) {
            (Some(id), _, _) => format!("revoked session {id}"),
            (None, Some(user), None) => format!("revoked user {user}"),
            (None, Some(user), Some(tenant)) => format!("revoked user {user} of tenant {tenant}"),
            (None, None, tenant) => format!("revoked tenant {}", tenant.as_deref().unwrap_or_default()),
        })
    }

    fn path(&self) -> String {
        match (&self.id, &self.user, &self.tenant) {
            (Some(id), _, _) => format!("/v1/sessions/{}/revoke", escaped(id)),
            (None, Some(user), None) => format!("/v1/users/{}/revoke", escaped(user)),
            (None, Some(user), Some(tenant)) => {
                format!("/v1/users/{}/revoke?tenant={}", escaped(user), escaped(tenant))
            }
            (None, None, tenant) => format!("/v1/tenants/{}/revoke", escaped(tenant.as_deref().unwrap_or_default())),
        }
    }
}

/// A name as one part of an address (RFC 3986).
pub(crate) fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // A dot too: "." and ".." are parts that some leave out.
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
