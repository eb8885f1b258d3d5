//! The slot and the publication are taken away.

use tidegate_testkit::clients::{get, within};
use tidegate_testkit::postgres::Session;

use super::{Scene, done, eventually};
use crate::world::GLANCE;

/// Drops the gateway's slot, however often it comes back to it.
async fn drop_slot(session: &Session, slot: &str) {
    let drop = async {
        let end = format!(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{slot}' and active"
        );
        let drop = format!("select pg_drop_replication_slot('{slot}')");
        session.run(&end).await;
        while session.batch_execute(&drop).await.is_err() {
            session.run(&end).await;
            tokio::time::sleep(GLANCE / 10).await;
        }
    };
    within("the slot to be dropped", drop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_is_dropped() {
    let Some(mut scene) = Scene::open("slot").await else { return };
    let session = scene.world.session().await;
    for _ in 0..2 {
        let writing = scene.writing(40);
        drop_slot(&session, "slot").await;
        done(writing).await;
        scene.rest().await;
    }
    scene.gateway.kill();
    drop_slot(&session, "slot").await;
    scene.write(20).await;
    scene.restart_gateway();
    scene.rest_and_look_back().await;
}

/// A table that leaves the publication for a while has changes that nobody was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_leaves_the_publication_and_comes_back() {
    let Some(mut scene) = Scene::open("publication").await else { return };
    let session = scene.world.session().await;
    let before = scene.resets();
    let writing = scene.writing(40);
    session.run("alter publication publication drop table t1").await;
    let reports = || scene.followers.reports();
    let questions = &scene.questions;
    eventually("subscriptions of the table to end with a reason", || async {
        let concerned = questions.iter().zip(reports()).filter(|((question, _), _)| question.query["entity"] == "t1");
        concerned.into_iter().all(|(_, report)| report.errors.iter().any(|error| error.starts_with("unavailable")))
    })
    .await;
    done(writing).await;
    scene.write(20).await;
    session.run("alter publication publication add table t1").await;
    let concerned: Vec<bool> = scene.questions.iter().map(|(question, _)| question.query["entity"] == "t1").collect();
    scene.followers.until("a reset", |number, report| !concerned[number] || report.resets() > before[number]).await;
    scene.write(10).await;
    scene.rest().await;
    // Dropped as a whole: that is for somebody to mend, and what was written meanwhile was published to nobody.
    session.run("drop publication publication").await;
    scene.write(10).await;
    let address = scene.gateway.address();
    eventually("readiness to turn red", || async move { get(address, "/readyz").await.status == 503 }).await;
    scene.restart_gateway();
    scene.rest().await;
}
