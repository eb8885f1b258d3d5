//! What a client shows.

use std::fmt;

use http::HeaderMap;

/// What a client shows of who it is. Never logged: `Debug` prints the kind alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// A bearer token.
    Bearer(&'a str),
    /// A server's key.
    ApiKey(&'a str),
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::None => "None",
            Credential::Bearer(_) => "Bearer",
            Credential::ApiKey(_) => "ApiKey",
        })
    }
}

/// All that a request shows.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Who it says it is.
    pub credential: Credential<'a>,
    /// For the application's connect hook, which is told those that configuration names. Empty for a message.
    pub headers: &'a HeaderMap,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("credential", &self.credential).finish_non_exhaustive()
    }
}

/// The proof that a client holds the key of its session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof<'a> {
    /// With the credential came this, or nothing.
    Shown(Option<&'a str>),
    /// It was given when the connection was made.
    Given,
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::Shown(None) => "Shown(None)",
            Proof::Shown(Some(_)) => "Shown(…)",
            Proof::Given => "Given",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_prints_no_secret() {
        let headers = HeaderMap::from_iter([(http::header::COOKIE, http::HeaderValue::from_static("hunter2"))]);
        let shown = Shown { credential: Credential::Bearer("hunter2"), headers: &headers };
        let printed = format!("{shown:?}{:?}{:?}", Credential::ApiKey("hunter2"), Proof::Shown(Some("hunter2")));
        assert!(!printed.contains("hunter2"));
    }
}
