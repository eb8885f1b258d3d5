//! The store as its neighbours see it: through `Mirror` and `Writer`, on a real file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its fixtures too")]

mod copies;
mod migrations;
mod net_changes;
mod operations;
mod scans;
mod snapshots;
mod sources;

use std::path::Path;

use tidegate_mirror::{Applied, ApplyError, Mirror, Options, RowOp, RowWrite, Writer};
use tidegate_model::{
    Catalog, EntityBuilder, EntityId, Page, Position, RowSource as _, ScanError, ScanRequest, Tenant, Type, Value,
};

/// The one entity of most tests.
const ENTITY: EntityId = EntityId(0);

fn entity(columns: &[(&str, Type)], key: &[&str], indexes: &[&[&str]]) -> EntityBuilder {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    EntityBuilder {
        name: "asset".into(),
        columns: columns.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
        key: names(key),
        indexes: Some(indexes.iter().map(|index| names(index)).collect()),
        ..EntityBuilder::default()
    }
}

fn catalog(builder: &EntityBuilder) -> Catalog {
    Catalog::build(std::slice::from_ref(builder)).unwrap()
}

fn open(dir: &Path, catalog: &Catalog) -> (Mirror, Writer) {
    Mirror::open(dir, catalog, &Options::default()).unwrap()
}

fn put(tenant: &Tenant, values: Vec<Value>) -> RowWrite {
    RowWrite { entity: ENTITY, tenant: tenant.clone(), op: RowOp::Put(values.into()), if_version: None }
}

/// Applies and commits one transaction at the next position.
fn apply(writer: &mut Writer, writes: &[RowWrite]) -> Result<Applied, ApplyError> {
    writer.begin()?;
    let applied = writer.apply(Position(writer.position().0 + 1), writes, None)?;
    writer.commit()?;
    Ok(applied)
}

fn scan(mirror: &Mirror, request: ScanRequest) -> Result<Page, ScanError> {
    let (sender, answer) = crossbeam_channel::bounded(1);
    mirror.scan(request, Box::new(move |page| sender.send(page).unwrap()));
    answer.recv().unwrap()
}
