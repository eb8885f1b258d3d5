//! How a scan goes about it: which index serves its order, and what of its filter narrows the rows.

use tidegate_model::{Comparison, Filter, Key, Order, Row, ScanRequest, Value, key};

use crate::table::Table;

/// The encoding of null, greater than that of any value.
const NULL: &[u8] = &[2];

/// A half-open range of one stored column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Inclusive.
    pub(crate) low: Option<Vec<u8>>,
    /// Exclusive.
    pub(crate) high: Option<Vec<u8>>,
}

/// Rows in the order asked for, straight from a b-tree.
#[derive(Debug)]
pub(crate) struct Ordered {
    /// `INDEXED BY …` or `NOT INDEXED`.
    pub(crate) by: String,
    /// Stored columns held to one value.
    pub(crate) fixed: Vec<(String, Vec<u8>)>,
    /// The stored columns that order, the key at the end; true where descending.
    pub(crate) terms: Vec<(String, bool)>,
    /// Where to go on: a value per term, beyond which the rows lie.
    pub(crate) after: Option<Vec<Vec<u8>>>,
    /// What the filter leaves of the first term.
    pub(crate) bounds: Bounds,
    /// Columns of the order that are no terms, since the filter holds them to one value.
    held: Vec<(u16, Vec<u8>)>,
}

impl Ordered {
    /// The place of a row on this path, as a key: its own, but that a row which does not match stands where one with
    /// the values that the filter demands of sorted columns would, because the path does not look at them. It does look
    /// at the key.
    pub(crate) fn key(&self, order: &Order, row: &Row) -> Key {
        let mut out = Vec::with_capacity(order.terms().len() * 10);
        for (i, term) in order.terms().iter().enumerate() {
            match self.held.iter().find(|(column, _)| *column == term.column && i < order.sort().len()) {
                Some((_, value)) => out.extend(value.iter().map(|byte| if term.desc { !byte } else { *byte })),
                None => key::encode(row.value(term.column), term.desc, &mut out),
            }
        }
        out.into()
    }
}

/// Rows in no order of use: parts of a b-tree that together hold every match, each row in one part at most.
#[derive(Debug)]
pub(crate) struct Narrowed {
    pub(crate) by: String,
    /// Stored columns held to one value.
    pub(crate) fixed: Vec<(String, Vec<u8>)>,
    /// The next stored column, and the ranges of it to read; empty where it is not narrowed.
    pub(crate) ranges: Option<(String, Vec<Bounds>)>,
}

impl Narrowed {
    /// Whether it is less than the whole partition.
    pub(crate) fn narrows(&self) -> bool {
        !self.fixed.is_empty() || self.ranges.is_some()
    }
}

/// What the filter says about single columns, as encodings.
struct Conjuncts<'a>(&'a [Filter]);

impl Conjuncts<'_> {
    /// The one value that the column must have.
    fn equal(&self, column: u16) -> Option<Vec<u8>> {
        self.0.iter().find_map(|filter| match filter {
            Filter::Compare { column: c, op: Comparison::Eq, value } if *c == column && !value.is_null() => {
                Some(key::encoded(value))
            }
            Filter::In(list) if list.column == column && list.values.len() == 1 => Some(key::encoded(&list.values[0])),
            Filter::IsNull { column: c } if *c == column => Some(NULL.to_vec()),
            _ => None,
        })
    }

    /// The values that the column must have one of.
    fn list(&self, column: u16) -> Option<Vec<Bounds>> {
        self.0.iter().find_map(|filter| match filter {
            Filter::In(list) if list.column == column => {
                Some(list.values.iter().map(|value| starting_with(key::encoded(value))).collect())
            }
            _ => None,
        })
    }

    /// The range that the column must lie in.
    fn range(&self, column: u16) -> Option<Bounds> {
        let mut bounds = Bounds::default();
        for filter in self.0 {
            match filter {
                Filter::Compare { column: c, op, value } if *c == column && !value.is_null() => {
                    bounds.narrow(*op, key::encoded(value));
                }
                Filter::Like { column: c, pattern } if *c == column => {
                    if let Some(prefix) = pattern.prefix().filter(|prefix| !prefix.is_empty()) {
                        // Without the two bytes that end a text: what starts with the prefix, not what equals it.
                        let mut low = key::encoded(&Value::text(prefix));
                        low.truncate(low.len() - 2);
                        bounds.raise(low.clone());
                        bounds.lower(successor(low));
                    }
                }
                _ => {}
            }
        }
        (bounds != Bounds::default()).then_some(bounds)
    }
}

