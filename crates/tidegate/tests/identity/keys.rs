//! Issuers with key pairs: a key in a file, and keys that are fetched, rotate and cannot be fetched.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tidegate_testkit::clients::{Endpoint, Transport, within};
use tidegate_testkit::gateway::Gateway;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fixture::{ask, refusal};
use crate::transports::{NOTES, metric, refused, shows};

struct Pair {
    pair: RsaKeyPair,
    id: &'static str,
}

impl Pair {
    fn generate(id: &'static str) -> Self {
        Self { pair: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), id }
    }

    fn claims() -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({ "iss": "https://id.example", "aud": "tidegate", "sub": "mara", "tenant": "acme", "exp": now + 600 })
    }

    fn token(&self) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.id });
        let signed = format!("{}.{}", part(head), part(Self::claims()));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    fn jwk(&self) -> Value {
        let modulus = self.pair.public_key().modulus();
        let modulus = URL_SAFE_NO_PAD.encode(modulus.big_endian_without_leading_zero());
        json!({ "kty": "RSA", "kid": self.id, "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB" })
    }
}

fn gateway(identity: &str, keys: &str) -> Gateway {
    let config = format!(
        "[log]\nlevel = \"warn\"\n[identity]\n{identity}\napi_keys = [\"{}\"]\n[[identity.issuer]]\n\
         issuer = \"https://id.example\"\naudience = \"tidegate\"\nalgorithm = \"RS256\"\n{keys}\n\
         [[permission]]\nroles = [\"*\"]\nentities = [\"note\"]\nmay = [\"read\"]\n\
         [[entity]]\nname = \"note\"\nkey = [\"id\"]\ntenant = \"org\"\n\
         columns = {{ id = \"int\", org = \"text\", text = \"text\" }}\n",
        tidegate_testkit::clients::API_KEY
    );
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &config)
}

async fn status(gateway: &Gateway, token: &str) -> u16 {
    ask(gateway.address(), "GET", NOTES, token, &json!({})).await.status
}

/// Keys are fetched at most once a millisecond, and within that one nothing new is known.
async fn comes_to(gateway: &Gateway, pair: &Pair, expected: u16) {
    let token = pair.token();
    within("another answer", async { while status(gateway, &token).await != expected {} }).await;
}

#[tokio::test]
async fn a_key_in_a_file_verifies() {
    let (pair, other) = (Pair::generate("k1"), Pair::generate("k1"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("issuer.pem");
    std::fs::write(&file, pair.pem()).unwrap();
    let gateway = gateway("", &format!("public_key_file = {file:?}"));
    let endpoint = Endpoint::from(gateway.address()).header("authorization", &format!("Bearer {}", pair.token()));
    for transport in Transport::ALL {
        shows(endpoint.clone(), transport, 0).await;
    }
    assert_eq!(status(&gateway, &pair.token()).await, 200);
    assert_eq!(status(&gateway, &other.token()).await, 401);
    // The public key is no secret to sign with.
    let key = EncodingKey::from_secret(pair.pem().as_bytes());
    let confused = jsonwebtoken::encode(&Header::default(), &Pair::claims(), &key).unwrap();
    assert_eq!(status(&gateway, &confused).await, 401);
}

/// An issuer's key server.
struct Server {
    keys: Arc<Mutex<Value>>,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    url: String,
    // Aborted on drop.
    _task: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let keys = Arc::new(Mutex::new(json!({ "keys": [] })));
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let answer = {
            let (keys, status, asked) = (keys.clone(), status.clone(), asked.clone());
            move || {
                asked.fetch_add(1, Ordering::Relaxed);
                let status = StatusCode::from_u16(status.load(Ordering::Relaxed)).unwrap();
                std::future::ready((status, keys.lock().unwrap().to_string()))
            }
        };
        let router = Router::new().route("/keys", get(answer));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { keys, status, asked, url, _task: task }
    }

    fn has(&self, pairs: &[&Pair]) {
        let keys: Vec<Value> = pairs.iter().map(|pair| pair.jwk()).collect();
        *self.keys.lock().unwrap() = json!({ "keys": keys });
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn fetched_keys_rotate_and_outlive_their_server() {
    let [first, second, third] = ["k1", "k2", "k3"].map(Pair::generate);
    let server = Server::start().await;
    let gateway = gateway("jwks_floor_ms = 1", &format!("jwks_url = {:?}", server.url));

    server.answers(503);
    let refused_now = ask(gateway.address(), "GET", NOTES, &first.token(), &json!({})).await;
    assert_eq!(refusal(&refused_now).0, 503);
    assert_eq!(refused_now.json()["error"]["retryable"], true);
    let endpoint =
        |pair: &Pair| Endpoint::from(gateway.address()).header("authorization", &format!("Bearer {}", pair.token()));
    for transport in Transport::ALL {
        assert_eq!(refused(endpoint(&first), transport).await, 503, "{transport:?}");
    }

    server.has(&[&first]);
    server.answers(200);
    comes_to(&gateway, &first, 200).await;
    for transport in Transport::ALL {
        shows(endpoint(&first), transport, 0).await;
    }
    comes_to(&gateway, &second, 401).await;

    server.has(&[&first, &second]);
    comes_to(&gateway, &second, 200).await;
    assert_eq!(status(&gateway, &first.token()).await, 200);
    server.has(&[&second]);
    comes_to(&gateway, &third, 401).await;
    comes_to(&gateway, &first, 401).await;

    // Down: who is known stays known, who is not may be let in later.
    server.answers(500);
    comes_to(&gateway, &third, 503).await;
    assert_eq!(status(&gateway, &second.token()).await, 200);
    server.has(&[&third]);
    server.answers(200);
    comes_to(&gateway, &third, 200).await;
    assert!(metric(&gateway, "tidegate_identity_jwks_failures_total").await >= 2);
}

#[tokio::test]
async fn unknown_keys_do_not_have_the_issuer_asked_again_and_again() {
    let known = Pair::generate("k1");
    let server = Server::start().await;
    server.has(&[&known]);
    let gateway = gateway("", &format!("jwks_url = {:?}", server.url));
    assert_eq!(status(&gateway, &known.token()).await, 200);
    let unknown = Pair::generate("k2");
    for _ in 0..20 {
        assert_eq!(status(&gateway, &unknown.token()).await, 401);
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
}
