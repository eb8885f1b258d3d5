//! The demo's data: one week of earthquakes, and each of them as a row at a stage of its life.

use serde::Deserialize;
use tidegate_feed::{ChangeOp, RowChange};
use tidegate_model::{Entity, Type, Value, ValueError};

use super::replay::{Stage, Times};

const CSV: &[u8] = include_bytes!("../../data/quakes.csv");

/// A line of the file, as text; the entity says what each column is.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    time: String,
    updated: String,
    mag: String,
    place: String,
    depth: String,
    lat: String,
    lon: String,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    net: String,
    sig: String,
    felt: String,
    tsunami: String,
}

/// One earthquake.
#[derive(Debug)]
pub(crate) struct Quake {
    pub(crate) times: Times,
    /// As last revised, without `seen_at`.
    last: Vec<(u16, Value)>,
    /// What the first report said otherwise.
    first: Vec<(u16, Value)>,
    key: Vec<(u16, Value)>,
    seen_at: u16,
}

/// Data that is not as the program expects it: a fault of the build.
#[derive(Debug, thiserror::Error)]
#[error("the demo's data, record {record}: {fault}")]
pub(crate) struct DataError {
    record: usize,
    fault: String,
}

/// Every earthquake, by the time it happened.
pub(crate) fn load(entity: &Entity) -> Result<Vec<Quake>, DataError> {
    let lines = csv::Reader::from_reader(CSV).into_deserialize::<Line>();
    let numbered = lines.enumerate().map(|(record, line)| {
        let quake = line.map_err(|e| e.to_string()).and_then(|line| Quake::new(entity, &line));
        quake.map_err(|fault| DataError { record, fault })
    });
    numbered.collect()
}

impl Quake {
    fn new(entity: &Entity, line: &Line) -> Result<Self, String> {
        let cell = |name: &str, text: &str| -> Result<(u16, Value), String> {
            let column = entity.column_index(name).ok_or_else(|| format!("there is no column {name}"))?;
            let value = if text.is_empty() { Ok(Value::Null) } else { entity.column(column).value_from_text(text) };
            Ok((column, value.map_err(|e: ValueError| format!("{name}: {e}"))?))
        };
        let micros = |text: &str| match Value::from_text(Type::Timestamp, text) {
            Ok(Value::Timestamp(micros)) => Ok(micros),
            _ => Err(format!("{text} is no time")),
        };
        let region = line.place.rsplit_once(", ").map_or(line.place.as_str(), |(_, region)| region);
        let cells = [
            ("id", line.id.as_str()),
            ("time", &line.time),
            ("updated", &line.updated),
            ("mag", &line.mag),
            ("place", &line.place),
            ("region", region),
            ("depth", &line.depth),
            ("lat", &line.lat),
            ("lon", &line.lon),
            ("type", &line.kind),
            ("status", &line.status),
            ("net", &line.net),
            ("sig", &line.sig),
            ("felt", &line.felt),
            ("tsunami", &line.tsunami),
        ];
        let last = cells.iter().map(|(name, text)| cell(name, text)).collect::<Result<_, _>>()?;
        Ok(Self {
            times: Times { reported: micros(&line.time)?, revised: micros(&line.updated)? },
            last,
            first: vec![cell("updated", &line.time)?, cell("status", "automatic")?, cell("felt", "")?],
            key: vec![cell("id", &line.id)?],
            seen_at: cell("seen_at", "")?.0,
        })
    }

    /// The change that brings the row to a stage. `now` is the wall clock, microseconds since 1970.
    pub(crate) fn change(&self, stage: Stage, now: i64) -> RowChange {
        if stage == Stage::Absent {
            return RowChange { op: ChangeOp::Delete, cells: self.key.clone(), if_version: None };
        }
        let mut cells = self.last.clone();
        if stage == Stage::Preliminary {
            for (column, value) in &self.first {
                cells.retain(|(other, _)| other != column);
                cells.push((*column, value.clone()));
            }
        }
        cells.push((self.seen_at, Value::Timestamp(now)));
        RowChange { op: ChangeOp::Upsert, cells, if_version: None }
    }
}