impl Bounds {
    fn narrow(&mut self, op: Comparison, value: Vec<u8>) {
        match op {
            Comparison::Eq => {
                self.raise(value.clone());
                self.lower(successor(value));
            }
            Comparison::Ne => {}
            Comparison::Gt => {
                self.raise(successor(value));
                self.lower(NULL.to_vec());
            }
            Comparison::Gte => {
                self.raise(value);
                self.lower(NULL.to_vec());
            }
            Comparison::Lt => self.lower(value),
            Comparison::Lte => self.lower(successor(value)),
        }
    }

    fn raise(&mut self, low: Vec<u8>) {
        if self.low.as_ref().is_none_or(|old| *old < low) {
            self.low = Some(low);
        }
    }

    fn lower(&mut self, high: Vec<u8>) {
        if self.high.as_ref().is_none_or(|old| *old > high) {
            self.high = Some(high);
        }
    }
}

/// Everything that starts with `prefix`; no encoding starts with another, so for a whole value this is that value.
fn starting_with(prefix: Vec<u8>) -> Bounds {
    Bounds { high: Some(successor(prefix.clone())), low: Some(prefix) }
}

/// The least bytes greater than all that start with `prefix`, which begins with a tag and so is not all `FF`.
fn successor(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}

/// A term of the order with where to go on in it.
struct Term {
    column: u16,
    desc: bool,
    /// Asked for by the query, not just the key at the end.
    sorted: bool,
    after: Option<Vec<u8>>,
}

/// The path that serves the request's order from a b-tree, if there is one.
pub(crate) fn ordered(table: &Table, request: &ScanRequest) -> Option<Ordered> {
    let conjuncts = Conjuncts(request.predicate.filter().conjuncts());
    let after = match &request.after {
        None => None,
        Some(key) => Some(request.order.split(key)?),
    };
    let columns = request.order.terms().iter().map(|term| term.column);
    let held: Vec<_> = columns.filter_map(|column| Some((column, conjuncts.equal(column)?))).collect();
    let terms = essential_terms(&request.order, &conjuncts, after.as_deref())?;
    let sorted = request.order.sort().len();
    let after_pk = after.map(|parts| parts[sorted..].concat());
    let indexes = table.entity.indexes().iter().enumerate();
    let candidates = indexes.map(|(i, index)| (format!("INDEXED BY {}", table.index_name(i)), &**index));
    std::iter::once(("NOT INDEXED".to_owned(), &[][..]))
        .chain(candidates)
        .filter_map(|(by, columns)| serve(table, by, columns, &terms, &conjuncts, after_pk.as_deref()))
        // The more is held to one value, the less is read in vain.
        .max_by_key(|path| path.fixed.len())
        .map(|path| Ordered { held, ..path })
}

/// The terms without those that decide nothing: a column named before, or held to one value by the filter. `None` where
/// the place to go on contradicts that; such a place no row has, and no index finds it. In the key at the end it may,
/// where no sorted column is one of the key's: there the path compares the key as the order does.
fn essential_terms(order: &Order, conjuncts: &Conjuncts<'_>, after: Option<&[Vec<u8>]>) -> Option<Vec<Term>> {
    let mut terms: Vec<Term> = Vec::with_capacity(order.terms().len());
    let (sort, key) = order.terms().split_at(order.sort().len());
    let key_is_sorted = sort.iter().any(|sorted| key.iter().any(|term| term.column == sorted.column));
    for (i, term) in order.terms().iter().enumerate() {
        let after = after.map(|parts| parts[i].clone());
        let sorted = i < sort.len();
        let contradicts = |decided: Option<&Vec<u8>>| after.is_some() && after.as_ref() != decided;
        if let Some(before) = terms.iter().find(|before| before.column == term.column) {
            if contradicts(before.after.as_ref()) {
                return None;
            }
        } else if let Some(value) = conjuncts.equal(term.column) {
            if contradicts(Some(&value)) && (sorted || key_is_sorted) {
                return None;
            }
        } else {
            terms.push(Term { column: term.column, desc: term.desc, sorted, after });
        }
    }
    Some(terms)
}

