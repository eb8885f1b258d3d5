//! SQL's `like` and `ilike`: `%` any run of code points, `_` one, `\` takes the next character as it is.
//!
//! `ilike` folds both sides as PostgreSQL's `lower()`: ASCII exactly; beyond it, code points whose Unicode lower case is
//! a single code point (PostgreSQL leaves the rest to its locale).

/// Longest pattern, in bytes. Matching costs at most pattern × text.
pub const PATTERN_BYTES_MAX: usize = 1_024;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    fold: bool,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Literal text with at most a `%` at either end.
    Literal {
        text: Box<str>,
        open_start: bool,
        open_end: bool,
    },
    General(Box<[Piece]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Many,
}

/// A pattern that cannot be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// As PostgreSQL says it.
    #[error("a pattern must not end with its escape character \\")]
    TrailingEscape,
    /// See [`PATTERN_BYTES_MAX`].
    #[error("a pattern may have at most {PATTERN_BYTES_MAX} bytes")]
    TooLong,
}

impl Pattern {
    /// Compiles `text`; `fold` makes it an `ilike`.
    ///
    /// # Errors
    /// [`PatternError`] for a trailing escape or a pattern past [`PATTERN_BYTES_MAX`].
    pub fn new(text: &str, fold: bool) -> Result<Self, PatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            pieces.push(match char {
                '%' if pieces.last() == Some(&Piece::Many) => continue,
                '%' => Piece::Many,
                '_' => Piece::One,
                '\\' => Piece::Char(fold_if(fold, chars.next().ok_or(PatternError::TrailingEscape)?)),
                char => Piece::Char(fold_if(fold, char)),
            });
        }
        Ok(Self { text: text.into(), fold, shape: shape_of(pieces) })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is an `ilike`.
    #[must_use]
    pub fn folds_case(&self) -> bool {
        self.fold
    }

    /// The text that every match starts with, byte for byte, where there is one (never for an `ilike`).
    #[must_use]
    pub fn prefix(&self) -> Option<String> {
        if self.fold {
            return None;
        }
        let prefix: String = match &self.shape {
            Shape::Literal { open_start: true, .. } => return None,
            Shape::Literal { text, .. } => text.as_ref().to_owned(),
            Shape::General(pieces) => pieces
                .iter()
                .map_while(|piece| if let Piece::Char(char) = piece { Some(*char) } else { None })
                .collect(),
        };
        (!prefix.is_empty()).then_some(prefix)
    }

    /// Whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Literal { text: literal, open_start, open_end } if !self.fold => match (open_start, open_end) {
                (false, false) => text == &**literal,
                (false, true) => text.starts_with(&**literal),
                (true, false) => text.ends_with(&**literal),
                (true, true) => memchr::memmem::find(text.as_bytes(), literal.as_bytes()).is_some(),
            },
            Shape::Literal { text: literal, open_start, open_end } if literal.is_ascii() && text.is_ascii() => {
                folded_literal(text.as_bytes(), literal.as_bytes(), *open_start, *open_end)
            }
            Shape::Literal { text: literal, open_start, open_end } => {
                let pieces: Vec<Piece> = open_start
                    .then_some(Piece::Many)
                    .into_iter()
                    .chain(literal.chars().map(Piece::Char))
                    .chain(open_end.then_some(Piece::Many))
                    .collect();
                general(&pieces, text, self.fold)
            }
            Shape::General(pieces) => general(pieces, text, self.fold),
        }
    }
}

fn shape_of(pieces: Vec<Piece>) -> Shape {
    let open_start = pieces.first() == Some(&Piece::Many);
    let open_end = pieces.len() > 1 && pieces.last() == Some(&Piece::Many);
    let inner = &pieces[usize::from(open_start)..pieces.len() - usize::from(open_end)];
    let literal: Option<String> =
        inner.iter().map(|piece| if let Piece::Char(char) = piece { Some(*char) } else { None }).collect();
    match literal {
        // `%` alone is open at both ends.
        Some(text) => {
            Shape::Literal { open_end: open_end || (open_start && text.is_empty()), text: text.into(), open_start }
        }
        None => Shape::General(pieces.into()),
    }
}

