//! What topics cost. Gates: a publish to a topic without subscribers within 1 µs, an idle subscription within 128 bytes.

#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use divan::{Bencher, black_box};
use tidegate_model::{Address, ClientId, SubscriptionId, Tenant};
use tidegate_topics::{
    Broker, ClientInfo, Data, Hub, Join, Leave, Limits, Memory, Metrics, Options, PresenceAsk, Publish, Range, Relay,
    Since, Subscriber, Topic,
};

const SUBSCRIPTIONS: u64 = 1_000_000;

fn main() {
    if !std::env::args().any(|argument| argument == "--test") {
        let options = Arc::default();
        let in_one = subscriptions(|_| of("one", &options));
        let in_each = subscriptions(|n| of(&format!("own:{n}"), &options));
        println!("an idle subscription: {in_one} bytes (gate: 128); with the topic, where it has it alone: {in_each}");
        assert!(in_one <= 128);
    }
    divan::main();
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux machine");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Bytes that each of many subscriptions takes in relay and hub.
fn subscriptions(topic: impl Fn(u64) -> Arc<Topic>) -> u64 {
    let relay = Relay::new(Limits::default(), Arc::default());
    let hub = Hub::new(relay.clone(), relay.port(|| ()));
    // One that all share is not in it.
    let first = topic(0);
    let before = resident_bytes();
    for n in 0..SUBSCRIPTIONS {
        let next = topic(n);
        hub.join(if next == first { &first } else { &next }, subscriber(n));
    }
    let bytes = resident_bytes().saturating_sub(before) / SUBSCRIPTIONS;
    drop(hub);
    bytes
}

fn subscriber(n: u64) -> Subscriber {
    let address = Address { client: ClientId(n), subscription: SubscriptionId(n) };
    Subscriber { address, hears_joins: false }
}

fn topic(name: &str, options: Options) -> Arc<Topic> {
    of(name, &Arc::new(options))
}

fn of(name: &str, options: &Arc<Options>) -> Arc<Topic> {
    Arc::new(Topic { tenant: Tenant::common(), name: name.into(), options: options.clone() })
}

fn with_history() -> Options {
    Options { history_size: 100, presence: true, ..Options::default() }
}

/// With a clock that costs what a clock costs.
fn broker() -> (Arc<Relay>, Arc<Memory>) {
    let metrics = Arc::new(Metrics::default());
    let relay = Relay::new(Limits::default(), metrics.clone());
    let clock = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
    };
    let memory = Memory::new(Limits::default(), "_d", Arc::new(clock), relay.clone(), metrics).expect("a thread");
    (relay, memory)
}

fn data() -> Data {
    Data::Json(Bytes::from_static(&[b'1'; 120]))
}

/// Gate: 1 µs. Among 100,000 topics with subscribers.
#[divan::bench(sample_count = 500, sample_size = 100)]
fn publish_without_subscribers(bencher: Bencher<'_, '_>) {
    let (relay, memory) = broker();
    let hub = Hub::new(relay.clone(), relay.port(|| ()));
    for n in 0..100_000 {
        hub.join(&topic(&format!("chat:room:{n}"), Options::default()), subscriber(n));
    }
    let topics: Vec<_> = (0..1_000).map(|n| topic(&format!("chat:nobody:{n}"), Options::default())).collect();
    let mut next = topics.iter().cycle();
    bencher
        .with_inputs(|| Publish::new(next.next().expect("many").clone(), data()))
        .bench_local_values(|publish| memory.publish(publish));
}

/// Of so many topics, whose histories are full with ten each.
#[divan::bench(args = [1, 10_000], sample_count = 500, sample_size = 100)]
fn publish_with_history(bencher: Bencher<'_, '_>, topics: u64) {
    let (_, memory) = broker();
    let options = Options { history_size: 10, ..Options::default() };
    let topics: Vec<_> = (0..topics).map(|n| topic(&format!("chat:{n}"), options.clone())).collect();
    for topic in topics.iter().flat_map(|topic| std::iter::repeat_n(topic, 11)) {
        memory.publish(Publish::new(topic.clone(), data()));
    }
    let mut next = topics.iter().cycle();
    bencher
        .with_inputs(|| Publish::new(next.next().expect("many").clone(), data()))
        .bench_local_values(|publish| memory.publish(publish));
}

