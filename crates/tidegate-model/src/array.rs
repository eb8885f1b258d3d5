//! Arrays of one element type, as PostgreSQL has them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::filter::compare;
use crate::json::write_value;
use crate::{Element, Type, Value, ValueError};

/// Most dimensions: PostgreSQL's bound.
pub const DIMENSIONS_MAX: usize = 6;

/// Values in up to [`DIMENSIONS_MAX`] dimensions, any of them null.
///
/// Equality is PostgreSQL's: equal dimensions with equal lower bounds, and equal elements, null being equal to null. An
/// array without elements has no dimensions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Array {
    element: Element,
    /// Length and lower bound of each dimension, the outermost first.
    dims: Box<[(u32, i32)]>,
    /// In row-major order.
    values: Box<[Value]>,
}

impl Array {
    /// An array of the given dimensions: length and lower bound of each, the outermost first. `values` are in row-major
    /// order, each null or of the element's type.
    ///
    /// # Errors
    /// [`ValueError`] where there are too many dimensions, their lengths do not come to the number of values, or a value
    /// is of another type.
    pub fn new(element: Element, dims: &[(u32, i32)], values: Vec<Value>) -> Result<Self, ValueError> {
        if dims.len() > DIMENSIONS_MAX {
            return Err(ValueError(format!("an array has at most {DIMENSIONS_MAX} dimensions, not {}", dims.len())));
        }
        let mut count = dims.iter().try_fold(1usize, |count, (len, _)| count.checked_mul(*len as usize));
        if dims.is_empty() {
            count = Some(0);
        }
        if count != Some(values.len()) {
            return Err(ValueError(format!("an array's dimensions do not come to its {} elements", values.len())));
        }
        if let Some(wrong) = values.iter().filter_map(Value::kind).find(|kind| *kind != element.kind()) {
            return Err(ValueError(format!("an array of {} may not hold a {wrong}", element.kind())));
        }
        let dims = if values.is_empty() { &[] } else { dims };
        Ok(Self { element, dims: dims.into(), values: values.into() })
    }

    /// An array of one dimension that starts at 1.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn flat(element: Element, values: Vec<Value>) -> Result<Self, ValueError> {
        let len = u32::try_from(values.len()).map_err(|_| ValueError("an array has too many elements".to_owned()))?;
        Self::new(element, &[(len, 1)], values)
    }

    /// The type of its elements.
    #[must_use]
    pub fn element(&self) -> Element {
        self.element
    }

    /// Length and lower bound of each dimension, the outermost first; none where there is no element.
    #[must_use]
    pub fn dims(&self) -> &[(u32, i32)] {
        &self.dims
    }

    /// All elements, in row-major order.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Reads nested JSON arrays; every lower bound is 1.
    ///
    /// # Errors
    /// [`ValueError`] where it is no array, arrays of one depth differ in length, or an element is not of the type.
    pub fn from_json(element: Element, raw: &str) -> Result<Self, ValueError> {
        let mut reader = Reader { element, lens: Vec::new(), is_deepest: false, values: Vec::new() };
        reader.read(raw.trim(), 0)?;
        let dims: Vec<(u32, i32)> = reader.lens.into_iter().map(|len| (len, 1)).collect();
        Self::new(element, &dims, reader.values)
    }

    /// Appends nested JSON arrays. Lower bounds have no place in JSON.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        fn nested(dims: &[(u32, i32)], values: &[Value], out: &mut Vec<u8>) {
            out.push(b'[');
            match dims {
                [(len, _), inner @ ..] if !inner.is_empty() => {
                    let size = (values.len() / (*len).max(1) as usize).max(1);
                    for (i, part) in values.chunks(size).enumerate() {
                        separate(i, out);
                        nested(inner, part, out);
                    }
                }
                _ => {
                    for (i, value) in values.iter().enumerate() {
                        separate(i, out);
                        write_value(value, out);
                    }
                }
            }
            out.push(b']');
        }
        nested(&self.dims, &self.values, out);
    }

    pub(crate) fn heap_size(&self) -> usize {
        let values: usize = self.values.iter().map(|value| size_of::<Value>() + value.heap_size()).sum();
        values + self.dims.len() * 8 + 64
    }
}

fn separate(index: usize, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(b',');
    }
}

