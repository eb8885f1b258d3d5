//! One connection to a server, for tests that write, look and break things.

use std::ops::Deref;

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A client together with the task that drives its connection. Dropping it ends both.
pub struct Session {
    client: Client,
    // Aborted on drop.
    _driver: JoinSet<()>,
}

impl Session {
    /// Connects with parameters in libpq's form.
    ///
    /// # Errors
    /// What the server or the network said.
    pub async fn connect(parameters: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(parameters, NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { client, _driver: driver })
    }

    /// Runs statements, separated by semicolons.
    ///
    /// # Panics
    /// Where one fails.
    pub async fn run(&self, statements: &str) {
        let done = self.client.batch_execute(statements).await;
        done.unwrap_or_else(|error| panic!("{error:?}: {statements}"));
    }

    /// The rows of a query, every cell as the server's own text.
    ///
    /// # Panics
    /// Where it fails.
    pub async fn rows(&self, query: &str) -> Vec<Vec<Option<String>>> {
        let messages = self.client.simple_query(query).await.unwrap_or_else(|error| panic!("{error:?}: {query}"));
        let cells =
            |row: tokio_postgres::SimpleQueryRow| (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect();
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(cells(row)),
            _ => None,
        };
        messages.into_iter().filter_map(row).collect()
    }

    /// The one cell of a query, as the server's own text.
    ///
    /// # Panics
    /// Where it fails, or its first cell is null or not there.
    pub async fn text(&self, query: &str) -> String {
        let cell = self.rows(query).await.first_mut().and_then(|row| row.first_mut()?.take());
        cell.unwrap_or_else(|| panic!("no value: {query}"))
    }

    /// A place in the log as a number.
    ///
    /// # Panics
    /// Where the query gives no LSN.
    pub async fn lsn(&self, query: &str) -> u64 {
        let text = self.text(query).await;
        lsn(&text).unwrap_or_else(|| panic!("no LSN: {text}"))
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Reads an LSN such as `0/16B3748`.
#[must_use]
pub fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}
