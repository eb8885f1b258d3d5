//! The gateway is killed, finds its disk full, gets old data back, has a double, and is given more to follow.

use rand::Rng as _;
use tidegate_testkit::clients::{get, within};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::Postgres;
use tidegate_testkit::postgres::kinds::Kind;
use tidegate_testkit::postgres::tables::Table;
use tidegate_testkit::proxy::Proxy;

use super::{QUICK, Scene, done, eventually};
use crate::follower::{Followers, Report};
use crate::world::{GLANCE, World, check_rest, settle};

/// Rows of a table whose copy takes a while.
const MANY: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments() {
    let Some(mut scene) = Scene::open("gateway_killed").await else { return };
    for _ in 0..4 {
        let writing = scene.writing(30);
        let seen: Vec<u64> = scene.followers.reports().iter().map(Report::position).collect();
        scene.followers.until("a commit", |number, report| report.position() > seen[number]).await;
        tokio::time::sleep(std::time::Duration::from_millis(rand::rng().random_range(0..60))).await;
        scene.gateway.kill();
        scene.restart_gateway();
        done(writing).await;
    }
    scene.rest_and_look_back().await;
}

/// The first copy goes through a proxy that counts, so that each kill is at another place of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_the_copy() {
    let Some(server) = Postgres::logical() else { return };
    let proxy = Proxy::start(server.address()).await.unwrap();
    let tables = vec![Table::of_kind("many", Kind::named("text")), Table::of_kind("few", Kind::named("uuid"))];
    let mut world = World::new(&server, "copies", tables).await;
    let fill = format!("insert into many select n, 'row ' || n, null, md5(n::text) from generate_series(1, {MANY}) n");
    world.session().await.run(&fill).await;
    let mut gateway: Option<Gateway> = None;
    for part in 1..=4 {
        let begun = proxy.bytes_to_client();
        match &mut gateway {
            None => gateway = Some(Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &world.toml(proxy.address(), QUICK))),
            Some(gateway) => gateway.restart(),
        }
        world.session().await.run("update many set v = v || '!' where id % 1000 = 7").await;
        let enough = async {
            while proxy.bytes_to_client() < begun + part * 600_000 {
                tokio::time::sleep(GLANCE / 10).await;
            }
        };
        // A copy that was finished earlier is not made again.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(3), enough).await;
        gateway.as_mut().expect("it was started").kill();
    }
    let mut gateway = gateway.expect("it was started");
    gateway.restart();
    let questions = world.questions(&mut rand::rand_core::SeedableRng::seed_from_u64(1), 2);
    let (_address, watched) = crate::world::address_of(&gateway);
    let mut followers = Followers::start(&watched, &questions, None);
    let end = world.beacon().await;
    settle(gateway.address(), &mut followers, end).await;
    // A streamed set of more rows than a page is known only in part.
    let (questions, reports): (Vec<_>, Vec<_>) =
        questions.into_iter().zip(followers.reports()).filter(|((question, _), _)| !question.streamed).unzip();
    check_rest(&world.session().await, &questions, &reports).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_disk_is_full_for_a_while() {
    let Some(mut scene) = Scene::open("disk_full").await else { return };
    for _ in 0..2 {
        scene.gateway.limit_file_bytes(Some(4096));
        scene.write(20).await;
        let address = scene.gateway.address();
        eventually("readiness to turn red", || async move { get(address, "/readyz").await.status == 503 }).await;
        scene.gateway.limit_file_bytes(None);
        assert!(scene.gateway.is_running(), "a full disk is no end");
        scene.rest().await;
    }
    scene.rest_and_look_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_of_its_data_put_back() {
    let Some(mut scene) = Scene::open("old_data").await else { return };
    let place = tempfile::TempDir::new().unwrap();
    let backup = place.path().join("data");
    scene.gateway.kill();
    scene.gateway.copy_data(&scene.gateway.data_dir(), &backup);
    scene.restart_gateway();
    scene.write(20).await;
    scene.rest().await;
    let before = scene.resets();
    scene.gateway.kill();
    scene.gateway.copy_data(&backup, &scene.gateway.data_dir());
    scene.write(5).await;
    scene.restart_gateway();
    scene.reset_since(&before).await;
    scene.rest().await;
    // Without any data it is the same.
    scene.gateway.kill();
    std::fs::remove_dir_all(scene.gateway.data_dir()).unwrap();
    scene.restart_gateway();
    scene.rest_and_look_back().await;
}

/// A double with data of its own can't take the slot while the first has it; once it has, the first must notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_on_one_slot() {
    let Some(mut scene) = Scene::open("double").await else { return };
    let (toml, writing) = (scene.world.toml(scene.server.address(), QUICK), scene.writing(40));
    let double = tokio::task::spawn_blocking(move || {
        let mut double = Gateway::idle(env!("CARGO_BIN_EXE_tidegate"), &toml);
        let started = double.try_restart();
        (double, started)
    });
    done(writing).await;
    scene.rest().await;
    scene.gateway.kill();
    let (mut double, started) = within("the double", double).await.unwrap();
    // It may have refused to start, or may be waiting for its turn.
    if let Err(said) = started {
        assert!(said.contains("slot"), "{said}");
        double.restart();
    }
    let (_address, watched) = crate::world::address_of(&double);
    let mut followers = Followers::start(&watched, &scene.questions, None);
    scene.write(10).await;
    let end = scene.world.beacon().await;
    settle(double.address(), &mut followers, end).await;
    check_rest(&scene.world.session().await, &scene.questions, &followers.reports()).await;
    double.kill();
    scene.write(10).await;
    scene.restart_gateway();
    scene.rest_and_look_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_is_added_while_writers_run() {
    let Some(mut scene) = Scene::open("added").await else { return };
    // Followers of a table that is not followed yet are told so, and come back.
    let all = &scene.world.tables;
    let fewer: Vec<Table> = all.iter().filter(|table| table.name != "t0").cloned().collect();
    scene.gateway.configure(&scene.world.toml_of(&fewer, scene.server.address(), QUICK));
    scene.restart_gateway();
    scene.write(10).await;
    let writing = scene.writing(60);
    scene.gateway.configure(&scene.world.toml(scene.server.address(), QUICK));
    scene.restart_gateway();
    done(writing).await;
    scene.rest_and_look_back().await;
}
