//! What an operation is about, in one spelling: what is not canonical is made so, or refused where two readers could take it for
//! different things.

use url::Url;

use super::Namespace;

/// Longest target, in bytes: of URLs that servers take in general.
const TARGET_BYTES_MAX: usize = 2048;

/// Why a target or a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str);

/// A target, canonical. It has the parts that patterns of its namespace have, which are matched one by one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target(pub(super) Vec<String>);

impl Target {
    pub(super) fn read(op: Namespace, text: &str) -> Result<Self, Refused> {
        Ok(Self(match op {
            Namespace::FsRead | Namespace::FsWrite => vec![path(text)?],
            Namespace::NetFetch => {
                let Address { origin, host, path, query } = url(text)?;
                vec![origin, host, path, query]
            }
            Namespace::ToolCall | Namespace::ModelUse => vec![name(text)?.to_owned()],
            Namespace::AgentDelegate => {
                let (agent, version) = name(text)?.split_once('@').unwrap_or((text, ""));
                vec![agent.to_owned(), version.to_owned()]
            }
        }))
    }
}

/// An absolute path without `.`, `..`, `//` and a slash at the end. `..` goes back by name: what is a link is for the file system, so a
/// tool should open the path that it asked about.
pub(super) fn path(text: &str) -> Result<String, Refused> {
    plain(text)?;
    if !text.starts_with('/') {
        return Err(Refused("a path is absolute"));
    }
    if is_veiled(text) {
        return Err(Refused("dots and separators are not percent-encoded"));
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

/// A name of a tool, a model or an agent: taken as it is, with no segment that a path would resolve.
pub(super) fn name(text: &str) -> Result<&str, Refused> {
    plain(text)?;
    if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) || is_veiled(text) {
        return Err(Refused("a name has no empty segment, no . and no .."));
    }
    Ok(text)
}

/// A URL, canonical and in the parts that patterns look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Scheme and port: `https:443`, `s3:`.
    pub(super) origin: String,
    /// In lower case and ASCII, without the root's dot.
    pub(super) host: String,
    /// Begins with a slash.
    pub(super) path: String,
    /// With its question mark; empty without.
    pub(super) query: String,
}

/// A URL with a host and without a user, of any scheme but `file`: which schemes a lease covers is written in it.
/// The URL standard's parser does case, default ports, numeric and international hosts, `..` and `%2e`; the fragment is dropped.
pub(super) fn url(text: &str) -> Result<Address, Refused> {
    plain(text)?;
    let none = Refused("a URL is scheme://host/path");
    let (scheme, rest) = text.split_once("://").ok_or(none)?;
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority);
    if authority.is_empty() || text.starts_with(' ') || text.ends_with(' ') {
        return Err(none);
    }
    if authority.contains('@') {
        return Err(Refused("a URL has no user"));
    }
    // As it was written: where `..` goes back over what hides a separator it is gone when the path is canonical.
    let raw = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    if raw.contains("//") && has_parent(raw) {
        return Err(Refused("a URL's path does not have both // and .."));
    }
    let decoded = decode_unreserved(raw);
    // `/..;x/` goes up where segments have parameters, and `/;x/` is nothing.
    let is_dots = |segment: &str| matches!(segment.split_once(';'), Some(("" | "." | "..", _)));
    if is_veiled(&decoded) || decoded.split('/').any(is_dots) {
        return Err(Refused("dots and separators are not hidden in a URL's path"));
    }
    let parsed = Url::parse(text).map_err(|_| none)?;
    let host = parsed.host_str().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    // The parser mends much: what it takes for the scheme has to be what was.
    let is_scheme = parsed.scheme().eq_ignore_ascii_case(scheme) && parsed.scheme() != "file";
    if !is_scheme || host.is_empty() || host.ends_with('.') || host.contains('%') {
        return Err(none);
    }
    let mut path = decode_unreserved(parsed.path());
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    if path.is_empty() {
        path.push('/');
    }
    let port = parsed.port_or_known_default().map(|port| port.to_string()).unwrap_or_default();
    let query = parsed.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Address { origin: format!("{}:{port}", parsed.scheme()), host: host.to_owned(), path, query })
}

/// Whether a path goes up, however that is written.
pub(super) fn has_parent(path: &str) -> bool {
    path.split('/').any(|segment| segment.to_ascii_lowercase().replace("%2e", ".") == "..")
}

/// Escapes of what needs none are undone, all others are in upper case (RFC 3986, 6.2.2).
fn decode_unreserved(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            out.push('%');
            rest = &rest[1..];
            continue;
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&rest[..3].to_ascii_uppercase());
        }
        rest = &rest[3..];
    }
    out + rest
}

/// Whether a dot, a slash, a backslash or a NUL is percent-encoded, once or more often, or too long as UTF-8.
fn is_veiled(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices('%').any(|(at, _)| {
        let mut escaped = &text[at + 1..];
        while let Some(more) = escaped.strip_prefix("25") {
            escaped = more;
        }
        ["2e", "2f", "5c", "00", "c0", "c1", "e0%8", "e0%9", "f0%8"].iter().any(|bad| escaped.starts_with(bad))
    })
}

/// What holds for every target, and pattern.
fn plain(text: &str) -> Result<(), Refused> {
    if text.is_empty() || text.len() > TARGET_BYTES_MAX {
        return Err(Refused("it is empty or longer than 2048 bytes"));
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(Refused("it has a control character or a backslash"));
    }
    Ok(())
}
