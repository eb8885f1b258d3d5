//! No secret and no token is ever told: not in the log at its most talkative, not in an answer, not on the command line.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::clients::{
    API_KEY, Endpoint, LiveClient, ModelList, Transport, get, raw, request, urlencoded, within,
};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::redis::Redis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{SECRET, order, token};
use crate::hook::{Application, HOOK_SECRET};
use crate::places::{Place, bad_tokens};
use crate::proof::Device;
use crate::transports::{NOTES, event_socket, every_note, metric};

const PASSWORD: &str = "the-password-of-redis";
const COOKIE: &str = "a-cookie-that-the-application-knows";
/// Shorter pieces say nothing.
const PIECE_BYTES_MIN: usize = 16;

/// What must not be told, in every form that it could take.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<String>)>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) {
        let bytes = format!("{:?}", secret.as_bytes());
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let [padded, unpadded] = [STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret)];
        let forms = [
            secret,
            &urlencoded(secret),
            padded.trim_end_matches('='),
            &unpadded,
            bytes.trim_matches(['[', ']']),
            &hex,
        ];
        self.0.push((what.to_owned(), forms.map(ToOwned::to_owned).into()));
    }

    /// Its claims and its signature are as good as the whole.
    fn add_token(&mut self, what: &str, token: &str) {
        self.add(what, token);
        let pieces = token.split('.').skip(1).filter(|piece| piece.len() >= PIECE_BYTES_MIN);
        pieces.for_each(|piece| self.add(what, piece));
    }

    /// The first that is in the text: what it is, and the line.
    fn found_in<'t>(&self, text: &'t str) -> Option<(&str, &'t str)> {
        self.0.iter().find_map(|(what, forms)| {
            let at = forms.iter().find_map(|form| text.find(form.as_str()))?;
            let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
            Some((&**what, text[start..].lines().next().unwrap_or_default()))
        })
    }

    fn are_not_in(&self, place: &str, text: &str) {
        assert_eq!(self.found_in(text), None, "in {place}");
    }
}

#[test]
fn a_secret_is_found_in_any_form() {
    let mut secrets = Secrets::default();
    secrets.add_token("a token", "head.claims-of-some-length.signature-of-some+length");
    for told in [
        "x head.claims-of-some-length.signature-of-some+length",
        "x claims-of-some-length",
        "x signature-of-some+length",
        "x signature-of-some%2Blength",
        "x c2lnbmF0dXJlLW9mLXNvbWUrbGVuZ3Ro",
        "x [115, 105, 103, 110, 97, 116, 117, 114, 101, 45, 111, 102, 45, 115, 111, 109, 101, 43, 108, 101, 110, 103, 116, 104]",
        "x 7369676e61747572652d6f662d736f6d652b6c656e677468",
    ] {
        assert_eq!(secrets.found_in(&format!("first\n{told}\nlast")), Some(("a token", told)));
    }
    assert_eq!(secrets.found_in("head.claims.signature"), None);
}

fn everyones() -> Secrets {
    let mut secrets = Secrets::default();
    let all = [
        ("the issuer's secret", SECRET),
        ("the API key", API_KEY),
        ("the hook's secret", HOOK_SECRET),
        ("the password of Redis", PASSWORD),
        ("a cookie", COOKIE),
    ];
    all.iter().for_each(|(what, secret)| secrets.add(what, secret));
    secrets
}

/// Everything in use that has a secret.
fn config(format: &str, sessions: &str, application: &Application) -> String {
    format!(
        "[log]\nlevel = \"trace\"\nformat = \"{format}\"\n\
         [identity]\napi_keys = [\"{API_KEY}\"]\ncookie = \"gate\"\nquery_token = true\n\
         [edge]\nallowed_origins = [\"https://app.example\"]\n\
         [identity.sessions]\n{sessions}\n[identity.proof]\nrequired = true\n{}\
         [[identity.issuer]]\nissuer = \"https://id.example\"\naudience = \"tidegate\"\nalgorithm = \"HS256\"\n\
         secret = \"{SECRET}\"\n[[permission]]\nroles = [\"*\"]\nentities = [\"note\"]\nmay = [\"read\", \"write\"]\n\
         [[entity]]\nname = \"note\"\nkey = [\"id\"]\ntenant = \"org\"\n\
         columns = {{ id = \"int\", org = \"text\", text = \"text\" }}\n",
        application.section()
    )
}

