//! How fields of a message read and write as JSON: `null` is the zero value, and bytes are JSON as it stands.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use tidegate_topics::{JSON_DEPTH_MAX, nests_deeper};

/// A field's type.
pub(crate) trait Field: Default {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
}

/// Types that read and write as serde has them, and `null` as their zero value.
macro_rules! fields {
    ($($({$($of:tt)*})? $type:ty),*) => {
        $(
            impl$(<$($of)*>)? Field for $type {
                fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    <Option<Self> as Deserialize>::deserialize(from).map(Option::unwrap_or_default)
                }

                fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                    Serialize::serialize(self, to)
                }
            }
        )*
    };
}

fields!(
    bool, i32, u32, i64, u64, String,
    {T: Serialize + for<'a> Deserialize<'a>} Vec<T>,
    {T: Serialize + for<'a> Deserialize<'a>} Option<T>,
    {T: Serialize + for<'a> Deserialize<'a>} BTreeMap<String, T>
);

/// A JSON value, `null` too, kept as it was written.
impl Field for Bytes {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(from)?.get();
        if nests_deeper(json.as_bytes(), JSON_DEPTH_MAX) {
            return Err(de::Error::custom("nested too deeply"));
        }
        Ok(Self::copy_from_slice(json.as_bytes()))
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_slice(self).map_err(ser::Error::custom)?;
        match one_line(json.get()) {
            Cow::Borrowed(_) => json.serialize(to),
            Cow::Owned(text) => RawValue::from_string(text).map_err(ser::Error::custom)?.serialize(to),
        }
    }
}

/// JSON without ends of lines, which would end a message, here or in server-sent events. In JSON they stand between
/// tokens only, so it means the same.
fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { Cow::Owned(json.replace(['\n', '\r'], " ")) } else { Cow::Borrowed(json) }
}

/// Whether a field is left out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// For `#[serde(with)]`.
pub(crate) mod field {
    use super::{Deserializer, Field, Serializer};

    pub(crate) fn serialize<T: Field, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        value.write(to)
    }

    pub(crate) fn deserialize<'de, T: Field, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::read(from)
    }
}
