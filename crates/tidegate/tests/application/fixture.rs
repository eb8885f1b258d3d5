//! A gateway inside the test's process, whose clients say who they are in plain words.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::identity::{
    Answer, Authority, Credential, Principal, PrincipalKind, Refusal, Revocation, Shown, TopicVerb, WriteScope,
};
use tidegate::model::{Entity, Query, Tenant};
use tidegate::{Builder, Config, Flags, Gateway};
use tidegate_testkit::clients::{Endpoint, EventSocket, Message, get, within};
use tokio::sync::broadcast;

/// Lets in whoever says `user@tenant`, or `user` for one of no tenant; with any key a server.
struct Names(broadcast::Sender<Revocation>);

impl Authority for Names {
    fn authenticate(&self, shown: &Shown<'_>) -> Answer<Arc<Principal>> {
        let said = match shown.credential {
            Credential::Bearer(said) => said,
            Credential::ApiKey(_) => return Answer::Now(Ok(Arc::new(Principal::new(PrincipalKind::ApiKey)))),
            Credential::None => return Answer::Now(Err(Refusal::unauthenticated("say who you are"))),
        };
        let (user, tenant) = said.split_once('@').map_or((said, None), |(user, tenant)| (user, Some(tenant)));
        let tenant = tenant.map(Tenant::new);
        Answer::Now(Ok(Arc::new(Principal { user: user.into(), tenant, ..Principal::new(PrincipalKind::User) })))
    }

    fn revocations(&self) -> Option<broadcast::Receiver<Revocation>> {
        Some(self.0.subscribe())
    }

    fn read(&self, _: &Principal, query: Query) -> Result<(Tenant, Query), Refusal> {
        Ok((Tenant::common(), query))
    }

    fn write(&self, _: &Principal, _: &Entity) -> Result<WriteScope, Refusal> {
        Err(Refusal::forbidden("read only"))
    }

    fn topic(&self, _: &Principal, _: TopicVerb, _: &str) -> Result<(), Refusal> {
        Ok(())
    }
}

pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    /// Whose connections have to end.
    pub(crate) revoked: broadcast::Sender<Revocation>,
    _directory: TempDir,
}

/// A gateway with `section` of configuration, and what `build` adds.
pub(crate) async fn serve(section: &str, build: impl FnOnce(Builder) -> Builder) -> Served {
    let directory = TempDir::new().unwrap();
    let flags = Flags { listen: Some("127.0.0.1:0".into()), data_dir: Some(directory.path().into()) };
    let text = format!("[edge]\ndrain_window_ms = 1\nping_interval_ms = 200\n[application]\n{section}\n");
    let config = Config::layered(Some((Path::new("c.toml"), &*text)), [], &flags).unwrap();
    let (revoked, _) = broadcast::channel(8);
    let gateway = build(Gateway::builder(config).authority(Arc::new(Names(revoked.clone())))).start().await.unwrap();
    Served { gateway, revoked, _directory: directory }
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.url().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// A client that said with its handshake who it is.
    pub(crate) async fn client(&self, who: &str) -> EventSocket {
        let endpoint = Endpoint::from(self.address()).header("authorization", &format!("Bearer {who}"));
        EventSocket::connect(endpoint).await.unwrap()
    }

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = String::from_utf8(get(self.address(), "/metrics").await.body).unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}"))
    }
}

/// The data of the answer.
pub(crate) async fn ask(socket: &mut EventSocket, event: &str, data: Value) -> Value {
    let reply = socket.call(event, data, "ask").await;
    assert!(reply.error.is_null(), "{event}: {reply:?}");
    reply.data
}

/// The code of the error, and whether the same may be tried again.
pub(crate) async fn refused(socket: &mut EventSocket, event: &str, data: Value) -> (String, bool) {
    code(&socket.call(event, data, "refused").await)
}

pub(crate) fn code(reply: &Message) -> (String, bool) {
    assert!(!reply.error.is_null(), "{reply:?}");
    (reply.error["code"].as_str().unwrap().to_owned(), reply.error["retryable"] == json!(true))
}

/// The data of the next event of that name.
pub(crate) async fn told(socket: &mut EventSocket, event: &str) -> Value {
    within(event, async {
        loop {
            let message = socket.next().await.expect("the connection goes on");
            if message.event == event {
                return message.data;
            }
        }
    })
    .await
}
