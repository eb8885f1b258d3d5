//! Keys of a set that is fetched: which of them a token's `kid` picks, and when it is asked for again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tidegate_identity::{Algorithm, Issuer, Keys, Settings, Tokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::named;
use super::vectors::{Vectors, vectors};

/// Answers every request with a set of the keys that it has now; without any it hangs up.
struct Server {
    address: std::net::SocketAddr,
    keys: Arc<Mutex<Vec<serde_json::Value>>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(keys: Vec<serde_json::Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (keys, asked) = (Arc::new(Mutex::new(keys)), Arc::new(AtomicUsize::new(0)));
        let (held, counter) = (keys.clone(), asked.clone());
        let task = Handle::current().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                let keys = held.lock().unwrap().clone();
                if !keys.is_empty() {
                    let body = json!({ "keys": keys }).to_string();
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
            }
        });
        Self { address, keys, asked, task }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Scene {
    vectors: Vectors,
    server: Server,
    now_ms: Arc<AtomicU64>,
    tokens: Tokens,
}

impl Scene {
    async fn new(keys: Vec<serde_json::Value>) -> Self {
        let vectors = vectors();
        let server = Server::start(keys).await;
        let issuer = Issuer {
            issuer: "https://rs256.example".into(),
            audience: Some(vectors.audience.clone()),
            algorithm: Algorithm::Rs256,
            keys: Keys::Jwks(format!("http://{}/keys", server.address).parse().unwrap()),
        };
        let settings = Settings { issuers: vec![issuer], ..Settings::default() };
        let now_ms = Arc::new(AtomicU64::new(vectors.now * 1000));
        let clock = { now_ms.clone() };
        let clock = Arc::new(move || clock.load(Ordering::SeqCst));
        let tokens = Tokens::alone(&settings, &Handle::current(), clock).unwrap();
        Self { vectors, server, now_ms, tokens }
    }

    /// What becomes of a token that names one key and is signed by another: the refusal's status and message.
    async fn verify(&self, kid: Option<&str>, by: &str) -> Result<(), (u16, String)> {
        let is_it = |token: &&super::vectors::SetToken| token.kid.as_deref() == kid && token.by == by;
        let token = &self.vectors.set_tokens.iter().find(is_it).expect("a token").token;
        let answer = self.tokens.verify(token, &named()).wait().await;
        answer.map(|_| ()).map_err(|refusal| (refusal.status, refusal.message))
    }

    fn pass(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

fn refused(message: &str) -> Result<(), (u16, String)> {
    Err((401, message.into()))
}

fn unavailable() -> Result<(), (u16, String)> {
    Err((503, "the key of the token can't be fetched now".into()))
}

const UNKNOWN: &str = "the token's key (kid) is not known here";
const SIGNATURE: &str = "the token's signature is not valid";

#[tokio::test]
async fn the_key_that_a_token_names_is_the_one_that_counts() {
    let scene = Scene::new(vectors().set).await;
    for by in ["first", "second"] {
        for kid in ["first", "second"] {
            let expected = if kid == by { Ok(()) } else { refused(SIGNATURE) };
            assert_eq!(scene.verify(Some(kid), by).await, expected, "{kid} by {by}");
        }
        assert_eq!(scene.verify(None, by).await, Ok(()), "no kid, by {by}");
        assert_eq!(scene.verify(Some("third"), by).await, refused(UNKNOWN), "an unknown kid, by {by}");
    }
    // All of it within the floor.
    assert_eq!(scene.server.asked(), 1);
}

#[tokio::test]
async fn a_key_that_is_new_is_found_and_one_that_is_gone_is_not() {
    let mut keys = vectors().set;
    let second = keys.pop().unwrap();
    let scene = Scene::new(keys).await;
    assert_eq!(scene.verify(Some("first"), "first").await, Ok(()));
    assert_eq!(scene.verify(Some("second"), "second").await, refused(UNKNOWN));
    *scene.server.keys.lock().unwrap() = vec![second];
    assert_eq!(scene.verify(Some("second"), "second").await, refused(UNKNOWN));
    assert_eq!(scene.server.asked(), 1);
    scene.pass(30);
    assert_eq!(scene.verify(Some("second"), "second").await, Ok(()));
    assert_eq!(scene.verify(Some("first"), "first").await, refused(UNKNOWN));
    assert_eq!(scene.server.asked(), 2);
    scene.pass(30);
    // A signature that is wrong under a key that is known asks for nothing.
    assert_eq!(scene.verify(Some("second"), "first").await, refused(SIGNATURE));
    assert_eq!(scene.server.asked(), 2);
}

#[tokio::test]
async fn while_keys_can_not_be_had_nobody_is_told_that_a_token_is_wrong() {
    let scene = Scene::new(Vec::new()).await;
    assert_eq!(scene.verify(Some("first"), "first").await, unavailable());
    assert_eq!(scene.verify(None, "first").await, unavailable());
    *scene.server.keys.lock().unwrap() = vectors().set;
    scene.pass(30);
    assert_eq!(scene.verify(Some("first"), "first").await, Ok(()));
    // Keys that are there go on, new ones can't be told from invented ones.
    scene.server.keys.lock().unwrap().clear();
    scene.pass(30);
    assert_eq!(scene.verify(Some("third"), "first").await, unavailable());
    assert_eq!(scene.verify(Some("first"), "first").await, Ok(()));
    assert_eq!(scene.verify(Some("first"), "second").await, refused(SIGNATURE));
}

#[tokio::test]
async fn addresses_and_keys_in_a_token_are_never_asked() {
    let server = Server::start(vectors().set).await;
    let scene = Scene::new(vectors().set).await;
    let address = format!("http://{}/keys", server.address);
    let secret = EncodingKey::from_secret(b"whatever");
    let header =
        Header { jku: Some(address.clone()), x5u: Some(address), kid: Some("first".into()), ..Header::default() };
    let token = encode(&header, &json!({ "iss": format!("http://{}", server.address) }), &secret).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let asymmetric = serde_json::to_vec(&Header { alg: jsonwebtoken::Algorithm::RS256, ..header }).unwrap();
    let header = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, asymmetric);
    let refusal = scene.tokens.verify(&format!("{header}.{rest}"), &named()).wait().await.unwrap_err();
    assert_eq!(refusal.message, SIGNATURE);
    assert_eq!((scene.server.asked(), server.asked()), (1, 0));
}
