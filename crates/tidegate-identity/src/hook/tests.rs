use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use aws_lc_rs::digest;
use http::{HeaderName, HeaderValue, StatusCode, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::endpoint::{Asked, Endpoint, Reply, answer, clock};
use crate::{PrincipalKind, Secret};

const START: u64 = 1_700_000_000_000;
const SECRET: &str = "hunter2-hunter2-hunter2";

fn settings(url: http::Uri) -> HookSettings {
    HookSettings {
        url,
        secret: Secret::new(SECRET),
        headers: vec![header::COOKIE, HeaderName::from_static("x-device")],
        timeout: Duration::from_secs(10),
        asked_max: 256,
        cache_max: 100,
    }
}

fn hook_with(settings: HookSettings, clock: Clock) -> Hook {
    let runtime = Handle::current();
    Hook::new(settings, Fetch::new(runtime.clone()).unwrap(), runtime, clock)
}

fn hook(server: &Endpoint) -> Hook {
    hook_with(settings(server.url()), clock(START).0)
}

fn cookie(value: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(value).unwrap())])
}

fn nobody_named() -> Arc<[Box<str>]> {
    Arc::default()
}

/// RFC 2104, from the hash alone.
fn hmac_sha256(secret: &[u8], text: &[u8]) -> String {
    let hash = |pad: u8, text: &[u8]| {
        let mut block = [pad; 64];
        block.iter_mut().zip(secret).for_each(|(byte, secret)| *byte ^= secret);
        digest::digest(&digest::SHA256, &[&block[..], text].concat())
    };
    let tag = hash(0x5c, hash(0x36, text).as_ref());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line<'a>(asked: &'a Asked, name: &str) -> &'a str {
    asked.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

async fn said(status: &str, body: impl AsRef<[u8]>, named: &[&str]) -> Verdict {
    let server = Endpoint::always(answer(status, body)).await;
    hook(&server).ask(&cookie("sid=1"), &named.iter().map(|name| (*name).into()).collect()).wait().await
}

fn counts(hook: &Hook) -> [u64; 7] {
    let HookMetrics { asked, accepted, refused, failed, cached, joined, turned_away } = &**hook.metrics();
    [asked, accepted, refused, failed, cached, joined, turned_away].map(|count| count.load(SeqCst))
}

