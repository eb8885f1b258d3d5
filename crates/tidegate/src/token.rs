//! `tidegate token`: makes tokens of the configured issuers, for development, and says what a token is worth here.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use jsonwebtoken::{EncodingKey, Header};
use pkcs8::PrivateKeyInfo;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use tidegate_identity::{Algorithm, Issuer, Keys, Principal, Settings, Tokens};

use crate::cli::{Failure, config_file, say};
use crate::config::{Config, Flags};
use crate::serve;

/// What is read of standard input: no token is longer.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token of an issuer whose key is at hand
    Mint(Mint),
    /// Say whom a token speaks of, or why it is refused
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Mint {
    /// Whom it speaks of
    #[arg(long)]
    user: String,
    /// The user's tenant
    #[arg(long)]
    tenant: Option<String>,
    /// The device session that it is bound to
    #[arg(long)]
    session: Option<String>,
    /// A role; may be given again
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Another claim, its value in JSON; may be given again
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// How long it is valid, such as 90s, 15m, 1h or 7d
    #[arg(long, default_value = "1h", value_parser = span)]
    ttl: Duration,
    /// The issuer, as configuration names it [default: the only one]
    #[arg(long)]
    issuer: Option<String>,
    /// Its private key in PEM (PKCS #8), where it has no secret
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,
    /// Configuration file [default: tidegate.toml, if there is one]
    #[arg(long, env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The token; `-` reads it from standard input
    #[arg(default_value = "-", hide_default_value = true)]
    token: String,
    /// Configuration file [default: tidegate.toml, if there is one]
    #[arg(long, env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Mint(mut mint) => {
            let settings = settings(mint.config.take())?;
            say(&mint.token(&settings, since_1970())?)
        }
        TokenCommand::Verify(verify) => verify.run(),
    }
}

fn settings(config: Option<PathBuf>) -> Result<Settings, Failure> {
    Ok(Config::load(config_file(config).as_deref(), &Flags::default())?.identity)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Mint {
    fn token(&self, settings: &Settings, now: Duration) -> Result<String, Failure> {
        let issuer = self.issuer(&settings.issuers)?;
        let header = Header::new(issuer.algorithm.into());
        let claims = self.claims(settings, issuer, now);
        Ok(jsonwebtoken::encode(&header, &claims, &self.key(issuer)?)
            .map_err(|e| format!("the key makes no {} signature: {e}", issuer.algorithm))?)
    }

    fn issuer<'a>(&self, issuers: &'a [Issuer]) -> Result<&'a Issuer, Failure> {
        match (&self.issuer, issuers) {
            (_, []) => Err("no issuer is configured: add [[identity.issuer]]".into()),
            (None, [one]) => Ok(one),
            (None, _) => Err("several issuers are configured: say which with --issuer".into()),
            (Some(name), _) => Ok(issuers
                .iter()
                .find(|issuer| issuer.issuer == *name)
                .ok_or_else(|| format!("--issuer: {name:?} is not configured"))?),
        }
    }

    fn key(&self, issuer: &Issuer) -> Result<EncodingKey, Failure> {
        let file = match (&issuer.keys, &self.private_key_file) {
            (Keys::Secret(secret), None) => return Ok(EncodingKey::from_secret(secret.expose().as_bytes())),
            (Keys::Secret(_), Some(_)) => return Err("--private-key-file: this issuer signs with its secret".into()),
            (_, None) => return Err("only this issuer's public key is configured: add --private-key-file".into()),
            (_, Some(file)) => file,
        };
        let wrong = |e: &dyn std::fmt::Display| format!("--private-key-file {}: {e}", file.display());
        let key = PrivatePkcs8KeyDer::from_pem_file(file).map_err(|e| wrong(&e))?;
        let key = key.secret_pkcs8_der();
        Ok(match issuer.algorithm {
            Algorithm::Es256 | Algorithm::Es384 => EncodingKey::from_ec_der(key),
            Algorithm::EdDsa => EncodingKey::from_ed_der(key),
            // For RSA alone it is to be unwrapped.
            _ => EncodingKey::from_rsa_der(PrivateKeyInfo::try_from(key).map_err(|e| wrong(&e))?.private_key),
        })
    }

    /// What is given by name comes last, so that a token may also be made wrong.
    fn claims(&self, settings: &Settings, issuer: &Issuer, now: Duration) -> Map<String, Value> {
        let names = &settings.claims;
        let mut claims = Map::new();
        let mut set = |name: &str, value: Option<Value>| value.and_then(|value| claims.insert(name.to_owned(), value));
        set("iss", Some(issuer.issuer.as_str().into()));
        set("aud", issuer.audience.as_deref().map(Value::from));
        set("iat", Some(now.as_secs().into()));
        set("exp", Some(now.saturating_add(self.ttl).as_secs().into()));
        set(&names.user, Some(self.user.as_str().into()));
        set(&names.tenant, self.tenant.as_deref().map(Value::from));
        set(&names.session, self.session.as_deref().map(Value::from));
        set(&names.roles, (!self.roles.is_empty()).then(|| self.roles.clone().into()));
        claims.extend(self.claims.iter().cloned());
        claims
    }
}

