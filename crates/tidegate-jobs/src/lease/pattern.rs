//! Patterns of a lease: canonical as targets are, so that they meet.

use super::Namespace;
use super::glob::Glob;
use super::target::{Address, Refused, Target, has_parent, name, path, url};

/// A pattern: one glob for each part of a target.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Glob>);

impl Pattern {
    /// Refused is what could never match.
    pub(super) fn read(namespace: Namespace, text: &str) -> Result<Self, Refused> {
        let parts = match namespace {
            Namespace::FsRead | Namespace::FsWrite => vec![Glob::path(&path_pattern(text)?)],
            Namespace::NetFetch => url_pattern(text)?,
            Namespace::ToolCall | Namespace::ModelUse => vec![Glob::name(name(text)?, b'/')],
            // Without a version all versions are meant.
            Namespace::AgentDelegate => {
                let (agent, version) = name(text)?.split_once('@').unwrap_or((text, "**"));
                vec![Glob::name(agent, b'/'), Glob::name(version, b'/')]
            }
        };
        parts.into_iter().collect::<Option<_>>().map(Self).ok_or(Refused("more than two stars stand together"))
    }

    pub(super) fn matches(&self, target: &Target) -> bool {
        self.0.len() == target.0.len() && self.0.iter().zip(&target.0).all(|(glob, part)| glob.matches(part))
    }

    /// Whether it matches all that `child` matches; see [`Glob::covers`] for what is not seen.
    pub(super) fn covers(&self, child: &Self) -> bool {
        self.0.len() == child.0.len() && self.0.iter().zip(&child.0).all(|(glob, child)| glob.covers(child))
    }
}

/// Paths are absolute, so `**` at the start is `/**`.
fn path_pattern(text: &str) -> Result<String, Refused> {
    if has_parent(text) {
        return Err(Refused("a pattern has no .."));
    }
    if text.starts_with("**") { path(&format!("/{text}")) } else { path(text) }
}

/// `scheme://host/path?query`, each a pattern of its own, so that no star reaches from one into the next. The scheme and the port are
/// fixed (no port is the scheme's). In a host `*` is within one label. A pattern without a query has any if its path ends with a
/// star, else none. `scheme://**` is all of a scheme's default port.
fn url_pattern(text: &str) -> Result<Vec<Option<Glob>>, Refused> {
    let all = text.strip_suffix("://**").map(|scheme| format!("{scheme}://**/**"));
    let text = all.as_deref().unwrap_or(text);
    let before_query = text.split('?').next().unwrap_or_default();
    if has_parent(before_query) || text.contains('#') {
        return Err(Refused("a pattern has no .. and no fragment"));
    }
    let Address { origin, host, path, mut query } = url(text)?;
    if host.split('.').any(|label| label.starts_with("xn--") && label.contains('*')) {
        return Err(Refused("a star is not within an international label"));
    }
    if !text.contains('?') && path.ends_with('*') {
        query.push_str("**");
    }
    Ok(vec![Glob::name(&origin, b'/'), Glob::name(&host, b'.'), Glob::path(&path), Glob::name(&query, b'/')])
}
