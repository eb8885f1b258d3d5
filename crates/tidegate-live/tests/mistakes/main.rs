//! The mistakes that other live-query engines made, each a scenario by name.

#![allow(clippy::expect_used)]

mod bounded;
mod reloads;
mod scenario;

use std::sync::{Arc, Weak};

use scenario::{Ask, Delete, Put, Scenario, cushion, head};
use tidegate_live::{Delivery, EndReason, Limits};
use tidegate_model::{Op, Position};

#[test]
fn a_row_past_the_horizon_is_not_appended_to_a_short_buffer() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(head(3));
    world.write(&[Delete(2)]);
    // Two rows are left and a scan is under way: a row far beyond what the window knows is not its third.
    world.write(&[Put(50, 95)]);
    assert_eq!(world.frames(client), [""; 0]);
    let page = world.read_page();
    world.give(page);
    assert_eq!(world.frames(client), ["leave 2 1>-1", "enter 4 -1>2"]);
    world.settle();
}

#[test]
fn a_promoted_row_comes_with_the_leave_of_the_row_it_displaces() {
    let mut world = Scenario::new(cushion(4), 10);
    let client = world.settled(head(2));
    world.write(&[Put(9, 5)]);
    assert_eq!(world.frames(client), ["leave 2 1>-1", "enter 9 -1>0"]);
    world.write(&[Delete(9)]);
    assert_eq!(world.frames(client), ["leave 9 0>-1", "enter 2 -1>1"]);
    world.write(&[Put(4, 15), Put(1, 35)]);
    assert_eq!(world.list(client), [4, 2]);
    world.settle();
}

#[test]
fn refilled_rows_are_entered_and_are_no_ghosts() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(head(2));
    world.write(&[Delete(1), Delete(2)]);
    world.settle();
    assert_eq!(world.frames(client), ["leave 2 1>-1", "leave 1 0>-1", "enter 3 -1>0", "enter 4 -1>1"]);
    // From now on they are followed like all others.
    world.write(&[Put(3, 31)]);
    assert_eq!(world.frames(client), ["update 3 0>0"]);
    world.write(&[Put(3, 90)]);
    world.settle();
    assert_eq!(world.list(client), [4, 5]);
}

#[test]
fn a_reanchored_window_admits_nothing_before_its_anchor() {
    let mut world = Scenario::new(cushion(2), 10);
    let client = world.settled(head(3));
    world.reanchor(client, Ask { after: Some((20, 2)), ..head(3) });
    world.settle();
    assert_eq!(world.list(client), [3, 4, 5]);
    world.frames(client);
    world.write(&[Put(50, 15), Put(51, 20)]);
    assert_eq!(world.list(client), [51, 3, 4], "20 with a greater id lies after the anchor");
    world.write(&[Put(51, 20), Put(1, 12)]);
    world.write(&[Put(3, 1)]);
    world.settle();
    assert_eq!(world.list(client), [51, 4, 5]);
}

#[test]
fn a_refill_newer_than_the_stream_shows_no_row_twice() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(head(2));
    world.write(&[Delete(1)]);
    world.commit(&[Put(50, 25)]);
    world.commit(&[Put(50, 26), Delete(3)]);
    let page = world.read_page();
    world.give(page);
    assert_eq!(world.frames(client), [""; 0], "the stream has not come to the page yet");
    world.apply();
    assert_eq!(world.frames(client), [""; 0]);
    world.apply();
    assert_eq!(world.frames(client), ["leave 1 0>-1", "enter 50 -1>1"]);
    world.settle();
}