/// `literal` is lower case already.
fn folded_literal(text: &[u8], literal: &[u8], open_start: bool, open_end: bool) -> bool {
    match (open_start, open_end) {
        (false, false) => text.eq_ignore_ascii_case(literal),
        (false, true) => text.get(..literal.len()).is_some_and(|head| head.eq_ignore_ascii_case(literal)),
        (true, false) => {
            text.len() >= literal.len() && text[text.len() - literal.len()..].eq_ignore_ascii_case(literal)
        }
        (true, true) => {
            literal.is_empty() || text.windows(literal.len()).any(|window| window.eq_ignore_ascii_case(literal))
        }
    }
}

/// The usual wildcard match: on a mismatch, go back to the last `%` and let it take one character more.
fn general(pieces: &[Piece], text: &str, fold: bool) -> bool {
    let (mut piece, mut rest) = (0, text);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        match pieces.get(piece) {
            Some(Piece::Many) => {
                retry = Some((piece + 1, rest));
                piece += 1;
                continue;
            }
            Some(expected) => {
                let mut chars = rest.chars();
                if let Some(char) = chars.next() {
                    if *expected == Piece::One || *expected == Piece::Char(fold_if(fold, char)) {
                        (piece, rest) = (piece + 1, chars.as_str());
                        continue;
                    }
                } else {
                    // Nothing is left of the text, and going back would leave even less.
                    return false;
                }
            }
            None if rest.is_empty() => return true,
            None => {}
        }
        let Some((after, from)) = retry else { return false };
        let mut chars = from.chars();
        if chars.next().is_none() {
            return false;
        }
        retry = Some((after, chars.as_str()));
        (piece, rest) = (after, chars.as_str());
    }
}

fn fold_if(fold: bool, char: char) -> char {
    if !fold {
        return char;
    }
    if char.is_ascii() {
        return char.to_ascii_lowercase();
    }
    let mut lower = char.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => char,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern, false).unwrap().matches(text)
    }

    fn ilike(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern, true).unwrap().matches(text)
    }

    #[test]
    fn wildcards_count_code_points() {
        assert!(like("né", "n_") && like("né", "_é") && !like("né", "n"));
        assert!(like("", "%") && like("", "") && !like("", "_"));
        assert!(like("a%b", "a\\%b") && !like("axb", "a\\%b") && like("a\\b", "a\\\\b"));
        assert!(like("abcabd", "%abd") && like("aXbXc", "a%b%c") && !like("aXbX", "a%b%c"));
        assert_eq!(Pattern::new("a\\", false), Err(PatternError::TrailingEscape));
    }

    #[test]
    fn ilike_folds_both_sides() {
        assert!(ilike("North-7", "north-%") && ilike("NORTH", "%oRt%") && ilike("xÉ", "%é") && ilike("İ", "İ"));
        assert!(!ilike("south", "north-%"));
    }

    #[test]
    fn prefix_is_what_every_match_starts_with() {
        let prefix = |pattern: &str| Pattern::new(pattern, false).unwrap().prefix();
        assert_eq!(prefix("ab%c").as_deref(), Some("ab"));
        assert_eq!(prefix("ab%").as_deref(), Some("ab"));
        assert_eq!(prefix("ab").as_deref(), Some("ab"));
        assert_eq!(prefix("%ab"), None);
        assert_eq!(prefix("_ab"), None);
    }

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            Some(('_', rest)) => !text.is_empty() && naive(rest, &text[1..]),
            Some((char, rest)) => text.first() == Some(char) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn every_shape_agrees_with_the_definition(pattern in "[ab%_é]{0,6}", text in "[abé]{0,7}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(like(&text, &pattern), naive(&p, &t));
            prop_assert_eq!(ilike(&text, &pattern.to_uppercase()), naive(&p, &t));
        }
    }
}
