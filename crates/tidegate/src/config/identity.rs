//! `[identity]`: who may connect, whose tokens are accepted, where device sessions are.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderName, Method, Uri};
use serde::Deserialize;
use tidegate_identity::{
    Algorithm, ClaimNames, HookSettings, Issuer, Keys, ProofSettings, RedisSettings, Secret, SessionStore,
    SessionsSettings, Settings,
};
use toml::Table;
use url::Url;

use super::ConfigError;
use super::layers::Layers;

/// In the data directory: device sessions that are kept here, and marks of users and tenants that were revoked.
const SESSIONS_FILE: &str = "sessions.db";
/// Nothing here takes longer than a day.
const MILLIS_MAX: u64 = 24 * 3_600_000;
/// Longest name of a claim, a stream or a prefix, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Past it clocks are not different but wrong.
const LEEWAY_MILLIS_MAX: u64 = 600_000;
/// Shorter keys and secrets are warned about: they could be guessed.
const API_KEY_BYTES_GOOD: usize = 16;
pub(super) const SECRET_BYTES_GOOD: usize = 32;
pub(super) fn read(layers: &Layers) -> Result<Settings, ConfigError> {
    let api_keys = layers.list("identity.api_keys");
    if let Some(empty) = api_keys.iter().position(String::is_empty) {
        return Err(ConfigError::rule(format!("identity.api_keys[{empty}]"), "must not be empty"));
    }
    let required_claims = layers.list("identity.required_claims");
    if let Some(empty) = required_claims.iter().position(String::is_empty) {
        return Err(ConfigError::rule(format!("identity.required_claims[{empty}]"), "must not be empty"));
    }
    let jwks_floor = some_millis(layers, "identity.jwks_floor_ms")?;
    let jwks_max_age = some_millis(layers, "identity.jwks_max_age_ms")?;
    if jwks_max_age < jwks_floor {
        return Err(layers.error("identity.jwks_max_age_ms", "must not be less than identity.jwks_floor_ms"));
    }
    let issuers = layers.issuers.iter().enumerate();
    Ok(Settings {
        anonymous: layers.bool("identity.anonymous"),
        guest_token: None,
        api_keys: api_keys.into_iter().map(Secret::new).collect(),
        issuers: issuers.map(|(i, table)| issuer(&format!("identity.issuer[{i}]"), table)).collect::<Result<_, _>>()?,
        claims: claims(layers)?,
        required_claims,
        leeway: layers.int("identity.leeway_ms", 0..=LEEWAY_MILLIS_MAX).map(Duration::from_millis)?,
        max_token_bytes: layers.int("identity.max_token_bytes", 256..=1 << 20)? as usize,
        jwks_floor,
        jwks_max_age,
        jwks_timeout: some_millis(layers, "identity.jwks_timeout_ms")?,
        sessions: sessions(layers)?,
        proof: proof(layers)?,
        hook: hook(layers)?,
    })
}

/// The cookie that may carry a token. A browser sends it along for any page, so the pages that may are to be listed.
pub(super) fn cookie(layers: &Layers) -> Result<Option<String>, ConfigError> {
    let (key, name) = ("identity.cookie", layers.text("identity.cookie"));
    // The letters of a token (RFC 6265, RFC 9110) are those of a method.
    if name.is_empty() {
        return Ok(None);
    }
    if name.len() > NAME_BYTES_MAX || Method::from_bytes(name.as_bytes()).is_err() {
        return Err(layers.error(key, "must be the name of a cookie, such as \"session\""));
    }
    let origins = layers.list("edge.allowed_origins");
    if origins.is_empty() || origins.iter().any(|origin| origin == "*") {
        return Err(layers.error(key, "needs the pages that may send it in edge.allowed_origins, and not \"*\""));
    }
    Ok(Some(name.to_owned()))
}

