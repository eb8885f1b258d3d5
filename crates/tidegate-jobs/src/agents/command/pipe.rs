//! Lines of a pipe, each of a bounded length.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The lines of a pipe.
#[derive(Debug)]
pub(super) struct LinesOf<R> {
    pipe: BufReader<R>,
    bytes_max: usize,
    line: Vec<u8>,
    /// What is left of a line that was cut.
    is_skipping: bool,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) line: Vec<u8>,
    /// It was longer; this is its beginning.
    pub(super) is_cut: bool,
}

impl<R: AsyncRead + Unpin> LinesOf<R> {
    pub(super) fn new(pipe: R, bytes_max: usize) -> Self {
        Self { pipe: BufReader::new(pipe), bytes_max, line: Vec::new(), is_skipping: false }
    }

    /// The next, `None` at the end; one that is too long is told as soon as that is known. Whoever drops the future loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Option<Cut>> {
        loop {
            let there = self.pipe.fill_buf().await?;
            if there.is_empty() {
                let line = std::mem::take(&mut self.line);
                return Ok((!line.is_empty()).then_some(Cut { line, is_cut: false }));
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let piece = &there[..end.unwrap_or(there.len())];
            let taken = piece.len().min(self.bytes_max - self.line.len());
            let was_skipping = self.is_skipping;
            let is_cut = !was_skipping && taken < piece.len();
            if !was_skipping {
                self.line.extend_from_slice(&piece[..taken]);
            }
            let consumed = piece.len() + usize::from(end.is_some());
            self.pipe.consume(consumed);
            self.is_skipping = end.is_none() && (was_skipping || is_cut);
            if is_cut || (end.is_some() && !was_skipping) {
                return Ok(Some(Cut { line: std::mem::take(&mut self.line), is_cut }));
            }
        }
    }

    /// Reads to the end and keeps nothing.
    pub(super) async fn drain(&mut self) {
        while let Ok(there) = self.pipe.fill_buf().await {
            let bytes = there.len();
            if bytes == 0 {
                return;
            }
            self.pipe.consume(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &[u8]) -> Vec<(String, bool)> {
        let mut lines = LinesOf::new(text, 4);
        let mut all = Vec::new();
        while let Some(Cut { line, is_cut }) = lines.next().await.unwrap() {
            all.push((String::from_utf8(line).unwrap(), is_cut));
        }
        all
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_the_next_is_whole() {
        let line = |text: &str, is_cut| (text.to_owned(), is_cut);
        assert_eq!(read(b"").await, []);
        assert_eq!(read(b"a\n\nb").await, [line("a", false), line("", false), line("b", false)]);
        assert_eq!(read(b"abcd\nabcde\nx\n").await, [line("abcd", false), line("abcd", true), line("x", false)]);
        let long = [&[b'a'; 20_000][..], b"\nx"].concat();
        assert_eq!(read(&long).await, [line("aaaa", true), line("x", false)]);
    }
}
