//! The types of columns that a followed table may have, each with values that break things.

use super::wire::Wire;

/// A type of PostgreSQL, as a test's tables use it.
#[derive(Debug)]
pub struct Kind {
    /// As in `CREATE TABLE`. What is no built-in type is made by [`PRELUDE`].
    pub sql: &'static str,
    /// How its cells look on the wire.
    pub wire: Wire,
    /// Whether filters may name it.
    pub filterable: bool,
    /// Whether sorts and inequalities may name it.
    pub ordered: bool,
    /// Values, each in the very text that the server gives back.
    pub cells: &'static [&'static str],
}

/// Makes the types of [`KINDS`] that are not built in.
pub const PRELUDE: &str = "create type mood as enum ('sad', 'ok', 'Happy', 'É', 'a''b');
    create domain positive as integer check (value > 0);
    create domain label as varchar(12);";

impl Kind {
    /// The kind of that name.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn named(sql: &str) -> &'static Kind {
        KINDS.iter().find(|kind| kind.sql == sql).unwrap_or_else(|| panic!("no kind {sql}"))
    }

    /// Whether it may be (a part of) a key here: ordered, with a pool that is small enough for rows to come back.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.ordered && self.cells.len() > 3
    }

    /// A literal of it in SQL.
    #[must_use]
    pub fn literal(&self, text: &str) -> String {
        // The two have no operators of their own.
        let name = if self.sql == "json" { "jsonb" } else { self.sql };
        format!("'{}'::{name}", text.replace('\'', "''"))
    }

    /// A column of it, as an operand.
    #[must_use]
    pub fn operand(&self, column: &str) -> String {
        if self.sql == "json" { format!("{column}::jsonb") } else { column.to_owned() }
    }
}

