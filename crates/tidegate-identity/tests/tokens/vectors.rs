//! What `make.py` wrote.

use std::sync::Arc;

use serde::Deserialize;
use tidegate_identity::{Issuer, Keys, Secret, Settings, Tokens};
use tokio::runtime::Handle;

#[derive(Deserialize)]
pub(crate) struct Vectors {
    /// In seconds since 1970.
    pub(crate) now: u64,
    pub(crate) audience: String,
    pub(crate) issuers: Vec<Signer>,
    pub(crate) small_public_key: String,
    /// A JWK set's keys.
    pub(crate) set: Vec<serde_json::Value>,
    pub(crate) set_tokens: Vec<SetToken>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Signer {
    pub(crate) issuer: String,
    pub(crate) algorithm: String,
    secret: Option<String>,
    pub(crate) public_key: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct SetToken {
    /// The key that the header names.
    pub(crate) kid: Option<String>,
    /// The key that made the signature.
    pub(crate) by: String,
    pub(crate) token: String,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) refused: Option<String>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) issued_at_ms: Option<u64>,
    pub(crate) expires_at_ms: Option<u64>,
}

pub(crate) fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).expect("what make.py wrote")
}

impl Vectors {
    /// With every issuer, one for each algorithm.
    pub(crate) fn settings(&self) -> Settings {
        let issuers = self.issuers.iter().map(|signer| Issuer {
            issuer: signer.issuer.clone(),
            audience: Some(self.audience.clone()),
            algorithm: signer.algorithm.parse().expect("an algorithm"),
            keys: match (&signer.secret, &signer.public_key) {
                (Some(secret), _) => Keys::Secret(Secret::new(secret.as_str())),
                (None, pem) => Keys::Pem(pem.clone().expect("a public key")),
            },
        });
        Settings { issuers: issuers.collect(), ..Settings::default() }
    }

    pub(crate) fn tokens(&self, settings: &Settings) -> Tokens {
        self.tokens_at(settings, self.now * 1000)
    }

    pub(crate) fn tokens_at(&self, settings: &Settings, now_ms: u64) -> Tokens {
        Tokens::alone(settings, &Handle::current(), Arc::new(move || now_ms)).expect("settings that can be used")
    }

    /// The token that nothing is wrong with.
    pub(crate) fn good(&self, algorithm: &str) -> &Case {
        let name = format!("signed with {algorithm}");
        self.cases.iter().find(|case| case.name == name).expect("one for each algorithm")
    }
}
