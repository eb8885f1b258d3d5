//! What the system says about the processes that are measured (`/proc`): memory, time on a core, descriptors.

use std::fs;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Between two readings of memory that is to settle.
const SETTLE_STEP: Duration = Duration::from_millis(250);
/// Longest wait for it.
const SETTLE_MAX: Duration = Duration::from_secs(8);

/// The processes of one server; those that have ended count nothing.
#[derive(Debug, Clone)]
pub(crate) struct Processes(pub(crate) Vec<u32>);

impl Processes {
    pub(crate) fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// Those that hold the socket which listens on this port of this machine; none where there is none, or where the
    /// system does not let us look.
    pub(crate) fn listening_on(port: u16) -> Self {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
        let sockets: Vec<String> = tables.iter().flat_map(|table| listeners(table, port)).collect();
        let Ok(processes) = fs::read_dir("/proc") else { return Self(Vec::new()) };
        let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut holders: Vec<u32> = ids.filter(|id| !sockets.is_empty() && holds(*id, &sockets)).collect();
        holders.sort_unstable();
        Self(holders)
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// Resident memory of all.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.sum(|id| status_kib(&read(id, "status")?, "VmRSS:"))
    }

    /// The same, once it no longer changes by more than half a percent.
    pub(crate) fn settled_kib(&self) -> u64 {
        let (began, mut last) = (Instant::now(), self.resident_kib());
        while began.elapsed() < SETTLE_MAX {
            std::thread::sleep(SETTLE_STEP);
            let now = self.resident_kib();
            if now.abs_diff(last) * 200 <= now && began.elapsed() > SETTLE_STEP * 4 {
                return now;
            }
            last = now;
        }
        last
    }

    /// Time on a core so far, user and system. The sum over the threads is in nanoseconds but lacks those that have
    /// ended; the process's own lacks nothing and counts hundredths of a second: whichever is more.
    pub(crate) fn cpu(&self) -> Duration {
        let exact = Duration::from_nanos(self.sum(threads_nanos));
        exact.max(ticks(self.sum(|id| cpu_ticks(&read(id, "stat")?))))
    }

    /// Open files and sockets.
    pub(crate) fn descriptors(&self) -> u64 {
        self.sum(|id| Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64))
    }

    fn sum(&self, of: impl Fn(u32) -> Option<u64>) -> u64 {
        self.0.iter().filter_map(|id| of(*id)).sum()
    }
}

/// Time on a core of the threads that live.
fn threads_nanos(id: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
    let nanos = |schedstat: String| schedstat.split_ascii_whitespace().next()?.parse::<u64>().ok();
    Some(threads.filter_map(|thread| nanos(fs::read_to_string(thread.path().join("schedstat")).ok()?)).sum())
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / clock_ticks_per_second() as f64)
}

/// Time that all processes of the machine were on its cores, and that its host took from it.
pub(crate) fn machine_cpu() -> Duration {
    ticks(fs::read_to_string("/proc/stat").ok().and_then(|stat| busy_ticks(&stat)).unwrap_or_default())
}

/// `user`, `nice`, `system` and `steal` of the first line of `/proc/stat`.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let fields: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    Some(fields.get(..3)?.iter().sum::<u64>() + fields.get(7)?)
}

fn read(id: u32, name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{id}/{name}")).ok()
}

/// A line of `/proc/<pid>/status`.
fn status_kib(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// `utime` and `stime` of `/proc/<pid>/stat`: fields 14 and 15, counted behind the name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The links that descriptors of the port's listening sockets have, from a table of `/proc/net`.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?.rsplit_once(':')?.1;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        (u16::from_str_radix(local, 16) == Ok(port) && state == "0A").then(|| format!("socket:[{inode}]"))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

fn holds(id: u32, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    let mut links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// Raises the limit on open files as far as this process may, and says how many it is then.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let given = getrlimit(Resource::Nofile);
    if given.current != given.maximum {
        // Where it cannot be raised the old one is told.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: given.maximum, ..given });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Cores, processor, kernel: what a figure means nothing without.
pub(crate) fn machine() -> serde_json::Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = status_kib(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:");
    serde_json::json!({
        "cores": cores(),
        "processor": model.map_or("unknown", |(_, name)| name.trim()),
        "memory_mib": memory.unwrap_or_default() / 1024,
        "kernel": kernel.trim(),
    })
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 1 2 3 4 250 17 0 0 20 0 9 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(267));
        assert_eq!(cpu_ticks("42 (short) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn the_machines_time_is_what_was_worked_or_taken_away() {
        assert_eq!(busy_ticks("cpu  10 20 30 4000 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n"), Some(68));
        assert_eq!(busy_ticks("cpu 1 2"), None);
        assert!(machine_cpu() > Duration::ZERO);
    }

    #[test]
    fn memory_is_read_from_its_line() {
        let status = "Name:\tx\nVmHWM:\t   900 kB\nVmRSS:\t   812 kB\n";
        assert_eq!(status_kib(status, "VmRSS:"), Some(812));
        assert_eq!(status_kib(status, "VmSwap:"), None);
        assert_eq!(status_kib("VmRSS: lots kB", "VmRSS:"), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2116 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1 0
   1: 0100007F:2116 0200007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 778 1 0
   2: 0100007F:2117 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 779 1 0\n";
        assert_eq!(listeners(table, 0x2116), ["socket:[777]"]);
        assert!(listeners("", 80).is_empty());
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = Processes::listening_on(listener.local_addr().unwrap().port());
        assert_eq!(found.0, Processes::own().0);
        assert!(found.resident_kib() > 0 && found.descriptors() > 3);
    }
}
