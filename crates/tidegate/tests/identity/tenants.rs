//! Whatever a client sends, it sees no row outside its tenant and its filter and no cell outside its columns, in no frame,
//! page or message; and what it may see is all there, in step, while rows and rights change.
//!
//! Each round has random entities, permissions, people and rows. Cells carry markers that occur once in the world, so a
//! cell is known wherever it turns up: every byte that arrives is searched for them. `TIDEGATE_TENANTS_SECONDS` makes
//! rounds for longer, `TIDEGATE_SEED` repeats one.

mod clients;
mod plan;
mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng as _;
use tidegate_testkit::gateway::Gateway;
use tokio::task::JoinSet;

use plan::{Plan, seeded};
use world::World;

const SECONDS: u64 = 25;
const CLIENTS_OF_A_KIND: u64 = 4;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn nothing_crosses_a_tenant_a_filter_or_a_column() {
    let until = Instant::now() + Duration::from_secs(setting("TIDEGATE_TENANTS_SECONDS").unwrap_or(SECONDS));
    let (mut rounds, mut checks) = (0, 0);
    loop {
        let given = setting("TIDEGATE_SEED");
        let seed = given.unwrap_or_else(rand::random);
        eprintln!("TIDEGATE_SEED={seed}");
        checks += round(seed).await;
        rounds += 1;
        if Instant::now() >= until || given.is_some() {
            break;
        }
    }
    eprintln!("{rounds} rounds, {checks} cells and lists");
    assert!(checks > 100, "hardly anything was seen: {checks}");
}

/// One gateway, and everybody at it; gives how much was held against what may be seen.
async fn round(seed: u64) -> usize {
    let mut random = seeded(seed);
    let plan = Plan::random(&mut random);
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &plan.toml());
    let world = World::new(gateway.address(), plan, 4 * CLIENTS_OF_A_KIND as usize);
    for _ in 0..20 {
        world.serve(&mut random).await;
    }
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS_OF_A_KIND {
        clients.spawn(clients::events(world.clone(), seeded(random.random())));
        clients.spawn(clients::live(world.clone(), seeded(random.random())));
        clients.spawn(clients::streamed(world.clone(), seeded(random.random())));
        clients.spawn(clients::http(world.clone(), seeded(random.random())));
    }
    let writing = async {
        while world.busy.load(Ordering::SeqCst) > 0 {
            world.serve(&mut random).await;
            tokio::task::yield_now().await;
        }
        // Everybody has made up their mind; this is the end.
        let last = world.serve(&mut random).await;
        world.last.send_replace(Some(last));
        std::future::pending::<()>().await;
    };
    let done = async {
        while let Some(client) = clients.join_next().await {
            client.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
    };
    tokio::select! {
        () = writing => {}
        () = done => {}
    }
    world.checks()
}
