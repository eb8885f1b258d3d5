//! The local feed as its neighbours see it, on a real store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its fixtures too")]

mod batches;
mod crash;
mod idempotency;
mod queue;

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use tidegate_feed::{
    Config, Idempotency, Limits, LocalFeed, TenantScope, WriteError, WriteRequest, Written, decode_changes,
};
use tidegate_mirror::{Mirror, Options};
use tidegate_model::{Catalog, EntityBuilder, EntityId, Row, Tenant, Transaction, Type, Value};

/// Rows without tenants.
const ASSET: EntityId = EntityId(0);
/// Rows with them.
const NOTE: EntityId = EntityId(1);

fn catalog() -> Arc<Catalog> {
    let column = |(name, kind): (&str, Type)| (name.to_owned(), kind);
    let builder = |name: &str, columns: &[(&str, Type)], tenant: Option<&str>| EntityBuilder {
        name: name.into(),
        columns: columns.iter().copied().map(column).collect(),
        key: vec!["id".into()],
        tenant: tenant.map(Into::into),
        ..EntityBuilder::default()
    };
    let asset = [("id", Type::Text), ("n", Type::Int), ("price", Type::Decimal), ("text", Type::Text)];
    let note = [("id", Type::Text), ("org", Type::Text), ("n", Type::Int)];
    Arc::new(Catalog::build(&[builder("asset", &asset, None), builder("note", &note, Some("org"))]).unwrap())
}

struct Fixture {
    feed: LocalFeed,
    mirror: Mirror,
    catalog: Arc<Catalog>,
    published: Receiver<Arc<Transaction>>,
}

impl Fixture {
    fn open(dir: &Path, config: Config) -> Self {
        let catalog = catalog();
        let (mirror, writer) = Mirror::open(dir, &catalog, &Options::default()).unwrap();
        let (publish, published) = bounded(100_000);
        let publish = Box::new(move |commit: Vec<_>| {
            commit.into_iter().for_each(|transaction| publish.send(transaction).unwrap());
        });
        let feed = LocalFeed::start(config, catalog.clone(), writer, publish).unwrap();
        Self { feed, mirror, catalog, published }
    }

    fn request(&self, entity: EntityId, scope: &TenantScope, body: &str) -> Result<WriteRequest, WriteError> {
        let changes = decode_changes(self.catalog.entity(entity), body.as_bytes(), Limits::default())?;
        Ok(WriteRequest { entity, tenant: scope.clone(), guard: None, changes, idempotency: None })
    }

    fn write(&self, entity: EntityId, scope: &TenantScope, body: &str) -> Result<Written, WriteError> {
        submit(&self.feed, self.request(entity, scope, body)?).recv().unwrap()
    }

    fn assets(&self, body: &str) -> Result<Written, WriteError> {
        self.write(ASSET, &TenantScope::Named(None), body)
    }

    fn row(&self, entity: EntityId, tenant: &str, id: &str) -> Option<Arc<Row>> {
        self.mirror.get(entity, &Tenant::new(tenant), vec![Value::text(id)]).unwrap().0
    }
}

fn submit(feed: &LocalFeed, request: WriteRequest) -> Receiver<Result<Written, WriteError>> {
    let (sender, answer) = bounded(1);
    feed.submit(request, Box::new(move |result| sender.send(result).unwrap()));
    answer
}

fn with_key(mut request: WriteRequest, key: &str, hash: u8) -> WriteRequest {
    request.idempotency = Some(Idempotency { scope: "test".into(), key: key.into(), hash: [hash; 32] });
    request
}
