//! What a process writes to its standard error, in the log.

use std::time::Duration;

use tokio::process::ChildStderr;
use tokio::time::Instant;

use super::pipe::{Cut, LinesOf};
use crate::agents::Job;

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Lines at once.
const BURST: u32 = 100;
/// One more after this time.
const EVERY: Duration = Duration::from_millis(50);

/// Writes it until its end.
pub(super) async fn log(job: Job, stderr: ChildStderr) {
    let secrets: Vec<String> = job.start().credentials.iter().map(|credential| credential.value.to_string()).collect();
    let mut lines = LinesOf::new(stderr, LINE_BYTES_MAX);
    let agent = &job.start().accepted.agent;
    let (mut room, mut dropped, mut since) = (BURST, 0_u64, Instant::now());
    while let Ok(Some(line)) = lines.next().await {
        let more = u32::try_from(since.elapsed().as_millis() / EVERY.as_millis()).unwrap_or(u32::MAX).min(BURST);
        if more > 0 {
            (room, since) = ((room + more).min(BURST), Instant::now());
        }
        if room == 0 {
            dropped += 1;
            continue;
        }
        room -= 1;
        tracing::info!(job = %job.id(), %agent, dropped = std::mem::take(&mut dropped), "{}", shown(&line, &secrets));
    }
    if dropped > 0 {
        tracing::info!(job = %job.id(), %agent, dropped, "more was written to standard error");
    }
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
    fn secrets_are_not_shown() {
        let secrets = ["sk-1".to_owned(), String::new()];
        let cut = |line: &[u8], is_cut| Cut { line: line.to_vec(), is_cut };
        assert_eq!(shown(&cut(b"key=sk-1 and \x1b[31msk-1\xff", false), &secrets), "key=*** and [31m***\u{fffd}");
        assert_eq!(shown(&cut(b"sk-1 and then sk-", true), &secrets), "*** and then");
        assert_eq!(shown(&cut(b"sk-1 and then sk-1", true), &secrets), "*** and then");
    }
}
