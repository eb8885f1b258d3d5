//! Following a real PostgreSQL, over real sockets: the binary as a child process beside a throwaway server.
//!
//! ```text
//! cargo bench -p tidegate --bench postgres -- [copy] [apply] [latency] [memory] [--fsync off] [--json]
//! ```
//! Without a part named, all but `memory`, which takes some minutes. The server's fsync is on, as in production, unless
//! it is turned off; the mirror's always is. Server, gateway and clients share the machine, so its load is printed first.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod apply;
mod copy;
mod latency;
mod memory;
mod report;
mod world;

use report::Report;
use world::World;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let parts = ["copy", "apply", "latency", "memory"];
    let named = parts.iter().any(|part| has(part));
    let fsync = if arguments.windows(2).any(|pair| pair == ["--fsync", "off"]) { "off" } else { "on" };
    let mut report = Report::new(has("--json"));
    report.machine(fsync);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for part in parts.into_iter().filter(|part| if named { has(part) } else { *part != "memory" }) {
            let Some(world) = World::start(fsync).await else { return };
            match part {
                "copy" => copy::run(&world, &mut report).await,
                "apply" => apply::run(&world, &mut report).await,
                "latency" => latency::run(&world, &mut report).await,
                _ => memory::run(&world, &mut report).await,
            }
        }
    });
}