const fn ordered(sql: &'static str, wire: Wire, cells: &'static [&'static str]) -> Kind {
    Kind { sql, wire, filterable: true, ordered: true, cells }
}

const fn equal(sql: &'static str, wire: Wire, cells: &'static [&'static str]) -> Kind {
    Kind { sql, wire, filterable: true, ordered: false, cells }
}

/// Travels as text and may be neither filtered nor sorted.
const fn opaque(sql: &'static str, cells: &'static [&'static str]) -> Kind {
    Kind { sql, wire: Wire::Text, filterable: false, ordered: false, cells }
}

/// Every kind.
pub const KINDS: &[Kind] = &[
    ordered("boolean", Wire::Bool, &["t", "f"]),
    ordered("smallint", Wire::Int, &["0", "1", "-1", "2", "32767", "-32768"]),
    ordered("integer", Wire::Int, &["0", "1", "-1", "2", "3", "10", "2147483647", "-2147483648"]),
    ordered(
        "bigint",
        Wire::Int,
        &["0", "1", "-1", "255", "9007199254740992", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    ),
    ordered("numeric", Wire::Decimal, DECIMALS),
    ordered("numeric(10,2)", Wire::Decimal, &["0.00", "1.00", "-1.00", "0.01", "99999999.99", "-0.10", "NaN", "10.00"]),
    ordered(
        "real",
        Wire::Float,
        &[
            "0",
            "-0",
            "1",
            "-1",
            "0.1",
            "1.5",
            "3.4028235e+38",
            "1e-45",
            "1.6777216e+07",
            "NaN",
            "Infinity",
            "-Infinity",
        ],
    ),
    ordered(
        "double precision",
        Wire::Float,
        &["0", "-0", "1", "-1", "0.1", "1e+300", "5e-324", "1.7976931348623157e+308", "NaN", "Infinity", "-Infinity"],
    ),
    ordered("text", Wire::Text, TEXTS),
    ordered("character varying(20)", Wire::Text, TEXTS),
    ordered(
        "character(5)",
        Wire::Text,
        &["     ", "a    ", "A    ", "ab   ", "a b  ", "é    ", "zzzzz", "漢    ", "~    "],
    ),
    ordered(
        "bytea",
        Wire::Bytes,
        &["\\x", "\\x00", "\\x0000", "\\x01", "\\x61", "\\x6100", "\\xff", "\\xff00", "\\xffff"],
    ),
    ordered(
        "uuid",
        Wire::Uuid,
        &[
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000001",
            "80808080-8080-8080-8080-808080808080",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    ),
    ordered(
        "date",
        Wire::Date,
        &["1970-01-01", "1969-12-31", "2024-02-29", "0001-01-01", "9999-12-31", "infinity", "-infinity"],
    ),
    ordered(
        "time without time zone",
        Wire::Time,
        &["00:00:00", "00:00:00.000001", "12:34:56.789", "23:59:59.999999", "24:00:00"],
    ),
    ordered(
        "timestamp without time zone",
        Wire::Timestamp,
        &[
            "1970-01-01 00:00:00",
            "1969-12-31 23:59:59.999999",
            "2024-02-29 12:00:00.5",
            "0001-01-01 00:00:00",
            "infinity",
            "-infinity",
        ],
    ),
    ordered(
        "timestamp with time zone",
        Wire::Timestamp,
        &[
            "1970-01-01 00:00:00+00",
            "2024-02-29 12:00:00.5+00",
            "2024-02-29 12:00:00.500001+00",
            "9999-12-31 23:59:59+00",
            "infinity",
            "-infinity",
        ],
    ),
    ordered("mood", Wire::Text, &["sad", "ok", "Happy", "É", "a'b"]),
    ordered("positive", Wire::Int, &["1", "2", "3", "10", "2147483647"]),
    ordered("label", Wire::Text, &["", "a", "A", "ab", "a%", "é"]),
    equal(
        "interval",
        Wire::Interval,
        &["PT0S", "P1M", "P30D", "PT720H", "P1D", "PT24H", "P1Y2M3DT4H5M6.5S", "P-1Y-2M3DT-4H-5M-6.5S", "PT0.000001S"],
    ),
    equal("json", Wire::Json, DOCUMENTS),
    equal(
        "jsonb",
        Wire::Json,
        &[
            "true",
            "0",
            "1",
            "1.0",
            "0.1",
            "\"\"",
            "\"1\"",
            "\"a\"",
            "[]",
            "{}",
            "[1, 2]",
            "[2, 1]",
            "{\"a\": 1}",
            "{\"a\": 1, \"b\": null}",
            "[[[[1]]]]",
        ],
    ),
    equal(
        "integer[]",
        Wire::Array(&Wire::Int),
        &["{}", "{1}", "{1,2}", "{2,1}", "{NULL}", "{1,NULL}", "{{1,2},{3,4}}", "{1,2,3}"],
    ),
    equal("bigint[]", Wire::Array(&Wire::Int), &["{}", "{1}", "{9007199254740993,-1}", "{NULL,NULL}"]),
    equal(
        "text[]",
        Wire::Array(&Wire::Text),
        &[
            "{}",
            "{a}",
            "{a,b}",
            "{\"\"}",
            "{NULL,\"NULL\"}",
            "{\"a b\",\"c\\\"d\"}",
            "{é,\"\\\\\"}",
            "{\"{}\",\"a,b\"}",
        ],
    ),
    equal(
        "numeric[]",
        Wire::Array(&Wire::Decimal),
        &["{}", "{1.0,1}", "{1,1.00}", "{NaN}", "{12345678901234567890.5}"],
    ),
    equal("double precision[]", Wire::Array(&Wire::Float), &["{}", "{0,-0}", "{-0,0}", "{NaN}", "{1.5,Infinity}"]),
    equal("boolean[]", Wire::Array(&Wire::Bool), &["{}", "{t}", "{t,f}", "{f,t,NULL}"]),
    equal("uuid[]", Wire::Array(&Wire::Uuid), &["{}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"]),
    equal("date[]", Wire::Array(&Wire::Date), &["{}", "{2024-02-29}", "{infinity,1970-01-01}"]),
    equal(
        "timestamp with time zone[]",
        Wire::Array(&Wire::Timestamp),
        &["{}", "{\"2024-02-29 12:00:00.5+00\"}", "{infinity}"],
    ),
    equal("bytea[]", Wire::Array(&Wire::Bytes), &["{}", "{\"\\\\x\"}", "{\"\\\\x61ff\"}"]),
    equal("mood[]", Wire::Array(&Wire::Text), &["{}", "{sad}", "{sad,ok}", "{Happy,NULL}"]),
    opaque("inet", &["10.0.0.1", "10.0.0.0/8", "::1"]),
    opaque("time with time zone", &["12:00:00+00", "12:00:00.5-08"]),
    opaque("bit varying(9)", &["", "0", "101", "111111111"]),
    opaque("int4range", &["empty", "[1,3)", "(,5)"]),
    opaque("interval[]", &["{}", "{P1M,NULL}"]),
];

const TEXTS: &[&str] = &[
    "", "a", "A", "aa", "ab", "aB", "AB", "b", "a%", "a_", "a\\", "%", "_", "é", "É", "z", "漢", "🦀", "a\u{1}", "ß",
    " a", "a ", "north-07", "10", "9", "'", "\"", "$1", "a\nb", "null",
];

const DECIMALS: &[&str] = &[
    "0",
    "0.0",
    "0.00",
    "1",
    "1.0",
    "1.00",
    "1.01",
    "-1",
    "-1.0",
    "10",
    "9.99",
    "0.1",
    "0.001",
    "-0.01",
    "100",
    "100.000",
    "123456789012345678901234567890.123456789",
    "123456789012345678901234567890.1234567891",
    "0.0000000001",
    "NaN",
    "Infinity",
    "-Infinity",
];

const DOCUMENTS: &[&str] = &[
    "true",
    "0",
    "1",
    "1.0",
    "1e0",
    "0.1",
    "\"\"",
    "\"1\"",
    "\"a\"",
    "\"\\u0061\"",
    "[]",
    "[ ]",
    "{}",
    "[1,2]",
    "[2,1]",
    "{\"a\":1}",
    "{ \"a\" : 1.0 }",
    "{\"b\":null,\"a\":1}",
    "{\"a\":2,\"a\":1}",
];
