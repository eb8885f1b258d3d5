//! The step oracle: after every commit every list is what PostgreSQL answers at that commit.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tidegate_testkit::postgres::queries::Question;
use tidegate_testkit::postgres::tables::Table;
use tidegate_testkit::postgres::{Postgres, writers};

use crate::follower::{Followers, Report};
use crate::world::{World, address_of, check_rest, settle};

/// Lists compared. `TIDEGATE_ORACLE_CHECKS` asks for more.
const CHECKS: usize = 20_000;
const TABLES: usize = 6;
const WRITERS: usize = 4;
const TRANSACTIONS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_is_right_at_every_commit() {
    let Some(server) = Postgres::logical() else { return };
    let Some(second) = Postgres::start() else { return };
    let wanted = std::env::var("TIDEGATE_ORACLE_CHECKS").ok().and_then(|n| n.parse().ok()).unwrap_or(CHECKS);
    let seed = std::env::var("TIDEGATE_ORACLE_SEED").ok().and_then(|n| n.parse().ok());
    let (mut checks, mut round) = (0, 0);
    while checks < wanted {
        round += 1;
        let seed = seed.unwrap_or_else(rand::random);
        println!("round {round}, seed {seed}, {checks} checks so far");
        checks += play(&server, &second, &format!("world{round}"), seed).await;
    }
    println!("{checks} checks in {round} rounds");
}

/// One round: a gateway starts while writers write, clients come and go, commits hang for a while. Gives how many lists
/// were compared.
async fn play(server: &Postgres, second: &Postgres, name: &str, seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let tables = (0..TABLES).map(|n| Table::random(&mut random, &format!("t{n}"))).collect();
    let mut world = World::new(server, name, tables).await;
    let questions = world.questions(&mut random, 3);
    world.write(seed, 2, 20).await;
    let followed = &world.tables[..TABLES];
    let copied = writers::start(&world.parameters, followed, seed + 100, 2, 40);
    let gateway = world.gateway(server);
    let (_address, watched) = address_of(&gateway);
    let mut followers = Followers::start(&watched, &questions, Some(seed / 2));
    followers.until("a first list", |_, report| report.resets() > 0).await;
    let streamed = writers::start(&world.parameters, followed, seed + 200, WRITERS, TRANSACTIONS);
    writers::stall_commits(&server.session().await).await;
    copied.join_all().await;
    streamed.join_all().await;
    let end = world.beacon().await;
    settle(gateway.address(), &mut followers, end).await;
    let (replica, _) = world.replica(second, &questions).await;
    let session = world.session().await;
    replica.check_against(&session).await;
    let reports = followers.reports();
    check_rest(&session, &questions, &reports).await;
    let checks = check_all(&questions, &reports, &replica);
    drop((followers, gateway));
    world.forget().await;
    checks
}

/// Every sight of every follower against the replica.
pub(crate) fn check_all(
    questions: &[(Question, Table)],
    reports: &[Report],
    replica: &tidegate_testkit::postgres::replica::Replica,
) -> usize {
    let each = questions.iter().zip(reports).enumerate();
    each.map(|(number, ((question, _), report))| {
        report.check(question, replica.answers(number), 0).unwrap_or_else(|wrong| panic!("{wrong}"))
    })
    .sum()
}