/// What is allowed and yet likely a mistake, each in a sentence.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if settings.api_keys.iter().any(|key| key.expose().len() < API_KEY_BYTES_GOOD) {
        warnings.push(format!("an API key has fewer than {API_KEY_BYTES_GOOD} bytes, so it could be guessed"));
    }
    for (i, issuer) in settings.issuers.iter().enumerate() {
        let path = format!("identity.issuer[{i}]");
        if issuer.audience.is_none() {
            warnings.push(format!(
                "{path} has no audience: tokens that the issuer made for other services are accepted unless they name one"
            ));
        }
        match &issuer.keys {
            Keys::Secret(secret) if secret.expose().len() < SECRET_BYTES_GOOD => {
                warnings
                    .push(format!("{path}.secret has fewer than {SECRET_BYTES_GOOD} bytes, so it could be guessed"));
            }
            Keys::Jwks(url) if is_open_to_others(url) => {
                warnings.push(format!("{path}.jwks_url is not https: who sits on the way can forge tokens"));
            }
            _ => {}
        }
    }
    if settings.hook.as_ref().is_some_and(|hook| hook.secret.expose().len() < SECRET_BYTES_GOOD) {
        warnings.push(format!("identity.hook.secret has fewer than {SECRET_BYTES_GOOD} bytes, so it could be guessed"));
    }
    if settings.hook.as_ref().is_some_and(|hook| is_open_to_others(&hook.url)) {
        warnings.push("identity.hook.url is not https: who sits on the way can say who is there".into());
    }
    warnings
}

