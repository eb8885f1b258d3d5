//! The connection to the server is cut, reset, stalled and swallowed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidegate_testkit::postgres::Postgres;
use tidegate_testkit::postgres::tables::Table;
use tidegate_testkit::proxy::{Fault, Proxy};

use super::{Scene, done, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_reset_stalled_and_swallowed() {
    let Some(server) = Postgres::logical() else { return };
    let proxy = Proxy::start(server.address()).await.unwrap();
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let tables = (0..3).map(|n| Table::random(&mut random, &format!("t{n}"))).collect();
    let scene = Scene::of("network", seed, tables, Some((server, proxy.address()))).await;
    let mut scene = scene.expect("there is a server");
    for round in 0..8 {
        let writing = scene.writing(20);
        let bytes = random.random_range(0..60_000);
        let fault = match round % 5 {
            0 => Fault::CutToClient(bytes),
            1 => Fault::ResetToClient(bytes),
            2 => Fault::CutToServer(bytes / 20),
            3 => Fault::Latency(Duration::from_millis(5)),
            _ => Fault::None,
        };
        proxy.set(fault);
        done(writing).await;
        proxy.set(Fault::None);
    }
    scene.rest().await;
    for fault in [Fault::StopReading, Fault::BlackHole] {
        proxy.set(fault);
        scene.write(20).await;
        let address = scene.gateway.address();
        eventually("readiness to turn red", || async move {
            tidegate_testkit::clients::get(address, "/readyz").await.status == 503
        })
        .await;
        // What was swallowed is lost, so the connections that lost it can't go on.
        proxy.set(Fault::CutToClient(0));
        proxy.set(Fault::None);
        scene.rest().await;
    }
    scene.rest_and_look_back().await;
}
