//! A whole chat application: rooms, messages, who is typing. Open the printed address in two windows.
//!
//! ```text
//! cargo run --example chat
//! ```

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};
use tidegate::{Builder, Client, Config, Failure, Flags, Gateway};

const CONFIG: &str = "[identity]\nanonymous = true\n";
/// How long somebody is typing who says no more about it.
const TYPING: Duration = Duration::from_secs(3);

/// The application.
pub(crate) fn chat(gateway: Builder) -> Builder {
    gateway
        .routes(Router::new().route("/", get(|| async { Html(include_str!("chat.html")) })))
        .on("chat::join", |client, data| async move {
            let room = text(&data, "room")?;
            client.join_room(room).await?;
            client.broadcast_to_room(room, "chat::joined", json!({ "who": client.name() })).await?;
            Ok(json!({ "you": client.name(), "rooms": client.rooms().await? }))
        })
        .on("chat::leave", |client, data| async move {
            let room = text(&data, "room")?;
            client.leave_room(room).await?;
            client.broadcast_to_room(room, "chat::left", json!({ "who": client.name() })).await?;
            Ok(Value::Null)
        })
        .on("chat::say", |client, data| async move {
            let (room, said) = (member_of(&client, &data).await?, text(&data, "text")?);
            client.clear(&typing_in(room), client.name()).await?;
            client.broadcast_to_room(room, "chat::said", json!({ "who": client.name(), "text": said })).await?;
            Ok(Value::Null)
        })
        // Ends by itself, and with the connection.
        .on("chat::typing", |client, data| async move {
            let room = member_of(&client, &data).await?;
            client.set(&typing_in(room), client.name(), "", TYPING).await?;
            Ok(Value::Null)
        })
        .on("chat::who_types", |client, data| async move {
            let typing = client.list(&typing_in(member_of(&client, &data).await?)).await?;
            Ok(typing.iter().map(|entry| &*entry.key).collect())
        })
}

fn text<'a>(data: &'a Value, field: &str) -> Result<&'a str, Failure> {
    data[field].as_str().ok_or_else(|| Failure::new("malformed", format!("{field} must be a text")))
}

/// The room that is meant, where the client is in it.
async fn member_of<'a>(client: &Client, data: &'a Value) -> Result<&'a str, Failure> {
    let room = text(data, "room")?;
    let is_member = client.rooms().await?.iter().any(|joined| joined == room);
    is_member.then_some(room).ok_or_else(|| Failure::new("not_a_member", "join the room first"))
}

fn typing_in(room: &str) -> String {
    format!("typing:{room}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data_dir = Some(std::env::temp_dir().join("tidegate-chat"));
    let config = Config::layered(Some((Path::new("chat.toml"), CONFIG)), [], &Flags { data_dir, ..Flags::default() })?;
    let mut gateway = chat(Gateway::builder(config)).start().await?;
    println!("chat on {}", gateway.url());
    Ok(gateway.ended().await?)
}