/// To one worker's subscribers: broker, relay and port.
#[divan::bench(sample_count = 500, sample_size = 100)]
fn publish_with_subscribers(bencher: Bencher<'_, '_>) {
    let (relay, memory) = broker();
    let hub = Hub::new(relay.clone(), relay.port(|| ()));
    let topic = topic("chat:1", Options::default());
    hub.join(&topic, subscriber(1));
    let (count, mut passed) = (AtomicU64::new(0), Vec::new());
    bencher.with_inputs(|| Publish::new(topic.clone(), data())).bench_local_values(|publish| {
        let answer = memory.publish(publish);
        if count.fetch_add(1, Ordering::Relaxed) % 64 == 0 {
            hub.port().take(usize::MAX, usize::MAX, &mut passed);
            passed.clear();
        }
        answer
    });
}

fn filled() -> (Arc<Memory>, Arc<Topic>, Since) {
    let (_, memory) = broker();
    let topic = topic("chat:1", with_history());
    let mut epoch = Arc::default();
    for _ in 0..200 {
        let tidegate_model::Answer::Now(Ok(at)) = memory.publish(Publish::new(topic.clone(), data())) else { continue };
        epoch = at.epoch;
    }
    (memory, topic, Since { epoch: (*epoch).into(), offset: 100 })
}

/// Who comes back and missed 100.
#[divan::bench(sample_count = 500, sample_size = 100)]
fn join_recovering_100(bencher: Bencher<'_, '_>) {
    let (memory, topic, since) = filled();
    bencher
        .with_inputs(|| Join { topic: topic.clone(), member: None, since: Some(since.clone()), bytes_max: 1 << 20 })
        .bench_local_values(|join| memory.join(join));
}

/// The last ten.
#[divan::bench(sample_count = 500, sample_size = 100)]
fn history_of_10(bencher: Bencher<'_, '_>) {
    let (memory, topic, _) = filled();
    let range = Range { since: None, limit: 10, reverse: true, bytes_max: 1 << 20 };
    bencher.bench_local(|| memory.history(&topic, range.clone()));
}

/// Somebody joins a room of 10,000, and leaves it.
#[divan::bench(sample_count = 500, sample_size = 100)]
fn presence_join_and_leave_in_10_000(bencher: Bencher<'_, '_>) {
    let (memory, topic) = room();
    let member = member(10_001);
    bencher.bench_local(|| {
        let join = Join { topic: topic.clone(), member: Some(member.clone()), since: None, bytes_max: 0 };
        let joined = memory.join(join);
        memory.leave(Leave { topic: topic.clone(), member: Some(member.client.clone()) });
        black_box(joined)
    });
}

/// The counts of a room of 10,000; and a page of 100.
#[divan::bench(args = [0, 100], sample_count = 500, sample_size = 100)]
fn presence_of_10_000(bencher: Bencher<'_, '_>, limit: usize) {
    let (memory, topic) = room();
    let ask = PresenceAsk { since: None, after: Some(member(5_000).client[..].into()), limit };
    bencher.bench_local(|| memory.presence(&topic, ask.clone()));
}

fn member(n: u64) -> Arc<ClientInfo> {
    let (client, user) = (format!("c_{n:032x}").into(), format!("user{}", n / 2).into());
    Arc::new(ClientInfo { client, user, ..ClientInfo::default() })
}

fn room() -> (Arc<Memory>, Arc<Topic>) {
    let (_, memory) = broker();
    let topic = topic("chat:1", with_history());
    for n in 0..10_000 {
        memory.join(Join { topic: topic.clone(), member: Some(member(n)), since: None, bytes_max: 0 });
    }
    (memory, topic)
}
