//! Figures, as a table for people or as a line of JSON each.

use serde_json::{Map, Value, json};

/// Where figures go, as they come.
pub(crate) struct Report {
    json: bool,
    part: &'static str,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, part: "" }
    }

    /// What the figures were measured on.
    pub(crate) fn machine(&self, fsync: &str) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        match self.json {
            true => println!("{}", json!({ "part": "machine", "cores": cores, "load": load, "fsync": fsync })),
            false => println!("{cores} cores, load before: {load}, PostgreSQL's fsync: {fsync}"),
        }
    }

    /// The figures of one case, under the same names for each case of a part.
    pub(crate) fn row(&mut self, part: &'static str, case: &str, figures: &[(&str, f64)]) {
        if self.json {
            let mut object = Map::new();
            object.insert("part".to_owned(), part.into());
            object.insert("case".to_owned(), case.into());
            object.extend(figures.iter().map(|(name, value)| (name.replace([' ', '/'], "_"), Value::from(*value))));
            println!("{}", Value::from(object));
            return;
        }
        if self.part != part {
            self.part = part;
            let names: String = figures.iter().map(|(name, _)| format!("{name:>16}")).collect();
            println!("\n{part:<40}{names}");
        }
        let values: String = figures.iter().map(|(_, value)| format!("{value:>16.*}", places(*value))).collect();
        println!("{case:<40}{values}");
    }
}

fn places(value: f64) -> usize {
    if value.abs() < 100.0 { 2 } else { 0 }
}
