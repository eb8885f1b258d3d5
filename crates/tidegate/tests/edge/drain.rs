//! SIGTERM: readiness is red before anything closes, closes are spread, everybody is told, and it ends in time.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_testkit::clients::{Farewell, LiveClient, ModelList, Transport, get, within};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fixture::{Site, upsert};

const CROWD: usize = 300;
pub(crate) const WINDOW: Duration = Duration::from_millis(2_000);
const DELAY: Duration = Duration::from_millis(700);
/// What a busy machine may take beyond what was configured.
const LATE: Duration = Duration::from_secs(4);

/// When after the signal a client was told to go, how, and over what.
pub(crate) struct Left {
    pub(crate) transport: Transport,
    pub(crate) after: Duration,
    pub(crate) farewell: Farewell,
}

/// Drains a gateway under `CROWD` clients; gives how each of them left.
pub(crate) async fn drained(transports: &[Transport]) -> Vec<Left> {
    let mut site = Site::plain(&format!(
        "[edge]\ndrain_delay_ms = {}\ndrain_window_ms = {}\n",
        DELAY.as_millis(),
        WINDOW.as_millis()
    ));
    let (began, started) = watch::channel(None::<Instant>);
    let (gone, count) = watch::channel(0);
    let mut clients = JoinSet::new();
    for index in 0..CROWD {
        let transport = transports[index % transports.len()];
        let mut client = site.client(transport, &json!({ "entity": "asset" })).await;
        let (mut started, gone) = (started.clone(), gone.clone());
        clients.spawn(async move {
            let farewell = client.end().await;
            gone.send_modify(|gone| *gone += 1);
            let began = started.wait_for(Option::is_some).await.unwrap().unwrap();
            Left { transport, after: began.elapsed(), farewell }
        });
    }
    began.send_replace(Some(Instant::now()));
    site.gateway.ask_to_stop();
    let red = async { while get(site.endpoint(), "/readyz").await.status != 503 {} };
    within("red readiness", red).await;
    assert_eq!(*count.borrow(), 0, "somebody was closed before readiness was red");
    // What goes on meanwhile goes on.
    site.write(json!([upsert("a", 10, 1)])).await;
    let left = within("the end of all", clients.join_all()).await;
    assert!(site.gateway.stopped().success());
    let took = began.borrow().unwrap().elapsed();
    assert!(took < DELAY + WINDOW + LATE, "{took:?}");
    left
}

/// Nobody is cut without a word, and not all at the same moment.
pub(crate) fn assert_told_and_spread(left: &[Left]) {
    for Left { transport, farewell, .. } in left {
        if transport.is_websocket() {
            let (code, reason) = farewell.close.as_ref().unwrap_or_else(|| panic!("{transport:?}: no close frame"));
            assert_eq!((*code, reason.split(';').next()), (1001, Some("going_away")), "{transport:?}: {reason}");
        } else {
            assert!(farewell.is_orderly, "{transport:?} was cut: {farewell:?}");
            if matches!(transport, Transport::Sse | Transport::SseH2) {
                assert!(farewell.retries >= 2, "{transport:?} was not told when to come back: {farewell:?}");
            }
        }
    }
    let mut after: Vec<Duration> = left.iter().map(|left| left.after).collect();
    after.sort_unstable();
    let (first, last) = (after[after.len() / 20], after[after.len() * 19 / 20]);
    assert!(last - first > WINDOW / 3, "nine tenths left within {:?}", last - first);
    assert!(after[0] >= DELAY / 2, "the first left after {:?}", after[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_are_told_one_after_the_other_over_http1() {
    assert_told_and_spread(&drained(&[Transport::WebSocket, Transport::Sse]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_are_told_one_after_the_other_over_every_transport() {
    assert_told_and_spread(&drained(&Transport::ALL).await);
}

/// A reader that takes nothing, its close included, holds nobody up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_does_not_hold_it_up() {
    let mut site = Site::plain("[edge]\ndrain_window_ms = 1000\nwrite_timeout_ms = 60000\n");
    let mut stalled = Vec::new();
    for transport in [Transport::WebSocket, Transport::Sse] {
        let query = json!({ "entity": "asset" });
        let client = LiveClient::subscribe(site.endpoint().small(), transport, &query, ModelList::new());
        stalled.push(client.await.unwrap());
    }
    for n in 0..100 {
        site.write(json!([upsert(&format!("{n}"), 100_000, n)])).await;
    }
    let began = Instant::now();
    assert!(site.gateway.terminate().success());
    assert!(began.elapsed() < Duration::from_secs(1) + LATE, "{:?}", began.elapsed());
}
