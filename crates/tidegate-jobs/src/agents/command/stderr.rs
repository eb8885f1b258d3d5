//! What a process writes to its standard error, in the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::ChildStderr;
use tokio::time::Instant;

use super::CommandSpec;
use super::pipe::{Cut, LinesOf};
use crate::agents::Job;

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Shortest value of a variable that is taken for a secret, in bytes.
const SECRET_BYTES_MIN: usize = 8;
/// Lines at once.
const BURST: u32 = 100;
/// One more after this time.
const EVERY: Duration = Duration::from_millis(50);

/// Writes it until its end.
pub(super) async fn log(job: Job, spec: Arc<CommandSpec>, stderr: ChildStderr) {
    let secrets = secrets(&job, &spec);
    let mut lines = LinesOf::new(stderr, LINE_BYTES_MAX);
    let agent = &job.start().accepted.agent;
    let (mut pace, mut dropped) = (Pace { room: BURST, since: Instant::now() }, 0_u64);
    while let Ok(Some(line)) = lines.next().await {
        if !pace.takes(Instant::now()) {
            dropped += 1;
            continue;
        }
        tracing::info!(job = %job.id(), %agent, dropped = std::mem::take(&mut dropped), "{}", shown(&line, &secrets));
    }
    if dropped > 0 {
        tracing::info!(job = %job.id(), %agent, dropped, "more was written to standard error");
    }
}

/// How many lines are taken.
struct Pace {
    room: u32,
    since: Instant,
}

impl Pace {
    fn takes(&mut self, now: Instant) -> bool {
        let more = (now - self.since).as_millis() / EVERY.as_millis();
        if more > 0 {
            self.room = self.room.saturating_add(u32::try_from(more).unwrap_or(BURST)).min(BURST);
            self.since = now;
        }
        let takes = self.room > 0;
        self.room = self.room.saturating_sub(1);
        takes
    }
}

/// What is not to be shown: the values of its credentials, and of the variables that it was given, which may be some.
fn secrets(job: &Job, spec: &CommandSpec) -> Vec<String> {
    let credentials = job.start().credentials.iter().map(|credential| credential.value.to_string());
    let own = spec.env.values().cloned();
    let inherited = spec.inherit.iter().filter_map(std::env::var_os);
    let variables = own.chain(inherited).filter(|value| value.len() >= SECRET_BYTES_MIN);
    let mut secrets: Vec<String> = credentials.chain(variables.filter_map(|value| value.into_string().ok())).collect();
    // One that is part of another must not take that apart.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// A line without secrets and control characters. One that was cut may end within a secret: as much of its end is not shown.
fn shown(line: &Cut, secrets: &[String]) -> String {
    let mut text = String::from_utf8_lossy(&line.line).into_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "***");
    }
    let unsafe_chars = if line.is_cut { secrets.iter().map(String::len).max().unwrap_or(0) } else { 0 };
    let safe_chars = text.chars().count().saturating_sub(unsafe_chars);
    text.chars().take(safe_chars).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_at_a_pace() {
        let since = Instant::now();
        let mut pace = Pace { room: BURST, since };
        let mut taken = |at_ms: u64| (0..200).filter(|_| pace.takes(since + Duration::from_millis(at_ms))).count();
        assert_eq!([0, 40, 50, 1_050, 60_000].map(&mut taken), [100, 0, 1, 20, 100]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = ["sk-1".to_owned(), String::new()];
        let cut = |line: &[u8], is_cut| Cut { line: line.to_vec(), is_cut };
        assert_eq!(shown(&cut(b"key=sk-1 and \x1b[31msk-1\xff", false), &secrets), "key=*** and [31m***\u{fffd}");
        assert_eq!(shown(&cut(b"sk-1 and then sk-", true), &secrets), "*** and then");
        assert_eq!(shown(&cut(b"sk-1 and then sk-1", true), &secrets), "*** and then");
    }
}
