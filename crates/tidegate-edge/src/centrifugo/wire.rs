//! The messages of the protocol: what clients ask, what they are answered, what they are told. One set of types for
//! both encodings; names and numbers are the public schema's.
//!
//! In JSON a `Bytes` field is a JSON value as it was written, an absent field and `null` are the zero value, and zero
//! values are left out, except where clients read a field without asking whether it is there. Where the raw value of
//! a message that is to be sent is not JSON, encoding fails.
//!
//! A decoded message is at most some 75 times its bytes (a filter of empty nodes), so what bounds a message bounds this.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::raw;

/// Defines messages of which every field may be left out.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty = $tag:literal ($($kind:tt)+) $(as $json:tt)?,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
            #[serde(default)]
            pub(crate) struct $name {
                $(
                    #[prost($($kind)+, tag = $tag)]
                    #[serde(with = "raw::field", skip_serializing_if = "raw::is_zero" $(, rename = $json)?)]
                    pub(crate) $field: $type,
                )*
            }
        )*
    };
}

messages! {
    /// What a client sends. Without anything set it is a pong.
    Command {
        id: u32 = "1" (uint32),
        connect: Option<ConnectRequest> = "4" (message, optional),
        subscribe: Option<SubscribeRequest> = "5" (message, optional),
        unsubscribe: Option<UnsubscribeRequest> = "6" (message, optional),
        publish: Option<PublishRequest> = "7" (message, optional),
        presence: Option<PresenceRequest> = "8" (message, optional),
        presence_stats: Option<PresenceStatsRequest> = "9" (message, optional),
        history: Option<HistoryRequest> = "10" (message, optional),
        ping: Option<PingRequest> = "11" (message, optional),
        send: Option<SendRequest> = "12" (message, optional),
        rpc: Option<RpcRequest> = "13" (message, optional),
        refresh: Option<RefreshRequest> = "14" (message, optional),
        sub_refresh: Option<SubRefreshRequest> = "15" (message, optional),
    }

    /// The first command. `flag` and `profile` are not used by this server.
    ConnectRequest {
        token: String = "1" (string),
        data: Bytes = "2" (bytes = "bytes"),
        subs: BTreeMap<String, SubscribeRequest> = "3" (btree_map = "string, message"),
        name: String = "4" (string),
        version: String = "5" (string),
        headers: BTreeMap<String, String> = "6" (btree_map = "string, string"),
        flag: i64 = "7" (int64),
        dict: String = "8" (string),
        profile: String = "9" (string),
    }

    /// Asks for a channel. `flag`: see `FLAG_NUMERIC` and [`FLAG_REJECT_UNRECOVERED`].
    SubscribeRequest {
        channel: String = "1" (string),
        token: String = "2" (string),
        recover: bool = "3" (bool),
        epoch: String = "6" (string),
        offset: u64 = "7" (uint64),
        data: Bytes = "8" (bytes = "bytes"),
        positioned: bool = "9" (bool),
        recoverable: bool = "10" (bool),
        join_leave: bool = "11" (bool),
        delta: String = "12" (string),
        tf: Option<FilterNode> = "13" (message, optional),
        flag: i64 = "14" (int64),
        r#type: i32 = "15" (int32) as "type",
        phase: i32 = "16" (int32),
        cursor: String = "17" (string),
        limit: i32 = "18" (int32),
        asc: bool = "19" (bool),
    }

    /// A node of a tags filter: see [`filter`](super::filter).
    FilterNode {
        op: String = "1" (string),
        key: String = "2" (string),
        cmp: String = "3" (string),
        val: String = "4" (string),
        vals: Vec<String> = "5" (string, repeated),
        nodes: Vec<FilterNode> = "6" (message, repeated),
    }

    UnsubscribeRequest { channel: String = "1" (string), }

    /// `type` 1 publishes or removes the value of a key.
    PublishRequest {
        channel: String = "1" (string),
        data: Bytes = "2" (bytes = "bytes"),
        r#type: i32 = "3" (int32) as "type",
        key: String = "4" (string),
        removed: bool = "5" (bool),
    }

    PresenceRequest { channel: String = "1" (string), }

    PresenceStatsRequest { channel: String = "1" (string), }

    /// `limit` 0: the position alone; below 0: as many as the server gives.
    HistoryRequest {
        channel: String = "1" (string),
        limit: i32 = "7" (int32),
        since: Option<StreamPosition> = "8" (message, optional),
        reverse: bool = "9" (bool),
    }

    StreamPosition {
        offset: u64 = "1" (uint64),
        epoch: String = "2" (string),
    }

    PingRequest {}

    SendRequest { data: Bytes = "1" (bytes = "bytes"), }

    RpcRequest {
        data: Bytes = "1" (bytes = "bytes"),
        method: String = "2" (string),
    }

    RefreshRequest { token: String = "1" (string), }

    /// `type` other than 0 is about keys that a client tracks, which this server has not.
    SubRefreshRequest {
        channel: String = "1" (string),
        token: String = "2" (string),
        r#type: i32 = "3" (int32) as "type",
    }

    /// What a client that has no socket posts beside its stream. In JSON `data` is text: a JSON string.
    EmulationRequest {
        node: String = "1" (string),
        session: String = "2" (string),
        data: Bytes = "3" (bytes = "bytes"),
    }

    /// What a server sends. Without anything set it is a ping; without `id` it is a push.
    Reply {
        id: u32 = "1" (uint32),
        error: Option<Error> = "2" (message, optional),
        push: Option<Push> = "4" (message, optional),
        connect: Option<ConnectResult> = "5" (message, optional),
        subscribe: Option<SubscribeResult> = "6" (message, optional),
        unsubscribe: Option<UnsubscribeResult> = "7" (message, optional),
        publish: Option<PublishResult> = "8" (message, optional),
        presence: Option<PresenceResult> = "9" (message, optional),
        presence_stats: Option<PresenceStatsResult> = "10" (message, optional),
        history: Option<HistoryResult> = "11" (message, optional),
        ping: Option<PingResult> = "12" (message, optional),
        rpc: Option<RpcResult> = "13" (message, optional),
        refresh: Option<RefreshResult> = "14" (message, optional),
        sub_refresh: Option<SubRefreshResult> = "15" (message, optional),
    }

    /// See [`codes::ErrorCode`](super::codes::ErrorCode).
    Error {
        code: u32 = "1" (uint32),
        message: String = "2" (string),
        temporary: bool = "3" (bool),
    }

    /// `ttl` and `ping` in seconds, `time` in milliseconds since 1970.
    ConnectResult {
        client: String = "1" (string),
        version: String = "2" (string),
        expires: bool = "3" (bool),
        ttl: u32 = "4" (uint32),
        data: Bytes = "5" (bytes = "bytes"),
        subs: BTreeMap<String, SubscribeResult> = "6" (btree_map = "string, message"),
        ping: u32 = "7" (uint32),
        pong: bool = "8" (bool),
        session: String = "9" (string),
        node: String = "10" (string),
        time: i64 = "11" (int64),
        flag: i64 = "12" (int64),
    }

    /// `ttl` in seconds, `publish_debounce` in milliseconds.
    SubscribeResult {
        expires: bool = "1" (bool),
        ttl: u32 = "2" (uint32),
        recoverable: bool = "3" (bool),
        epoch: String = "6" (string),
        publications: Vec<Publication> = "7" (message, repeated),
        recovered: bool = "8" (bool),
        offset: u64 = "9" (uint64),
        positioned: bool = "10" (bool),
        data: Bytes = "11" (bytes = "bytes"),
        was_recovering: bool = "12" (bool),
        delta: bool = "13" (bool),
        id: i64 = "14" (int64),
        r#type: i32 = "15" (int32) as "type",
        phase: i32 = "16" (int32),
        cursor: String = "17" (string),
        state: Vec<Publication> = "18" (message, repeated),
        publish_debounce: u32 = "19" (uint32),
    }

    UnsubscribeResult {}

    PublishResult {}

    PingResult {}

    RpcResult { data: Bytes = "1" (bytes = "bytes"), }

    /// `ttl` in seconds.
    RefreshResult {
        client: String = "1" (string),
        version: String = "2" (string),
        expires: bool = "3" (bool),
        ttl: u32 = "4" (uint32),
    }

    /// `ttl` in seconds.
    SubRefreshResult {
        expires: bool = "1" (bool),
        ttl: u32 = "2" (uint32),
    }

    /// What a client is told unasked: of the channel by name or by number.
    Push {
        id: i64 = "1" (int64),
        channel: String = "2" (string),
        publication: Option<Publication> = "4" (message, optional) as "pub",
        join: Option<Join> = "5" (message, optional),
        leave: Option<Leave> = "6" (message, optional),
        unsubscribe: Option<Unsubscribe> = "7" (message, optional),
        message: Option<SendRequest> = "8" (message, optional),
        subscribe: Option<Subscribe> = "9" (message, optional),
        connect: Option<ConnectResult> = "10" (message, optional),
        disconnect: Option<Disconnect> = "11" (message, optional),
        refresh: Option<Refresh> = "12" (message, optional),
    }

    /// `time` in milliseconds since 1970.
    Publication {
        data: Bytes = "4" (bytes = "bytes"),
        info: Option<ClientInfo> = "5" (message, optional),
        offset: u64 = "6" (uint64),
        tags: BTreeMap<String, String> = "7" (btree_map = "string, string"),
        delta: bool = "8" (bool),
        time: i64 = "9" (int64),
        channel: String = "10" (string),
        key: String = "11" (string),
        removed: bool = "12" (bool),
        score: i64 = "13" (sint64),
        epoch: String = "14" (string),
        version: u64 = "16" (uint64),
    }

    Join { info: Option<ClientInfo> = "1" (message, optional), }

    Leave { info: Option<ClientInfo> = "1" (message, optional), }

    /// See [`codes::Unsubscribed`](super::codes::Unsubscribed).
    Unsubscribe {
        code: u32 = "2" (uint32),
        reason: String = "3" (string),
    }

    /// A subscription that the server made.
    Subscribe {
        recoverable: bool = "1" (bool),
        epoch: String = "4" (string),
        offset: u64 = "5" (uint64),
        positioned: bool = "6" (bool),
        data: Bytes = "7" (bytes = "bytes"),
    }

    /// See [`codes::Disconnected`](super::codes::Disconnected).
    Disconnect {
        code: u32 = "1" (uint32),
        reason: String = "2" (string),
        reconnect: bool = "3" (bool),
    }

    /// `ttl` in seconds.
    Refresh {
        expires: bool = "1" (bool),
        ttl: u32 = "2" (uint32),
    }
}

