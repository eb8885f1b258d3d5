//! Masking, a word at a time.

/// Masks or unmasks `bytes`, whose first byte meets the key's first.
pub(crate) fn apply(bytes: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// The key for bytes that come `offset` bytes into the payload.
pub(crate) fn rotated(key: [u8; 4], offset: usize) -> [u8; 4] {
    let mut key = key;
    key.rotate_left(offset % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_cut_is_as_byte_by_byte() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let plain: Vec<u8> = (0..100).collect();
        for len in 0..plain.len() {
            let expected: Vec<u8> = (0..len).map(|at| plain[at] ^ key[at % 4]).collect();
            for cut in 0..=len {
                let mut bytes = plain[..len].to_vec();
                let (first, second) = bytes.split_at_mut(cut);
                apply(first, key);
                apply(second, rotated(key, cut));
                assert_eq!(bytes, expected, "{len} cut at {cut}");
            }
        }
    }
}
