//! Entities that change as a whole: told in bulk, copied anew, no longer served.

use tidegate_live::{Delivery, EndReason};
use tidegate_model::{Op, Position, ScanError};

use crate::scenario::{Ask, Delete, Put, Scenario, cushion, head};

const STREAMED: Ask = Ask { mode: "streamed", limit: 50, after: None, synced: false };

#[test]
fn a_reload_leaves_as_one_net_batch_that_tokens_from_before_can_go_on_with() {
    let mut world = Scenario::new(cushion(2), 10);
    let client = world.settled(Ask { synced: true, ..head(3) });
    let other = world.settled(head(3));
    let token = world.clients[other].token;
    world.unsubscribe(other);
    world.reload(&[Delete(1), Put(2, 21), Put(50, 5)]);
    assert_eq!(world.engine.exact(), Position(1), "what subscribers have is right for the position before");
    assert!(world.clients[client].inbox.is_empty(), "neither rows nor synced");
    world.settle();
    let last = world.clients[client].inbox.last().cloned();
    assert!(matches!(last, Some(Delivery::Synced { position: Position(2) })));
    let batches = world.batches(client);
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].position, Position(2));
    let deltas: Vec<_> = batches[0].deltas.iter().map(|delta| (delta.op, delta.version)).collect();
    // The row that is gone went with the reload; three is as it was, and makes no frame.
    assert_eq!(deltas, [(Op::Leave, 2), (Op::Update, 2), (Op::Enter, 2)]);
    let back = world.subscribe_with(head(3), token);
    assert!(matches!(world.clients[back].inbox[0], Delivery::Started { resumed: true, .. }));
    assert_eq!(world.list(back), [50, 2, 3]);
    assert_eq!(world.engine.exact(), world.engine.position());
}

#[test]
fn a_reload_that_changed_nothing_makes_no_frame() {
    let mut world = Scenario::new(cushion(2), 10);
    let client = world.settled(head(3));
    world.reload(&[Put(1, 10), Put(2, 20)]);
    world.settle();
    assert_eq!(world.frames(client), [""; 0]);
}

#[test]
fn a_page_read_before_a_reload_is_not_taken_in_after_it() {
    for first in [true, false] {
        let mut world = Scenario::new(cushion(0), 10);
        let client = if first { world.subscribe(head(3)) } else { world.settled(head(3)) };
        if !first {
            world.write(&[Delete(1)]);
        }
        let page = world.read_page();
        world.reload(&[Delete(2), Put(4, 400)]);
        world.give(page);
        assert_eq!(world.frames(client), [""; 0], "from the first snapshot: {first}");
        world.settle();
        assert!(!world.list(client).contains(&2));
    }
}

#[test]
fn a_page_that_waits_for_the_stream_is_taken_in_at_a_reload_only_if_it_has_seen_it() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.subscribe(head(3));
    world.commit(&[Put(50, 1)]);
    let early = world.read_page();
    world.commit_reload(&[Delete(1)]);
    world.give(early);
    world.apply();
    assert_eq!(world.list(client), [50, 1, 2], "right until the reload");
    world.apply();
    let other = world.subscribe(Ask { after: Some((30, 3)), ..head(2) });
    world.commit_reload(&[Delete(5)]);
    let mut seen = [world.read_page(), world.read_page()];
    seen.reverse();
    seen.into_iter().for_each(|page| world.give(page));
    world.apply();
    // No scan was wasted: both pages know the reload.
    assert!(world.scans.is_empty());
    assert_eq!((world.list(client), world.list(other)), (vec![50, 2, 3], vec![4, 6]));
}

#[test]
fn a_list_that_was_held_back_before_a_reload_keeps_the_position_it_is_right_for() {
    let mut world = Scenario::new(cushion(0), 10);
    let client = world.settled(head(2));
    world.write(&[Delete(1)]);
    world.reload(&[Put(2, 500)]);
    world.reload(&[Put(3, 31)]);
    assert_eq!(world.engine.exact(), Position(1));
    world.settle();
    assert_eq!(world.frames(client), ["leave 2 1>-1", "leave 1 0>-1", "enter 3 -1>0", "enter 4 -1>1"]);
    assert_eq!(world.engine.exact(), Position(4));
}

#[test]
fn a_reanchor_takes_no_rows_from_a_view_that_awaits_a_reload() {
    let mut world = Scenario::new(cushion(4), 10);
    let client = world.settled(head(3));
    world.reload(&[Delete(2), Put(3, 31)]);
    world.reanchor(client, Ask { after: Some((10, 1)), ..head(2) });
    assert_eq!(world.frames(client), [""; 0], "nothing is known yet");
    world.settle();
    assert_eq!(world.list(client), [3, 4]);
}

