//! Cells between PostgreSQL's text and the JSON of the wire, written from the contracts and sharing no code with the
//! program.

use std::hash::{Hash as _, Hasher as _};

use base64::Engine as _;
use serde_json::{Value, json};

/// The session settings that this module reads text under.
pub const SESSION: &str = "set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'; set timezone = 'UTC'; set extra_float_digits = 1; set bytea_output = 'hex';";

/// How a cell looks on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `true`, `false`.
    Bool,
    /// A number, beyond 2^53 a string.
    Int,
    /// A number, or a string for what JSON has no number for.
    Float,
    /// A string.
    Decimal,
    /// A string, as it is.
    Text,
    /// Base64.
    Bytes,
    /// A string.
    Uuid,
    /// RFC 3339 in UTC.
    Timestamp,
    /// `YYYY-MM-DD`.
    Date,
    /// `HH:MM:SS.ffffff`.
    Time,
    /// ISO 8601, as PostgreSQL writes it.
    Interval,
    /// Itself.
    Json,
    /// Nested arrays.
    Array(&'static Wire),
}

impl Wire {
    /// The server's text of a cell as JSON: what a client would send for it in a filter.
    #[must_use]
    pub fn json(self, text: &str) -> Value {
        match self {
            Wire::Bool => json!(text == "t"),
            Wire::Int => {
                let int: i64 = text.parse().expect("an integer's text");
                if int.unsigned_abs() <= 1 << 53 { json!(int) } else { json!(text) }
            }
            Wire::Float => match text {
                "NaN" | "Infinity" | "-Infinity" => json!(text),
                _ => json!(text.parse::<f64>().expect("a float's text")),
            },
            Wire::Bytes => {
                let hex = text.strip_prefix("\\x").expect("bytes in hex");
                let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("bytes in hex");
                let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
                json!(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Wire::Timestamp if !text.ends_with("infinity") => {
                json!(format!("{}Z", fraction(&text.replace(' ', "T").replace("+00", ""))))
            }
            Wire::Time => json!(fraction(text)),
            Wire::Json => serde_json::from_str(text).expect("a document"),
            Wire::Array(element) => Elements { rest: text }.array(*element),
            _ => json!(text),
        }
    }

    /// The cell of a row in a form that equal values share: a value may be spelled in several ways, and an update that
    /// only changes the spelling is no change.
    ///
    /// # Errors
    /// What is wrong, where the JSON is no cell of this kind.
    pub fn normal(self, cell: &Value) -> Result<Value, String> {
        let wrong = || format!("{cell} is no cell of {self:?}");
        if cell.is_null() {
            return Ok(Value::Null);
        }
        Ok(match self {
            Wire::Float => match cell.as_f64() {
                // The two zeros are one.
                Some(float) => json!(float + 0.0),
                None => json!(cell.as_str().ok_or_else(wrong)?),
            },
            Wire::Decimal => {
                let text = cell.as_str().ok_or_else(wrong)?;
                if text.contains('.') { json!(text.trim_end_matches('0').trim_end_matches('.')) } else { cell.clone() }
            }
            Wire::Interval => json!(micros(cell.as_str().ok_or_else(wrong)?).ok_or_else(wrong)?.to_string()),
            Wire::Timestamp | Wire::Time => {
                let text = cell.as_str().ok_or_else(wrong)?;
                let (plain, zone) = text.strip_suffix('Z').map_or((text, ""), |plain| (plain, "Z"));
                json!(format!("{}{zone}", fraction(plain)))
            }
            Wire::Json => floats(cell),
            Wire::Array(element) => match cell {
                Value::Array(cells) => {
                    let inner = |cell: &Value| if cell.is_array() { self.normal(cell) } else { element.normal(cell) };
                    Value::Array(cells.iter().map(inner).collect::<Result<_, _>>()?)
                }
                _ => return Err(wrong()),
            },
            Wire::Bool if !cell.is_boolean() => return Err(wrong()),
            Wire::Int if !cell.is_i64() && !cell.is_string() => return Err(wrong()),
            Wire::Text => json!(short(cell.as_str().ok_or_else(wrong)?)),
            Wire::Bytes | Wire::Uuid | Wire::Date if !cell.is_string() => return Err(wrong()),
            _ => cell.clone(),
        })
    }
}

/// A long text by its beginning, length and hash: lists of them are kept by the thousand.
fn short(text: &str) -> String {
    if text.len() <= 100 {
        return text.to_owned();
    }
    let mut hasher = std::hash::DefaultHasher::new();
    text.hash(&mut hasher);
    let beginning: String = text.chars().take(8).collect();
    format!("{beginning}… of {} bytes, {:x}", text.len(), hasher.finish())
}

/// Numbers by value: `1` is `1.0`.
fn floats(document: &Value) -> Value {
    match document {
        Value::Number(number) => json!(number.as_f64().map(|float| float + 0.0)),
        Value::Array(items) => items.iter().map(floats).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), floats(value))).collect(),
        other => other.clone(),
    }
}

/// Seconds with six digits behind the point; what has no seconds stays.
fn fraction(text: &str) -> String {
    if !text.contains(':') {
        return text.to_owned();
    }
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}.{digits:0<6}")
}

/// The length by which PostgreSQL compares intervals: months of 30 days, days of 24 hours.
fn micros(text: &str) -> Option<i128> {
    let (mut total, mut number, mut time) = (0i128, String::new(), false);
    for letter in text.strip_prefix('P')?.chars() {
        let unit: i128 = match letter {
            'T' => {
                time = true;
                continue;
            }
            '-' | '.' | '0'..='9' => {
                number.push(letter);
                continue;
            }
            'Y' => 360 * 86_400_000_000,
            'M' if !time => 30 * 86_400_000_000,
            'D' => 86_400_000_000,
            'H' => 3_600_000_000,
            'M' => 60_000_000,
            'S' => 1_000_000,
            _ => return None,
        };
        let (whole, digits) = number.split_once('.').unwrap_or((&number, ""));
        let fraction: i128 = format!("{digits:0<6}").parse().ok()?;
        let sign = if whole.starts_with('-') { -1 } else { 1 };
        total += whole.parse::<i128>().ok()? * unit + sign * fraction * unit / 1_000_000;
        number.clear();
    }
    Some(total)
}

/// An array's text that is being read.
struct Elements<'a> {
    rest: &'a str,
}

impl Elements<'_> {
    fn array(&mut self, element: Wire) -> Value {
        // Bounds other than 1 stand in front: `[0:1]={…}`.
        let open = self.rest.find('{').expect("an array's text");
        self.rest = &self.rest[open + 1..];
        let mut items = Vec::new();
        loop {
            match self.rest.as_bytes()[0] {
                b'}' => {
                    self.rest = &self.rest[1..];
                    return Value::Array(items);
                }
                b',' => self.rest = &self.rest[1..],
                b'{' => items.push(self.array(element)),
                b'"' => {
                    let text = self.quoted();
                    items.push(element.json(&text));
                }
                _ => {
                    let end = self.rest.find([',', '}']).expect("an array's end");
                    let text = &self.rest[..end];
                    items.push(if text == "NULL" { Value::Null } else { element.json(text) });
                    self.rest = &self.rest[end..];
                }
            }
        }
    }

    fn quoted(&mut self) -> String {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    break;
                }
                '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
                _ => text.push(letter),
            }
        }
        text
    }
}
