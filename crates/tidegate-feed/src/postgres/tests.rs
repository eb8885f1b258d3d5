//! Settings and errors; the rest of it against a real server.

mod copying;
mod pooler;
mod setting_up;
mod streaming;
mod texts;
mod tls;

use std::future::Future;
use std::time::Duration;

use tidegate_testkit::postgres::Session;
use tokio_postgres::Client;

use super::mapping::Mapping;
use super::resolve::{Wish, resolve};
use super::settings::Settings;
use super::{inspect, quote};

/// How all columns of `public.<table>` are copied.
pub(super) async fn mapping(client: &Client, table: &str) -> Mapping {
    let wanted = [("public".to_owned(), table.to_owned())];
    let tables = inspect::tables(client, Some(&wanted)).await.unwrap();
    let wish = Wish { name: table.to_owned(), schema: "public".to_owned(), table: table.to_owned(), ..Wish::default() };
    resolve(&wish, &tables[0]).unwrap().1
}

/// The defaults for `url`, but quick to lose patience.
pub(super) fn settings(url: &str) -> Settings {
    let mut settings = Settings::url(url).unwrap();
    settings.status_interval = Duration::from_millis(200);
    settings
}

/// Asks until it is so.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, ask: impl Fn() -> F) {
    for _ in 0..400 {
        if ask().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within 10 s: {what}");
}

/// The outcome of `doing`, which must not take longer than 20 s.
pub(super) async fn soon<T>(doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), doing).await.expect("done within 20 s")
}

/// Writes a file in the server's data directory, as the server's account.
pub(super) async fn write_file(session: &Session, name: &str, text: &str) {
    let text = quote::literal(text.trim_end());
    session
        .run(&format!(
            "COPY (SELECT regexp_split_to_table({text}, E'\\n')) TO PROGRAM 'umask 077; rm -f {name}; cat > {name}'"
        ))
        .await;
}