impl Verify {
    fn run(self) -> Result<(), Failure> {
        let settings = settings(self.config)?;
        if settings.issuers.is_empty() {
            return Err("no issuer is configured: add [[identity.issuer]]".into());
        }
        let token = match self.token.as_str() {
            "-" => read()?,
            token => token.to_owned(),
        };
        let runtime = serve::runtime(1)?;
        let clock = || u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX);
        let tokens = Tokens::alone(&settings, runtime.handle(), Arc::new(clock))?;
        match runtime.block_on(tokens.verify(&token, &Arc::default()).wait()) {
            Ok(principal) => tell(&principal, &jsonwebtoken::dangerous::insecure_decode_claims(&token)?, self.json),
            Err(refusal) => {
                if self.json {
                    let (message, retryable) = (&refusal.message, refusal.retryable);
                    say(&json!({ "valid": false, "message": message, "retryable": retryable }))?;
                }
                Err(refusal.message.into())
            }
        }
    }
}

fn read() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

fn tell(principal: &Principal, claims: &Map<String, Value>, json: bool) -> Result<(), Failure> {
    let Principal { user, tenant, roles, session, issued_at_ms, expires_at_ms, .. } = principal;
    let tenant = tenant.as_ref().map(|tenant| tenant.name());
    if json {
        return say(&json!({
            "valid": true, "user": user, "tenant": tenant, "session": session, "roles": roles,
            "issued_at_ms": issued_at_ms, "expires_at_ms": expires_at_ms, "claims": claims,
        }));
    }
    let left = match expires_at_ms {
        Some(end) => format!("in {} s", Duration::from_millis(*end).saturating_sub(since_1970()).as_secs()),
        None => "never".to_owned(),
    };
    say(&format!("user     {user}"))?;
    say(&format!("tenant   {}", tenant.unwrap_or("-")))?;
    say(&format!("session  {}", session.as_deref().unwrap_or("-")))?;
    say(&format!("roles    {}", if roles.is_empty() { "-".to_owned() } else { roles.join(", ") }))?;
    say(&format!("expires  {left}"))?;
    say(&format!("claims   {}", serde_json::to_string_pretty(claims)?))
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=JSON, such as plan='\"pro\"'")?;
    let value = serde_json::from_str(value).map_err(|e| format!("the value is no JSON ({e}); a text needs quotes"))?;
    Ok((name.to_owned(), value))
}

pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let wrong = "write a number and s, m, h or d, such as 90s or 1h";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong.into()),
    };
    let count: u32 = number.parse().map_err(|_| wrong)?;
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    };
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use clap::Parser;
    use tidegate_identity::Secret;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: TokenCommand,
    }

    fn mint(line: &[&str], settings: &Settings, now: u64) -> Result<String, String> {
        let line = Line::try_parse_from(["tidegate", "mint"].iter().chain(line)).map_err(|e| e.to_string())?;
        let TokenCommand::Mint(mint) = line.command else { panic!("another command") };
        mint.token(settings, Duration::from_secs(now)).map_err(|e| e.to_string())
    }

    fn issuer(name: &str, algorithm: Algorithm, keys: Keys) -> Issuer {
        Issuer { issuer: name.into(), audience: Some("tidegate".into()), algorithm, keys }
    }

    fn shared(name: &str) -> Issuer {
        issuer(name, Algorithm::Hs384, Keys::Secret(Secret::new("made for this test")))
    }

    #[test]
    fn what_is_minted_is_accepted_until_it_expires() {
        let settings = Settings { issuers: vec![shared("a"), shared("b")], ..Settings::default() };
        let line = "--user alice --tenant acme --session s-1 --role admin --role staff --claim plan=\"pro\" --issuer b";
        let line: Vec<&str> = line.split(' ').chain(["--ttl", "2m"]).collect();
        let token = mint(&line, &settings, 1_000).unwrap();
        let runtime = serve::runtime(1).unwrap();
        let verify = |now_ms: u64| {
            let tokens = Tokens::alone(&settings, runtime.handle(), Arc::new(move || now_ms)).unwrap();
            runtime.block_on(tokens.verify(&token, &["plan".into()].into()).wait())
        };
        let principal = verify(1_000_000).unwrap();
        assert_eq!((&*principal.user, principal.session.as_deref()), ("alice", Some("s-1")));
        assert_eq!(principal.tenant.as_ref().map(|tenant| tenant.name()), Some("acme"));
        assert_eq!(principal.roles.join(" "), "admin staff");
        assert_eq!(principal.claims["plan"], "pro");
        assert_eq!((principal.issued_at_ms, principal.expires_at_ms), (Some(1_000_000), Some(1_120_000)));
        assert_eq!(verify(1_150_000).unwrap_err().message, "the token has expired");
    }

    /// Made here: a private key that may be read is worth nothing.
    fn pair(algorithm: Algorithm) -> (String, String) {
        fn der<T>(key: &impl AsDer<T>) -> T {
            key.as_der().unwrap()
        }
        let pem = |name: &str, der: &[u8]| {
            let text = BASE64_STANDARD.encode(der);
            let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
        };
        let (private, public): (Vec<u8>, PublicKeyX509Der<'_>) = match algorithm {
            Algorithm::Es256 => {
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                (key.to_pkcs8v1().unwrap().as_ref().to_vec(), der(key.public_key()))
            }
            Algorithm::EdDsa => {
                let key = Ed25519KeyPair::generate().unwrap();
                (key.to_pkcs8v1().unwrap().as_ref().to_vec(), der(key.public_key()))
            }
            _ => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let private: Pkcs8V1Der<'_> = der(&key);
                (private.as_ref().to_vec(), der(key.public_key()))
            }
        };
        (pem("PRIVATE KEY", &private), pem("PUBLIC KEY", public.as_ref()))
    }

    #[test]
    fn private_keys_sign_what_their_public_keys_verify() {
        let directory = tempfile::tempdir().unwrap();
        let (file, runtime) = (directory.path().join("key.pem"), serve::runtime(1).unwrap());
        for algorithm in [Algorithm::Rs256, Algorithm::Ps512, Algorithm::Es256, Algorithm::EdDsa] {
            let (private, public) = pair(algorithm);
            std::fs::write(&file, private).unwrap();
            let settings =
                Settings { issuers: vec![issuer("a", algorithm, Keys::Pem(public.clone()))], ..Settings::default() };
            let line = ["--user", "alice", "--private-key-file", file.to_str().unwrap()];
            let token = mint(&line, &settings, 1_000).unwrap();
            let tokens = Tokens::alone(&settings, runtime.handle(), Arc::new(|| 1_000_000)).unwrap();
            let principal = runtime.block_on(tokens.verify(&token, &Arc::default()).wait()).unwrap();
            assert_eq!(&*principal.user, "alice", "{algorithm}");
            std::fs::write(&file, public).unwrap();
            assert!(mint(&line, &settings, 0).unwrap_err().starts_with("--private-key-file "), "{algorithm}");
        }
    }

    #[test]
    fn what_can_not_be_minted_is_said() {
        let with = |issuers: Vec<Issuer>| Settings { issuers, ..Settings::default() };
        let told = |line: &[&str], settings: &Settings| mint(line, settings, 0).unwrap_err();
        let user = ["--user", "alice"];
        assert!(told(&user, &with(vec![])).starts_with("no issuer is configured"));
        assert!(told(&user, &with(vec![shared("a"), shared("b")])).starts_with("several issuers"));
        let line = ["--user", "alice", "--issuer", "c"];
        assert_eq!(told(&line, &with(vec![shared("a")])), "--issuer: \"c\" is not configured");
        let public = issuer("a", Algorithm::EdDsa, Keys::Pem(String::new()));
        assert!(told(&user, &with(vec![public])).ends_with("add --private-key-file"));
        for wrong in [["--claim", "plan"], ["--claim", "plan=pro"], ["--ttl", "1y"], ["--ttl", "h"], ["--ttl", ""]] {
            assert!(mint(&[user, wrong].concat(), &with(vec![shared("a")]), 0).is_err(), "{wrong:?}");
        }
    }
}
