//! Names and text as SQL.

/// `name` as a quoted identifier.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, both quoted.
#[must_use]
pub fn table(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// The table as a publication's member, without those that inherit from it: they would be published too, and one
/// without a key could then no longer be updated. A partitioned table has its partitions all the same.
#[must_use]
pub fn only(schema: &str, name: &str) -> String {
    format!("ONLY {}", table(schema, name))
}

/// `text` as a string literal, whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!(" E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(identifier("plain"), "\"plain\"");
        assert_eq!(identifier("Select \"x\"; --"), "\"Select \"\"x\"\"; --\"");
        assert_eq!(table("a.b", "\""), "\"a.b\".\"\"\"\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
