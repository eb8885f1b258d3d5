//! Anchored globs over bytes, and which of them denote subsets of others.
//!
//! `*` is any run of bytes without the separator, `**` any run at all; either may be empty. All other bytes stand for themselves. In a
//! [path](Glob::path), where the separator is `/`, `/**/` is also `/` (no segment between), and `/**` at the end is also nothing: what
//! is named before it, and all below.
//!
//! A glob is its literal bytes in a row with a wildcard or none before, between and after them. To match is to walk the text with the set
//! of places that one may have got to, so the work is at most the product of both lengths, whatever the pattern is.

use std::mem;

/// What may stand between two literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wild {
    None,
    /// `*`
    Run,
    /// `**`
    All,
}

/// A pattern.
#[derive(Debug)]
pub(super) struct Glob {
    literals: Vec<u8>,
    /// What may stand before each literal, and after the last.
    wilds: Vec<Wild>,
    separator: u8,
    /// 1 where a separator may stay, before each literal and after the last.
    at_separator: Vec<u8>,
    /// The same of all other bytes.
    elsewhere: Vec<u8>,
    /// Places between the slashes of `/**/`: whoever gets there by the first slash is past the second as well.
    skips: Vec<usize>,
    /// Whether it ends with `/**`, so that the place before that slash is an end too.
    is_tree: bool,
}

/// The places in a pattern that one may have got to: as many flags (0 or 1) as there are wildcards.
type Places = Vec<u8>;

impl Glob {
    /// A pattern of names; `None` if three stars stand together.
    pub(super) fn name(pattern: &str, separator: u8) -> Option<Self> {
        let (mut literals, mut wilds) = (Vec::new(), vec![Wild::None]);
        for byte in pattern.bytes() {
            let last = wilds.last_mut()?;
            match (byte, *last) {
                (b'*', Wild::None) => *last = Wild::Run,
                (b'*', Wild::Run) => *last = Wild::All,
                (b'*', Wild::All) => return None,
                _ => {
                    literals.push(byte);
                    wilds.push(Wild::None);
                }
            }
        }
        let at_separator = wilds.iter().map(|wild| u8::from(*wild == Wild::All)).collect();
        let elsewhere = wilds.iter().map(|wild| u8::from(*wild != Wild::None)).collect();
        Some(Self { literals, wilds, separator, at_separator, elsewhere, skips: Vec::new(), is_tree: false })
    }

    /// A pattern of paths.
    pub(super) fn path(pattern: &str) -> Option<Self> {
        let mut pattern = pattern.to_owned();
        while pattern.contains("/**/**") {
            pattern = pattern.replace("/**/**", "/**");
        }
        let mut glob = Self::name(&pattern, b'/')?;
        let slash = |at: Option<&u8>| at == Some(&b'/');
        let (literals, wilds) = (&glob.literals, &glob.wilds);
        glob.skips = (1..literals.len())
            .filter(|&place| wilds[place] == Wild::All && slash(literals.get(place - 1)) && slash(literals.get(place)))
            .collect();
        glob.is_tree = wilds.last() == Some(&Wild::All) && slash(literals.last());
        Some(glob)
    }

