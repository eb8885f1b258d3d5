//! Whatever a client sends, it sees no row outside its tenant and its filter and no cell outside its columns, in no frame,
//! page or message; and what it may see is all there, in step, while rows and rights change.
//!
//! Each round has random entities, permissions, people and rows. Cells carry markers that occur once in the world, so a
//! cell is known wherever it turns up: every byte that arrives is searched for them. `TIDEGATE_TENANTS_SECONDS` makes
//! rounds for longer, `TIDEGATE_SEED` repeats one.

mod clients;
mod conditions;
mod plan;
mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;
use tidegate_testkit::clients::{get, within};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::{Postgres, Session};
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

/// The same once with rows that are written in a database.
#[tokio::test]
async fn nothing_of_a_database_that_is_followed_crosses_either() {
    let Some(postgres) = Postgres::logical() else { return };
    let seed = setting("TIDEGATE_SEED").unwrap_or_else(rand::random);
    eprintln!("TIDEGATE_SEED={seed}");
    let mut random = seeded(seed);
    let plan = Plan::random(&mut random, Some(postgres.url()));
    let session = postgres.session().await;
    for entity in &plan.entities {
        session.run(&entity.table()).await;
    }
    assert!(meet(plan, Some(session), random).await > 0);
}

/// One gateway, and everybody at it; gives how much was held against what may be seen.
async fn round(seed: u64) -> usize {
    let mut random = seeded(seed);
    let plan = Plan::random(&mut random, None);
    meet(plan, None, random).await
}

async fn meet(plan: Plan, database: Option<Session>, mut random: StdRng) -> usize {
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &plan.toml());
    let ready = async {
        while get(gateway.address(), "/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("readiness", ready).await;
    let world = World::new(gateway.address(), plan, 4 * CLIENTS_OF_A_KIND as usize, database);
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
