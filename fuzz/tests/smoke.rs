//! Every target for a few seconds on mutations of its seeds.

// The whole crate is a test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidegate_fuzz::TARGETS;

/// Longest input: past the largest query by some.
const BYTES_MAX: usize = 80 << 10;
/// A single input that takes longer than this is a finding, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(5);

/// Of the JSON the decoders read, so that mutations stay near what is valid.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "-",
    "1e999",
    "1e1000",
    "NaN",
    "0.5",
    "\\u0000",
    "é",
    "\"or\":[",
    "\"and\":[",
    "\"not\":",
    "\"value\":",
    "\"in\"",
    "%",
    "infinity",
    "9223372036854775808",
];

#[test]
fn no_bytes_do_harm() {
    let seconds = std::env::var("TIDEGATE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let seed = std::env::var("TIDEGATE_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let mut random = StdRng::seed_from_u64(seed);
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut runs = 0u64;
        let mut pool = seeds.clone();
        for input in &seeds {
            run(name, target, input, seed);
        }
        while Instant::now() < until {
            let mut input = pool[random.random_range(0..pool.len())].clone();
            for _ in 0..random.random_range(1..8) {
                mutate(&mut input, &pool, &mut random);
            }
            input.truncate(BYTES_MAX);
            run(name, target, &input, seed);
            runs += 1;
            // Now and then a mutation becomes a seed, so that inputs drift away from where they began.
            if runs.is_multiple_of(64) {
                let place = random.random_range(seeds.len()..seeds.len() + 64);
                if place < pool.len() { pool[place] = input } else { pool.push(input) }
            }
        }
        eprintln!("{name}: {runs} inputs, seed {seed}");
    }
}

fn run(name: &str, target: fn(&[u8]), input: &[u8], seed: u64) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
    let shown = || format!("{name}, seed {seed}, input {:?}", String::from_utf8_lossy(&input[..input.len().min(4096)]));
    assert!(outcome.is_ok(), "a panic: {}", shown());
    assert!(begun.elapsed() < PATIENCE, "{:?}: {}", begun.elapsed(), shown());
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", folder.display());
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mutate(input: &mut Vec<u8>, pool: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=input.len());
    match random.random_range(0..7) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 => drop(input.drain(at..(at + random.random_range(0..16)).min(input.len()))),
        3 => {
            let word = WORDS[random.random_range(0..WORDS.len())].as_bytes();
            input.splice(at..at, word.iter().copied());
        }
        4 => {
            // A piece of another input.
            let other = &pool[random.random_range(0..pool.len())];
            let from = random.random_range(0..=other.len());
            let to = random.random_range(from..=other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        5 => {
            // A piece again and again: depth and length.
            let to = (at + random.random_range(1..32)).min(input.len());
            let piece = input[at..to].repeat(random.random_range(1..64));
            input.splice(at..at, piece);
        }
        _ => input.truncate(at),
    }
}
