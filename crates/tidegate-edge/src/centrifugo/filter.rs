//! Which publications of a channel a subscriber wants, by their tags.
//!
//! A leaf compares one tag; `and`, `or` and `not` join nodes. A tag that is not there equals nothing and is in nothing,
//! so `neq`, `nin` and `nex` hold for it and no other comparison does. `lt`, `lte`, `gt` and `gte` compare decimal
//! numbers of any length exactly, and do not hold where the tag is no number.

use std::cmp::Ordering;

use super::codes::ErrorCode;
use super::wire::FilterNode;

/// Nodes within nodes.
const DEPTH_MAX: usize = 8;
/// Nodes in all.
const NODES_MAX: usize = 64;
/// Values of all `in` and `nin`.
const VALUES_MAX: usize = 1024;
/// Bytes of a key or a value.
const TEXT_BYTES_MAX: usize = 256;

/// A filter that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    All(Box<[Filter]>),
    Any(Box<[Filter]>),
    Not(Box<Filter>),
    Tag(Box<str>, Compare),
}

/// What a tag must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal(Box<str>),
    NotEqual(Box<str>),
    /// Sorted.
    In(Box<[Box<str>]>),
    /// Sorted.
    NotIn(Box<[Box<str>]>),
    There,
    NotThere,
    Starts(Box<str>),
    Ends(Box<str>),
    Contains(Box<str>),
    Less(Box<str>),
    AtMost(Box<str>),
    More(Box<str>),
    AtLeast(Box<str>),
}

impl Filter {
    /// Checks a filter of a client.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`] for one that is none, or is larger than the bounds.
    pub(crate) fn new(node: FilterNode) -> Result<Self, ErrorCode> {
        Checker { nodes: NODES_MAX, values: VALUES_MAX }.node(node, DEPTH_MAX).ok_or(ErrorCode::BadRequest)
    }

    /// Whether a publication with these tags is wanted.
    pub(crate) fn takes(&self, tags: &[(Box<str>, Box<str>)]) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.takes(tags)),
            Self::Any(filters) => filters.iter().any(|filter| filter.takes(tags)),
            Self::Not(filter) => !filter.takes(tags),
            Self::Tag(key, compare) => {
                let tag = tags.iter().find(|(name, _)| name == key).map(|(_, value)| &**value);
                compare.holds(tag)
            }
        }
    }
}

impl Compare {
    fn holds(&self, tag: Option<&str>) -> bool {
        let among =
            |values: &[Box<str>]| tag.is_some_and(|tag| values.binary_search_by(|value| (**value).cmp(tag)).is_ok());
        let is = |value: &str| tag == Some(value);
        let order = |value: &str| tag.and_then(|tag| compare(tag, value));
        match self {
            Self::Equal(value) => is(value),
            Self::NotEqual(value) => !is(value),
            Self::In(values) => among(values),
            Self::NotIn(values) => !among(values),
            Self::There => tag.is_some(),
            Self::NotThere => tag.is_none(),
            Self::Starts(value) => tag.is_some_and(|tag| tag.starts_with(&**value)),
            Self::Ends(value) => tag.is_some_and(|tag| tag.ends_with(&**value)),
            Self::Contains(value) => tag.is_some_and(|tag| tag.contains(&**value)),
            Self::Less(value) => order(value).is_some_and(Ordering::is_lt),
            Self::AtMost(value) => order(value).is_some_and(Ordering::is_le),
            Self::More(value) => order(value).is_some_and(Ordering::is_gt),
            Self::AtLeast(value) => order(value).is_some_and(Ordering::is_ge),
        }
    }
}

/// What a filter may still have.
struct Checker {
    nodes: usize,
    values: usize,
}

impl Checker {
    fn node(&mut self, node: FilterNode, depth: usize) -> Option<Filter> {
        self.nodes = self.nodes.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let bare = node.key.is_empty() && node.cmp.is_empty() && node.val.is_empty() && node.vals.is_empty();
        match &*node.op {
            "" if node.nodes.is_empty() => self.leaf(node),
            "and" if bare => self.each(node.nodes, depth).map(Filter::All),
            "or" if bare => self.each(node.nodes, depth).map(Filter::Any),
            "not" if bare => {
                let [inner] = <[FilterNode; 1]>::try_from(node.nodes).ok()?;
                self.node(inner, depth).map(|filter| Filter::Not(Box::new(filter)))
            }
            _ => None,
        }
    }

    fn each(&mut self, nodes: Vec<FilterNode>, depth: usize) -> Option<Box<[Filter]>> {
        // Checked before anything is made of them.
        if nodes.is_empty() || nodes.len() > self.nodes {
            return None;
        }
        nodes.into_iter().map(|node| self.node(node, depth)).collect()
    }

    fn leaf(&mut self, node: FilterNode) -> Option<Filter> {
        let FilterNode { key, cmp, val, vals, .. } = node;
        if key.is_empty() || key.len() > TEXT_BYTES_MAX {
            return None;
        }
        let one = !matches!(&*cmp, "in" | "nin");
        let texts_fit = vals.iter().chain([&val]).all(|text| text.len() <= TEXT_BYTES_MAX);
        if !texts_fit || (one && !vals.is_empty()) || (!one && (vals.is_empty() || !val.is_empty())) {
            return None;
        }
        let compare = match &*cmp {
            "eq" => Compare::Equal(val.into()),
            "neq" => Compare::NotEqual(val.into()),
            "in" => Compare::In(self.sorted(vals)?),
            "nin" => Compare::NotIn(self.sorted(vals)?),
            "ex" => Compare::There,
            "nex" => Compare::NotThere,
            "sw" => Compare::Starts(val.into()),
            "ew" => Compare::Ends(val.into()),
            "ct" => Compare::Contains(val.into()),
            "lt" => Compare::Less(number(val)?),
            "lte" => Compare::AtMost(number(val)?),
            "gt" => Compare::More(number(val)?),
            "gte" => Compare::AtLeast(number(val)?),
            _ => return None,
        };
        Some(Filter::Tag(key.into(), compare))
    }

    fn sorted(&mut self, values: Vec<String>) -> Option<Box<[Box<str>]>> {
        self.values = self.values.checked_sub(values.len())?;
        let mut values: Box<[Box<str>]> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        Some(values)
    }
}

fn number(text: String) -> Option<Box<str>> {
    Decimal::parse(&text).is_some().then(|| text.into())
}

/// How two decimal numbers compare. None if one is no number.
fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (Decimal::parse(a)?, Decimal::parse(b)?);
    Some(match (a.negative, b.negative) {
        (false, false) => a.size().cmp(&b.size()),
        (true, true) => b.size().cmp(&a.size()),
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
    })
}

/// `[+-]digits[.digits]`, without zeros that mean nothing.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        // There is no zero below zero.
        Some(Self { negative: negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction })
    }

    /// Compares as the number without its sign.
    fn size(&self) -> (usize, &'a str, &'a str) {
        (self.whole.len(), self.whole, self.fraction)
    }
}

#[cfg(test)]
mod tests;
