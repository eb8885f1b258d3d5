//! Agents' jobs: how fast their events go to one client and to many, what a job costs from its submit to its result, and what an
//! idle session costs.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::agents::Client;
use crate::bench::crowd::Crowd;
use crate::bench::marker::Clock;
use crate::bench::measure::Meter;
use crate::bench::options::Jobs;
use crate::bench::plan::Plan;
use crate::bench::report::{Progress, Report};
use crate::bench::stats::Summary;
use crate::bench::target::{Bounds, Target};
use crate::bench::{BenchError, patience, room_for, threads};

/// Jobs run before, so that what is cold is not measured.
const WARM_UP: u64 = 50;
/// What a small commit appends to the store's log: pages of 4 KiB with their heads.
const RECORD_BYTES: usize = 4 * (4096 + 24);
/// The agents for tests, and logs that hold the longest run: a client that falls behind is to be slow, not refused.
const TABLES: &str = "[arcp]\nfixtures = true\nmax_sessions = 1000000\nmax_user_sessions = 1000000\nsession_events = 4000000\n\
                      session_bytes = 8589934592\njob_events = 4000000\njob_bytes = 8589934592\n";

pub(crate) fn run(options: &Jobs) -> Result<Report, BenchError> {
    room_for(options.sessions.max(options.subscribers))?;
    let progress = Progress::new("jobs");
    let Jobs { events, subscribers, subscriber_events, bytes, submits, sessions, .. } = options;
    let about = format!(
        "a job of {events} events with {bytes} bytes each to the client that submitted it, one of {subscriber_events} to \
         {subscribers} subscribers, {submits} jobs one after the other, {sessions} idle sessions"
    );
    let mut report = Report::new("jobs", about);
    let target = Target::open_with(&options.common, Bounds::Wide, TABLES)?;
    one(options, &target, &progress, &mut report)?;
    many(options, &target, &progress, &mut report)?;
    latency(options, &target, &progress, &mut report)?;
    // What the jobs before have left in memory is not a session's.
    drop(target);
    idle(options, &progress, &mut report)?;
    report.caveat(
        "an event is stored, with an fsync for all that gather meanwhile, before it is sent; clients only count it",
    );
    report.caveat("logs are as long here as the longest job: by default the oldest of more than 10,000 events go");
    Ok(report)
}

fn client(options: &Jobs, target: &Target) -> Result<Client, BenchError> {
    Client::connect(&target.agents(), patience(&options.common))
}

/// Runs a job to its end; how long that took.
fn job(client: &mut Client, agent: &str, input: &Value) -> Result<Duration, BenchError> {
    let began = Instant::now();
    client.say("job.submit", &json!({ "agent": agent, "input": input }))?;
    client.wait("job.accepted")?;
    client.wait("job.result")?;
    Ok(began.elapsed())
}

fn burst(events: u64, bytes: usize) -> Value {
    json!({ "events": events, "bytes": bytes })
}

/// Events of one job to the client that submitted it.
fn one(options: &Jobs, target: &Target, progress: &Progress, report: &mut Report) -> Result<(), BenchError> {
    progress.say(|| format!("{} events to one client", options.events));
    let mut client = client(options, target)?;
    job(&mut client, "burst", &burst(options.events / 10, options.bytes))?;
    let (before, meter) = (client.events, Meter::start(&target.processes));
    let took = job(&mut client, "burst", &burst(options.events, options.bytes))?;
    let used = meter.stop(&target.processes);
    let came = client.events - before;
    report.count("one_events", "one client: events", came);
    report.figure("one_events_per_second", "one client: events a second", came as f64 / took.as_secs_f64(), "");
    used.tell("one_", "one client: ", &target.processes, report);
    Ok(())
}

