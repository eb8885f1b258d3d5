use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_testkit::postgres::Postgres;

use super::{settings, soon, write_file};
use crate::postgres::connect::{Via, connect, rows};
use crate::postgres::error::{SourceError, SourceErrorKind};
use crate::postgres::lsn::Lsn;
use crate::postgres::settings::Settings;
use crate::postgres::stream::Gate;

fn openssl(directory: &Path, arguments: &str) {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().expect("openssl runs");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A root and a certificate of it, as `name.pem` and `name-root.pem`.
fn certificate(directory: &Path, name: &str, names: &str) {
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        directory,
        &format!("req -x509 {curve} -keyout {name}-root.key -out {name}-root.pem -days 2 -subj /CN={name}-root"),
    );
    openssl(directory, &format!("req {curve} -keyout {name}.key -out {name}.csr -subj /CN=server"));
    std::fs::write(directory.join("names"), format!("subjectAltName={names}")).unwrap();
    openssl(
        directory,
        &format!(
            "x509 -req -in {name}.csr -CA {name}-root.pem -CAkey {name}-root.key -CAcreateserial -days 2 -extfile names -out {name}.pem"
        ),
    );
}

/// What comes of both kinds of connection: whether each is encrypted.
async fn attempt(settings: &Settings) -> [Result<bool, SourceError>; 2] {
    let ordinary = async {
        let client = connect(settings, Via::Direct).await?;
        let rows = rows(&client, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").await?;
        Ok(rows[0].get(0) == Some("t"))
    };
    let replication = async {
        let mut gate = Gate::open(settings, Lsn(0)).await?;
        gate.identify().await?;
        let client = connect(settings, Via::Direct).await?;
        let sql =
            "select s.ssl from pg_stat_ssl s join pg_stat_activity a using (pid) where a.backend_type = 'walsender'";
        let rows = rows(&client, sql).await?;
        Ok(rows[0].get(0) == Some("t"))
    };
    [soon(ordinary).await, soon(replication).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_verifies_what_it_says_on_both_kinds_of_connection() {
    if Command::new("openssl").arg("version").output().is_err() {
        let message = "NOT TESTED: no openssl found";
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("\n=== {message} ===\n");
        return;
    }
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    let directory = tempfile::TempDir::new().unwrap();
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let root = |name: &str| directory.path().join(format!("{name}-root.pem"));
    certificate(directory.path(), "good", "DNS:localhost,IP:127.0.0.1");
    certificate(directory.path(), "elsewhere", "DNS:db.elsewhere.example");
    let port = server.address().port();
    let with = |host: &str, mode: &str, root: Option<PathBuf>| {
        let mut settings = settings(&format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}"));
        settings.root_certificate = root;
        settings
    };
    let check = async |what: &str, settings: Settings, expected: Result<bool, SourceErrorKind>| {
        for (outcome, way) in attempt(&settings).await.into_iter().zip(["ordinary", "replication"]) {
            assert_eq!(
                outcome.as_ref().map_err(SourceError::kind),
                expected.as_ref().map_err(|kind| *kind),
                "{what}, {way}: {outcome:?}"
            );
        }
    };
    // A server without TLS.
    check("disable", with("localhost", "disable", None), Ok(false)).await;
    check("prefer, none there", with("localhost", "prefer", None), Ok(false)).await;
    check("require, none there", with("localhost", "require", None), Err(SourceErrorKind::Tls)).await;

    let serve = async |name: &str| {
        write_file(&session, "server.crt", &read(&format!("{name}.pem"))).await;
        write_file(&session, "server.key", &read(&format!("{name}.key"))).await;
        session.run("alter system set ssl = on").await;
        session.run("select pg_reload_conf()").await;
        // The reload comes to sessions begun after it.
        let fresh = || async { server.session().await.text("show ssl").await == "on" };
        super::eventually("the server speaks TLS", fresh).await;
    };
    serve("good").await;
    check("disable", with("localhost", "disable", None), Ok(false)).await;
    check("prefer", with("localhost", "prefer", None), Ok(true)).await;
    check("require", with("localhost", "require", None), Ok(true)).await;
    for host in ["localhost", "127.0.0.1"] {
        check("verify-full", with(host, "verify-full", Some(root("good"))), Ok(true)).await;
        check("verify-ca", with(host, "verify-ca", Some(root("good"))), Ok(true)).await;
        check("verify-full, wrong root", with(host, "verify-full", Some(root("elsewhere"))), Err(SourceErrorKind::Tls))
            .await;
        check("verify-ca, wrong root", with(host, "verify-ca", Some(root("elsewhere"))), Err(SourceErrorKind::Tls))
            .await;
    }
    check("Mozilla's roots", with("localhost", "verify-full", None), Err(SourceErrorKind::Tls)).await;
    let gone = Some(directory.path().join("gone.pem"));
    check("no such file", with("localhost", "verify-full", gone), Err(SourceErrorKind::Tls)).await;

    serve("elsewhere").await;
    super::eventually("the new certificate is served", || async {
        attempt(&with("localhost", "verify-full", Some(root("good")))).await[0].is_err()
    })
    .await;
    check(
        "verify-full, wrong name",
        with("localhost", "verify-full", Some(root("elsewhere"))),
        Err(SourceErrorKind::Tls),
    )
    .await;
    check("require, wrong name", with("localhost", "require", None), Ok(true)).await;
    // The replication library is stricter than asked.
    let [ordinary, replication] = attempt(&with("localhost", "verify-ca", Some(root("elsewhere")))).await;
    assert_eq!((ordinary, replication.map_err(|error| error.kind())), (Ok(true), Err(SourceErrorKind::Tls)));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_and_never_shown() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session.run("create role ann login replication password 'hunter2'").await;
    session.run("set password_encryption = md5; create role old login replication password 'hunter2'").await;
    write_file(
        &session,
        "pg_hba.conf",
        "host all postgres all trust\nhost all ann all scram-sha-256\nhost all old all md5",
    )
    .await;
    session.run("select pg_reload_conf()").await;
    let port = server.address().port();
    let with = |password: &str| settings(&format!("postgres://ann{password}@127.0.0.1:{port}/postgres"));
    super::eventually("passwords are asked for", || async { attempt(&with("")).await[0].is_err() }).await;
    assert_eq!(attempt(&with(":hunter2")).await, [Ok(false), Ok(false)]);
    let old = settings(&format!("postgres://old:hunter2@127.0.0.1:{port}/postgres"));
    assert_eq!(attempt(&old).await, [Ok(false), Ok(false)]);
    for wrong in ["", ":hunter22"] {
        for outcome in attempt(&with(wrong)).await {
            let error = outcome.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(!error.is_retryable(), "{shown}");
            assert!(shown.contains("password"), "{shown}");
        }
    }
}
