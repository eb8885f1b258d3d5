//! A program that has the gateway inside, and a database behind it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::{Config, Flags, Gateway, Source};
use tidegate_testkit::clients::{get, within};
use tidegate_testkit::postgres::Postgres;

#[tokio::test]
async fn a_program_follows_a_database() {
    let Some(postgres) = Postgres::logical() else { return };
    postgres.session().await.run("create table note (id int primary key); insert into note values (1)").await;
    let directory = TempDir::new().unwrap();
    let flags = Flags { listen: Some("127.0.0.1:0".into()), data_dir: Some(directory.path().into()) };
    let text = "[identity]\napi_keys = [\"a-key-for-the-tests\"]\n[source]\nkind = \"postgres\"\n[[entity]]\nname = \"note\"\n";
    let url = [("TIDEGATE_SOURCE_URL".to_owned(), postgres.url())];
    let config = || Config::layered(Some((Path::new("t.toml"), text)), url.clone(), &flags).unwrap();
    let Source::Postgres(source) = config().source else { panic!("no database") };
    assert_eq!(source.settings.url.user(), "postgres");
    // Twice: what one lets go the next takes up, slot and store included.
    for _ in 0..2 {
        let gateway = Gateway::builder(config()).start().await.unwrap();
        assert!(gateway.feed().is_none());
        let at: SocketAddr = gateway.url().strip_prefix("http://").unwrap().parse().unwrap();
        within("the row", async {
            while get(at, "/v1/entities/note/1").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        gateway.stop().await.unwrap();
        assert!(tokio::net::TcpStream::connect(at).await.is_err(), "nobody listens any more");
    }
}
