//! UTF-8 that arrives in pieces, cut anywhere.

use crate::Error;
use crate::partial::growth;

/// Text so far: what is whole, and the first bytes of a character that is not.
#[derive(Debug, Default)]
pub(crate) struct Text {
    whole: String,
    /// The first `begun` bytes are of a character whose rest has not arrived.
    character: [u8; 4],
    begun: usize,
}

impl Text {
    pub(crate) fn whole(text: String) -> Self {
        Self { whole: text, ..Self::default() }
    }

    /// Bytes taken so far.
    pub(crate) fn len(&self) -> usize {
        self.whole.len() + self.begun
    }

    /// Takes more bytes. Fails at the first that no text could have here. Never holds room for more than `bytes_max`.
    pub(crate) fn push(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(), Error> {
        let more = self.begun + bytes.len();
        self.whole.reserve_exact(growth(self.whole.len(), self.whole.capacity(), more, bytes_max));
        let mut rest = bytes;
        while self.begun > 0 {
            let Some((&next, after)) = rest.split_first() else { return Ok(()) };
            self.character[self.begun] = next;
            self.begun += 1;
            rest = after;
            match std::str::from_utf8(&self.character[..self.begun]) {
                Ok(character) => {
                    self.whole.push_str(character);
                    self.begun = 0;
                }
                Err(error) if error.error_len().is_some() => return Err(Error::Utf8),
                Err(_) => {}
            }
        }
        match simdutf8::compat::from_utf8(rest) {
            Ok(text) => self.whole.push_str(text),
            Err(error) if error.error_len().is_some() => return Err(Error::Utf8),
            Err(error) => {
                let (text, begun) = rest.split_at(error.valid_up_to());
                self.whole.push_str(std::str::from_utf8(text).map_err(|_| Error::Utf8)?);
                self.character[..begun.len()].copy_from_slice(begun);
                self.begun = begun.len();
            }
        }
        Ok(())
    }

    /// The text, if it does not end inside a character.
    pub(crate) fn get(&self) -> Result<&str, Error> {
        if self.begun == 0 { Ok(&self.whole) } else { Err(Error::Utf8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 10;

    #[test]
    fn every_cut_gives_the_same_text() {
        let text = "aé€😀\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}z";
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let bytes = text.as_bytes();
                let mut gathered = Text::default();
                gathered.push(&bytes[..cut], MAX).unwrap();
                gathered.push(&bytes[cut..second], MAX).unwrap();
                gathered.push(&bytes[second..], MAX).unwrap();
                assert_eq!(gathered.get(), Ok(text));
            }
        }
    }

    #[test]
    fn fails_at_the_first_byte_that_cannot_be() {
        for (good, bad) in [
            (&b"\xf4"[..], 0x90),
            (b"\xf0", 0x80),
            (b"\xed", 0xa0),
            (b"\xe0", 0x9f),
            (b"\xe2\x82", 0x20),
            (b"\xf0\x9f\x98", 0xff),
            (b"", 0xc0),
            (b"", 0xf5),
            (b"ok", 0x80),
        ] {
            let mut text = Text::default();
            text.push(good, MAX).unwrap();
            assert_eq!(text.push(&[bad], MAX), Err(Error::Utf8), "{good:x?} {bad:x}");
        }
        let mut text = Text::default();
        text.push(b"\xe2\x82", MAX).unwrap();
        assert_eq!(text.get(), Err(Error::Utf8));
    }
}
