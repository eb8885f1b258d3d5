//! The two spellings of an array: `{…}` with its quotes, and the binary one. Its elements stay bytes here.

use std::borrow::Cow;

use crate::postgres::reader::Reader;

/// Most dimensions of an array.
pub(super) const DIMENSIONS_MAX: usize = 6;

/// An array whose elements are still to be decoded, row by row; null is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawArray<'a> {
    /// Length and lower bound of each dimension; empty for an empty array.
    pub(super) dimensions: Vec<(u32, i32)>,
    /// As many as the lengths multiplied, or none.
    pub(super) elements: Vec<Option<Cow<'a, [u8]>>>,
}

impl<'a> RawArray<'a> {
    /// Reads what `array_out` prints: `[2:3]={1,NULL}`, `{{"a,b","\""}}`.
    pub(super) fn from_text(text: &'a [u8]) -> Option<Self> {
        let (bounds, body) = match text.first()? {
            b'[' => {
                let equals = text.iter().position(|byte| *byte == b'=')?;
                (Some(bounds(std::str::from_utf8(&text[..equals]).ok()?)?), &text[equals + 1..])
            }
            _ => (None, text),
        };
        if body == b"{}" {
            return bounds.is_none().then_some(Self { dimensions: Vec::new(), elements: Vec::new() });
        }
        let mut parser = Parser { rest: body, lengths: Vec::new(), elements: Vec::new() };
        parser.level(0)?;
        if !parser.rest.is_empty() {
            return None;
        }
        let dimensions = match bounds {
            Some(bounds) if bounds.iter().map(|(length, _)| length).eq(&parser.lengths) => bounds,
            Some(_) => return None,
            None => parser.lengths.iter().map(|length| (*length, 1)).collect(),
        };
        Some(Self { dimensions, elements: parser.elements })
    }

    /// Reads what `array_send` writes.
    pub(super) fn from_binary(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let count = usize::try_from(reader.i32()?).ok().filter(|count| *count <= DIMENSIONS_MAX)?;
        let _has_nulls = reader.i32()?;
        let _element_oid = reader.u32()?;
        let mut dimensions = Vec::with_capacity(count);
        let mut total = u64::from(count > 0);
        for _ in 0..count {
            let length = u32::try_from(reader.i32()?).ok().filter(|length| *length > 0)?;
            dimensions.push((length, reader.i32()?));
            total = total.checked_mul(u64::from(length))?;
        }
        // Every element takes four bytes at least.
        let total = usize::try_from(total).ok().filter(|total| *total <= reader.0.len() / 4)?;
        let mut elements = Vec::with_capacity(total);
        for _ in 0..total {
            let length = reader.i32()?;
            elements.push(match usize::try_from(length) {
                Ok(length) => Some(Cow::Borrowed(reader.take(length)?)),
                Err(_) if length == -1 => None,
                Err(_) => return None,
            });
        }
        reader.is_empty().then_some(Self { dimensions, elements })
    }
}

/// `[1:2][-1:0]` as lengths and lower bounds.
fn bounds(text: &str) -> Option<Vec<(u32, i32)>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut bounds = Vec::new();
    for dimension in inner.split("][") {
        let (lower, upper) = dimension.split_once(':')?;
        let (lower, upper): (i32, i32) = (lower.parse().ok()?, upper.parse().ok()?);
        let length = i64::from(upper) - i64::from(lower) + 1;
        bounds.push((u32::try_from(length).ok()?, lower));
        if bounds.len() > DIMENSIONS_MAX {
            return None;
        }
    }
    Some(bounds)
}

struct Parser<'a> {
    rest: &'a [u8],
    /// Of each level, once its first list is read.
    lengths: Vec<u32>,
    elements: Vec<Option<Cow<'a, [u8]>>>,
}

impl<'a> Parser<'a> {
    /// Reads `{…}` at that depth. Recursion ends at [`DIMENSIONS_MAX`].
    fn level(&mut self, depth: usize) -> Option<()> {
        if depth == DIMENSIONS_MAX || !self.skip(b'{') {
            return None;
        }
        if self.lengths.len() == depth {
            self.lengths.push(0);
        }
        let deeper = self.rest.first() == Some(&b'{');
        let mut length = 0u32;
        loop {
            if deeper {
                self.level(depth + 1)?;
            } else {
                // Elements stand in the deepest lists only.
                if self.lengths.len() != depth + 1 {
                    return None;
                }
                let element = self.element()?;
                self.elements.push(element);
            }
            length = length.checked_add(1)?;
            if !self.skip(b',') {
                break;
            }
        }
        if !self.skip(b'}') {
            return None;
        }
        match self.lengths.get_mut(depth) {
            Some(known) if *known == 0 => *known = length,
            Some(known) if *known == length => {}
            _ => return None,
        }
        Some(())
    }

    fn skip(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn element(&mut self) -> Option<Option<Cow<'a, [u8]>>> {
        if self.skip(b'"') {
            return self.quoted().map(Some);
        }
        let end = self.rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() || word.iter().any(|byte| matches!(byte, b'{' | b'"' | b'\\')) {
            return None;
        }
        Some((!word.eq_ignore_ascii_case(b"null")).then_some(Cow::Borrowed(word)))
    }

    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (plain, rest) = self.rest.split_at(end);
        self.rest = rest;
        if self.skip(b'"') {
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    text.push(*escaped);
                }
                _ => text.push(*byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parsed = (Vec<(u32, i32)>, Vec<Option<String>>);

    fn parse(text: &str) -> Option<Parsed> {
        let array = RawArray::from_text(text.as_bytes())?;
        let text = |element: Cow<'_, [u8]>| String::from_utf8(element.into_owned()).unwrap();
        Some((array.dimensions, array.elements.into_iter().map(|element| element.map(text)).collect()))
    }

    #[test]
    fn what_array_out_prints() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parse("{}"), Some((vec![], vec![])));
        assert_eq!(parse("{1,NULL,\"NULL\"}"), Some((vec![(3, 1)], vec![some("1"), None, some("NULL")])));
        assert_eq!(parse("[2:3]={a,b}"), Some((vec![(2, 2)], vec![some("a"), some("b")])));
        assert_eq!(parse("[-1:0][5:5]={{1},{2}}"), Some((vec![(2, -1), (1, 5)], vec![some("1"), some("2")])));
        assert_eq!(
            parse(r#"{{"a,b","\"\\ {}"},{"",c d}}"#),
            Some((vec![(2, 1), (2, 1)], vec![some("a,b"), some("\"\\ {}"), some(""), some("c d")]))
        );
    }

    #[test]
    fn what_it_never_prints() {
        for wrong in [
            "",
            "{",
            "}",
            "{1",
            "{1,}",
            "{,1}",
            "{{1},{2,3}}",
            "{{1},2}",
            "{1,{2}}",
            "{1}x",
            "[1:2]={1}",
            "[1:0]={}",
            "[1]={1}",
            "{{{{{{{1}}}}}}}",
            "{\"a}",
            "{a\"b}",
            "{\"a\"b}",
            "{\"\\",
            "[0:4294967295]={1}",
            "={1}",
            "{{}}",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lengths_are_believed_only_with_their_bytes() {
        let mut bytes = Vec::new();
        for number in [2, 0, 23, i32::MAX, 1, i32::MAX, 1] {
            bytes.extend(number.to_be_bytes());
        }
        assert_eq!(RawArray::from_binary(&bytes), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\"\\\\,:=a1-]{0,24}") {
            let _ = (RawArray::from_binary(&bytes), RawArray::from_text(&bytes), RawArray::from_text(text.as_bytes()));
        }
    }
}
