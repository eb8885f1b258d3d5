//! Names of things that ARCP has names for: a prefix and a ULID.

use std::fmt;
use std::str::FromStr;

use ulid::Ulid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// Nobody's name.
            pub const NONE: Self = Self(Ulid::nil());

            /// One made now; `random` has to be unpredictable. Later ones sort behind earlier ones.
            #[must_use]
            pub fn new(now_ms: u64, random: u128) -> Self {
                Self(Ulid::from_parts(now_ms, random))
            }

            /// As a number, as it is stored.
            #[must_use]
            pub fn number(self) -> u128 {
                self.0.0
            }

            /// From such a number.
            #[must_use]
            pub fn of(number: u128) -> Self {
                Self(Ulid(number))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; ulid::ULID_LEN];
                f.write_str($prefix)?;
                f.write_str(self.0.array_to_str(&mut text))
            }
        }

        impl FromStr for $name {
            type Err = NoId;

            fn from_str(text: &str) -> Result<Self, NoId> {
                let digits = text.strip_prefix($prefix).ok_or(NoId)?;
                let id = Self(Ulid::from_string(digits).map_err(|_| NoId)?);
                // One spelling a name.
                if id.0.array_to_str(&mut [0; ulid::ULID_LEN]) == digits { Ok(id) } else { Err(NoId) }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A job.
    JobId "job_"
    /// A durable session.
    SessionId "sess_"
    /// A result that is streamed.
    ResultId "res_"
    /// A provisioned credential.
    CredentialId "cred_"
}

/// What was to be a name is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a name that the gateway gave")]
pub struct NoId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let id = JobId::new(1_700_000_000_000, 12_345);
        let text = id.to_string();
        assert_eq!((text.len(), text.parse()), (30, Ok(id)));
        assert_eq!(JobId::of(id.number()), id);
        for bad in ["", "job_", "job_1", &text[4..], &text.to_lowercase(), "sess_01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(bad.parse::<JobId>(), Err(NoId), "{bad}");
        }
    }
}
