//! The server goes away, comes back, comes back older, or somebody else takes its place.

use tidegate_testkit::postgres::{Session, Stop};

use super::{Scene, done};
use crate::follower::Report;

/// A writer that loses its server between the phases leaves a transaction that nobody ends, and for which every later copy
/// would wait.
async fn roll_back_orphans(session: &Session) {
    for row in
        session.rows("select quote_literal(gid) from pg_prepared_xacts where database = current_database()").await
    {
        session.run(&format!("rollback prepared {}", row[0].as_deref().expect("a name"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_while_it_is_written_to() {
    let Some(mut scene) = Scene::open("killed").await else { return };
    for how in [Stop::Kill, Stop::Immediate, Stop::Fast, Stop::Kill] {
        let writing = scene.writing(30);
        let seen: Vec<u64> = scene.followers.reports().iter().map(Report::position).collect();
        scene.followers.until("a commit", |number, report| report.position() > seen[number]).await;
        scene.server.restart(how);
        done(writing).await;
        roll_back_orphans(&scene.world.session().await).await;
    }
    scene.rest_and_look_back().await;
}

/// What is written after the backup was made is gone, and other things are written in its place: less than before, so
/// that the log ends before what the mirror has, or more, so that it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_put_back() {
    let Some(mut scene) = Scene::open("old_backup").await else { return };
    for (lost, new) in [(30, 2), (5, 60)] {
        let backup = scene.server.backup();
        scene.write(lost).await;
        scene.rest().await;
        let before = scene.resets();
        scene.gateway.kill();
        scene.server.put_back(&backup);
        scene.write(new).await;
        scene.restart_gateway();
        scene.reset_since(&before).await;
        scene.rest().await;
    }
    // The same under a gateway that runs.
    let backup = scene.server.backup();
    scene.write(30).await;
    scene.rest().await;
    scene.server.put_back(&backup);
    scene.write(2).await;
    scene.rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over() {
    let Some(mut scene) = Scene::open("failover").await else { return };
    let standby = scene.server.standby();
    scene.write(20).await;
    scene.rest().await;
    let before = scene.resets();
    scene.gateway.kill();
    standby.session().await.run("select pg_promote()").await;
    scene.world.parameters = standby.parameters_of(&scene.world.database);
    scene.server = standby;
    scene.write(20).await;
    scene.gateway.configure(&scene.world.toml(scene.server.address(), super::QUICK));
    scene.restart_gateway();
    scene.reset_since(&before).await;
    scene.rest().await;
}