/// Commands as a person types them, up to the answer to the last.
async fn redis(server: &Redis, commands: &str) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("AUTH {PASSWORD}\r\n{commands}PING\r\n").as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let answered = async {
        while !String::from_utf8_lossy(&said).contains("+PONG") {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "Redis hung up");
        }
    };
    within("Redis", answered).await;
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("-ERR"), "{said}");
}

/// What a client is told, whatever becomes of it.
struct Ear<'a> {
    secrets: &'a mut Secrets,
    told: Vec<String>,
}

impl Ear<'_> {
    async fn live(&mut self, endpoint: Endpoint, transport: Transport) -> bool {
        let query = every_note();
        let subscribed = LiveClient::subscribe(endpoint, transport, &query, ModelList::new());
        match within("an answer", subscribed).await {
            Ok(mut client) => {
                client.until("the list", |_| true).await;
                true
            }
            Err(error) => {
                self.told.push(error.to_string());
                false
            }
        }
    }

    async fn http(&mut self, endpoint: Endpoint, method: &str, path: &str, body: &str) -> u16 {
        let headers = [("content-type", "application/json")];
        let answer = within(path, request(endpoint, method, path, &headers, body.as_bytes())).await.unwrap();
        // The protocol that a WebSocket chose comes back, and nothing else of what was sent.
        self.told.push(format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body)));
        answer.status
    }

    async fn good(&mut self, device: &Device) {
        for transport in Transport::ALL {
            for place in Place::ALL.into_iter().filter(|place| place.fits(transport)) {
                let proof = device.proof().await;
                self.secrets.add_token("a proof", &proof);
                let endpoint = place.showing(device.at, &device.token).header("tidegate-proof", &proof);
                assert!(self.live(endpoint.clone(), transport).await, "{transport:?} {place:?}");
                assert!(!self.live(endpoint, transport).await, "a proof is good once");
            }
        }
        let proof = device.proof().await;
        self.secrets.add_token("a proof", &proof);
        let mut socket = event_socket(device.at.into(), false).await.unwrap();
        let shown = json!({ "token": device.token, "proof": proof });
        assert!(socket.call("auth", shown.clone(), "a").await.error.is_null());
        let again = socket.call("auth.refresh", shown, "r").await;
        self.told.push(again.error.to_string());
        let server = Endpoint::from(device.at).header("x-api-key", API_KEY);
        assert_eq!(self.http(server, "GET", &format!("{NOTES}?query={}", urlencoded(&of_acme())), "").await, 200);
        let known = Endpoint::from(device.at).header("cookie", &format!("x={COOKIE}; who=mara"));
        let _ = self.http(known, "GET", NOTES, "").await;
    }

    async fn bad(&mut self, device: &Device) {
        for wrong in bad_tokens() {
            for place in Place::ALL {
                for transport in [Transport::WebSocket, Transport::SseH2] {
                    assert!(!self.live(place.showing(device.at, &wrong), transport).await);
                }
            }
            let mut socket = event_socket(device.at.into(), false).await.unwrap();
            let reply = socket.call("auth", json!({ "token": wrong, "proof": wrong }), "a").await;
            self.told.push(reply.error.to_string());
            self.secrets.add_long("a bad token", &wrong);
        }
        let token = &device.token;
        for (name, value) in [
            ("x-api-key", format!("{API_KEY}-not")),
            ("authorization", format!("Basic {}", STANDARD.encode(token))),
            ("authorization", API_KEY[1..].to_owned()),
            ("tidegate-proof", token.clone()),
            ("cookie", format!("gate={token}")),
            ("cookie", format!("x={COOKIE}; who=broken")),
            ("cookie", format!("x={COOKIE}; who=nobody")),
            ("origin", format!("https://{token}.example")),
            ("content-length", token.clone()),
        ] {
            for (method, path) in [("GET", NOTES), ("POST", "/v1/live"), ("PUT", "/v1/sessions/s1")] {
                assert!(self.http(Endpoint::from(device.at).header(name, &value), method, path, "{}").await >= 400);
            }
        }
        for (method, path) in [
            ("GET", format!("/v1/nowhere?access_token={token}")),
            ("GET", format!("/v1/entities/{token}?access_token={token}&access_token=x")),
            ("GET", format!("/v1/live?query={token}")),
            ("POST", format!("/v1/users/mara/revoke?tenant={token}&api_key={API_KEY}")),
            ("BREW", format!("/ws?access_token={token}")),
        ] {
            let body = json!({ "token": token, "key": API_KEY }).to_string();
            assert!(self.http(device.at.into(), method, &path, &body).await >= 400, "{path}");
        }
        // Heads that are none, and messages that are none.
        for head in [format!("GET /ws?access_token={token} HTTP/9\r\n\r\n"), format!("authorization {token}\r\n\r\n")] {
            let mut stream = TcpStream::connect(device.at).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            let _ = within("an answer", stream.read_to_end(&mut said)).await;
            self.told.push(String::from_utf8_lossy(&said).into_owned());
        }
        let mut socket = raw::RawSocket::connect(device.at, "/ws", false).await;
        socket.frame(true, 1, format!("{{\"event\":\"auth\",\"data\":{{\"token\":\"{token}\",").as_bytes()).await;
        socket.frame(true, 3, token.as_bytes()).await;
        let _ = socket.close_code().await;
    }
}

