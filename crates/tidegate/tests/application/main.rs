//! The application behind the gateway, through real sockets: compiled-in handlers, rooms, the endpoint, the chat example.

mod asked;
mod chat;
mod endpoint;
mod fixture;
mod handlers;
mod reserved;
mod rooms;
