//! Connection strings: libpq's two forms, with the TLS parameters that tokio-postgres does not know.
//!
//! No message shows a piece of the text: where it is not well-formed, any piece may be part of the password.

use std::path::PathBuf;

use super::settings::TlsMode;

/// What may be set, besides `sslmode` and `sslrootcert`.
const KNOWN: [&str; 12] = [
    "user",
    "password",
    "host",
    "port",
    "dbname",
    "options",
    "application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
];

/// libpq's others, which may be named in a message.
const UNSUPPORTED: [&str; 16] = [
    "hostaddr",
    "passfile",
    "channel_binding",
    "client_encoding",
    "fallback_application_name",
    "keepalives_count",
    "replication",
    "gssencmode",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslnegotiation",
    "service",
    "target_session_attrs",
    "load_balance_hosts",
];

const FORM: &str = "expected postgres://user:password@host:port/database?sslmode=… or host=… user=… (in the first form \
                    special characters are percent-encoded)";

/// Names and their values.
type Pairs = Vec<(String, String)>;

pub(super) struct Parsed {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Option<TlsMode>,
    pub(super) root_certificate: Option<PathBuf>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") { url(text) } else { words(text) }
}

/// Takes the parameters that are ours out of `pairs`.
fn split(pairs: Pairs) -> Result<(Pairs, Option<TlsMode>, Option<PathBuf>), String> {
    let (mut rest, mut tls, mut root) = (Vec::new(), None, None);
    for (name, value) in pairs {
        match name.as_str() {
            "sslmode" => tls = Some(mode(&value)?),
            "sslrootcert" => root = Some(PathBuf::from(value)),
            known if KNOWN.contains(&known) => rest.push((name, value)),
            other => {
                return Err(match UNSUPPORTED.iter().find(|unsupported| **unsupported == other) {
                    Some(name) => format!("the connection parameter {name} is not supported"),
                    None => {
                        format!("an unknown connection parameter; known are {}, sslmode, sslrootcert", KNOWN.join(", "))
                    }
                });
            }
        }
    }
    Ok((rest, tls, root))
}

fn mode(value: &str) -> Result<TlsMode, String> {
    Ok(match value {
        "disable" => TlsMode::Disable,
        "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => return Err("sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned()),
    })
}

fn url(text: &str) -> Result<Parsed, String> {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(FORM)?;
        pairs.push((decoded(name).ok_or(FORM)?, decoded(value).ok_or(FORM)?));
    }
    let (rest, tls, root_certificate) = split(pairs)?;
    let query: Vec<String> = rest.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    Ok(Parsed { config: config(&format!("{address}?{}", query.join("&")))?, tls, root_certificate })
}

fn words(text: &str) -> Result<Parsed, String> {
    let (rest, tls, root_certificate) = split(pairs(text).ok_or(FORM)?)?;
    let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let words: Vec<String> = rest.iter().map(|(name, value)| format!("{name}='{}'", quote(value))).collect();
    Ok(Parsed { config: config(&words.join(" "))?, tls, root_certificate })
}

fn config(text: &str) -> Result<tokio_postgres::Config, String> {
    text.parse().map_err(|error: tokio_postgres::Error| {
        // This source names a parameter; every other may quote the text.
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        match KNOWN.iter().find(|name| source == format!("invalid value for option `{name}`")) {
            Some(name) => format!("the connection parameter {name} has no valid value"),
            None => FORM.to_owned(),
        }
    })
}

/// `name = value` pairs, values quoted with `'` where they must be, `\` before a character that is meant.
fn pairs(text: &str) -> Option<Pairs> {
    let mut pairs = Vec::new();
    let mut chars = text.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') || name.is_empty() {
            return None;
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.push(chars.next()?),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
                None if quoted => return None,
                None => break,
            }
        }
        pairs.push((name, value));
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
    }
    Some(pairs)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
