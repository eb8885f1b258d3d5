//! Until when a lease holds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Code, Fault, time};

/// Until when a lease holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraints {
    /// In milliseconds since 1970; `None` is for ever.
    pub expires_at_ms: Option<u64>,
}

impl Constraints {
    /// Reads `{"expires_at":"2026-05-13T23:42:00Z"}`; null, or nothing in it, is for ever. Other members are ignored.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it is something else, or the time is not in the future.
    pub fn read(json: &RawValue, now_ms: u64) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Shape<'a> {
            #[serde(borrow)]
            expires_at: Option<Cow<'a, str>>,
        }
        let shape: Option<Shape<'_>> = serde_json::from_str(json.get())
            .map_err(|_| Fault::invalid("lease_constraints: an object with expires_at, a text"))?;
        let Some(text) = shape.and_then(|shape| shape.expires_at) else { return Ok(Self::default()) };
        let expires_at_ms = time::read(&text)
            .ok_or_else(|| Fault::invalid("lease_constraints.expires_at: a time in UTC, as 2026-05-13T23:42:00Z"))?;
        if expires_at_ms <= now_ms {
            return Err(Fault::invalid("lease_constraints.expires_at: it is not in the future"));
        }
        Ok(Self { expires_at_ms: Some(expires_at_ms) })
    }

    /// Appends them as [`read`](Self::read) takes them; `{}` where there are none.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Some(expires_at_ms) = self.expires_at_ms else { return out.extend_from_slice(b"{}") };
        out.extend_from_slice(br#"{"expires_at":""#);
        time::write(expires_at_ms, out);
        out.extend_from_slice(br#""}"#);
    }

    /// Whether the lease holds at that time.
    ///
    /// # Errors
    /// `LEASE_EXPIRED`: it has ended, at that very millisecond or before.
    pub fn check(&self, now_ms: u64) -> Result<(), Fault> {
        if self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms) {
            return Err(Fault::new(Code::LeaseExpired, "the lease has expired"));
        }
        Ok(())
    }

    /// What holds for a child that asks for these: its own, or its parent's.
    ///
    /// # Errors
    /// `LEASE_SUBSET_VIOLATION`: the child would outlive its parent's lease.
    pub fn within(&self, parent: &Self) -> Result<Self, Fault> {
        match (self.expires_at_ms, parent.expires_at_ms) {
            (Some(own), Some(parents)) if own > parents => {
                Err(Fault::new(Code::LeaseSubsetViolation, "lease_constraints.expires_at: it is after the parent's"))
            }
            (own, parents) => Ok(Self { expires_at_ms: own.or(parents) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, now_ms: u64) -> Result<Constraints, Fault> {
        Constraints::read(&RawValue::from_string(json.to_owned()).unwrap(), now_ms)
    }

    fn until(ms: u64) -> Constraints {
        Constraints { expires_at_ms: Some(ms) }
    }

    #[test]
    fn an_expiry_is_in_utc_and_in_the_future() {
        let ms = 1_778_715_720_000;
        let json = r#"{"expires_at":"2026-05-13T23:42:00Z","note":1}"#;
        assert_eq!(read(json, ms - 1), Ok(until(ms)));
        assert_eq!(read(json, ms).unwrap_err().code, Code::InvalidRequest);
        assert_eq!(read(r#"{"expires_at":"9999-12-31T23:59:59.999999+00:00"}"#, ms), Ok(until(time::LAST_MS)));
        for none in ["null", "{}", r#"{"expires_at":null}"#] {
            assert_eq!(read(none, 0), Ok(Constraints::default()));
        }
        for bad in [
            "1",
            "[]",
            "[1]",
            r#"{"expires_at":1}"#,
            r#"{"expires_at":""}"#,
            r#"{"expires_at":"2026-05-13T23:42:00+02:00"}"#,
        ] {
            assert_eq!(read(bad, 0).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for constraints in [until(1_778_715_720_123), until(time::LAST_MS), Constraints::default()] {
            let mut out = Vec::new();
            constraints.write(&mut out);
            assert_eq!(read(std::str::from_utf8(&out).unwrap(), 0), Ok(constraints));
        }
    }

    #[test]
    fn it_ends_at_that_very_time_and_never_after_the_parents() {
        assert!(until(10).check(9).is_ok() && Constraints::default().check(u64::MAX).is_ok());
        assert_eq!(until(10).check(10).unwrap_err().code, Code::LeaseExpired);
        let for_ever = Constraints::default();
        assert_eq!(until(10).within(&until(10)), Ok(until(10)));
        assert_eq!(until(11).within(&until(10)).unwrap_err().code, Code::LeaseSubsetViolation);
        assert_eq!(for_ever.within(&until(10)), Ok(until(10)));
        assert_eq!(until(10).within(&for_ever), Ok(until(10)));
    }
}