/// Events of one job to many who see it.
fn many(options: &Jobs, target: &Target, progress: &Progress, report: &mut Report) -> Result<(), BenchError> {
    progress.say(|| format!("{} events to {} subscribers", options.subscriber_events, options.subscribers));
    let mut owner = client(options, target)?;
    let clients = (0..options.subscribers).map(|_| client(options, target));
    let mut clients: Vec<Client> = clients.collect::<Result<_, _>>()?;
    let (began, meter) = (Instant::now(), Meter::start(&target.processes));
    let input = burst(options.subscriber_events, options.bytes);
    owner.say("job.submit", &json!({ "agent": "burst", "input": input }))?;
    let job = owner.wait("job.accepted")?["job_id"].clone();
    // What has happened before they subscribe comes too: all have the whole job.
    for client in &mut clients {
        client.say("job.subscribe", &json!({ "job_id": job, "history": true }))?;
    }
    let came = std::thread::scope(|scope| {
        let to_its_end = |mut client: Client| -> Result<u64, BenchError> {
            client.wait("job.subscribed")?;
            client.wait("job.result")?;
            Ok(client.events)
        };
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || to_its_end(client))).collect();
        owner.wait("job.result")?;
        let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err(BenchError::Failed("a client panicked".to_owned())))
        };
        threads.into_iter().map(ended).sum::<Result<u64, BenchError>>()
    })?;
    let (seconds, used) = (began.elapsed().as_secs_f64(), meter.stop(&target.processes));
    let expected = options.subscribers as u64 * owner.events;
    report.count("many_delivered", "subscribers: events delivered", came);
    report.count("many_missed", "subscribers: missed", expected.saturating_sub(came));
    let label = "subscribers: events a second, to all of them";
    report.figure("many_events_per_second", label, owner.events as f64 / seconds, "");
    report.figure("many_deliveries_per_second", "subscribers: deliveries a second", came as f64 / seconds, "");
    used.tell("many_", "subscribers: ", &target.processes, report);
    Ok(())
}

/// From a job's submit to its result, one after the other, and between two of them what the disk takes for two fsyncs.
fn latency(options: &Jobs, target: &Target, progress: &Progress, report: &mut Report) -> Result<(), BenchError> {
    let mut client = client(options, target)?;
    for _ in 0..WARM_UP {
        job(&mut client, "echo", &json!({ "n": 1 }))?;
    }
    let mut disk = target.data_directory().map(Disk::open).transpose()?;
    let (mut jobs, mut syncs) = (Vec::new(), Vec::new());
    for number in 0..options.submits {
        progress.say(|| format!("{number} of {} jobs", options.submits));
        jobs.push(job(&mut client, "echo", &json!({ "n": number }))?.as_nanos() as u64);
        if let Some(disk) = &mut disk {
            let began = Instant::now();
            disk.write()?;
            disk.write()?;
            syncs.push(began.elapsed().as_nanos() as u64);
        }
    }
    let (jobs, syncs) = (Summary::of_nanos(&jobs), Summary::of_nanos(&syncs));
    report.times("submit_ms", "submit to result", jobs);
    report.times("two_fsyncs_ms", "two writes with fsync beside it", syncs);
    match (jobs, syncs) {
        (Some(jobs), Some(syncs)) => {
            report.figure("beyond_fsyncs_ms", "submit to result, p50 beyond two fsyncs", jobs.p50 - syncs.p50, "ms");
        }
        _ => report.caveat("what fsyncs cost there is measured only for a server that is started"),
    }
    Ok(())
}

/// A file beside the store's, on the same disk.
struct Disk(File);

impl Disk {
    fn open(directory: &Path) -> Result<Self, BenchError> {
        Ok(Self(File::create(directory.join("fsync-beside"))?))
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.0.write_all(&[0x5a; RECORD_BYTES])?;
        self.0.sync_data()
    }
}

/// What an idle session costs in memory, its connection included.
fn idle(options: &Jobs, progress: &Progress, report: &mut Report) -> Result<(), BenchError> {
    let (common, count) = (&options.common, options.sessions);
    let target = Target::open_with(common, Bounds::Wide, TABLES)?;
    let (server, clock) = (&target.processes, Clock::start());
    let plan =
        Plan { hello: Some(crate::bench::agents::hello()), ready: Some("session.welcome".into()), ..target.agents() };
    let mut warm = Crowd::start(plan.clone(), 1, clock)?;
    warm.fill((WARM_UP as usize).min(count), 0.0, patience(common), progress)?;
    drop(warm);
    progress.say(|| "memory settles".to_owned());
    let before = server.settled_kib();
    let mut crowd = Crowd::start(plan, threads(common), clock)?;
    let took = crowd.fill(count, common.open_rate, patience(common), progress)?;
    progress.say(|| "memory settles".to_owned());
    let after = server.settled_kib();
    let label = "idle sessions: ";
    if server.is_known() {
        let each = (after as f64 - before as f64) / count.max(1) as f64;
        report.figure("session_kib_each", &format!("{label}memory each, with its connection"), each, "KiB");
        report.figure("sessions_kib", &format!("{label}server's memory with {count}"), after as f64, "KiB");
    }
    let each_second = count as f64 / took.as_secs_f64();
    report.figure("sessions_per_second", &format!("{label}opened a second"), each_second, "");
    Ok(())
}
