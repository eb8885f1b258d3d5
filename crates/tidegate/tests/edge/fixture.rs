//! What the scenarios share: a gateway with or without TLS, its metrics, and a client beside every attack that must not
//! notice it.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::clients::{
    API_KEY, Certificate, Endpoint, LiveClient, ModelList, Transport, get, page, within, write,
};
use tidegate_testkit::gateway::Gateway;
use tokio::sync::watch;

const ENTITY: &str = r#"
[[entity]]
name = "asset"
key = ["id"]
columns = { id = "text", name = "text", kind = "text", n = "int" }
max_window = 500
"#;

/// How long a write may take to be seen while somebody else misbehaves, on a busy machine and in a debug build.
const QUICK: Duration = Duration::from_secs(3);

/// A gateway and how to get to it.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) endpoint: Endpoint,
    _certificate: Option<Certificate>,
}

impl Site {
    /// One open to strangers, with `sections` of further configuration.
    pub(crate) fn plain(sections: &str) -> Self {
        let gateway = start(sections);
        Self { endpoint: gateway.address().into(), gateway, _certificate: None }
    }

    /// The same behind TLS.
    pub(crate) fn tls(sections: &str) -> Self {
        let certificate = Certificate::generate();
        let gateway = start(&format!("{}{sections}", certificate.section()));
        let endpoint = Endpoint::tls(gateway.address(), &certificate);
        Self { gateway, endpoint, _certificate: Some(certificate) }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Writes changes of assets; gives the position.
    pub(crate) async fn write(&self, changes: Value) -> u64 {
        write(self.endpoint(), "asset", changes).await
    }

    /// A subscribed client that has its snapshot.
    pub(crate) async fn client(&self, transport: Transport, query: &Value) -> LiveClient {
        let client = LiveClient::subscribe(self.endpoint(), transport, query, ModelList::new());
        let mut client =
            within("a subscription", client).await.unwrap_or_else(|error| panic!("{transport:?}: {error}"));
        client.until("a snapshot", |_| true).await;
        client
    }

    /// Fails unless the list is what the query gives now.
    pub(crate) async fn assert_shows(&self, query: &Value, list: &ModelList) {
        let (rows, position) = page(self.endpoint(), query).await;
        list.check(&rows).unwrap_or_else(|difference| panic!("at {position}, {query}: {difference}"));
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics(String::from_utf8(get(self.endpoint(), "/metrics").await.body).unwrap())
    }

    /// Waits until the metrics are so.
    pub(crate) async fn until_metrics(&self, what: &str, so: impl Fn(&Metrics) -> bool) -> Metrics {
        let wait = async {
            loop {
                let metrics = self.metrics().await;
                if so(&metrics) {
                    return metrics;
                }
            }
        };
        within(what, wait).await
    }

    /// Runs an attack while a client writes and looks on: each of its writes must be seen quickly, before, during and
    /// after it.
    pub(crate) async fn unharmed<T>(&self, attack: impl Future<Output = T>) -> T {
        let query = json!({ "entity": "asset", "where": [{ "column": "kind", "op": "eq", "value": "witness" }] });
        let mut client = self.client(Transport::WebSocket, &query).await;
        let (over, is_over) = watch::channel(false);
        let attack = async {
            let outcome = within("the end of an attack", attack).await;
            over.send_replace(true);
            outcome
        };
        let witness = async {
            for n in 0.. {
                let is_last = *is_over.borrow();
                let began = Instant::now();
                let row = json!({ "id": "witness", "name": "", "kind": "witness", "n": n });
                let position = self.write(json!([{ "upsert": row }])).await;
                client.until("the witness's write", |list| list.synced() >= Some(position)).await;
                assert!(began.elapsed() < QUICK, "the witness waited {:?} in round {n}", began.elapsed());
                if is_last {
                    break;
                }
            }
        };
        tokio::join!(attack, witness).0
    }
}

/// What `/metrics` said at one moment.
pub(crate) struct Metrics(String);

impl Metrics {
    /// A value by its name without `tidegate_`, labels included; 0 where there is none.
    pub(crate) fn value(&self, name: &str) -> u64 {
        let line =
            self.0.lines().find_map(|line| line.strip_prefix("tidegate_")?.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }

    /// Live connections closed for one of `reasons`.
    pub(crate) fn closed(&self, reasons: &[&str]) -> u64 {
        reasons.iter().map(|reason| self.value(&format!("connections_closed_total{{reason=\"{reason}\"}}"))).sum()
    }

    /// Clients not let in for `reason`.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.value(&format!("connections_refused_total{{reason=\"{reason}\"}}"))
    }
}

fn start(sections: &str) -> Gateway {
    let identity = format!("[log]\nlevel = \"warn\"\n[identity]\nanonymous = true\napi_keys = [\"{API_KEY}\"]\n");
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &format!("{identity}{sections}\n{ENTITY}"))
}

/// An upsert of an asset whose name has so many bytes.
pub(crate) fn upsert(id: &str, name_bytes: usize, n: i64) -> Value {
    json!({ "upsert": { "id": id, "name": "x".repeat(name_bytes), "kind": "pump", "n": n } })
}

/// The seed of a random scenario, printed: `TIDEGATE_SEED` repeats one.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("TIDEGATE_SEED={seed}");
    seed
}
