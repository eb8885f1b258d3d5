//! The binary format of COPY, as bytes come in: pure.
//!
//! # Invariants
//! - Any bytes may come: nothing panics, and nothing is kept for a row beyond its limit.
//! - How the bytes are cut into chunks makes no difference.

use bytes::{Buf as _, Bytes, BytesMut};

use super::error::{SourceError, SourceErrorKind};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of what follows.
const HEADER: usize = SIGNATURE.len() + 8;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopiedRow {
    /// One per column, `None` for NULL.
    pub(crate) fields: Vec<Option<Bytes>>,
    /// As sent.
    pub(crate) bytes: usize,
}

/// Reads rows out of chunks.
#[derive(Debug)]
pub(crate) struct Parser {
    columns: usize,
    row_bytes_max: usize,
    /// What is not read yet: less than a header or row, plus the last chunk.
    rest: Bytes,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    Done,
}

impl Parser {
    /// For rows of `columns` columns, each row at most `row_bytes_max` bytes.
    pub(crate) fn new(columns: usize, row_bytes_max: usize) -> Self {
        Self { columns, row_bytes_max, rest: Bytes::new(), state: State::Header }
    }

    /// The next chunk. All rows should have been taken out before.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.rest.is_empty() {
            self.rest = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.rest.len() + chunk.len());
            joined.extend_from_slice(&self.rest);
            joined.extend_from_slice(&chunk);
            self.rest = joined.freeze();
        }
    }

    /// The next row; `None` until more has come.
    ///
    /// # Errors
    /// [`SourceErrorKind::TooLarge`], [`SourceErrorKind::Protocol`]. Then no more rows come.
    pub(crate) fn next_row(&mut self) -> Result<Option<CopiedRow>, SourceError> {
        let outcome = self.step();
        if outcome.is_err() {
            self.rest = Bytes::new();
            self.state = State::Done;
        }
        outcome
    }

    /// Whether the end came.
    ///
    /// # Errors
    /// [`SourceErrorKind::Protocol`] where it did not.
    pub(crate) fn finish(&self) -> Result<(), SourceError> {
        if self.state == State::Done { Ok(()) } else { Err(wrong("it ends early")) }
    }

    fn step(&mut self) -> Result<Option<CopiedRow>, SourceError> {
        if self.state == State::Header && !self.header()? {
            return Ok(None);
        }
        if self.state == State::Done {
            return if self.rest.is_empty() { Ok(None) } else { Err(wrong("bytes after its end")) };
        }
        let mut rest = self.rest.clone();
        let Some(columns) = take(&mut rest, 2).map(|mut bytes| bytes.get_i16()) else { return Ok(None) };
        if columns == -1 {
            self.rest = rest;
            self.state = State::Done;
            return self.step();
        }
        if usize::try_from(columns) != Ok(self.columns) {
            return Err(wrong("a row with another number of columns"));
        }
        let mut row = CopiedRow { fields: Vec::with_capacity(self.columns), bytes: 2 };
        for _ in 0..self.columns {
            let Some(length) = take(&mut rest, 4).map(|mut bytes| bytes.get_i32()) else { return Ok(None) };
            row.bytes += 4;
            if length == -1 {
                row.fields.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| wrong("a field of negative length"))?;
            // Before any more of it is waited for.
            row.bytes = row.bytes.saturating_add(length);
            if row.bytes > self.row_bytes_max {
                let message = format!("a copied row is larger than max_message_bytes ({})", self.row_bytes_max);
                return Err(SourceError::new(SourceErrorKind::TooLarge, message));
            }
            let Some(field) = take(&mut rest, length) else { return Ok(None) };
            row.fields.push(Some(field));
        }
        self.rest = rest;
        Ok(Some(row))
    }

    /// Reads the header; `false` until all of it is there.
    fn header(&mut self) -> Result<bool, SourceError> {
        let known = self.rest.len().min(SIGNATURE.len());
        if self.rest[..known] != SIGNATURE[..known] {
            return Err(wrong("another signature"));
        }
        if self.rest.len() < HEADER {
            return Ok(false);
        }
        let mut numbers = self.rest.slice(SIGNATURE.len()..HEADER);
        let (flags, extension) = (numbers.get_u32(), numbers.get_u32());
        // None of the critical flags, nor of the extensions, is defined for any server we know.
        if flags != 0 || extension != 0 {
            return Err(wrong("unknown flags"));
        }
        self.rest.advance(HEADER);
        self.state = State::Rows;
        Ok(true)
    }
}

