//! The proof that a request to the application comes from this gateway, and was made just now.
//!
//! `Tidegate-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256(secret, "<t>.<body>")>`.

use std::fmt;

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::Secret;

const SIGNATURE: HeaderName = HeaderName::from_static("tidegate-signature");

/// Signs what is posted.
pub struct Signer(hmac::Key);

impl Signer {
    /// With what the application shares.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// What goes with a body of JSON: its type and its signature, made at `now_ms`, milliseconds since 1970.
    #[must_use]
    pub fn headers(&self, body: &[u8], now_ms: u64) -> HeaderMap {
        let time = now_ms / 1000;
        let mut signed = hmac::Context::with_key(&self.0);
        signed.update(format!("{time}.").as_bytes());
        signed.update(body);
        let hex: String = signed.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        headers.extend(HeaderValue::from_str(&format!("t={time},v1={hex}")).ok().map(|value| (SIGNATURE, value)));
        headers
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/application.md, which anybody can check with `openssl dgst -sha256 -hmac`.
    #[test]
    fn the_documented_example_is_signed_so() {
        let headers = Signer::new(&Secret::new("s3cret")).headers(br#"{"type":"event"}"#, 1_767_225_600_999);
        let signature = "241c4bede7b78f561cd82a96c0fabfa3382568474fabf2f435dcf2c17afa50f8";
        assert_eq!(headers["tidegate-signature"], format!("t=1767225600,v1={signature}"));
        assert_eq!(headers["content-type"], "application/json");
    }
}
