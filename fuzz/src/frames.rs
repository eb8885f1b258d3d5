//! The bytes of a WebSocket as the gateway's own codec reads them.

use tidegate_ws::deflate::Deflate;
use tidegate_ws::{Decoder, Error, Event, Limits, Role};

const LIMITS: Limits = Limits { message_bytes: 64 << 10, fragments: 64 };

/// The first byte says how the rest is read: its lowest bit by which end, the next with compression or without, the
/// others in chunks of what length. However it is cut, the events and the end are the same, and none is past the limit.
pub fn frames(data: &[u8]) {
    let Some((&how, data)) = data.split_first() else { return };
    let role = if how & 1 == 0 { Role::Server } else { Role::Client };
    let deflate = (how & 2 != 0).then_some(Deflate { server_window_bits: 15, client_window_bits: 15 });
    let decoder = || Decoder::new(role, LIMITS, deflate);
    let whole = read(decoder(), data, usize::MAX);
    let pieces = read(decoder(), data, usize::from(how >> 2) + 1);
    assert_eq!(whole, pieces, "cut differently");
}

/// Events by kind and payload, and the error that ended them.
fn read(mut decoder: Decoder, data: &[u8], chunk_bytes: usize) -> (Vec<(u8, Vec<u8>)>, Option<Error>) {
    let mut data = data.to_vec();
    let mut events = Vec::new();
    for mut input in data.chunks_mut(chunk_bytes) {
        loop {
            let (used, event) = match decoder.decode(input) {
                Ok((used, Some(event))) => (used, event),
                Ok((_, None)) => break,
                Err(error) => return (events, Some(error)),
            };
            let (kind, payload) = match event {
                Event::Text(text) => (b't', text.as_bytes()),
                Event::Binary(bytes) => (b'b', bytes),
                Event::Ping(payload) => (b'?', payload),
                Event::Pong(payload) => (b'!', payload),
                Event::Close(reason) => (b'x', reason.map_or("", |(_, reason)| reason).as_bytes()),
            };
            assert!(payload.len() <= LIMITS.message_bytes, "a message past the limit");
            events.push((kind, payload.to_vec()));
            if kind == b'x' {
                return (events, None);
            }
            input = &mut input[used..];
        }
        // Nothing unfinished is larger than a message, its headers and a control frame.
        assert!(decoder.unfinished() <= LIMITS.message_bytes + 15 * (LIMITS.fragments as usize + 1) + 125);
    }
    (events, None)
}