    /// Whether it is all of that text.
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut places = self.start();
        let mut next = places.clone();
        for byte in text.bytes() {
            self.step(&places, byte, &mut next);
            mem::swap(&mut places, &mut next);
            if !places.contains(&1) {
                return false;
            }
        }
        self.is_end(&places)
    }

    /// Whether it matches all that `child` matches. A yes is always right. The child is walked as a text would be, its literals as bytes;
    /// where it has a wildcard only those places are kept that stay whatever stands there. So these are not seen to be subsets, though
    /// they are: what needs two wildcards at once to match one of the child's (`a**` under `**/**`, `/**` under `**/*`).
    pub(super) fn covers(&self, child: &Self) -> bool {
        if self.separator != child.separator {
            return false;
        }
        let mut places = self.start();
        let mut skipped = None;
        for (at, &byte) in child.literals.iter().enumerate() {
            if child.skips.contains(&at) {
                skipped = Some(places.clone());
            }
            places = self.staying(&places, child.wilds[at]);
            if !places.contains(&1) {
                return false;
            }
            if child.is_tree && at + 1 == child.literals.len() && !self.is_end(&places) {
                return false;
            }
            let before = places.clone();
            self.step(&before, byte, &mut places);
            // With segments between the slashes or without: kept is what one gets to either way.
            if let Some(skipped) = skipped.take() {
                places.iter_mut().zip(skipped).for_each(|(place, also)| *place &= also);
            }
        }
        let last = child.wilds.last().copied().unwrap_or(Wild::None);
        self.is_end(&self.staying(&places, last))
    }

    fn start(&self) -> Places {
        let mut places = vec![0; self.wilds.len()];
        places[0] = 1;
        places
    }

    /// Where one byte leads, over whatever `to` was. Plain loops over bytes, which take many places at a time.
    fn step(&self, from: &Places, byte: u8, to: &mut Places) {
        let stays = if byte == self.separator { &self.at_separator } else { &self.elsewhere };
        for ((to, place), stays) in to.iter_mut().zip(from).zip(stays) {
            *to = place & stays;
        }
        for ((to, place), literal) in to[1..].iter_mut().zip(from).zip(&self.literals) {
            *to |= place & u8::from(*literal == byte);
        }
        if byte == b'/' {
            for &skip in &self.skips {
                to[skip + 1] |= from[skip - 1];
            }
        }
    }

    /// The places that stay whatever a wildcard of another pattern stands for.
    fn staying(&self, places: &Places, other: Wild) -> Places {
        let stays = |wild: Wild| match other {
            Wild::None => true,
            Wild::Run => wild != Wild::None,
            Wild::All => wild == Wild::All,
        };
        places.iter().zip(&self.wilds).map(|(place, wild)| place & u8::from(stays(*wild))).collect()
    }

    fn is_end(&self, places: &Places) -> bool {
        let ends = if self.is_tree { 2 } else { 1 };
        places.iter().rev().take(ends).any(|place| *place == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(pattern: &str) -> Glob {
        Glob::path(pattern).unwrap()
    }

    #[test]
    fn stars_stop_at_separators_and_both_ends_are_fixed() {
        let is = |pattern: &str, text: &str| path(pattern).matches(text);
        assert!(is("/a/*", "/a/b") && !is("/a/*", "/a/b/c") && !is("/a/*", "/a") && !is("/a/*", "x/a/b"));
        assert!(is("/a/**", "/a/b/c") && is("/a/**", "/a") && !is("/a/**", "/ab") && !is("/a/**", "/ab/c"));
        assert!(is("/a/**/b", "/a/b") && is("/a/**/b", "/a/x/y/b") && !is("/a/**/b", "/a/xb") && !is("/a/**/b", "/ab"));
        assert!(
            is("/a/**/**/b", "/a/b") && is("/**", "/") && is("**", "/a") && is("**/x", "/a/x") && is("/**/*", "/a")
        );
        assert!(is("/*.rs", "/main.rs") && !is("/*.rs", "/main.rsx") && !is("/*.rs", "/src/main.rs"));
        assert!(is("/a*b*c", "/aXbbYc") && !is("/a*b*c", "/ac") && is("/?[a]{b}", "/?[a]{b}") && !is("/?", "/a"));
        assert!(is("/ä*", "/äö") && Glob::path("/***").is_none());
        let host = |pattern: &str, text: &str| Glob::name(pattern, b'.').unwrap().matches(text);
        assert!(host("*.example.com", "a.example.com") && !host("*.example.com", "a.b.example.com"));
        assert!(host("**.example.com", "a.b.example.com") && !host("**.example.com", "evilexample.com"));
    }

    #[test]
    fn the_common_subsets_are_seen() {
        let covers = |parent: &str, child: &str| path(parent).covers(&path(child));
        for (parent, child) in [
            ("/a/b", "/a/b"),
            ("/a/*", "/a/b"),
            ("/a/*", "/a/*"),
            ("/a/**", "/a"),
            ("/a/**", "/a/b/*"),
            ("/a/**", "/a/b/**"),
            ("/a/**", "/a/**/b"),
            ("/a/**/b", "/a/**/b"),
            ("/a/**/b", "/a/b"),
            ("/a/**/b", "/a/**/c/**/b"),
            ("/a/*/b", "/a/x*/b"),
            ("**", "/**"),
            ("/**", "/a*/**"),
            ("/a*", "/ab*c"),
            ("/*.rs", "/m*.rs"),
            ("/a/**/*.rs", "/a/b/**/c*.rs"),
            ("*", ""),
        ] {
            assert!(covers(parent, child), "{child} is under {parent}");
        }
        for (parent, child) in [
            ("/a/b", "/a/*"),
            ("/a/*", "/a/**"),
            ("/a/*", "/a/*/b"),
            ("/a/**", "/**"),
            ("/a/**", "/ab/**"),
            ("/a/**/b", "/a/**"),
            ("/a", "/a/**"),
            ("/a/*/**", "/a/**"),
            ("/a/**/b", "/a/*b"),
            ("/m*.rs", "/*.rs"),
            ("/a/b/**", "/a/**/b"),
            ("/a*b", "/a*"),
            ("**x/b", "/x/**/b"),
        ] {
            assert!(!covers(parent, child), "{child} is not under {parent}");
        }
    }

    /// The definition, by trying all.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            b"/**" if text.is_empty() => true,
            [b'/', b'*', b'*', b'/', ..] if defined(&pattern[3..], text) => true,
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| defined(rest, &text[at..])),
            [b'*', rest @ ..] => {
                let end = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
                (0..=end).any(|at| defined(rest, &text[at..]))
            }
            [first, rest @ ..] => text.first() == Some(first) && defined(rest, &text[1..]),
        }
    }

    /// Of few letters, so that much matches.
    fn patterns() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec!["a", "b", "/", "/", "*", "/**", "/**/", "/a/", "/*"]);
        prop::collection::vec(part, 0..7)
            .prop_map(|parts| parts.concat())
            .prop_filter("three stars", |pattern| Glob::path(pattern).is_some())
    }

    fn texts() -> impl Strategy<Value = String> {
        "[ab/]{0,7}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn it_matches_what_the_definition_says(pattern in patterns(), text in texts()) {
            let mut plain = pattern.clone();
            while plain.contains("/**/**") {
                plain = plain.replace("/**/**", "/**");
            }
            prop_assert_eq!(path(&pattern).matches(&text), defined(plain.as_bytes(), text.as_bytes()), "{} {}", pattern, text);
        }

        #[test]
        fn a_parent_matches_all_that_a_covered_child_matches(
            parent in patterns(), child in patterns(), texts in prop::collection::vec(texts(), 32)
        ) {
            if path(&parent).covers(&path(&child)) {
                for text in texts {
                    prop_assert!(!path(&child).matches(&text) || path(&parent).matches(&text), "{} {} {}", parent, child, text);
                }
            }
        }

        #[test]
        fn every_pattern_covers_itself(pattern in patterns()) {
            prop_assert!(path(&pattern).covers(&path(&pattern)), "{}", pattern);
        }
    }

    #[test]
    fn the_worst_pattern_takes_its_time_but_not_more() {
        let pattern = path(&"*a".repeat(512));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(4096))));
    }
}