/// The path along an index, or along the table where `columns` is empty.
fn serve(
    table: &Table,
    by: String,
    columns: &[u16],
    terms: &[Term],
    conjuncts: &Conjuncts<'_>,
    after_pk: Option<&[u8]>,
) -> Option<Ordered> {
    let (mut fixed, mut used) = (Vec::new(), 0);
    for column in columns {
        match terms.get(used) {
            Some(term) if term.column == *column => used += 1,
            // Columns held to one value stand before those that order.
            _ if used == 0 => fixed.push((format!("c_{column}"), conjuncts.equal(*column)?)),
            _ => return None,
        }
    }
    let desc = key_direction(table, &terms[..used], &terms[used..], conjuncts)?;
    let after = after_pk.map(|pk| {
        let parts = terms[..used].iter().map(|term| term.after.clone().unwrap_or_default());
        parts.chain(std::iter::once(pk.to_vec())).collect()
    });
    let bounds = match terms.first() {
        Some(term) if used > 0 => conjuncts.range(term.column).unwrap_or_default(),
        _ => key_bounds(table, conjuncts),
    };
    let mut names: Vec<(String, bool)> =
        terms[..used].iter().map(|term| (format!("c_{}", term.column), term.desc)).collect();
    names.push(("pk".to_owned(), desc));
    Some(Ordered { by, fixed, terms: names, after, bounds, held: Vec::new() })
}

/// Whether the terms that are left are the key's, in its order and all in one direction; those of its columns that are
/// decided already may be missing. Where the query sorts by columns of the key, those that the filter holds must come
/// first of all, where they bound what is read: else the rows in between come in another order than their keys.
fn key_direction(table: &Table, used: &[Term], left: &[Term], conjuncts: &Conjuncts<'_>) -> Option<bool> {
    let desc = left.first().is_some_and(|term| term.desc);
    let sorted = left.iter().any(|term| term.sorted);
    let mut left_terms = left.iter().peekable();
    for column in table.entity.key() {
        let begun = left_terms.len() < left.len();
        let is_next = left_terms.next_if(|term| term.column == *column && term.desc == desc).is_some();
        let may_be_held = !sorted || (used.is_empty() && !begun);
        let decided =
            used.iter().any(|term| term.column == *column) || (may_be_held && conjuncts.equal(*column).is_some());
        if !is_next && !decided {
            return None;
        }
    }
    left_terms.next().is_none().then_some(desc)
}

/// What the filter leaves of the encoded key.
fn key_bounds(table: &Table, conjuncts: &Conjuncts<'_>) -> Bounds {
    let mut prefix = Vec::new();
    for column in table.entity.key() {
        match conjuncts.equal(*column) {
            Some(value) => prefix.extend(value),
            None => {
                let prepend = |bound: Vec<u8>| [&*prefix, &bound].concat();
                let range = conjuncts.range(*column).unwrap_or_default();
                let whole = if prefix.is_empty() { Bounds::default() } else { starting_with(prefix.clone()) };
                return Bounds {
                    low: range.low.map(prepend).or(whole.low),
                    high: range.high.map(prepend).or(whole.high),
                };
            }
        }
    }
    starting_with(prefix)
}

/// The part of the partition that the filter narrows most, as far as indexes can tell.
pub(crate) fn narrowed(table: &Table, request: &ScanRequest) -> Narrowed {
    let conjuncts = Conjuncts(request.predicate.filter().conjuncts());
    let key = key_bounds(table, &conjuncts);
    let by_key = Narrowed {
        by: "NOT INDEXED".to_owned(),
        fixed: Vec::new(),
        ranges: (key != Bounds::default()).then(|| ("pk".to_owned(), vec![key])),
    };
    let indexes = table.entity.indexes().iter().enumerate().map(|(i, index)| {
        let values: Vec<Vec<u8>> = index.iter().map_while(|column| conjuncts.equal(*column)).collect();
        let next = index.get(values.len()).and_then(|column| {
            let ranges = conjuncts.list(*column).or_else(|| conjuncts.range(*column).map(|range| vec![range]))?;
            Some((format!("c_{column}"), ranges))
        });
        let fixed = index.iter().map(|column| format!("c_{column}")).zip(values).collect();
        Narrowed { by: format!("INDEXED BY {}", table.index_name(i)), fixed, ranges: next }
    });
    // A value says more than a list or a range.
    let weight = |path: &Narrowed| path.fixed.len() * 2 + usize::from(path.ranges.is_some());
    let key_values = table.entity.key().iter().take_while(|column| conjuncts.equal(**column).is_some()).count();
    let key_weight = key_values * 2 + usize::from(by_key.ranges.is_some());
    match indexes.max_by_key(weight) {
        Some(best) if weight(&best) > key_weight => best,
        _ => by_key,
    }
}

#[cfg(test)]
mod tests;
