use proptest::prelude::*;

use crate::postgres::error::{SourceError, SourceErrorKind};
use crate::postgres::settings::{Endpoint, Settings, TlsMode};

const SECRET: &str = "hunter2";

fn parse(text: &str) -> Endpoint {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn both_forms_say_the_same() {
    for text in [
        "postgres://ann:hunter2@db.example:6432/shop?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca%20file.pem",
        "postgresql://ann:hunter2@db.example:6432/shop?sslrootcert=/etc/ca%20file.pem&sslmode=verify-ca",
        "host=db.example port=6432 user=ann password=hunter2 dbname=shop sslmode=verify-ca sslrootcert='/etc/ca file.pem'",
        r"host = db.example port=6432 user='ann' password='hunter2' dbname=shop sslmode= verify-ca sslrootcert=/etc/ca\ file.pem",
    ] {
        let endpoint = parse(text);
        assert_eq!(endpoint.to_string(), "ann@db.example:6432/shop", "{text}");
        assert_eq!(endpoint.tls(), TlsMode::VerifyCa);
        assert_eq!(endpoint.root_certificate.as_deref(), Some("/etc/ca file.pem".as_ref()));
        assert_eq!(endpoint.config.get_password(), Some(SECRET.as_bytes()));
    }
    let short = parse("postgres://ann@db.example");
    assert_eq!((short.port(), short.database()), (5432, "ann"));
    let socket = parse("host=/run/postgresql user=ann sslmode=require");
    assert_eq!((socket.host().as_str(), socket.tls()), ("/run/postgresql", TlsMode::Disable));
    let odd = parse("postgres://a%40b:p%3Fq%26r@[::1]/d%20b?application_name=x%20y&options=-c%20geqo%3Doff");
    assert_eq!((odd.user(), odd.database()), ("a@b", "d b"));
    assert_eq!(odd.config.get_password(), Some(b"p?q&r".as_slice()));
    assert_eq!(odd.config.get_options(), Some("-c geqo=off"));
}

#[test]
fn tls_is_verified_unless_told_otherwise() {
    let mode = |text: &str| parse(text).tls();
    for local in ["localhost", "127.0.0.1", "127.8.9.1", "[::1]"] {
        assert_eq!(mode(&format!("postgres://u@{local}/d")), TlsMode::Disable, "{local}");
    }
    for remote in ["db.example", "10.0.0.1", "localhost.example"] {
        assert_eq!(mode(&format!("postgres://u@{remote}/d")), TlsMode::VerifyFull, "{remote}");
        assert_eq!(mode(&format!("postgres://u@{remote}/d?sslmode=disable")), TlsMode::Disable);
        assert_eq!(mode(&format!("postgres://u@{remote}/d?sslmode=prefer")), TlsMode::Prefer);
        assert_eq!(mode(&format!("postgres://u@{remote}/d?sslmode=require")), TlsMode::Require);
    }
    // As libpq has it.
    assert_eq!(mode("postgres://u@h/d?sslmode=require&sslrootcert=ca.pem"), TlsMode::VerifyCa);
}

#[test]
fn what_is_wrong_is_said() {
    for (text, part) in [
        ("", "one host"),
        ("postgres://db.example/d", "user"),
        ("postgres://u@a,b/d", "one host"),
        ("postgres://u@h/d?sslmode=allow", "sslmode must be"),
        ("postgres://u@h:x/d", "port has no valid value"),
        ("postgres://u@h/d?connect_timeout=soon", "connect_timeout has no valid value"),
        ("postgres://u@h/d?hostaddr=1.2.3.4", "hostaddr is not supported"),
        ("postgres://u@h/d?sslcert=x", "sslcert is not supported"),
        ("postgres://u@h/d?colour=red", "unknown connection parameter"),
        ("host=h user=u colour=red", "unknown connection parameter"),
        ("host=h user", "expected postgres://"),
        ("host=h user='u", "expected postgres://"),
        ("mysql://u@h/d", "expected postgres://"),
    ] {
        let error = text.parse::<Endpoint>().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Settings);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    let mut settings = Settings::url("postgres://u@h/d").unwrap();
    assert_eq!(settings.check(), Ok(()));
    settings.slot = "Not\"this".to_owned();
    assert!(settings.check().unwrap_err().to_string().contains("slot"));
}

#[test]
fn the_password_is_nowhere() {
    let mut settings = Settings::url("postgres://ann:hunter2@db.example/shop?options=-c%20x.y%3Dhunter2").unwrap();
    settings.copy_url = Some(parse("host=p user=ann password=hunter2"));
    let shown = format!("{settings:?} {settings:#?} {} {:?}", settings.url, settings.copy_url);
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("ann@db.example:5432/shop"));
    // However badly it is put.
    for wrong in [
        "postgres://u:hunter2",
        "postgres://u:?hunter2@h/d",
        "postgres://u:x?hunter2=1@h/d",
        "postgres://u:x?a&hunter2=1",
        "postgres://u:%hunter2@h/d",
        "postgres://u@h:hunter2/d",
        "postgres://u@h/d?password=a&hunter2=b",
        "postgres://u@h/d?sslmode=hunter2",
        "postgres://u:p/hunter2@h/d",
        "user=u password=a hunter2=b",
        "user=u password='a hunter2",
        "user=u host=h port=hunter2",
        "hunter2",
        "http://u:hunter2@h/d",
    ] {
        if let Err(error) = wrong.parse::<Endpoint>() {
            assert!(!format!("{error} {error:?}").contains(SECRET), "{wrong}: {error:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics_or_shows(before in "[a-z:/@?&=%' \\\\]{0,20}", after in "[a-z:/@?&=%' \\\\]{0,20}", scheme in 0usize..3) {
        let scheme = ["", "postgres://", "user=u host=h password="][scheme];
        let text = format!("{scheme}{before}hunter2{after}");
        if let Err(error) = text.parse::<Endpoint>() {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains(SECRET), "{}: {}", text, shown);
        }
    }

    #[test]
    fn every_value_survives_quoting(password in "[ -~é]{0,20}") {
        let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
        let endpoint = parse(&format!("host=h user=u password='{quoted}'"));
        prop_assert_eq!(endpoint.config.get_password(), Some(password.as_bytes()));
    }
}

#[test]
fn what_passes_by_itself() {
    for state in [
        "08000", "08001", "08003", "08004", "08006", "08007", "08P01", "53000", "53100", "53200", "53300", "53400",
        "55006", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "40001", "40P01", "58000", "58030", "XX000",
    ] {
        assert!(SourceError::server(state, "no").is_retryable(), "{state}");
    }
    for state in [
        "28000", "28P01", "3D000", "42501", "42704", "42710", "42P01", "42601", "55000", "57P04", "0A000", "22023",
        "22P02", "25006", "23505", "",
    ] {
        assert!(!SourceError::server(state, "no").is_retryable(), "{state}");
    }
    for (kind, retryable) in [
        (SourceErrorKind::Unreachable, true),
        (SourceErrorKind::TimedOut, true),
        (SourceErrorKind::Stalled, true),
        (SourceErrorKind::Tls, false),
        (SourceErrorKind::Settings, false),
        (SourceErrorKind::Authentication, false),
        (SourceErrorKind::Protocol, false),
        (SourceErrorKind::TooLarge, false),
        (SourceErrorKind::Incompatible, false),
    ] {
        assert_eq!(SourceError::new(kind, "x").is_retryable(), retryable, "{kind:?}");
    }
}

#[test]
fn the_code_is_found_in_the_librarys_text() {
    let from = |text: &str| SourceError::from(pgwire_replication::PgWireError::Server(text.to_owned()));
    let error = from("terminating connection due to administrator command (SQLSTATE 57P01)");
    assert_eq!(error.sqlstate(), Some("57P01"));
    assert!(error.is_retryable());
    assert!(error.to_string().contains("administrator command"));
    for odd in ["", "(SQLSTATE ", "x (SQLSTATE 12", "é (SQLSTATE éééééé)", "no code"] {
        assert_eq!(from(odd).sqlstate(), None, "{odd}");
    }
}
