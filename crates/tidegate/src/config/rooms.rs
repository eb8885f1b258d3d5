//! Settings of the rooms to the left and of the HTTP API, from the merged layers.

use std::sync::Arc;
use std::time::Duration;

use tidegate_edge::{EdgeConfig, Quota, Quotas};

use super::layers::Layers;
use super::{Arcp, ConfigError, identity};

/// Nothing here is larger than a terabyte, and no time longer than a month.
const BYTES: std::ops::RangeInclusive<u64> = 1..=1 << 40;
const MILLIS: std::ops::RangeInclusive<u64> = 0..=31 * 24 * 3_600_000;
const COUNT: std::ops::RangeInclusive<u64> = 1..=1 << 32;
/// An empty gateway has nearly as much: with less it would never let anybody in.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// What is read from a socket at once. With less than that a second, one read would be a pause of seconds.
const READ_BYTES: u64 = 64 << 10;

/// Bounds of the HTTP API.
#[derive(Debug, Clone)]
pub struct Api {
    /// Of one batch of changes.
    pub max_body_bytes: usize,
    /// Of all bodies that are being read and decoded at once.
    pub max_bodies_bytes: usize,
    /// For one body to arrive.
    pub body_timeout: Duration,
    /// In one batch.
    pub max_changes: usize,
}

/// Settings of every room.
#[derive(Debug)]
pub struct Rooms {
    /// The HTTP API.
    pub api: Api,
    /// Sockets. TLS is loaded when the gateway starts.
    pub edge: EdgeConfig,
    /// How long readiness is red before anything closes.
    pub drain_delay: Duration,
    /// The live engine.
    pub live: tidegate_live::Config,
    /// Local writes.
    pub feed: tidegate_feed::Config,
    /// The store.
    pub mirror: tidegate_mirror::Options,
}

pub(super) fn read(layers: &Layers, arcp: &Arcp) -> Result<Rooms, ConfigError> {
    let drain_delay = millis(layers, "edge.drain_delay_ms")?;
    Ok(Rooms {
        api: api(layers)?,
        edge: edge(layers, arcp)?,
        drain_delay,
        live: live(layers)?,
        feed: feed(layers)?,
        mirror: mirror(layers)?,
    })
}

fn api(layers: &Layers) -> Result<Api, ConfigError> {
    let max_body_bytes = bytes(layers, "api.max_body_bytes")?;
    let max_bodies_bytes = bytes(layers, "api.max_bodies_bytes")?;
    if max_bodies_bytes < max_body_bytes {
        return Err(layers.error("api.max_bodies_bytes", "must not be less than api.max_body_bytes"));
    }
    let body_timeout = millis(layers, "api.body_timeout_ms")?;
    Ok(Api { max_body_bytes, max_bodies_bytes, body_timeout, max_changes: count(layers, "api.max_changes")? })
}