#[test]
fn a_row_that_ceases_to_match_while_the_snapshot_is_read_is_gone() {
    for page_first in [true, false] {
        let mut world = Scenario::new(cushion(1), 10);
        let client = world.subscribe(head(3));
        let early = page_first.then(|| world.read_page());
        world.commit(&[Put(2, -1)]);
        let page = early.unwrap_or_else(|| world.read_page());
        world.give(page);
        world.settle();
        assert_eq!(world.list(client), [1, 3, 4]);
    }
    // The page is on its way while the stream goes on.
    let mut world = Scenario::new(cushion(1), 10);
    let client = world.subscribe(head(3));
    let page = world.read_page();
    world.write(&[Put(2, -1)]);
    world.write(&[Put(50, 5)]);
    world.give(page);
    world.settle();
    assert_eq!(world.list(client), [50, 1, 3]);
}

#[test]
fn a_row_deleted_and_made_again_comes_back() {
    let mut world = Scenario::new(cushion(2), 3);
    let client = world.settled(head(3));
    for _ in 0..3 {
        world.write(&[Delete(2)]);
        assert_eq!(world.frames(client), ["leave 2 1>-1"]);
        world.write(&[Put(2, 20)]);
        assert_eq!(world.frames(client), ["enter 2 -1>1"]);
    }
    world.settle();
}

#[test]
fn nothing_grows_with_the_rows_that_a_view_has_seen() {
    let limits = Limits { log_batches: 4, ..cushion(2) };
    let mut world = Scenario::new(limits, 0);
    let client = world.settled(head(5));
    let seen: Vec<Weak<_>> = (0..3_000)
        .flat_map(|id| {
            world.write(&[Put(id, 1)]);
            let entered = world
                .batches(client)
                .iter()
                .filter_map(|b| b.deltas[0].row.as_ref().map(Arc::downgrade))
                .collect::<Vec<_>>();
            world.write(&[Delete(id)]);
            world.clients[client].inbox.clear();
            world.forget_history();
            entered
        })
        .collect();
    assert_eq!(seen.len(), 3_000);
    let alive = seen.iter().filter(|row| row.strong_count() > 0).count();
    assert!(alive <= 8, "{alive} rows that are in no list are still in memory");
}

#[test]
fn a_slow_consumer_gets_either_the_net_or_a_reset() {
    let limits = Limits { log_batches: 3, ..cushion(2) };
    let mut world = Scenario::new(limits, 10);
    let client = world.settled(head(3));
    let sent = world.clients[client].token.map(|token| token.position);
    // The batches below are dropped unread: what the client has is the list at `sent`.
    let list = world.clients[client].model.clone();
    world.write(&[Delete(1)]);
    world.write(&[Put(2, 21)]);
    world.clients[client].model = list.clone();
    world.frames(client);
    world.catch_up(client, sent, false);
    assert_eq!(world.frames(client), ["leave 1 0>-1", "enter 4 -1>2", "update 2 0>0"]);
    // More than the log remembers.
    for n in 0..5 {
        world.write(&[Put(50 + n, n)]);
    }
    world.clients[client].model = list;
    world.frames(client);
    world.catch_up(client, sent, false);
    assert_eq!(world.frames(client), ["reset", "enter 50 -1>0", "enter 51 -1>1", "enter 52 -1>2", "ready"]);
    world.catch_up(client, None, true);
    assert_eq!(world.frames(client).len(), 5);
    world.settle();
}

#[test]
fn a_reset_always_carries_its_rows() {
    let limits = Limits { log_batches: 1, ..cushion(1) };
    let mut world = Scenario::new(limits, 10);
    let client = world.subscribe(head(2));
    world.settle();
    let token = world.clients[client].token;
    let sent = token.map(|token| token.position);
    world.write(&[Put(50, 1)]);
    world.write(&[Put(51, 2)]);
    world.catch_up(client, sent, false);
    world.reanchor(client, Ask { after: Some((10, 1)), ..head(2) });
    world.settle();
    world.unsubscribe(client);
    let back = world.subscribe_with(head(2), token);
    world.settle();
    let mut resets = 0;
    for client in [client, back] {
        for batch in world.batches(client) {
            if batch.deltas[0].op == Op::Reset {
                resets += 1;
                assert_eq!(batch.deltas.len(), 4, "reset, two rows, ready");
                assert_eq!(batch.deltas[3].op, Op::Ready);
            }
        }
    }
    assert_eq!(resets, 4);
}

