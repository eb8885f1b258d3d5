//! What must not grow: rows of views that nobody waits for, what lingers, work that is not wanted any more.

use std::sync::{Arc, Weak};

use tidegate_live::{Delivery, Limits};
use tidegate_model::{Position, Row};

use crate::scenario::{Ask, Delete, Put, Scenario, cushion, head};

fn alive(rows: &[Weak<Row>]) -> usize {
    rows.iter().filter(|row| row.strong_count() > 0).count()
}

#[test]
fn a_streamed_view_keeps_no_rows_for_a_subscriber_that_left_before_its_snapshot() {
    let mut world = Scenario::new(Limits { log_batches: 2, ..cushion(0) }, 3);
    let streamed = Ask { mode: "streamed", ..head(50) };
    let stays = world.settled(streamed);
    let leaves = world.subscribe(streamed);
    let page = world.read_page();
    world.unsubscribe(leaves);
    world.give(page);
    let mut seen = Vec::new();
    for id in 100..200 {
        world.write(&[Put(id, 1)]);
        let batches = world.batches(stays);
        seen.extend(batches.iter().filter_map(|batch| batch.deltas[0].row.as_ref().map(Arc::downgrade)));
    }
    assert_eq!(seen.len(), 100);
    world.forget_store();
    assert!(alive(&seen) <= 4, "{} rows are kept for nobody", alive(&seen));
}

#[test]
fn rows_of_pages_go_with_the_views_that_held_them() {
    let mut world = Scenario::new(Limits { linger_views: 0, ..cushion(0) }, 4_000);
    let mut rows = Vec::new();
    for nth in 0..8 {
        let first = 500 * nth;
        let after = (first > 0).then_some((10 * first, first));
        world.subscribe(Ask { after, ..head(500) });
        let page = world.read_page();
        rows.extend(page.1.rows.iter().map(|(_, row)| Arc::downgrade(row)));
        world.give(page);
    }
    assert_eq!(rows.len(), 4_000);
    for client in 0..7 {
        world.unsubscribe(client);
    }
    assert_eq!(world.metrics.views.get(), 1);
    world.forget_store();
    assert!(alive(&rows) <= 1_100, "{} rows for a window of 500", alive(&rows));
}

#[test]
fn the_log_of_a_lingering_view_counts_against_what_may_linger() {
    let mut world = Scenario::new(Limits { linger_bytes: 20_000, log_batches: 10_000, ..cushion(2) }, 3);
    let client = world.settled(head(3));
    world.unsubscribe(client);
    assert_eq!(world.metrics.views.get(), 1);
    for n in 0..500 {
        world.write(&[Put(1, n % 7)]);
    }
    world.engine.tick(1_000);
    assert_eq!(world.metrics.views.get(), 0, "its log has outgrown the bound");
}

#[test]
fn one_client_that_comes_and_goes_drives_no_other_view_out() {
    let mut world = Scenario::new(Limits { linger_views: 3, ..cushion(2) }, 10);
    let quiet = world.settled(head(3));
    world.unsubscribe(quiet);
    for _ in 0..20 {
        let restless = world.settled(head(5));
        world.unsubscribe(restless);
    }
    assert_eq!(world.metrics.views.get(), 2);
    world.engine.tick(120_000);
    assert_eq!(world.metrics.views.get(), 0);
}

#[test]
fn a_view_that_nobody_waited_for_is_dropped_with_its_scan() {
    let mut world = Scenario::new(cushion(2), 10);
    let client = world.settled(head(3));
    for id in 1..9 {
        world.reanchor(client, Ask { after: Some((1_000 * id, id)), ..head(3) });
    }
    // The one it came from, whose log may be asked for, and the one it waits for.
    assert_eq!(world.metrics.views.get(), 2);
    let (wanted, unwanted): (Vec<_>, Vec<_>) =
        world.scans.iter().map(|(ticket, _)| *ticket).partition(|ticket| world.engine.awaits(*ticket));
    assert_eq!((wanted.len(), unwanted.len()), (1, 7));
    world.settle();
}

#[test]
fn synced_follows_every_transaction_but_never_overtakes_rows() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(Ask { synced: true, ..head(2) });
    let other = world.settled(head(2));
    let synced = |world: &mut Scenario, client: usize| -> Vec<Position> {
        let taken = std::mem::take(&mut world.clients[client].inbox);
        let position = |delivery| match delivery {
            Delivery::Synced { position } => Some(position),
            _ => None,
        };
        taken.into_iter().filter_map(position).collect()
    };
    world.write(&[Put(9, 900)]);
    assert_eq!(synced(&mut world, client), [Position(2)]);
    // Rows are missing: neither the one nor the other until they are there.
    world.write(&[Delete(1)]);
    world.write(&[Put(9, 901)]);
    assert_eq!(synced(&mut world, client), []);
    world.settle();
    let last = world.clients[client].inbox.last().cloned();
    assert!(matches!(last, Some(Delivery::Synced { position: Position(4) })));
    synced(&mut world, client);
    // Nor while a snapshot is awaited.
    world.reanchor(client, Ask { after: Some((60, 6)), synced: true, ..head(2) });
    world.write(&[Put(9, 902)]);
    assert_eq!(synced(&mut world, client), []);
    world.settle();
    assert_eq!(synced(&mut world, client), [Position(5)], "with the snapshot");
    synced(&mut world, other);
    world.write(&[Put(9, 903)]);
    assert_eq!(synced(&mut world, client), [Position(6)]);
    assert_eq!(synced(&mut world, other), []);
}
