use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidegate_testkit::postgres::Postgres;
use tokio::net::TcpStream;

use super::copying::copied;
use super::{settings, soon};
use crate::postgres::connect::{Via, connect};
use crate::postgres::copy::wait_for_older;
use crate::postgres::lsn::Lsn;
use crate::postgres::stream::Gate;

/// A pgbouncer that lends its two server connections per transaction.
struct Pooler {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Pooler {
    async fn start(server: &Postgres) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let Some(program) = program.into_iter().find(|path| std::path::Path::new(path).is_file()) else {
            let message = "NOT TESTED: no pgbouncer found; `cargo xtask setup` installs one";
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("\n=== {message} ===\n");
            return None;
        };
        let directory = tempfile::TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = format!(
            "[databases]\npostgres = user=postgres host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n",
            server.address().port()
        );
        let path = directory.path().join("pgbouncer.ini");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new(program);
        // It does not run as root either.
        if Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0" {
            let status = Command::new("chmod").args(["-R", "a+rX"]).arg(directory.path()).status().unwrap();
            assert!(status.success());
            command.args(["-u", "nobody"]);
        }
        let child = command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pooler = Self { child, port, _directory: directory };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(pooler);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("pgbouncer does not start");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_go_through_a_pooler_that_lends_connections_per_transaction() {
    let Some(server) = Postgres::logical() else { return };
    let Some(pooler) = Pooler::start(&server).await else { return };
    let session = server.session().await;
    session.run("create table t (id int primary key, body text not null)").await;
    session.run("insert into t select i, 'x' || i from generate_series(1, 5000) i").await;
    // What a session has that was not pinned.
    session.run("alter role postgres set DateStyle = 'German'; alter role postgres set statement_timeout = '1h'").await;
    let mut settings = settings(&server.url());
    settings.copy_url = Some(format!("postgres://postgres@127.0.0.1:{}/postgres", pooler.port).parse().unwrap());
    let mut gate = soon(Gate::open(&settings, Lsn(0))).await.unwrap();
    let created = soon(gate.create_slot()).await.unwrap();
    // One after the other and beside each other, on server connections that others have used: no statement is in the way.
    for _ in 0..5 {
        let snapshot = || Some(created.snapshot.clone());
        let (a, b, c) = tokio::join!(
            copied(&settings, "t", snapshot()),
            copied(&settings, "t", None),
            copied(&settings, "t", snapshot())
        );
        assert!([a.0, b.0, c.0].iter().all(|rows| rows.len() == 5000));
    }
    let client = soon(connect(&settings, Via::Copy)).await.unwrap();
    soon(wait_for_older(&client)).await.unwrap();
    // And nothing stays behind in the server's sessions, whichever of the two it is.
    for _ in 0..10 {
        let left = client.simple_query("select count(*) from pg_prepared_statements").await.unwrap();
        let row = left.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        assert_eq!(row.as_deref(), Some("0"));
    }
}