fn edge(layers: &Layers, arcp: &Arcp) -> Result<EdgeConfig, ConfigError> {
    let rate = |key| layers.int(key, 1..=1_000_000).map(|rate| rate as u32);
    let min_bytes_per_second = layers.int("edge.min_bytes_per_second", 1..=1 << 30)? as u32;
    let bytes_per_second = off_or(layers, "edge.bytes_per_second", READ_BYTES)?;
    if (1..u64::from(min_bytes_per_second)).contains(&bytes_per_second) {
        return Err(layers.error("edge.bytes_per_second", "must not be less than edge.min_bytes_per_second"));
    }
    Ok(EdgeConfig {
        workers: layers.int("edge.workers", 0..=1_024)? as usize,
        max_connections: count(layers, "edge.max_connections")?,
        max_other_sockets: count(layers, "edge.max_other_sockets")?,
        max_unauthenticated: count(layers, "edge.max_unauthenticated")?,
        connections_per_second: layers.int("edge.connections_per_second", 0..=1_000_000)? as u32,
        max_memory_bytes: off_or(layers, "edge.max_memory_bytes", MEMORY_BYTES_MIN)?,
        max_subscriptions: count(layers, "edge.max_subscriptions")?,
        max_message_bytes: bytes(layers, "edge.max_message_bytes")?,
        max_fragments: layers.int("edge.max_fragments", 1..=1 << 20)? as u32,
        message_timeout: some_millis(layers, "edge.message_timeout_ms")?,
        min_bytes_per_second,
        bytes_per_second,
        compression: layers.bool("edge.compression"),
        compression_min_bytes: layers.int("edge.compression_min_bytes", 0..=*BYTES.end())? as usize,
        max_streams: layers.int("edge.max_streams", 1..=65_536)? as u32,
        outbox_bytes: bytes(layers, "edge.outbox_bytes")?,
        outbox_frames: count(layers, "edge.outbox_frames")?,
        handshake_timeout: some_millis(layers, "edge.handshake_timeout_ms")?,
        header_timeout: some_millis(layers, "edge.header_timeout_ms")?,
        max_headers: count(layers, "edge.max_headers")?,
        max_header_bytes: layers.int("edge.max_header_bytes", 8_192..=1 << 24)? as usize,
        auth_timeout: some_millis(layers, "edge.auth_timeout_ms")?,
        ping_interval: millis(layers, "edge.ping_interval_ms")?,
        idle_timeout: millis(layers, "edge.idle_timeout_ms")?,
        write_timeout: millis(layers, "edge.write_timeout_ms")?,
        sse_comment_interval: some_millis(layers, "edge.sse_comment_interval_ms")?,
        drain_window: millis(layers, "edge.drain_window_ms")?,
        allowed_origins: origins(layers)?,
        messages_per_second: rate("edge.messages_per_second")?,
        errors_per_second: rate("edge.errors_per_second")?,
        cookie: identity::cookie(layers)?,
        query_token: layers.bool("identity.query_token"),
        quotas: quotas(layers)?,
        arcp: Arc::new(arcp.settings()),
        tls: None,
    })
}

/// What one user and one tenant may have; 0 is as much as there is.
fn quotas(layers: &Layers) -> Result<Quotas, ConfigError> {
    let quota = |of: &str| {
        let number =
            |what| layers.int(&format!("identity.limits.{of}_{what}"), 0..=1 << 28).map(|number| number as usize);
        Ok(Quota {
            connections: number("connections")?,
            subscriptions: number("subscriptions")?,
            messages_per_second: number("messages_per_second")? as u32,
        })
    };
    Ok(Quotas { user: quota("user")?, tenant: quota("tenant")? })
}

/// What no browser ever sends as an origin would shut out the page that it was meant to let in.
fn origins(layers: &Layers) -> Result<Vec<String>, ConfigError> {
    let key = "edge.allowed_origins";
    let origins = layers.list(key);
    let is_origin = |text: &str| {
        let authority = text.split_once("://").map(|(_, authority)| authority);
        text == "*" || authority.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ', '*']))
    };
    match origins.iter().find(|origin| !is_origin(origin)) {
        Some(origin) => {
            let rule = format!("{origin:?} must be scheme, host and port alone, such as https://app.example, or \"*\"");
            Err(layers.error(key, rule))
        }
        None => Ok(origins),
    }
}

fn live(layers: &Layers) -> Result<tidegate_live::Config, ConfigError> {
    let defaults = tidegate_live::Config::default();
    let workers = match layers.int("live.workers", 0..=256)? {
        0 => defaults.workers,
        workers => workers as usize,
    };
    let cushion = match layers.signed("live.cushion") {
        -1 => None,
        _ => Some(layers.int("live.cushion", 0..=10_000)? as u32),
    };
    Ok(tidegate_live::Config {
        workers,
        transactions_queued: count(layers, "live.transactions_queued")?,
        commands_queued: count(layers, "live.commands_queued")?,
        scans: count(layers, "live.scans")?,
        limits: tidegate_live::Limits {
            cushion,
            views: count(layers, "live.max_views")?,
            log_batches: layers.int("live.log_batches", 0..=1 << 20)? as usize,
            log_bytes: layers.int("live.log_bytes", 0..=1 << 32)? as usize,
            linger_ms: layers.int("live.linger_ms", MILLIS)?,
            linger_views: layers.int("live.linger_views", 0..=1 << 32)? as usize,
            linger_bytes: layers.int("live.linger_bytes", 0..=1 << 40)? as usize,
        },
    })
}