/// Who published, joined, left or is present. Its names are always written.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ClientInfo {
    #[prost(string, tag = "1")]
    pub(crate) user: String,
    #[prost(string, tag = "2")]
    pub(crate) client: String,
    #[prost(bytes = "bytes", tag = "3")]
    #[serde(with = "raw::field", skip_serializing_if = "raw::is_zero")]
    pub(crate) conn_info: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    #[serde(with = "raw::field", skip_serializing_if = "raw::is_zero")]
    pub(crate) chan_info: Bytes,
}

/// Who is present, by the connection's name. Always written.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PresenceResult {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(crate) presence: BTreeMap<String, ClientInfo>,
}

/// How many are present. Always written.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PresenceStatsResult {
    #[prost(uint32, tag = "1")]
    pub(crate) num_clients: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) num_users: u32,
}

/// What was published. Always written.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HistoryResult {
    #[prost(message, repeated, tag = "1")]
    pub(crate) publications: Vec<Publication>,
    #[prost(string, tag = "2")]
    pub(crate) epoch: String,
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
}

/// Of [`SubscribeRequest::flag`]: pushes may name the channel by number. Clients always offer it, and are never given one: pushes
/// that name the channel are the same bytes for all subscribers.
#[cfg(test)]
pub(crate) const FLAG_NUMERIC: i64 = 1;
/// Of [`SubscribeRequest::flag`]: what cannot be recovered is refused.
pub(crate) const FLAG_REJECT_UNRECOVERED: i64 = 2;

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    Connect(ConnectRequest),
    Subscribe(SubscribeRequest),
    Unsubscribe(UnsubscribeRequest),
    Publish(PublishRequest),
    Presence(PresenceRequest),
    PresenceStats(PresenceStatsRequest),
    History(HistoryRequest),
    Ping,
    Send(SendRequest),
    Rpc(RpcRequest),
    Refresh(RefreshRequest),
    SubRefresh(SubRefreshRequest),
}

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Received {
    /// The answer to a ping.
    Pong,
    /// A request. Its id is above 0, except that of [`Request::Send`], which is answered nothing.
    Request(u32, Box<Request>),
}