impl Secrets {
    fn add_long(&mut self, what: &str, token: &str) {
        if token.len() >= PIECE_BYTES_MIN {
            self.add_token(what, token);
        }
    }
}

fn of_acme() -> String {
    json!({ "entity": "note", "where": [{ "column": "org", "op": "eq", "value": "acme" }] }).to_string()
}

fn logs(directory: &Path) -> String {
    let files =
        std::fs::read_dir(directory).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    files.collect::<Vec<_>>().join("\n")
}

fn gateway(config: &str, logs: &Path) -> Gateway {
    let mut gateway = Gateway::idle(env!("CARGO_BIN_EXE_tidegate"), config);
    gateway.log_into(logs);
    gateway.restart();
    gateway
}

#[tokio::test]
async fn logs_answers_and_metrics_tell_no_secret() {
    let Some(server) = Redis::builder().set("requirepass", &[PASSWORD]).start() else { return };
    let application = Application::start().await;
    let by_setting = format!("redis = \"{}/0\"\npassword = \"{PASSWORD}\"", server.url());
    let in_address = format!("redis = \"redis://:{PASSWORD}@{}/0\"", server.address());
    for (format, sessions) in [("text", by_setting), ("json", in_address)] {
        let (mut secrets, directory) = (everyones(), TempDir::new().unwrap());
        let mut gateway = gateway(&config(format, &sessions, &application), directory.path());
        let pair = Ed25519KeyPair::generate().unwrap();
        let key = STANDARD.encode(pair.public_key().as_ref());
        let device =
            Device { at: gateway.address(), session: "s1", pair, token: token("mara", json!({ "sid": "s1" })) };
        secrets.add("a session's key", &key);
        secrets.add_token("a token", &device.token);
        let fields = format!("device_session_id s1 user_id mara client_public_key {key} status active");
        redis(&server, &format!("DEL session:s1\r\nHSET session:s1 {fields}\r\nXADD session_events * {fields}\r\n"))
            .await;

        let mut ear = Ear { secrets: &mut secrets, told: Vec::new() };
        ear.good(&device).await;
        ear.bad(&device).await;
        let stored = json!({ "user_id": "mara", "client_public_key": key });
        let refused = order(device.at, "PUT", "/v1/sessions/s1", &stored).await;
        ear.told.push(String::from_utf8(refused.body).unwrap());
        // Fields that nobody knows may be anything, tokens too.
        let malformed = format!("XADD session_events * {fields} password {PASSWORD} token {}\r\n", device.token);
        redis(&server, &malformed).await;
        let name = "tidegate_identity_sessions_dropped_total{reason=\"malformed_event\"}";
        within("the entry", async { while metric(&gateway, name).await == 0 {} }).await;
        let _ = order(device.at, "POST", "/v1/sessions/s1/revoke", &json!({})).await.ok();
        for path in ["/metrics", "/readyz", "/healthz"] {
            let answer = get(device.at, path).await;
            ear.told.push(String::from_utf8(answer.body).unwrap());
        }
        let told = ear.told.join("\n");
        assert!(gateway.terminate().success());

        let log = logs(directory.path());
        let level = if format == "json" { "\"level\":\"TRACE\"" } else { "TRACE " };
        assert!(log.contains(level) && log.contains("mara"), "it would have been told");
        secrets.are_not_in("the log", &log);
        secrets.are_not_in("what clients are told", &told);
    }
}

