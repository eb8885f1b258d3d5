//! DEFLATE (RFC 1951) by hand: as many zeros as one likes in next to no bytes.

/// A sync-flushed stream, its tail cut as RFC 7692 wants it, that inflates to one zero and `runs` times 258 more.
pub(crate) fn zeros(runs: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // A block that is not the last, with fixed codes.
    bits.push(0b010, 3);
    bits.push_code(0x30, 8);
    for _ in 0..runs {
        // Length 258 (code 285), distance 1.
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    bits.push_code(0, 7);
    // The empty stored block whose 00 00 ff ff is left out.
    bits.push(0, 3);
    bits.whole()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u8,
}

impl Bits {
    /// Lowest bit first.
    fn push(&mut self, value: u32, count: u8) {
        for bit in 0..count {
            self.bit(value >> bit & 1);
        }
    }

    /// A Huffman code: highest bit first.
    fn push_code(&mut self, code: u32, count: u8) {
        for bit in (0..count).rev() {
            self.bit(code >> bit & 1);
        }
    }

    fn bit(&mut self, bit: u32) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= (bit as u8) << self.used;
        }
        self.used = (self.used + 1) % 8;
    }

    fn whole(self) -> Vec<u8> {
        self.bytes
    }
}