impl Command {
    /// What it is: the first request in the schema's order, whatever else is set.
    pub(crate) fn received(self) -> Result<Received, Malformed> {
        let request = None
            .or(self.connect.map(Request::Connect))
            .or(self.subscribe.map(Request::Subscribe))
            .or(self.unsubscribe.map(Request::Unsubscribe))
            .or(self.publish.map(Request::Publish))
            .or(self.presence.map(Request::Presence))
            .or(self.presence_stats.map(Request::PresenceStats))
            .or(self.history.map(Request::History))
            .or(self.ping.map(|PingRequest {}| Request::Ping))
            .or(self.send.map(Request::Send))
            .or(self.rpc.map(Request::Rpc))
            .or(self.refresh.map(Request::Refresh))
            .or(self.sub_refresh.map(Request::SubRefresh));
        match (self.id, request) {
            (0, None) => Ok(Received::Pong),
            (_, None) => Err(Malformed::NothingAsked),
            (0, Some(request)) if !matches!(request, Request::Send(_)) => Err(Malformed::NoId),
            (id, Some(request)) => Ok(Received::Request(id, Box::new(request))),
        }
    }
}

/// Commands that one message may carry beside a subscribe for each subscription that a client may have.
pub(crate) const COMMANDS_MAX: usize = 128;

/// Why a message is none of the protocol. The connection closes with
/// [`Disconnected::BadRequest`](super::codes::Disconnected::BadRequest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// More commands than one message may carry.
    #[error("more than {0} commands in one message")]
    TooMany(usize),
    /// Not JSON, or of other types than the schema's.
    #[error("not a command in JSON")]
    Json,
    /// Not protobuf, or of other types than the schema's.
    #[error("not a command in protobuf")]
    Protobuf,
    /// The message ends within a command, or a length is none.
    #[error("a command is cut off")]
    Cut,
    /// A request that needs an answer has no id.
    #[error("a command without an id")]
    NoId,
    /// An id and no request.
    #[error("a command without a request")]
    NothingAsked,
}

/// A value to be sent as JSON is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is to be sent is not JSON")]
pub(crate) struct NotJson;