#[tokio::test]
async fn a_password_that_redis_does_not_take_is_not_told() {
    let Some(server) = Redis::builder().set("requirepass", &["another-one"]).start() else { return };
    let (application, directory) = (Application::start().await, TempDir::new().unwrap());
    let sessions = format!("redis = \"redis://:{PASSWORD}@{}/0\"", server.address());
    let mut gateway = gateway(&config("text", &sessions, &application), directory.path());
    let shown = token("mara", json!({ "sid": "s1" }));
    let endpoint = Endpoint::from(gateway.address()).header("authorization", &format!("Bearer {shown}"));
    let answer = within(NOTES, request(endpoint, "GET", NOTES, &[], b"")).await.unwrap();
    assert_eq!(answer.status, 503);
    let ready = get(gateway.address(), "/readyz").await;
    gateway.kill();
    let mut secrets = everyones();
    secrets.add_token("a token", &shown);
    secrets.are_not_in("the log", &logs(directory.path()));
    secrets.are_not_in("answers", &String::from_utf8_lossy(&[answer.body, ready.body].concat()));
}

/// Standard output and standard error of a command about this configuration.
fn says(directory: &Path, arguments: &[&str], config: &str, environment: &[(&str, String)]) -> (bool, String) {
    let file = directory.join("tidegate.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let data = directory.join("data");
    command.args(arguments).arg("--config").arg(&file).arg("--data-dir").arg(data).current_dir(directory);
    let output = command.envs(environment.iter().map(|(name, value)| (name, value))).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), said)
}

