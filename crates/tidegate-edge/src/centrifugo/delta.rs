//! What differs between a publication and the one before it, in the format that clients know: fossil's.

/// Longer texts are told whole. The search looks at up to 250 places for each byte: texts that repeat themselves, made
/// to be slow, cost 40 ms at 16 KiB and 300 ms at 64 KiB.
const BYTES_MAX: usize = 4 << 10;
/// A difference is at least its two sizes and a sum, so less than this is not worth a search.
const BYTES_MIN: usize = 24;

/// What makes `after` from `before`. None where that is not shorter than `after`, or not worth finding out.
pub(crate) fn difference(before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
    if before.len() < BYTES_MIN || after.len() < BYTES_MIN || before.len().max(after.len()) > BYTES_MAX {
        return None;
    }
    // The crate names the result first.
    let delta = fossil_delta::delta(after, before);
    (delta.len() < after.len()).then_some(delta)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes, text, few letters and repetitions: what a rolling hash could stumble on.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            prop::collection::vec(0u8..3, 0..600),
            "[ -~]{0,300}".prop_map(String::into_bytes),
            "\\PC{0,120}".prop_map(String::into_bytes),
            (prop::collection::vec(any::<u8>(), 1..20), 1usize..60).prop_map(|(piece, times)| piece.repeat(times)),
        ]
    }

    /// Two texts of which the second has much of the first.
    fn pairs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        (texts(), texts(), texts(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
            |(before, head, tail, from, to)| {
                let (from, to) = (from.index(before.len() + 1), to.index(before.len() + 1));
                let kept = &before[from.min(to)..from.max(to)];
                let after = [&head[..head.len().min(40)], kept, &tail].concat();
                (before, after)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_difference_makes_the_text_again((before, after) in pairs()) {
            // Past our guards too: the crate itself must take whatever comes.
            let delta = fossil_delta::delta(&after, &before);
            prop_assert_eq!(&fossil_delta::apply(&before, &delta).unwrap(), &after);
            if let Some(delta) = difference(&before, &after) {
                prop_assert!(delta.len() < after.len());
                prop_assert_eq!(fossil_delta::apply(&before, &delta).unwrap(), after);
            }
        }

        #[test]
        fn whatever_two_texts(before in texts(), after in texts()) {
            let delta = fossil_delta::delta(&after, &before);
            prop_assert_eq!(fossil_delta::apply(&before, &delta).unwrap(), after);
        }
    }

    #[test]
    fn what_is_not_worth_it_is_told_whole() {
        let long = "0123456789abcdef".repeat(5000);
        assert_eq!(difference(b"", b""), None);
        assert_eq!(difference(b"", &long.as_bytes()[..1000]), None);
        assert_eq!(difference(&long.as_bytes()[..1000], b""), None);
        assert_eq!(difference(long.as_bytes(), long.as_bytes()), None);
        let (a, b) = (br#"{"x":1,"y":2,"name":"somebody"}"#, br#"["nothing","like","it","at","all"]"#);
        assert_eq!(difference(a, b), None);
        assert!(difference(&long.as_bytes()[..1000], &long.as_bytes()[..1001]).unwrap().len() < 30);
    }

    /// The bound of the module: a text at the limit that collides as much as texts can.
    #[test]
    fn texts_at_the_limit_of_one_letter() {
        let before = vec![b'a'; BYTES_MAX];
        let after: Vec<u8> = (0..BYTES_MAX).map(|i| if i % 15 == 0 { b'b' } else { b'a' }).collect();
        assert_eq!(fossil_delta::apply(&before, fossil_delta::delta(&after, &before)).unwrap(), after);
    }
}