fn feed(layers: &Layers) -> Result<tidegate_feed::Config, ConfigError> {
    Ok(tidegate_feed::Config {
        queue_requests: count(layers, "feed.queue_requests")?,
        queue_bytes: bytes(layers, "feed.queue_bytes")?,
        group_requests: count(layers, "feed.group_requests")?,
        group_rows: count(layers, "feed.group_rows")?,
        idempotency_ms: layers.int("feed.idempotency_ms", MILLIS)?,
        idempotency_max: layers.int("feed.idempotency_max", 0..=1 << 32)?,
        ..tidegate_feed::Config::default()
    })
}

fn mirror(layers: &Layers) -> Result<tidegate_mirror::Options, ConfigError> {
    Ok(tidegate_mirror::Options {
        readers: layers.int("mirror.readers", 1..=64)? as usize,
        queue: count(layers, "mirror.queue")?,
        scan_rows_max: count(layers, "mirror.scan_rows_max")?,
        page_bytes_max: bytes(layers, "mirror.page_bytes_max")?,
        wal_bytes_max: layers.int("mirror.wal_bytes_max", BYTES)?,
        row_bytes_max: bytes(layers, "mirror.row_bytes_max")?,
        fold_rows_max: count(layers, "mirror.fold_rows_max")?,
        fold_bytes_max: bytes(layers, "mirror.fold_bytes_max")?,
    })
}

fn bytes(layers: &Layers, key: &str) -> Result<usize, ConfigError> {
    layers.int(key, BYTES).map(|bytes| bytes as usize)
}

fn count(layers: &Layers, key: &str) -> Result<usize, ConfigError> {
    layers.int(key, COUNT).map(|count| count as usize)
}

/// A number of bytes whose zero means off, and which would be a mistake below `least`.
fn off_or(layers: &Layers, key: &str, least: u64) -> Result<u64, ConfigError> {
    let most = *BYTES.end();
    let rule = |_| layers.error(key, format!("must be 0 (off) or between {least} and {most}"));
    layers.int(key, 0..=0).or_else(|_| layers.int(key, least..=most)).map_err(rule)
}

fn millis(layers: &Layers, key: &str) -> Result<Duration, ConfigError> {
    layers.int(key, MILLIS).map(Duration::from_millis)
}

/// A time that must not be 0.
fn some_millis(layers: &Layers, key: &str) -> Result<Duration, ConfigError> {
    layers.int(key, 1..=*MILLIS.end()).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_those_of_the_rooms() {
        let layers = Layers::defaults().unwrap();
        let rooms = read(&layers, &super::super::arcp::read(&layers).unwrap()).unwrap();
        assert_eq!(format!("{:?}", rooms.edge), format!("{:?}", EdgeConfig::default()));
        assert_eq!(format!("{:?}", rooms.live), format!("{:?}", tidegate_live::Config::default()));
        assert_eq!(format!("{:?}", rooms.mirror), format!("{:?}", tidegate_mirror::Options::default()));
        let feed = tidegate_feed::Config::default();
        let bounds = |feed: &tidegate_feed::Config| {
            let rest = (feed.group_rows, feed.idempotency_ms, feed.idempotency_max);
            (feed.queue_requests, feed.queue_bytes, feed.group_requests, rest)
        };
        assert_eq!(bounds(&rooms.feed), bounds(&feed));
    }
}
