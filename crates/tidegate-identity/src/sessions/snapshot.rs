//! What an entry of the stream, or a session's hash, says: one session, whole.
//!
//! Redis is hostile input. What is not exactly one session is malformed, and of that nothing is kept but the rule it broke and
//! the session that it names, so that this one can be looked at again.

use std::sync::Arc;

/// Longest id of a session and longest name of a user, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Longest public key as it is written, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 1_024;

/// One device session as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Of the session. Not empty, at most [`NAME_BYTES_MAX`].
    pub(crate) id: Arc<str>,
    /// Whose it is. Not empty, at most [`NAME_BYTES_MAX`].
    pub(crate) user: Box<str>,
    /// What the client proves to hold the other half of. Not empty, at most [`KEY_BYTES_MAX`]; not looked into.
    pub(crate) public_key: Box<str>,
    /// Whether it ended.
    pub(crate) is_revoked: bool,
    /// When, in milliseconds since 1970, where that was said.
    pub(crate) revoked_at_ms: Option<i64>,
}

/// Not a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub(crate) struct Malformed {
    /// The session that it names all the same.
    pub(crate) names: Option<Arc<str>>,
    /// What is wrong with it, without its values.
    pub(crate) rule: &'static str,
}

/// Fields as they are found; each may be there once.
#[derive(Default)]
struct Fields<'a> {
    id: Option<&'a [u8]>,
    user: Option<&'a [u8]>,
    public_key: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    revoked_at_ms: Option<&'a [u8]>,
}

/// Reads fields and their values. However many there are, only one id is kept of them: of several the last.
///
/// # Errors
/// [`Malformed`] for another field, one that is there twice, is missing, empty (white space alone is), too long or not UTF-8,
/// another status, a bad number.
pub(crate) fn decode<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Snapshot, Malformed> {
    let mut found = Fields::default();
    let mut broken = None;
    for (name, value) in fields {
        let place = match name {
            b"device_session_id" => &mut found.id,
            b"user_id" => &mut found.user,
            b"client_public_key" => &mut found.public_key,
            b"status" => &mut found.status,
            b"revoked_at_ms" => &mut found.revoked_at_ms,
            _ => {
                broken.get_or_insert("there is another field");
                continue;
            }
        };
        if place.replace(value).is_some() {
            broken.get_or_insert("a field is there twice");
        }
    }
    // Read whatever else is wrong: the session it names is to be dropped.
    let id = text(found.id, NAME_BYTES_MAX, "device_session_id is missing, empty, too long or no text").map(Arc::from);
    let names = id.as_ref().ok().cloned();
    match broken {
        Some(rule) => Err(rule),
        None => id.and_then(|id| snapshot(id, &found)),
    }
    .map_err(|rule| Malformed { names, rule })
}

fn snapshot(id: Arc<str>, found: &Fields<'_>) -> Result<Snapshot, &'static str> {
    Ok(Snapshot {
        id,
        user: text(found.user, NAME_BYTES_MAX, "user_id is missing, empty, too long or no text")?.into(),
        public_key: text(found.public_key, KEY_BYTES_MAX, "client_public_key is missing, empty, too long or no text")?
            .into(),
        is_revoked: match found.status {
            Some(b"active") => false,
            Some(b"revoked") => true,
            _ => return Err("status is neither active nor revoked"),
        },
        revoked_at_ms: found.revoked_at_ms.map(number).transpose()?,
    })
}

fn text<'a>(value: Option<&'a [u8]>, bytes_max: usize, rule: &'static str) -> Result<&'a str, &'static str> {
    let value = value.filter(|value| value.len() <= bytes_max).ok_or(rule)?;
    let value = std::str::from_utf8(value).map_err(|_| rule)?;
    if value.trim().is_empty() { Err(rule) } else { Ok(value) }
}

fn number(value: &[u8]) -> Result<i64, &'static str> {
    let value = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok());
    value.ok_or("revoked_at_ms is no integer")
}

#[cfg(test)]
mod tests;
