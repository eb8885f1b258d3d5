//! What a registered view costs in memory beside its rows, and what a subscriber more of a view costs: a million distinct
//! views, a million subscribers of one view, the process's resident size before and after.

#![allow(clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod world;

use world::World;
use world::shell::Shell;

const VIEWS: usize = 1_000_000;
const SUBSCRIBERS: usize = 1_000_000;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux machine");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

fn main() {
    let before = resident_bytes();
    let shell = Shell::new(SUBSCRIBERS);
    let each = (resident_bytes() - before) / shell.subscriptions.len();
    println!("{SUBSCRIBERS} subscribers: {each} bytes each, their handles among them");
    drop(shell);
    let mut world = World::new(Vec::new(), None);
    let before = resident_bytes();
    for view in 0..VIEWS {
        world.subscribe(&format!(
            r#"{{"entity":"asset","where":[{{"column":"note","op":"eq","value":{view}}}],"sort":[{{"column":"temp"}}],"limit":50}}"#
        ));
    }
    let each = (resident_bytes() - before) / VIEWS;
    println!("{VIEWS} views: {each} bytes each (gate: 600)");
}