/// Cuts `length` bytes off the front, if they are there.
fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (rest.len() >= length).then(|| rest.split_to(length))
}

fn wrong(what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Protocol, format!("the server's binary COPY is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend([0; 8]);
        for row in rows {
            out.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
            for field in row {
                match field {
                    None => out.extend((-1i32).to_be_bytes()),
                    Some(bytes) => {
                        out.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                        out.extend(bytes);
                    }
                }
            }
        }
        out.extend((-1i16).to_be_bytes());
        out
    }

    /// Everything that comes out when `bytes` come in pieces of the sizes in `cuts`, over and over.
    fn read(
        bytes: &[u8],
        cuts: &[usize],
        columns: usize,
        max: usize,
    ) -> Result<Vec<Vec<Option<Vec<u8>>>>, SourceError> {
        let mut parser = Parser::new(columns, max);
        let (mut rows, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            let end = bytes.len().min(at + cut.max(&1));
            parser.push(Bytes::copy_from_slice(&bytes[at..end]));
            while let Some(row) = parser.next_row()? {
                rows.push(row.fields.into_iter().map(|field| field.map(|bytes| bytes.to_vec())).collect());
            }
            at = end;
            if at == bytes.len() {
                break;
            }
        }
        parser.finish().map(|()| rows)
    }

    fn rows(columns: usize) -> impl Strategy<Value = Vec<Vec<Option<Vec<u8>>>>> {
        let field = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        prop::collection::vec(prop::collection::vec(field, columns), 0..20)
    }

    proptest! {
        #[test]
        fn every_row_comes_out_however_it_is_cut(
            rows in (0usize..6).prop_flat_map(|columns| rows(columns).prop_map(move |rows| (columns, rows))),
            cuts in prop::collection::vec(1usize..50, 1..8),
        ) {
            let (columns, rows) = rows;
            prop_assert_eq!(read(&encoded(&rows), &cuts, columns, 1 << 20), Ok(rows));
        }

        #[test]
        fn no_bytes_panic(
            rows in rows(3),
            cuts in prop::collection::vec(1usize..50, 1..4),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encoded(&rows);
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = read(&bytes, &cuts, 3, 64);
            bytes.truncate(keep.index(bytes.len()).max(1));
            let _ = read(&bytes, &cuts, 3, 64);
        }

        #[test]
        fn no_garbage_panics(bytes in prop::collection::vec(any::<u8>(), 1..200), cuts in prop::collection::vec(1usize..50, 1..4)) {
            prop_assert!(read(&bytes, &cuts, 2, 64).is_err());
            let mut after_header = encoded(&[]);
            after_header.truncate(HEADER);
            after_header.extend(bytes);
            let _ = read(&after_header, &cuts, 2, 64);
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_comes() {
        let mut bytes = encoded(&[]);
        bytes.truncate(HEADER);
        bytes.extend(1i16.to_be_bytes());
        bytes.extend(i32::MAX.to_be_bytes());
        let error = read(&bytes, &[1000], 1, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::TooLarge);
    }

    #[test]
    fn what_ends_early_or_late_is_an_error() {
        let bytes = encoded(&[vec![Some(b"a".to_vec())]]);
        for end in 1..bytes.len() {
            assert!(read(&bytes[..end], &[3], 1, 64).is_err(), "{end}");
        }
        let late = [bytes.as_slice(), b"x"].concat();
        assert!(read(&late, &[3], 1, 64).is_err());
        assert!(read(&bytes, &[3], 2, 64).is_err());
        assert!(read(&bytes, &[3], 1, 64).is_ok());
    }
}
