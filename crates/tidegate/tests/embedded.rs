//! The gateway inside another program, as the library offers it.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tempfile::TempDir;
use tidegate::feed::{ChangeOp, RowChange, TenantScope, WriteRequest};
use tidegate::identity::{
    Answer, Authority, Credential, Principal, PrincipalKind, Refusal, Shown, TopicVerb, WriteScope,
};
use tidegate::model::{Entity, Query, Tenant, Value};
use tidegate::{Config, Flags, Gateway};
use tidegate_testkit::clients::{request, within};
use tokio::sync::oneshot;

const CONFIG: &str = "[[entity]]\nname = \"note\"\nkey = [\"id\"]\ncolumns = { id = \"int\", text = \"text\" }\n";

/// Lets in whoever says the word, to read.
struct Word;

impl Authority for Word {
    fn authenticate(&self, shown: &Shown<'_>) -> Answer<Arc<Principal>> {
        let principal = Principal { user: "u".into(), ..Principal::new(PrincipalKind::User) };
        let may = shown.credential == Credential::Bearer("please");
        Answer::Now(if may { Ok(Arc::new(principal)) } else { Err(Refusal::unauthenticated("say it")) })
    }

    fn read(&self, _: &Principal, query: Query) -> Result<(Tenant, Query), Refusal> {
        Ok((Tenant::common(), query))
    }

    fn write(&self, _: &Principal, _: &Entity) -> Result<WriteScope, Refusal> {
        Err(Refusal { code: "forbidden", message: "read only".into(), retryable: false, status: 403 })
    }

    fn topic(&self, _: &Principal, verb: TopicVerb, topic: &str) -> Result<(), Refusal> {
        match (verb, topic) {
            (TopicVerb::Publish, "notes") => Ok(()),
            _ => Err(Refusal::forbidden("publish to notes only")),
        }
    }
}

#[tokio::test]
async fn a_program_brings_its_own_authority_routes_and_writes() {
    let directory = TempDir::new().unwrap();
    let flags = Flags { listen: Some("127.0.0.1:0".into()), data_dir: Some(directory.path().into()) };
    let config = Config::layered(Some((Path::new("c.toml"), CONFIG)), [], &flags).unwrap();
    let entity = config.catalog().unwrap().by_name("note").unwrap().id();
    let routes = Router::new().route("/mine", get(|| async { "mine" }));
    let gateway = Gateway::builder(config).authority(Arc::new(Word)).routes(routes).start().await.unwrap();
    let at: std::net::SocketAddr = gateway.url().strip_prefix("http://").unwrap().parse().unwrap();

    let cells = vec![(0, Value::Int(1)), (1, Value::text("hello"))];
    let change = RowChange { op: ChangeOp::Upsert, cells, if_version: None };
    let write = WriteRequest {
        entity,
        tenant: TenantScope::Own(Tenant::common()),
        guard: None,
        changes: vec![change],
        idempotency: None,
    };
    let (reply, written) = oneshot::channel();
    gateway.feed().unwrap().submit(write, Box::new(|answer| drop(reply.send(answer))));
    assert_eq!(within("the write", written).await.unwrap().unwrap().versions, [Some(1)]);

    let ask = |path: &'static str, headers: &'static [(&'static str, &'static str)]| async move {
        within(path, request(at, "GET", path, headers, b"")).await.unwrap()
    };
    assert_eq!(ask("/mine", &[]).await.body, b"mine");
    assert_eq!(ask("/v1/entities/note/1", &[]).await.status, 401);
    let row = ask("/v1/entities/note/1", &[("authorization", "Bearer please")]).await.ok();
    assert_eq!(row["row"]["text"], "hello");
    let publish = |path: &'static str| async move {
        let headers = [("authorization", "Bearer please")];
        within(path, request(at, "POST", path, &headers, b"{\"data\":1}")).await.unwrap().status
    };
    assert_eq!(publish("/v1/topics/notes/publish").await, 200);
    assert_eq!(publish("/v1/topics/others/publish").await, 403);
    gateway.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(at).await.is_err(), "nobody listens any more");
}
