use http::HeaderValue;
use tokio::runtime::Builder;

use super::*;
use crate::endpoint::{Endpoint, Reply, answer};

const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(10), bytes_max: 1000 };
const SHORT: Bounds = Bounds { timeout: Duration::from_millis(150), bytes_max: 1000 };

fn fetch() -> Fetch {
    Fetch::new(Handle::current()).unwrap()
}

#[tokio::test]
async fn what_is_there_is_got_over_one_connection() {
    let server = Endpoint::always(answer("200 OK", "hello")).await;
    let fetch = fetch();
    for _ in 0..3 {
        assert_eq!(fetch.get(&server.url(), BOUNDS).await.unwrap(), "hello");
    }
    let asked = server.asked();
    assert!(asked[0].head.starts_with("GET /path?query=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{}", asked[0].head);
    assert!(asked.len() == 3 && asked[0].body.is_empty());
}

#[tokio::test]
async fn what_is_posted_arrives_and_any_status_is_an_answer() {
    let server = Endpoint::always(answer("418 I'm a teapot", "short and stout")).await;
    let headers = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("tea"))]);
    let (status, body) = fetch().post(&server.url(), headers, Bytes::from("milk"), BOUNDS).await.unwrap();
    assert_eq!((status, &body[..]), (StatusCode::IM_A_TEAPOT, &b"short and stout"[..]));
    let asked = &server.asked()[0];
    assert!(asked.head.starts_with("POST /path?query=1 ") && asked.head.contains("\r\naccept: tea\r\n"));
    assert_eq!(asked.body, b"milk");
}

#[test]
fn it_may_be_awaited_on_a_runtime_that_can_do_nothing() {
    let process = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = process.block_on(Endpoint::always(answer("200 OK", "hello")));
    let fetch = Fetch::new(process.handle().clone()).unwrap();
    let other = Builder::new_current_thread().build().unwrap();
    assert_eq!(other.block_on(fetch.get(&server.url(), BOUNDS)).unwrap(), "hello");
    drop(process);
    assert!(matches!(other.block_on(fetch.get(&server.url(), BOUNDS)), Err(FetchError::Failed(_))));
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let elsewhere = Endpoint::always(answer("200 OK", "secrets")).await;
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent"] {
        let redirect = format!("HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
        let server = Endpoint::always(redirect.into_bytes()).await;
        let error = fetch().get(&server.url(), BOUNDS).await.unwrap_err();
        assert!(matches!(error, FetchError::Status(found) if status.starts_with(found.as_str())), "{error}");
    }
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_agreed() {
    let pieces: [fn() -> Reply; 4] = [
        || Reply::Silence,
        || Reply::Endless(b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec(), b"a".to_vec(), Some(Duration::from_millis(20))),
        || {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n".to_vec();
            Reply::Endless(head, b"a".to_vec(), Some(Duration::from_millis(20)))
        },
        || Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nbut less".to_vec()),
    ];
    for piece in pieces {
        let server = Endpoint::new(move |_, _| piece()).await;
        let error = fetch().get(&server.url(), SHORT).await.unwrap_err();
        assert!(matches!(error, FetchError::Late(_)), "{error}");
        assert_eq!(error.to_string(), "no complete answer within 150 ms");
    }
}

#[tokio::test]
async fn a_body_is_read_no_further_than_it_may_be_long() {
    let chunked = || b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let replies: Vec<Box<dyn Fn() -> Reply + Send + Sync>> = vec![
        Box::new(|| Reply::Bytes(answer("200 OK", [b'a'; 1001]))),
        // Of these nothing but the head ever comes.
        Box::new(|| Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551613\r\n\r\n".to_vec())),
        Box::new(|| Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n".to_vec())),
        // These have no end.
        Box::new(|| Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'a'; 5000], None)),
        Box::new(move || Reply::Endless(chunked(), b"1\r\na\r\n".to_vec(), None)),
        Box::new(move || Reply::Endless(chunked(), [b"1000\r\n", &[b'a'; 4096][..], b"\r\n"].concat(), None)),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let server = Endpoint::new(move |_, _| reply()).await;
        let error = fetch().get(&server.url(), BOUNDS).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLong(1000)), "{number}: {error}");
    }
    let server = Endpoint::always(answer("200 OK", [b'a'; 1000])).await;
    assert_eq!(fetch().get(&server.url(), BOUNDS).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn an_answer_that_is_none_fails() {
    let endless = |line: &'static [u8]| move || Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), line.to_vec(), None);
    let replies: Vec<Box<dyn Fn() -> Reply + Send + Sync>> = vec![
        Box::new(|| Reply::Cut(b"SSH-2.0-OpenSSH_9.7\r\n".to_vec())),
        Box::new(|| Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nless".to_vec())),
        Box::new(|| Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec())),
        Box::new(|| Reply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec())),
        Box::new(|| Reply::Cut(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_vec())),
        // Heads without an end.
        Box::new(endless(b"x: y\r\n")),
        Box::new(endless(b"x")),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let server = Endpoint::new(move |_, _| reply()).await;
        let error = fetch().get(&server.url(), BOUNDS).await.unwrap_err();
        assert!(matches!(error, FetchError::Failed(_)), "{number}: {error}");
    }
    let error = fetch().get(&Endpoint::nowhere().await, BOUNDS).await.unwrap_err();
    assert!(matches!(error, FetchError::Unanswered(_)) && error.to_string().contains("refused"), "{error}");
    let server = Endpoint::new(|_, _| Reply::Cut(Vec::new())).await;
    let error = fetch().get(&server.url(), BOUNDS).await.unwrap_err();
    assert!(matches!(error, FetchError::Unanswered(_)), "{error}");
}

#[tokio::test]
async fn https_is_never_spoken_in_the_clear() {
    let server = Endpoint::always(answer("200 OK", "hello")).await;
    let url = server.url().to_string().replace("http://", "https://").parse().unwrap();
    let error = fetch().get(&url, SHORT).await.unwrap_err();
    assert!(matches!(error, FetchError::Unanswered(_) | FetchError::Late(_)), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn who_stops_waiting_ends_the_request() {
    let server = Endpoint::new(|_, _| Reply::Silence).await;
    let (fetch, url) = (fetch(), server.url());
    let mut request = Box::pin(fetch.get(&url, BOUNDS));
    let asked = async {
        while server.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut request => panic!("nothing was answered"),
        () = asked => (),
    }
    drop(request);
    tokio::time::timeout(BOUNDS.timeout / 2, server.left()).await.unwrap();
}
