//! What an issuer or the application says of somebody, in its bounds: the same for both.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_model::Tenant;

/// The tenant that all strangers share, in entities that have a tenant column; and the role that they have.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// Longest name of a user, tenant or session, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Roles of one.
pub(crate) const ROLES_MAX: usize = 64;
/// Longest role, in bytes.
pub(crate) const ROLE_BYTES_MAX: usize = 64;
/// What permissions grant to everybody and to strangers is nobody else's to give.
const RESERVED_ROLES: [&str; 2] = ["*", ANONYMOUS];

/// Whether the text names somebody. An empty tenant would be the common one.
pub(crate) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX
}

/// A tenant of users; `None`: it is no name, or that of strangers.
pub(crate) fn tenant(name: &str) -> Option<Tenant> {
    (is_name(name) && name != ANONYMOUS).then(|| Tenant::new(name))
}

/// The roles that count; `None`: too many, or one is too long.
pub(crate) fn roles(all: &[&str]) -> Option<Arc<[Arc<str>]>> {
    if all.len() > ROLES_MAX || all.iter().any(|role| role.len() > ROLE_BYTES_MAX) {
        return None;
    }
    let counts = |role: &&&str| !role.is_empty() && !RESERVED_ROLES.contains(*role);
    Some(all.iter().filter(counts).map(|role| Arc::from(*role)).collect())
}

/// The claim of that name, or else at that path; null is none.
pub(crate) fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let at_path = || {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, step| value.get(step))
    };
    claims.get(name).or_else(at_path).filter(|value| !value.is_null())
}

/// The claims that are `named`, by these names.
pub(crate) fn kept(claims: &Map<String, Value>, named: &[Box<str>]) -> Map<String, Value> {
    named.iter().filter_map(|name| Some((name.to_string(), claim(claims, name)?.clone()))).collect()
}
