//! The application behind the gateway, through real sockets: compiled-in handlers, rooms, the endpoint, the chat example.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

mod asked;
mod chat;
mod endpoint;
mod fixture;
mod handlers;
mod reserved;
mod rooms;