#[test]
fn a_streamed_set_is_replaced_by_a_reload_and_nothing_is_told_in_between() {
    let mut world = Scenario::new(cushion(0), 3);
    let client = world.settled(STREAMED);
    world.reload(&[Delete(1), Put(4, 40)]);
    world.write(&[Put(5, 50), Delete(4)]);
    assert_eq!(world.frames(client), [""; 0]);
    assert_eq!(world.engine.exact(), Position(1), "it has everything up to the reload and nothing after");
    let page = world.read_page();
    world.write(&[Put(6, 60)]);
    world.write(&[Delete(2)]);
    world.give(page);
    let expected = ["reset", "enter 3 -1>0", "enter 5 -1>1", "enter 6 -1>2", "ready"];
    assert_eq!(world.frames(client), expected);
    assert_eq!(world.engine.exact(), world.engine.position());
    world.write(&[Put(6, 61)]);
    assert_eq!(world.frames(client), ["update 6 -1>-1"]);
}

#[test]
fn a_token_of_a_streamed_set_from_before_a_reload_proves_nothing() {
    let mut world = Scenario::new(cushion(0), 3);
    let stays = world.settled(STREAMED);
    let token = world.clients[stays].token;
    let sent = token.map(|token| token.position);
    world.reload(&[Delete(1)]);
    let back = world.subscribe_with(STREAMED, token);
    world.settle();
    assert!(matches!(world.clients[back].inbox[0], Delivery::Started { resumed: false, .. }));
    world.catch_up(stays, sent, false);
    world.settle();
    assert_eq!(world.frames(stays).iter().filter(|frame| *frame == "reset").count(), 2);
}

#[test]
fn a_streamed_subscriber_that_leaves_while_its_set_is_replaced_holds_nothing_back() {
    let mut world = Scenario::new(cushion(0), 3);
    let client = world.settled(STREAMED);
    world.reload(&[Delete(1)]);
    assert_eq!(world.engine.exact(), Position(1));
    world.unsubscribe(client);
    assert_eq!(world.engine.exact(), Position(2));
    assert_eq!(world.engine.scans(), 0);
}

#[test]
fn rows_copied_anew_under_the_version_that_they_had_are_not_mistaken_for_the_old_ones() {
    let mut world = Scenario::new(cushion(2), 3);
    let client = world.settled(head(3));
    let other = world.settled(Ask { after: Some((10, 1)), ..head(2) });
    world.reload_with_color(2, 7);
    world.settle();
    assert_eq!(world.frames(client), ["update 2 1>1"]);
    assert_eq!(world.frames(other), ["update 2 0>0"]);
}

#[test]
fn views_without_subscribers_are_let_go_by_a_reload() {
    let mut world = Scenario::new(cushion(2), 10);
    for limit in [3, 4] {
        let client = world.settled(head(limit));
        world.unsubscribe(client);
    }
    let stays = world.settled(head(5));
    world.reload(&[Delete(1)]);
    assert_eq!((world.metrics.views.get(), world.metrics.idle_reloaded.get()), (1, 2));
    assert_eq!(world.scans.len(), 1, "nothing is read for nobody");
    world.settle();
    assert_eq!(world.list(stays), [2, 3, 4, 5, 6]);
    world.engine.tick(120_000);
    assert_eq!(world.metrics.views.get(), 1);
}

#[test]
fn an_entity_that_ends_says_why_and_leaves_nothing_behind() {
    let mut world = Scenario::new(cushion(0), 10);
    let listed = world.settled(head(2));
    let streamed = world.settled(STREAMED);
    let rests = world.settled(head(4));
    world.unsubscribe(rests);
    world.write(&[Delete(1)]);
    world.reload(&[Delete(2)]);
    let waits = world.subscribe(head(7));
    let page = world.read_page();
    world.end_entity("the table was dropped");
    let reason = Some(EndReason::Unavailable("the table was dropped".into()));
    for client in [listed, streamed, waits] {
        assert_eq!(world.clients[client].ended, reason);
    }
    assert_eq!((world.metrics.views.get(), world.metrics.subscriptions.get()), (0, 0));
    assert_eq!((world.engine.scans(), world.engine.exact()), (0, world.engine.position()));
    world.give(page);
    world.scans.clear();
    // Who comes later is served by what the store says.
    let late = world.subscribe(head(2));
    world.refuse_scan(ScanError::Unavailable("the table was dropped".into()));
    assert_eq!(world.clients[late].ended, reason);
    let later = world.settled(head(2));
    assert_eq!(world.list(later), [3, 4]);
}

#[test]
fn a_token_alone_does_not_bring_back_a_set_of_an_entity_that_ended() {
    let mut world = Scenario::new(cushion(0), 3);
    let client = world.settled(STREAMED);
    let token = world.clients[client].token;
    world.end_entity("the table was dropped");
    // Nothing has happened since that token: without a scan it would hear nothing for ever.
    let back = world.subscribe_with(STREAMED, token);
    world.refuse_scan(ScanError::Unavailable("the table was dropped".into()));
    assert_eq!(world.clients[back].ended, Some(EndReason::Unavailable("the table was dropped".into())));
}