#[tokio::test]
async fn the_command_line_tells_no_secret() {
    let (application, directory, secrets) = (Application::start().await, TempDir::new().unwrap(), everyones());
    let good = config("text", &format!("redis = \"redis://:{PASSWORD}@127.0.0.1:1/0\""), &application);
    let set = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let environments = [
        vec![],
        set("TIDEGATE_IDENTITY_API_KEYS", &format!("{API_KEY},{API_KEY}")),
        set("TIDEGATE_IDENTITY_HOOK_SECRET", HOOK_SECRET),
        set("TIDEGATE_IDENTITY_SESSIONS_REDIS", &format!("redis://u:{PASSWORD}@127.0.0.1:1/0")),
    ];
    for environment in &environments {
        for arguments in [&["config", "show"][..], &["config", "show", "--json"], &["config", "check"]] {
            let (is_good, said) = says(directory.path(), arguments, &good, environment);
            assert!(is_good, "{arguments:?} {said}");
            secrets.are_not_in(&arguments.join(" "), &said);
        }
    }

    let wrong = [
        ("api_keys = [\"", format!("api_keys = \"{API_KEY}\" #")),
        ("api_keys = [\"", format!("api_keys = [\"{API_KEY}\", \"\"] #")),
        ("api_keys = [\"", format!("api_keys = [\"{API_KEY}\", 7] #")),
        ("api_keys = [\"", format!("api_keys = [\"{API_KEY}\n #")),
        ("api_keys = [\"", format!("api_key = [\"{API_KEY}\"] #")),
        ("api_keys = [\"", format!("api_keys = {{ a = \"{API_KEY}\" }} #")),
        ("secret = \"a-", format!("secret = [\"{SECRET}\"] #")),
        ("secret = \"a-", format!("secret = \"{SECRET} #")),
        ("secret = \"a-", format!("sekret = \"{SECRET}\" #")),
        ("secret = \"a-", format!("secret = \"{SECRET}\"\nsecret = \"{SECRET}\" #")),
        ("secret = \"a-", format!("secret = \"{SECRET}\"\njwks_url = \"https://u:{SECRET}@id.example/\" #")),
        ("secret = \"a-", format!("jwks_url = \"https://u:{SECRET}@id.example/\" #")),
        ("secret = \"what-", format!("secret = {{ of = \"{HOOK_SECRET}\" }} #")),
        ("secret = \"what-", format!("secret = \"{HOOK_SECRET}\nx = #")),
        ("url = \"http", format!("url = \"https://u:{HOOK_SECRET}@app.example/\" #")),
        ("redis = \"", format!("redis = \"redis://:{PASSWORD}@127.0.0.1:port/0\" #")),
        ("redis = \"", format!("redis = \"redis://:{PASSWORD}@127.0.0.1:1/-1\" #")),
        ("redis = \"", format!("redis = \"http://u:{PASSWORD}@127.0.0.1:1/0\" #")),
        ("redis = \"", format!("redis = [\"redis://u:{PASSWORD}@127.0.0.1:1/0\"] #")),
        ("redis = \"", format!("redis = \"redis://u:{PASSWORD}@127.0.0.1:1/0\"\npassword = \"{PASSWORD}\" #")),
        ("redis = \"", format!("redis = \"redis://127.0.0.1:1/0\"\npassword = [\"{PASSWORD}\"] #")),
        ("redis = \"", format!("password = \"{PASSWORD}\" #")),
        ("redis = \"", format!("user = \"u\"\npasswort = \"{PASSWORD}\" #")),
    ];
    for (line, replacement) in &wrong {
        let bad = good.replacen(line, &format!("{replacement}{line}"), 1);
        assert_ne!(bad, good, "{line}");
        for arguments in [&["config", "check"][..], &["config", "show"], &["config", "show", "--json"], &["serve"]] {
            let (is_good, said) = says(directory.path(), arguments, &bad, &[]);
            assert!(!is_good, "{arguments:?} takes {replacement}: {said}");
            secrets.are_not_in(&format!("{arguments:?} of {replacement}"), &said);
        }
    }
    let environments = [
        set("TIDEGATE_IDENTITY_SESSIONS_REDIS", &format!("http://u:{PASSWORD}@127.0.0.1:1/0")),
        set("TIDEGATE_IDENTITY_SESSIONS_PASSWORD", PASSWORD),
        set("TIDEGATE_IDENTITY_HOOK_URL", &format!("http://u:{HOOK_SECRET}@127.0.0.1:1/0")),
    ];
    for environment in &environments {
        let (is_good, said) = says(directory.path(), &["config", "check"], &good, environment);
        assert!(!is_good, "{environment:?}: {said}");
        secrets.are_not_in(&format!("{environment:?}"), &said);
    }
}