#[test]
fn an_older_page_never_takes_the_list_back() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(head(2));
    world.write(&[Delete(1)]);
    let page = world.read_page();
    world.write(&[Delete(3)]);
    world.write(&[Put(4, 400), Put(60, 45)]);
    world.give(page);
    // Three and four are in the page, and are not the truth any more.
    world.settle();
    assert_eq!(world.list(client), [2, 60]);
    let entered: Vec<_> = world.frames(client).into_iter().filter(|frame| frame.starts_with("enter")).collect();
    assert!(entered.iter().all(|frame| !frame.starts_with("enter 3") && !frame.starts_with("enter 4 ")), "{entered:?}");
}

#[test]
fn a_failed_scan_leaves_nobody_hanging() {
    let mut world = Scenario::new(cushion(0), 10);
    let (first, second) = (world.subscribe(head(2)), world.subscribe(head(2)));
    world.fail_scan();
    for client in [first, second] {
        assert_eq!(world.clients[client].ended, Some(EndReason::StoreFailed));
    }
    let third = world.settled(head(2));
    assert_eq!(world.list(third), [1, 2]);
    // The same for a refill of a list that is being looked at.
    world.write(&[Delete(1)]);
    world.fail_scan();
    assert_eq!(world.clients[third].ended, Some(EndReason::StoreFailed));
    let fourth = world.settled(head(2));
    assert_eq!(world.list(fourth), [2, 3]);
    assert_eq!(world.metrics.subscriptions.get(), 1);
    assert_eq!(world.metrics.views.get(), 1);
}

#[test]
fn what_is_committed_between_two_reads_is_neither_lost_nor_seen_twice() {
    let mut world = Scenario::new(cushion(1), 3);
    // Committed, and not yet seen by the engine, before the subscribe; between subscribe and scan; after the scan.
    world.commit(&[Put(50, 1)]);
    let client = world.subscribe(head(5));
    world.commit(&[Put(51, 2)]);
    let page = world.read_page();
    world.commit(&[Put(52, 3)]);
    world.give(page);
    assert_eq!(world.frames(client), [""; 0]);
    world.apply();
    world.apply();
    assert_eq!(world.list(client), [50, 51, 1, 2, 3]);
    world.apply();
    assert_eq!(world.list(client), [50, 51, 52, 1, 2]);
    world.settle();
}

#[test]
fn a_subscribe_is_answered_when_the_feed_is_joined_and_not_before() {
    let mut world = Scenario::new(cushion(1), 3);
    let client = world.subscribe(head(3));
    world.write(&[Put(50, 1)]);
    assert!(world.clients[client].inbox.is_empty());
    let page = world.read_page();
    world.give(page);
    assert!(
        matches!(
            &world.clients[client].inbox[..],
            [Delivery::Started { resumed: false, position: Position(2), .. }, Delivery::Batch { .. }]
        ),
        "the answer, then the snapshot at once"
    );
    world.write(&[Put(51, 2)]);
    assert_eq!(world.list(client), [50, 51, 1], "and from then on everything");
}

#[test]
fn nothing_of_the_old_list_follows_a_reset() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(head(2));
    // A net batch of the old list is being held back while the client moves away.
    world.write(&[Delete(1)]);
    let refill = world.read_page();
    world.reanchor(client, Ask { after: Some((50, 5)), ..head(2) });
    world.write(&[Delete(2)]);
    world.give(refill);
    assert_eq!(world.frames(client), [""; 0]);
    world.settle();
    assert_eq!(world.frames(client), ["reset", "enter 6 -1>0", "enter 7 -1>1", "ready"]);
    world.write(&[Delete(3)]);
    world.settle();
    assert_eq!(world.frames(client), [""; 0]);
}
