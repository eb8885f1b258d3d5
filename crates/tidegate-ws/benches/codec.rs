//! What a frame costs.
//!
//! ```text
//! cargo bench -p tidegate-ws
//! ```

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tidegate_ws::deflate::{self, Deflate};
use tidegate_ws::{Decoder, Event, Limits, OpCode, Role, header, write_masked};

const LIMITS: Limits = Limits { message_bytes: 1 << 20, fragments: 256 };
const KEY: [u8; 4] = [0x12, 0xf4, 0x56, 0x88];
const DEFLATE: Deflate = Deflate { server_window_bits: 15, client_window_bits: 15 };
/// Frames in one read.
const BATCH: usize = 100;

fn main() {
    divan::main();
}

/// JSON of about `len` bytes, as rows are.
fn json(len: usize) -> String {
    let row =
        |number: usize| format!("{{\"id\":{number},\"name\":\"name {number}\",\"price\":{}}},", number * 37 % 1000);
    let mut text: String = (0..).map(row).take(len / 30 + 2).collect();
    text.truncate(len);
    text
}

fn masked(op: OpCode, payload: &[u8], times: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..times {
        write_masked(op, payload, KEY, &mut out);
    }
    out
}

/// Decodes all there is; how many bytes of messages it was. Chunks end after `chunk` bytes.
fn drain(decoder: &mut Decoder, input: &mut [u8], chunk: usize) -> usize {
    let mut bytes = 0;
    for mut input in input.chunks_mut(chunk) {
        while let Ok((used, Some(event))) = decoder.decode(input) {
            bytes += match event {
                Event::Text(text) => text.len(),
                Event::Binary(payload) | Event::Ping(payload) | Event::Pong(payload) => payload.len(),
                Event::Close(_) => 0,
            };
            input = &mut input[used..];
        }
    }
    bytes
}

fn decode(bencher: Bencher, op: OpCode, len: usize, times: usize, chunk: usize) {
    let payload = json(len);
    let sent = masked(op, payload.as_bytes(), times);
    let mut decoder = Decoder::new(Role::Server, LIMITS, None);
    bencher
        .counter(ItemsCount::new(times))
        .counter(BytesCount::new(sent.len()))
        .with_inputs(|| sent.clone())
        .bench_local_refs(|input| assert_eq!(drain(&mut decoder, input, chunk), times * len));
}

/// A hundred frames of 120 bytes: the time of one is a hundredth.
#[divan::bench]
fn decode_100_texts_of_120_bytes(bencher: Bencher) {
    decode(bencher, OpCode::Text, 120, BATCH, usize::MAX);
}

/// The same, each cut in two somewhere.
#[divan::bench]
fn decode_100_texts_of_120_bytes_in_pieces(bencher: Bencher) {
    decode(bencher, OpCode::Text, 120, BATCH, 100);
}

#[divan::bench]
fn decode_text_of_64_kib(bencher: Bencher) {
    decode(bencher, OpCode::Text, 64 << 10, 1, usize::MAX);
}

#[divan::bench]
fn decode_text_of_64_kib_in_reads_of_4_kib(bencher: Bencher) {
    decode(bencher, OpCode::Text, 64 << 10, 1, 4 << 10);
}

#[divan::bench(args = [120, 4 << 10, 64 << 10])]
fn encode(bencher: Bencher, len: usize) {
    let payload = json(len);
    let mut out = Vec::with_capacity(len + 10);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        out.extend_from_slice(&header(OpCode::Text, false, black_box(&payload).len()));
        out.extend_from_slice(payload.as_bytes());
        black_box(&out);
    });
}

#[divan::bench(args = [120, 4 << 10, 64 << 10])]
fn compress(bencher: Bencher, len: usize) {
    let payload = json(len);
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        deflate::compress(black_box(payload.as_bytes()), 15, &mut out);
    });
}

#[divan::bench(args = [120, 4 << 10, 64 << 10])]
fn inflate(bencher: Bencher, len: usize) {
    let payload = json(len);
    let mut compressed = Vec::new();
    deflate::compress(payload.as_bytes(), 15, &mut compressed);
    let mut sent = masked(OpCode::Text, &compressed, 1);
    // RSV1: the message is compressed.
    sent[0] |= 0x40;
    let mut decoder = Decoder::new(Role::Server, LIMITS, Some(DEFLATE));
    bencher
        .counter(BytesCount::new(len))
        .with_inputs(|| sent.clone())
        .bench_local_refs(|input| assert_eq!(drain(&mut decoder, input, usize::MAX), len));
}