/// What is known of nested arrays while they are read, the first of each depth first.
struct Reader {
    element: Element,
    /// Of the arrays at each depth.
    lens: Vec<u32>,
    /// Elements have been met, at the greatest depth: there is none beyond.
    is_deepest: bool,
    values: Vec<Value>,
}

impl Reader {
    fn read(&mut self, raw: &str, depth: usize) -> Result<(), ValueError> {
        let kind = Type::Array(self.element);
        let uneven = || ValueError::expected(kind, kind.form());
        if depth == DIMENSIONS_MAX {
            return Err(ValueError(format!("an array has at most {DIMENSIONS_MAX} dimensions")));
        }
        let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| uneven())?;
        let len = u32::try_from(items.len()).map_err(|_| uneven())?;
        match self.lens.get(depth) {
            Some(known) if *known == len => {}
            None if !self.is_deepest => self.lens.push(len),
            _ => return Err(uneven()),
        }
        let is_array = |item: &&RawValue| item.get().starts_with('[');
        if items.iter().any(is_array) {
            if !items.iter().all(is_array) {
                return Err(uneven());
            }
            return items.iter().try_for_each(|item| self.read(item.get(), depth + 1));
        }
        if depth + 1 < self.lens.len() {
            return Err(uneven());
        }
        self.is_deepest = true;
        for item in items {
            self.values.push(Value::from_json(self.element.kind(), item.get())?);
        }
        Ok(())
    }
}

impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element && self.dims == other.dims && self.values == other.values
    }
}

impl Eq for Array {}

impl PartialOrd for Array {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// No order that a query may ask for: it agrees with equality, and lists are searched by it.
impl Ord for Array {
    fn cmp(&self, other: &Self) -> Ordering {
        let shape = (self.element, &self.dims).cmp(&(other.element, &other.dims));
        shape.then_with(|| {
            let pairs = self.values.iter().zip(&other.values);
            pairs.map(|(a, b)| compare(a, b)).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(raw: &str) -> Result<Array, ValueError> {
        Array::from_json(Element::Int, raw)
    }

    fn written(array: &Array) -> String {
        let mut out = Vec::new();
        array.write_json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nested_arrays_are_dimensions() {
        let array = ints(" [[1,2,3], [4, null, 6]] ").unwrap();
        assert_eq!(array.dims(), [(2, 1), (3, 1)]);
        assert_eq!(written(&array), "[[1,2,3],[4,null,6]]");
        assert_eq!(written(&ints("[[[1]]]").unwrap()), "[[[1]]]");
        assert_eq!(ints("[[],[]]"), ints("[]"));
        assert_eq!(ints("[]").unwrap().dims(), []);
        for bad in [
            "",
            "1",
            "[1",
            "[1,[2]]",
            "[[1],2]",
            "[[1],[2,3]]",
            "[[1],null]",
            "[[[1]],[2]]",
            "[[1],[[2]]]",
            "[[],[[]]]",
            "[\"x\"]",
            "[1.5]",
            "{}",
        ] {
            assert!(ints(bad).is_err(), "{bad}");
        }
        assert!(ints(&format!("{}1{}", "[".repeat(6), "]".repeat(6))).is_ok());
        assert!(ints(&format!("{}1{}", "[".repeat(7), "]".repeat(7))).is_err());
        assert!(ints(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn equality_looks_at_bounds_and_dimensions() {
        let values = || vec![Value::Int(1), Value::Null];
        let flat = Array::flat(Element::Int, values()).unwrap();
        assert_eq!(flat, Array::new(Element::Int, &[(2, 1)], values()).unwrap());
        assert_ne!(flat, Array::new(Element::Int, &[(2, 0)], values()).unwrap());
        assert_ne!(flat, Array::new(Element::Int, &[(1, 1), (2, 1)], values()).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Array::new(Element::Int, &[(3, 1)], vec![Value::Int(1)]).is_err());
        assert!(Array::new(Element::Int, &[], vec![Value::Int(1)]).is_err());
        assert!(Array::new(Element::Int, &[(u32::MAX, 1); 6], Vec::new()).is_err());
        assert!(Array::new(Element::Int, &[(1, 1); 7], vec![Value::Int(1)]).is_err());
        assert!(Array::flat(Element::Int, vec![Value::text("a")]).is_err());
        assert_eq!(Array::flat(Element::Int, Vec::new()).unwrap().dims(), []);
    }
}