/// Without TLS and beyond this machine.
pub(super) fn is_open_to_others(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    url.scheme_str() == Some("http") && !is_here
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerToml {
    issuer: String,
    audience: Option<String>,
    algorithm: String,
    /// Of any type, so that no message repeats it.
    secret: Option<toml::Value>,
    public_key_file: Option<PathBuf>,
    jwks_url: Option<String>,
}

fn issuer(path: &str, table: &Table) -> Result<Issuer, ConfigError> {
    let toml: IssuerToml = super::typed(path, table)?;
    let wrong = |key: &str, value: &dyn Display, rule: String| {
        ConfigError::of(format!("{path}.{key}"), &format!("{:?}", value.to_string()), None, rule)
    };
    if toml.issuer.is_empty() {
        return Err(wrong("issuer", &"", "must be what `iss` is in its tokens".into()));
    }
    if toml.audience.as_deref() == Some("") {
        return Err(wrong("audience", &"", "must be what `aud` is in its tokens, or be left out".into()));
    }
    let algorithm: Algorithm =
        toml.algorithm.parse().map_err(|e| wrong("algorithm", &toml.algorithm, format!("{e}")))?;
    let keys = match (toml.secret, toml.public_key_file, toml.jwks_url) {
        (Some(secret), None, None) if is_shared(algorithm) => secret_of(path, &secret)?,
        (None, Some(file), None) if !is_shared(algorithm) => {
            let unreadable =
                |e: std::io::Error| wrong("public_key_file", &file.display(), format!("cannot be read: {e}"));
            Keys::Pem(std::fs::read_to_string(&file).map_err(unreadable)?)
        }
        (None, None, Some(text)) if !is_shared(algorithm) => Keys::Jwks(endpoint(&format!("{path}.jwks_url"), &text)?),
        _ if is_shared(algorithm) => {
            let rule = format!("{algorithm} needs `secret`, and neither `public_key_file` nor `jwks_url`");
            return Err(ConfigError::rule(path, rule));
        }
        _ => {
            let rule = format!("{algorithm} needs either `public_key_file` or `jwks_url`, and no `secret`");
            return Err(ConfigError::rule(path, rule));
        }
    };
    Ok(Issuer { issuer: toml.issuer, audience: toml.audience, algorithm, keys })
}

/// Whether the one who verifies could sign as well.
fn is_shared(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
}

fn secret_of(path: &str, secret: &toml::Value) -> Result<Keys, ConfigError> {
    match secret.as_str() {
        Some(text) if !text.is_empty() => Ok(Keys::Secret(Secret::new(text))),
        _ => Err(ConfigError::rule(format!("{path}.secret"), "must be a string that is not empty")),
    }
}

/// Where something is asked for.
pub(super) fn endpoint(key: &str, text: &str) -> Result<Uri, ConfigError> {
    if text.contains('@') {
        // Not shown: there may be a password in it.
        return Err(ConfigError::rule(key, "must have no user or password"));
    }
    let url = text.parse().ok().filter(|url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    url.ok_or_else(|| ConfigError::of(key, &format!("{text:?}"), None, "must be http:// or https:// with a host"))
}

fn claims(layers: &Layers) -> Result<ClaimNames, ConfigError> {
    let name = |key| text(layers, key);
    Ok(ClaimNames {
        user: name("identity.claims.user")?,
        tenant: name("identity.claims.tenant")?,
        session: name("identity.claims.session")?,
        roles: name("identity.claims.roles")?,
    })
}

fn sessions(layers: &Layers) -> Result<SessionsSettings, ConfigError> {
    let with_redis = !layers.text("identity.sessions.redis").is_empty();
    let close_when_stale = match layers.text("identity.sessions.when_stale") {
        "keep" => false,
        "close" => true,
        _ => return Err(layers.error("identity.sessions.when_stale", "must be \"keep\" or \"close\"")),
    };
    Ok(SessionsSettings {
        store: if with_redis { SessionStore::Redis(redis(layers)?) } else { embedded(layers)? },
        required: with_redis || layers.bool("identity.sessions.required"),
        cache_max: count(layers, "identity.sessions.cache_max")?,
        lookup_timeout: some_millis(layers, "identity.sessions.lookup_timeout_ms")?,
        max_stale: some_millis(layers, "identity.sessions.max_stale_ms")?,
        close_when_stale,
    })
}

fn embedded(layers: &Layers) -> Result<SessionStore, ConfigError> {
    let of_redis = ["user", "password", "root_certificate"].map(|name| format!("identity.sessions.{name}"));
    if let Some(key) = of_redis.iter().find(|key| !layers.text(key).is_empty()) {
        return Err(layers.error(key, "is for identity.sessions.redis; set that, or leave this out"));
    }
    Ok(SessionStore::Embedded(file(layers)))
}

fn file(layers: &Layers) -> PathBuf {
    Path::new(layers.text("data_dir")).join(SESSIONS_FILE)
}

fn redis(layers: &Layers) -> Result<RedisSettings, ConfigError> {
    let url = redis_url(layers)?;
    let root_certificate = layers.text("identity.sessions.root_certificate");
    if !root_certificate.is_empty() && url.scheme() != "rediss" {
        return Err(layers.error("identity.sessions.root_certificate", "is for rediss://, with TLS"));
    }
    Ok(RedisSettings {
        url: Secret::new(String::from(url)),
        marks: file(layers),
        root_certificate: (!root_certificate.is_empty()).then(|| root_certificate.into()),
        stream: text(layers, "identity.sessions.stream")?,
        key_prefix: text(layers, "identity.sessions.key_prefix")?,
        read_block: some_millis(layers, "identity.sessions.read_block_ms")?,
    })
}

/// The address with user, password and database in it, each said once.
fn redis_url(layers: &Layers) -> Result<Url, ConfigError> {
    let key = "identity.sessions.redis";
    let rule = || layers.error(key, "must be redis://host:6379/0, or rediss:// for TLS");
    let mut url = Url::parse(layers.text(key)).map_err(|_| rule())?;
    let database = url.path().trim_start_matches('/').to_owned();
    let is_plain = url.query().is_none() && url.fragment().is_none();
    let is_number = database.is_empty() || database.parse::<u32>().is_ok();
    if !matches!(url.scheme(), "redis" | "rediss")
        || url.host_str().unwrap_or_default().is_empty()
        || !is_plain
        || !is_number
    {
        return Err(rule());
    }
    let [user, password, number] = ["user", "password", "database"].map(|name| format!("identity.sessions.{name}"));
    let twice = |key: &str| layers.error(key, "is said by the address as well; say it once");
    match layers.int(&number, 0..=u64::from(u16::MAX))? {
        0 => {}
        _ if !database.is_empty() => return Err(twice(&number)),
        checked => url.set_path(&checked.to_string()),
    }
    if !layers.text(&user).is_empty() {
        if !url.username().is_empty() {
            return Err(twice(&user));
        }
        url.set_username(layers.text(&user)).map_err(|()| rule())?;
    }
    if !layers.text(&password).is_empty() {
        if url.password().is_some() {
            return Err(twice(&password));
        }
        url.set_password(Some(layers.text(&password))).map_err(|()| rule())?;
    }
    if !url.username().is_empty() && url.password().is_none() {
        return Err(layers.error(&password, "is needed beside a user"));
    }
    Ok(url)
}

fn proof(layers: &Layers) -> Result<ProofSettings, ConfigError> {
    Ok(ProofSettings {
        required: layers.bool("identity.proof.required"),
        challenge_ttl: some_millis(layers, "identity.proof.challenge_ttl_ms")?,
        answered_max: count(layers, "identity.proof.answered_max")?,
    })
}

fn hook(layers: &Layers) -> Result<Option<HookSettings>, ConfigError> {
    let [url, secret] = ["identity.hook.url", "identity.hook.secret"].map(|key| layers.text(key));
    if url.is_empty() && !secret.is_empty() {
        return Err(layers.error("identity.hook.url", "is needed beside identity.hook.secret"));
    }
    let key = "identity.hook.headers";
    let names = layers.list(key);
    let header = |name: &String| {
        HeaderName::try_from(name).map_err(|_| layers.error(key, format!("{name:?} is no name of a header")))
    };
    let headers: Vec<HeaderName> = names.iter().map(header).collect::<Result<_, _>>()?;
    if headers.contains(&AUTHORIZATION) {
        return Err(layers.error(key, "must not name \"authorization\": who shows a token there is not asked about"));
    }
    if headers.is_empty() {
        return Err(layers.error(key, "must name a header: without any the application cannot tell people apart"));
    }
    let (timeout, asked_max) =
        (some_millis(layers, "identity.hook.timeout_ms")?, count(layers, "identity.hook.asked_max")?);
    let cache_max = count(layers, "identity.hook.cache_max")?;
    if url.is_empty() {
        return Ok(None);
    }
    if secret.is_empty() {
        let rule = "is needed beside identity.hook.url: by it the application knows who asks";
        return Err(layers.error("identity.hook.secret", rule));
    }
    // A browser sends cookies along whose page it is from, so a foreign one would come in as its visitor.
    if headers.contains(&COOKIE) && layers.list("edge.allowed_origins").iter().any(|origin| origin == "*") {
        return Err(
            layers.error(key, "may have \"cookie\" only where edge.allowed_origins names the pages, and not \"*\"")
        );
    }
    let url = endpoint("identity.hook.url", url)?;
    Ok(Some(HookSettings { url, secret: Secret::new(secret), headers, timeout, asked_max, cache_max }))
}

/// A name that is not empty.
fn text(layers: &Layers, key: &str) -> Result<String, ConfigError> {
    let text = layers.text(key);
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(layers.error(key, format!("must be 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

pub(super) fn count(layers: &Layers, key: &str) -> Result<usize, ConfigError> {
    layers.int(key, 1..=1 << 28).map(|count| count as usize)
}

/// A time that must not be 0.
pub(super) fn some_millis(layers: &Layers, key: &str) -> Result<Duration, ConfigError> {
    layers.int(key, 1..=MILLIS_MAX).map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
