//! Records of a CSV or JSON Lines file, one at a time, in bounded memory.

use std::cell::Cell as Counter;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use serde_json::value::RawValue;
use tidegate_model::COLUMNS_MAX;

use super::ImportError;
use crate::members::Members;

/// A record with more bytes is refused: a quote that is never closed would otherwise swallow the file.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// One cell as it stands in the file.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// A CSV field, not empty.
    Plain(String),
    /// A JSON value, not null.
    Json(Box<RawValue>),
}

/// One record: where it begins, and its cells by the number of their column. What is null is left out.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) cells: Vec<(usize, Cell)>,
}

/// A file being read.
pub(crate) struct Records {
    columns: Vec<String>,
    source: Source,
}

enum Source {
    Csv { reader: csv::Reader<Budgeted>, record: csv::StringRecord, budget: Rc<Counter<usize>> },
    Json { reader: BufReader<File>, line: u64, bytes: u64, buffer: Vec<u8> },
}

impl Records {
    /// Opens a file; its name's ending says what it is.
    pub(crate) fn open(path: &Path) -> Result<Self, ImportError> {
        let unreadable = |source| ImportError::Unreadable { path: path.into(), source };
        let file = File::open(path).map_err(unreadable)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => {
                let budget = Rc::new(Counter::new(RECORD_BYTES_MAX));
                let mut reader = csv::Reader::from_reader(Budgeted { file, left: budget.clone() });
                let columns: Vec<String> =
                    reader.headers().map_err(|e| csv_error(&e))?.iter().map(str::to_owned).collect();
                check_columns(&columns)?;
                Ok(Self { columns, source: Source::Csv { reader, record: csv::StringRecord::new(), budget } })
            }
            Some("jsonl" | "ndjson") => {
                let source = Source::Json { reader: BufReader::new(file), line: 0, bytes: 0, buffer: Vec::new() };
                Ok(Self { columns: Vec::new(), source })
            }
            _ => Err(ImportError::Ending { path: path.into() }),
        }
    }

    /// Columns so far, in the order of their first appearance. A CSV file has all of them in its header.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.source {
            Source::Csv { reader, .. } => reader.position().byte(),
            Source::Json { bytes, .. } => *bytes,
        }
    }

    /// The next record, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, ImportError> {
        match &mut self.source {
            Source::Csv { reader, record, budget } => {
                budget.set(RECORD_BYTES_MAX);
                if !reader.read_record(record).map_err(|e| csv_error(&e))? {
                    return Ok(None);
                }
                let line = record.position().map_or(0, csv::Position::line);
                let filled = record.iter().enumerate().filter(|(_, field)| !field.is_empty());
                let cells = filled.map(|(column, field)| (column, Cell::Plain(field.to_owned()))).collect();
                Ok(Some(Record { line, cells }))
            }
            Source::Json { reader, line, bytes, buffer } => loop {
                buffer.clear();
                let read = reader.by_ref().take(RECORD_BYTES_MAX as u64).read_until(b'\n', buffer);
                let read = read.map_err(|e| ImportError::at(*line + 1, e.to_string()))?;
                *line += 1;
                *bytes += read as u64;
                if read == 0 {
                    return Ok(None);
                }
                if read == RECORD_BYTES_MAX && buffer.last() != Some(&b'\n') {
                    return Err(ImportError::at(*line, format!("has more than {RECORD_BYTES_MAX} bytes")));
                }
                if buffer.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let Members(members) = serde_json::from_slice(buffer)
                    .map_err(|e| ImportError::at(*line, format!("is no JSON object: {}", without_place(&e))))?;
                let mut cells = Vec::with_capacity(members.len());
                for (name, value) in members {
                    let column = number_of(&mut self.columns, name).map_err(|rule| ImportError::at(*line, rule))?;
                    if value.get() != "null" {
                        cells.push((column, Cell::Json(value)));
                    }
                }
                return Ok(Some(Record { line: *line, cells }));
            },
        }
    }
}

/// The parser counts lines from the record's own beginning, which would only mislead.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn number_of(columns: &mut Vec<String>, name: String) -> Result<usize, String> {
    if let Some(column) = columns.iter().position(|column| *column == name) {
        return Ok(column);
    }
    if columns.len() == COLUMNS_MAX {
        return Err(format!("brings in {name:?}, and an entity has at most {COLUMNS_MAX} columns"));
    }
    columns.push(name);
    Ok(columns.len() - 1)
}

fn check_columns(columns: &[String]) -> Result<(), ImportError> {
    if columns.len() > COLUMNS_MAX {
        let rule = format!("has {} columns; an entity has at most {COLUMNS_MAX}", columns.len());
        return Err(ImportError::at(1, rule));
    }
    match columns.iter().enumerate().find(|(i, name)| columns[..*i].contains(name)) {
        Some((_, name)) => Err(ImportError::at(1, format!("names the column {name:?} twice"))),
        None => Ok(()),
    }
}

fn csv_error(error: &csv::Error) -> ImportError {
    let line = error.position().map_or(1, csv::Position::line);
    let rule = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields where the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        csv::ErrorKind::Io(e) => e.to_string(),
        _ => error.to_string(),
    };
    ImportError::at(line, rule)
}

/// A file from which only so much may be read before the budget is renewed.
struct Budgeted {
    file: File,
    left: Rc<Counter<usize>>,
}

impl Read for Budgeted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left.get() == 0 {
            let rule = format!("a record has more than {RECORD_BYTES_MAX} bytes; is a quote left open?");
            return Err(std::io::Error::other(rule));
        }
        let read = self.file.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(read));
        Ok(read)
    }
}
