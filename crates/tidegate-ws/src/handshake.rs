//! The parts of the opening handshake that are not HTTP (RFC 6455 section 4).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is appended to a key before it is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. `None` unless the key is the base64 of 16 bytes.
#[must_use]
pub fn accept(key: &[u8]) -> Option<String> {
    let mut nonce = [0; 18];
    if key.len() != 24 || STANDARD.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key);
    hash.update(GUID);
    Some(STANDARD.encode(hash.digest().bytes()))
}

/// Whether one of the comma-separated lists in `values` (all values of one header) has `token`, in any case.
pub fn has_token<'a>(values: impl Iterator<Item = &'a str>, token: &str) -> bool {
    values.flat_map(|value| value.split(',')).any(|item| item.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
}

/// A client's request over HTTP/1.1, with `extra` headers. `key` is the base64 of 16 random bytes.
#[must_use]
pub fn request(host: &str, path: &str, key: &str, extra: &[(&str, &str)]) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    for (name, value) in extra {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZTEy",
            "!GhlIHNhbXBsZSBub25jZQ==",
        ] {
            assert_eq!(accept(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn tokens_in_lists() {
        let has = |values: &[&str], token| has_token(values.iter().copied(), token);
        assert!(has(&["keep-alive, Upgrade"], "upgrade"));
        assert!(has(&["keep-alive", "\tUPGRADE "], "upgrade"));
        assert!(!has(&["upgraded, not upgrade"], "upgrade"));
        assert!(!has(&[], "upgrade"));
    }

    #[test]
    fn a_request_has_what_a_server_asks_for() {
        let request = request("localhost:80", "/ws?x=1", "dGhlIHNhbXBsZSBub25jZQ==", &[("Origin", "http://here")]);
        assert!(request.starts_with("GET /ws?x=1 HTTP/1.1\r\nHost: localhost:80\r\n"), "{request}");
        assert!(request.ends_with("Origin: http://here\r\n\r\n"), "{request}");
    }
}
