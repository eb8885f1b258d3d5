//! A gateway in this process, with agents that do as a test says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::{Config, Flags, Gateway};
use tidegate_jobs::agents::{Job, Output};
use tidegate_jobs::{Code, Fault};
use tidegate_testkit::clients::within;
use tokio::sync::{Mutex, mpsc, oneshot};

pub(crate) use crate::client::{Client, unique};
use crate::upstream::Upstream;

/// Everything that can be agreed to.
pub(crate) const FEATURES: [&str; 11] = [
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "cost.budget",
    "model.use",
    "provisioned_credentials",
    "progress",
    "result_chunk",
    "agent_versions",
];

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// Everybody may submit, auditors may look at the jobs of others.
pub(crate) const CONFIG: &str = r#"
[log]
level = "warn"

[edge]
errors_per_second = 1000

[[identity.issuer]]
issuer = "https://id.example"
audience = "tidegate"
algorithm = "HS256"
secret = "a-secret-of-more-than-thirty-two-bytes"

[[permission]]
roles = ["*"]
agents = ["*"]
may = ["submit"]

[[permission]]
roles = ["auditor"]
agents = ["*"]
may = ["submit", "observe"]
"#;

/// A job in the hands of a test.
pub(crate) struct Part {
    pub(crate) job: Job,
    end: oneshot::Sender<Result<Output, Fault>>,
}

impl Part {
    /// What the agent returns.
    pub(crate) fn end(self, with: Result<Output, Fault>) {
        let _ = self.end.send(with);
    }

    pub(crate) fn done(self) {
        self.end(Output::of(&"done"));
    }
}

/// A gateway, the jobs of its agent `puppet`, and what makes its credentials.
pub(crate) struct House {
    pub(crate) at: SocketAddr,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) dir: TempDir,
    parts: Mutex<mpsc::Receiver<Part>>,
    gateway: Gateway,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with("").await
    }

    /// With keys of `[arcp]`.
    pub(crate) async fn with(keys: &str) -> Self {
        Self::furnished(keys, None).await
    }

    /// With credentials for each job whose lease names models.
    pub(crate) async fn provisioned(upstream: Upstream) -> Self {
        Self::furnished("", Some(Arc::new(upstream))).await
    }

    pub(crate) async fn furnished(keys: &str, upstream: Option<Arc<Upstream>>) -> Self {
        Self::within(TempDir::new().unwrap(), keys, upstream).await
    }

    /// The same data in another process, as it were.
    pub(crate) async fn restarted(self, upstream: Option<Arc<Upstream>>) -> Self {
        self.gateway.stop().await.unwrap();
        Self::within(self.dir, "", upstream).await
    }

    async fn within(dir: TempDir, keys: &str, upstream: Option<Arc<Upstream>>) -> Self {
        let flags = Flags { listen: Some("127.0.0.1:0".into()), data_dir: Some(dir.path().into()) };
        let toml = format!("{CONFIG}\n[arcp]\nfixtures = true\n{keys}\n");
        let config = Config::layered(Some((Path::new("c.toml"), &toml)), [], &flags).unwrap();
        let (sender, parts) = mpsc::channel(16);
        let puppet = move |job: Job| {
            let (sender, (end, ended)) = (sender.clone(), oneshot::channel());
            async move {
                let _ = sender.send(Part { job, end }).await;
                ended.await.unwrap_or_else(|_| Err(Fault::new(Code::InternalError, "the test let go of it")))
            }
        };
        let mut builder = Gateway::builder(config)
            .agent("puppet", "1.0.0", puppet)
            .agent("versioned", "9.0.0", tidegate_jobs::agents::fixtures::echo)
            .agent("versioned", "10.0.0", tidegate_jobs::agents::fixtures::slow);
        if let Some(upstream) = &upstream {
            builder = builder.provisioner(upstream.clone());
        }
        let gateway = Box::pin(builder.start()).await.unwrap();
        let at = gateway.url().strip_prefix("http://").unwrap().parse().unwrap();
        let upstream = upstream.unwrap_or_default();
        Self { at, upstream, dir, parts: Mutex::new(parts), gateway }
    }

    /// The next job of `puppet`.
    pub(crate) async fn part(&self) -> Part {
        within("a job of puppet", async { self.parts.lock().await.recv().await.unwrap() }).await
    }

    /// A session of that user, with everything agreed to.
    pub(crate) async fn connect(&self, user: &str) -> Client {
        self.enter(hello(user)).await
    }

    /// A session, of who says this.
    pub(crate) async fn enter(&self, hello: Value) -> Client {
        Client::open(self.at, "/arcp", "hello", hello).await.unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// A session in a dialect.
    pub(crate) async fn speaking(&self, dialect: &str, user: &str) -> Client {
        let path = format!("/arcp?dialect={dialect}");
        Client::open(self.at, &path, "hello", hello(user)).await.unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// Waits until two seconds have gone by, as the gateway counts them.
    pub(crate) async fn two_seconds(&self) {
        let mut clock = self.connect("clock").await;
        let job = clock.submit(json!({ "agent": "slow", "input": { "ms": 2_200 } })).await;
        clock.events(&job).await;
    }
}

/// A good token of a user of the tenant `acme`; who is called `auditor…` is one.
pub(crate) fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let roles: &[&str] = if user.starts_with("auditor") { &["auditor"] } else { &[] };
    let claims = json!({
        "iss": "https://id.example", "aud": "tidegate", "sub": user, "tenant": "acme", "roles": roles,
        "iat": now - 5, "exp": now + 600,
    });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// The payload of a hello of that user, who can everything.
pub(crate) fn hello(user: &str) -> Value {
    hello_with(user, &FEATURES)
}

pub(crate) fn hello_with(user: &str, features: &[&str]) -> Value {
    json!({
        "client": { "name": "conformance", "version": "1" },
        "auth": { "scheme": "bearer", "token": token(user) },
        "capabilities": { "encodings": ["json"], "features": features },
    })
}

/// A time so many milliseconds from now, as the wire has it.
pub(crate) fn in_ms(ms: i64) -> String {
    let at = jiff::Timestamp::now().as_millisecond() + ms;
    format!("{:.3}", jiff::Timestamp::from_millisecond(at).unwrap())
}

/// The code of a refusal or of a failed job.
pub(crate) fn code(frame: &Value) -> &str {
    frame["payload"]["code"].as_str().unwrap_or_else(|| panic!("no error: {frame}"))
}

pub(crate) fn job_of(frame: &Value) -> String {
    frame["job_id"].as_str().unwrap_or_else(|| panic!("of no job: {frame}")).to_owned()
}

/// The bodies of the events of a kind.
pub(crate) fn bodies<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events
        .iter()
        .map(|event| &event["payload"])
        .filter(|payload| payload["kind"] == *kind)
        .map(|p| &p["body"])
        .collect()
}

/// The last of a job's events: its end.
pub(crate) fn end(events: &[Value]) -> &Value {
    events.last().unwrap()
}