#[tokio::test]
async fn the_question_is_the_forwarded_headers_and_is_signed() {
    let server = Endpoint::always(answer("200 OK", r#"{"user":"u-1"}"#)).await;
    let hook = hook(&server);
    hook.ask(&cookie("sid=1"), &nobody_named()).wait().await.unwrap();
    let mut many = cookie("sid=2; a=\"b\"");
    many.append(header::COOKIE, HeaderValue::from_static("theme=dark"));
    many.append("x-device", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    many.append("x-device", HeaderValue::from_static("two"));
    many.append("authorization", HeaderValue::from_static("Bearer secret"));
    hook.ask(&many, &nobody_named()).wait().await.unwrap();

    let asked = server.asked();
    let bodies: Vec<_> = asked.iter().map(|asked| String::from_utf8(asked.body.clone()).unwrap()).collect();
    assert_eq!(bodies[0], r#"{"headers":{"cookie":"sid=1"}}"#);
    assert_eq!(bodies[1], r#"{"headers":{"cookie":"sid=2; a=\"b\"; theme=dark","x-device":"caf�, two"}}"#);
    for (asked, body) in asked.iter().zip(&bodies) {
        assert!(asked.head.starts_with("POST /path?query=1 HTTP/1.1\r\n"));
        assert_eq!(line(asked, "content-type"), "application/json");
        let tag = hmac_sha256(SECRET.as_bytes(), format!("1700000000.{body}").as_bytes());
        assert_eq!(line(asked, "tidegate-signature"), format!("t=1700000000,v1={tag}"));
        assert!(!asked.head.contains("secret") && !asked.head.contains("sid="));
    }
    // The first again, from Python's `hmac`.
    let tag = "39fcc61b8da229b5f37348c65354abdc694794356cc328438eb8a082036b1f40";
    assert!(line(&asked[0], "tidegate-signature").ends_with(tag));
}

#[tokio::test]
async fn who_shows_nothing_is_not_asked_about() {
    let server = Endpoint::always(answer("200 OK", r#"{"user":"u-1"}"#)).await;
    let hook = hook(&server);
    let other = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static("curl"))]);
    for headers in [HeaderMap::new(), other, cookie(""), cookie(" ")] {
        let Answer::Now(Err(refusal)) = hook.ask(&headers, &nobody_named()) else { panic!("it has to wait") };
        assert_eq!((refusal.code, refusal.status), ("unauthenticated", 401));
    }
    assert!(server.asked().is_empty());
    assert_eq!(counts(&hook), [0; 7]);
}

#[tokio::test]
async fn an_answer_becomes_a_principal() {
    let plain = said("200 OK", r#"{"user":"u-1"}"#, &["sub"]).await.unwrap();
    let expected = Principal { user: "u-1".into(), issued_at_ms: Some(START), ..Principal::new(PrincipalKind::User) };
    assert_eq!(*plain, expected);
    assert_eq!(
        *said("200 OK", r#"{"user":"u-1","tenant":null,"claims":null,"cache_ms":null}"#, &[]).await.unwrap(),
        expected
    );

    let body = json!({
        "user": "u-1", "tenant": "acme", "session": "s-1", "roles": ["staff", "*", "", "anonymous", "admin"],
        "claims": {"plan": "pro", "org.id": 7, "org": {"id": 8, "name": "x"}, "none": null, "other": "dropped"},
        "expires_in_ms": 60_000, "cache_ms": 1000,
    });
    let named = ["plan", "org.id", "org.name", "org.none", "none", "plan.x"];
    let found = said("200 OK", body.to_string(), &named).await.unwrap();
    assert_eq!((&*found.user, found.tenant.as_ref().map(tidegate_model::Tenant::name)), ("u-1", Some("acme")));
    assert_eq!((found.session.as_deref(), found.kind), (Some("s-1"), PrincipalKind::User));
    assert_eq!(found.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["staff", "admin"]);
    assert_eq!(Value::Object((*found.claims).clone()), json!({"plan": "pro", "org.id": 7, "org.name": "x"}));
    assert_eq!((found.issued_at_ms, found.expires_at_ms), (Some(START), Some(START + 60_000)));
}

#[tokio::test]
async fn a_no_is_a_no() {
    for (status, code) in [("401 Unauthorized", "unauthenticated"), ("403 Forbidden", "forbidden")] {
        for body in
            ["", "<html>hunter2</html>", r#"{"cache_ms":1000}"#, r#"{"cache_ms":"hunter2"}"#, r#"{"user":"u-1"}"#]
        {
            let refusal = said(status, body, &[]).await.unwrap_err();
            assert_eq!((refusal.code, refusal.retryable), (code, false));
            assert!(status.starts_with(&refusal.status.to_string()) && !refusal.message.contains("hunter2"));
        }
    }
}

#[tokio::test]
async fn any_other_status_is_no_answer() {
    for status in
        ["201 Created", "204 No Content", "302 Found", "400 Bad Request", "404 Not Found", "429 Slow", "500 No"]
    {
        let body = if status.starts_with("204") { "" } else { r#"{"user":"u-1","cache_ms":1000}"# };
        assert_eq!(said(status, body, &[]).await.unwrap_err(), unavailable(), "{status}");
    }
    assert_eq!((unavailable().status, unavailable().retryable), (503, true));
}

fn read(body: &Value) -> Result<Said, String> {
    said::read(StatusCode::OK, body.to_string().as_bytes(), &["a".into()], START)
}

#[test]
fn what_is_not_as_agreed_is_no_answer() {
    let good = json!({"user": "u", "tenant": "t", "session": "s", "roles": ["r"], "claims": {"a": 1}, "expires_in_ms": 1, "cache_ms": 1});
    assert!(read(&good).is_ok());
    // A text of so many bytes in the claims, whose JSON has 8 more.
    let claims = |bytes: usize| json!({"a": "x".repeat(bytes - 8)});
    let cases = [
        ("user", json!("u".repeat(256)), true),
        ("tenant", json!("t".repeat(256)), true),
        ("session", json!("s".repeat(256)), true),
        ("roles", json!(vec!["r".repeat(64); 64]), true),
        ("claims", claims(8 << 10), true),
        ("expires_in_ms", json!(u64::MAX), true),
        ("cache_ms", json!(u64::MAX), true),
        ("user", json!("u".repeat(257)), false),
        ("user", json!(""), false),
        ("user", json!(" \t"), false),
        ("user", json!(7), false),
        ("user", json!(null), false),
        ("tenant", json!("t".repeat(257)), false),
        ("tenant", json!(""), false),
        ("tenant", json!(7), false),
        ("session", json!("s".repeat(257)), false),
        ("session", json!(""), false),
        ("session", json!(["hunter2"]), false),
        ("roles", json!(vec!["r"; 65]), false),
        ("roles", json!(["r".repeat(65)]), false),
        ("roles", json!("hunter2"), false),
        ("roles", json!([7]), false),
        ("roles", json!(null), false),
        ("claims", claims((8 << 10) + 1), false),
        ("claims", json!(["hunter2"]), false),
        ("claims", json!("hunter2"), false),
        ("expires_in_ms", json!(-1), false),
        ("expires_in_ms", json!(1.5), false),
        ("expires_in_ms", json!("hunter2"), false),
        ("cache_ms", json!("hunter2"), false),
        ("sesion", json!("hunter2"), false),
    ];
    for (field, value, is_good) in cases {
        let mut body = good.clone();
        body[field] = value.clone();
        let read = read(&body);
        assert_eq!(read.is_ok(), is_good, "{field}: {value}");
        assert!(read.err().is_none_or(|reason| !reason.contains("hunter2") && reason.len() < 120));
    }
    let deep = format!(r#"{{"user":"u","claims":{{"a":{}{}}}}}"#, "[".repeat(500), "]".repeat(500));
    for body in ["", "{}", "[]", "null", r#"{"user":"u"} x"#, r#"{"user":"u","user":"v"}"#, &deep] {
        assert!(said::read(StatusCode::OK, body.as_bytes(), &[], START).is_err(), "{body}");
    }
    assert!(said::read(StatusCode::OK, b"{\"user\":\"\xff\"}", &[], START).is_err());
}

proptest! {
    #[test]
    fn whatever_is_answered_makes_nothing_panic_and_keeps_the_bounds(
        status in prop::sample::select(vec![200u16, 401, 403, 500]),
        text in any::<String>(),
        field in prop::sample::select(vec!["user", "tenant", "session", "roles", "claims", "expires_in_ms", "cache_ms", "x"]),
        string in prop_oneof![any::<String>(), "[a-z*]{0,300}"],
        number in any::<u64>(),
        kind in 0..6,
    ) {
        let value = match kind {
            0 => json!(string),
            1 => json!(number),
            2 => json!([string, "*"]),
            3 => json!({ "a": string }),
            4 => json!(vec![string; 70]),
            _ => Value::Null,
        };
        let mut body = json!({"user": "u"});
        body[field] = value;
        for body in [text, body.to_string()] {
            let status = StatusCode::from_u16(status).unwrap();
            let Ok(said) = said::read(status, body.as_bytes(), &["a".into()], START) else { continue };
            prop_assert!(said.until_ms >= START && said.verdict.is_ok() == (status == 200));
            let Ok(principal) = said.verdict else { continue };
            let names = [Some(&*principal.user), principal.session.as_deref(), principal.tenant.as_ref().map(|t| t.name())];
            prop_assert!(names.iter().flatten().all(|name| (1..=256).contains(&name.len())));
            prop_assert!(principal.roles.len() <= 64 && !principal.roles.iter().any(|role| &**role == "*"));
            prop_assert!(said.until_ms <= principal.expires_at_ms.unwrap_or(u64::MAX));
        }
    }
}

#[tokio::test]
async fn a_thousand_that_show_the_same_cause_one_question() {
    let server = Endpoint::new(|_, _| Reply::Gated(answer("200 OK", r#"{"user":"u-1"}"#))).await;
    let hook = hook(&server);
    let mut waiting: Vec<_> = (0..1000).map(|_| hook.ask(&cookie("sid=1"), &nobody_named())).collect();
    // Whoever asked first may leave.
    drop(waiting.remove(0));
    server.open();
    for waiting in waiting {
        assert_eq!(&*waiting.wait().await.unwrap().user, "u-1");
    }
    assert_eq!(server.asked().len(), 1);
    assert_eq!(counts(&hook), [1, 1, 0, 0, 0, 999, 0]);
    // It was not to be kept.
    hook.ask(&cookie("sid=1"), &nobody_named()).wait().await.unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_wait_and_not_kept() {
    let fail = || Reply::Gated(answer("500 Oh No", r#"{"cache_ms":100000}"#));
    let server = Endpoint::new(
        move |number, _| {
            if number == 0 { fail() } else { Reply::Bytes(answer("200 OK", r#"{"user":"u-1"}"#)) }
        },
    )
    .await;
    let hook = hook(&server);
    let waiting: Vec<_> = (0..10).map(|_| hook.ask(&cookie("sid=1"), &nobody_named())).collect();
    server.open();
    for waiting in waiting {
        assert_eq!(waiting.wait().await.unwrap_err(), unavailable());
    }
    hook.ask(&cookie("sid=1"), &nobody_named()).wait().await.unwrap();
    assert_eq!(counts(&hook), [2, 1, 0, 1, 0, 9, 0]);
}

#[tokio::test]
async fn an_answer_holds_for_as_long_as_it_says() {
    let bodies = [
        ("200 OK", json!({"user": "u-1", "cache_ms": 1000})),
        ("200 OK", json!({"user": "u-1", "cache_ms": 9000, "expires_in_ms": 1000})),
        ("401 Unauthorized", json!({"cache_ms": 1000})),
        ("403 Forbidden", json!({"cache_ms": 1000})),
    ];
    for (status, body) in bodies {
        let server = Endpoint::always(answer(status, body.to_string())).await;
        let (time, now) = clock(START);
        let hook = hook_with(settings(server.url()), time);
        let first = hook.ask(&cookie("sid=1"), &nobody_named()).wait().await;
        for later in [0, 500, 999] {
            now.store(START + later, SeqCst);
            let Answer::Now(again) = hook.ask(&cookie("sid=1"), &nobody_named()) else { panic!("it asks again") };
            assert_eq!(again, first);
        }
        assert_eq!(server.asked().len(), 1);
        now.store(START + 1000, SeqCst);
        assert!(matches!(hook.ask(&cookie("sid=1"), &nobody_named()), Answer::Later(_)));
    }
}

#[tokio::test]
async fn answers_are_of_those_who_show_the_same_and_permissions_that_name_the_same() {
    let server = Endpoint::new(|_, asked| {
        let body = String::from_utf8(asked.body.clone()).unwrap();
        Reply::Bytes(answer("200 OK", json!({"user": body, "claims": {"plan": "pro"}, "cache_ms": 1000}).to_string()))
    });
    let server = server.await;
    let hook = hook(&server);
    let mut both = cookie("a");
    both.insert("x-device", HeaderValue::from_static("b"));
    let mut split = HeaderMap::new();
    split.insert("x-device", HeaderValue::from_static("a"));
    let shown = [cookie("a"), cookie("b"), cookie(r#"a","x-device":"b"#), both, split, cookie("A")];
    let named: [Arc<[Box<str>]>; 3] = [Arc::default(), Arc::new(["plan".into()]), Arc::new(["pl".into(), "an".into()])];
    for _ in 0..2 {
        for headers in &shown {
            for named in &named {
                let found = hook.ask(headers, named).wait().await.unwrap();
                assert_eq!(found.claims.len(), usize::from(named.len() == 1));
                let sent: Value = serde_json::from_str(&found.user).unwrap();
                for name in [header::COOKIE.as_str(), "x-device"] {
                    let shown = headers.get(name).map(|value| value.to_str().unwrap());
                    assert_eq!(sent["headers"].get(name).and_then(Value::as_str), shown);
                }
            }
        }
    }
    assert_eq!(server.asked().len(), shown.len() * named.len());
}

#[tokio::test]
async fn questions_under_way_have_a_cap() {
    let server = Endpoint::new(|_, _| Reply::Gated(answer("200 OK", r#"{"user":"u-1"}"#))).await;
    let hook = hook_with(HookSettings { asked_max: 3, ..settings(server.url()) }, clock(START).0);
    let ask = |n: usize| hook.ask(&cookie(&format!("sid={n}")), &nobody_named());
    let waiting: Vec<_> = (0..3).map(ask).collect();
    let Answer::Now(Err(refusal)) = ask(3) else { panic!("a fourth is asked about") };
    assert_eq!((refusal.status, refusal.retryable), (503, true));
    // Who asks the same as another is no more.
    assert!(matches!(ask(0), Answer::Later(_)));
    server.open();
    for waiting in waiting {
        waiting.wait().await.unwrap();
    }
    ask(3).wait().await.unwrap();
    assert_eq!(counts(&hook), [4, 4, 0, 0, 0, 1, 1]);
}

#[tokio::test]
async fn an_application_that_is_down_slow_or_endless_gives_no_answer() {
    let silent = Endpoint::new(|_, _| Reply::Silence).await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n";
    let drip =
        Endpoint::new(|_, _| Reply::Endless(head.to_vec(), b" ".to_vec(), Some(Duration::from_millis(20)))).await;
    for url in [Endpoint::nowhere().await, silent.url(), drip.url()] {
        let hook = hook_with(HookSettings { timeout: Duration::from_millis(150), ..settings(url) }, clock(START).0);
        assert_eq!(hook.ask(&cookie("sid=1"), &nobody_named()).wait().await.unwrap_err(), unavailable());
        assert!(hook.0.book().asking.is_empty());
    }
    let endless =
        Endpoint::new(|_, _| Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 4096], None)).await;
    let too_long = Endpoint::always(answer("200 OK", format!("{}{}", r#"{"user":"u-1"}"#, " ".repeat(64 << 10)))).await;
    for server in [endless, too_long] {
        assert_eq!(hook(&server).ask(&cookie("sid=1"), &nobody_named()).wait().await.unwrap_err(), unavailable());
    }
}

#[tokio::test]
async fn nothing_is_held_by_a_question_and_one_that_is_cut_off_stands_in_nobodys_way() {
    let server = Endpoint::new(|_, _| Reply::Silence).await;
    let hook = hook(&server);
    let cut = hook.ask(&cookie("sid=1"), &nobody_named());
    hook.0.book().asking.values().for_each(|asking| asking.task.abort());
    assert_eq!(cut.wait().await.unwrap_err(), unavailable());
    let again = hook.ask(&cookie("sid=1"), &nobody_named());
    assert_eq!(counts(&hook), [2, 0, 0, 0, 0, 0, 0]);
    let gone = Arc::downgrade(&hook.0);
    drop(hook);
    assert!(gone.upgrade().is_none());
    assert_eq!(again.wait().await.unwrap_err(), unavailable());
}

/// Takes down all that is logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let lines = &mut *self.0.lock().unwrap();
        event.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
            lines.push_str(&format!("{field}={value:?} "));
        });
        lines.push('\n');
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn neither_headers_nor_the_secret_nor_the_answer_are_shown() {
    let server = Endpoint::new(|number, _| {
        let bodies = [r#"{"user":["hunter2"]}"#, "hunter2", r#"{"user":"u-1"}"#];
        Reply::Bytes(answer(if number == 1 { "500 hunter2" } else { "200 OK" }, bodies[number % 3]))
    });
    let server = server.await;
    let lines = Lines::default();
    let _logged = tracing::subscriber::set_default(lines.clone());
    let hook = hook(&server);
    let mut shown = format!("{hook:?}");
    for _ in 0..3 {
        let answer = hook.ask(&cookie("hunter2"), &nobody_named());
        shown.push_str(&format!("{answer:?}"));
        if let Err(refusal) = answer.wait().await {
            shown.push_str(&format!("{refusal}{refusal:?}"));
        }
    }
    let gone = hook_with(settings(Endpoint::nowhere().await), clock(START).0);
    gone.ask(&cookie("hunter2"), &nobody_named()).wait().await.unwrap_err();
    let lines = lines.0.lock().unwrap();
    // A failure is said once for as long as it lasts.
    let ours: Vec<_> = lines.lines().filter(|line| line.contains("the connect hook")).collect();
    assert_eq!(ours.len(), 3, "{lines}");
    assert!(ours[0].contains("not as agreed") && ours[1].contains("answers again") && ours[2].contains("refused"));
    assert!(!lines.contains("hunter2") && !shown.contains("hunter2"), "{lines}{shown}");
}
