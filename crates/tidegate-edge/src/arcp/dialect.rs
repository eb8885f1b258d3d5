//! What client libraries understand differently, where no way of saying it suits all of them: budgets, the end of a job that was
//! stopped, and the refusal of one.

use tidegate_jobs::Owner;

/// How a client wants to be spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// As the draft says.
    #[default]
    Spec,
    /// A refused job is a `job.error` of a job that nobody has heard of.
    TypeScript,
    /// Budgets are strings, and whatever stopped a job its `final_status` is `error`.
    Python,
    /// As the draft says; what the library never looks at is left out.
    Go,
}

impl Dialect {
    /// From its name: `spec`, `typescript`, `python` or `go`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "spec" => Self::Spec,
            "typescript" => Self::TypeScript,
            "python" => Self::Python,
            "go" => Self::Go,
            _ => return None,
        })
    }

    /// By how libraries make the ids of their messages: `msg_` and a ULID, a ULID alone, a UUID of version 7.
    pub(super) fn of_id(id: &str) -> Self {
        match id.strip_prefix("msg_") {
            Some(rest) if is_ulid(rest) => Self::TypeScript,
            None if is_ulid(id) => Self::Python,
            None if is_uuid_v7(id) => Self::Go,
            _ => Self::Spec,
        }
    }
}

/// Which clients want to be spoken to otherwise than the ids of their messages suggest.
#[derive(Debug, Clone, Default)]
pub struct Dialects {
    /// By `client.name`.
    pub clients: Vec<(Box<str>, Dialect)>,
    /// By who is there, which goes before: `user:<name>`, `anonymous`, `key`.
    pub principals: Vec<(Box<str>, Dialect)>,
}

impl Dialects {
    /// What is to be spoken: what the address asks for, else what is configured, else what the hello's id suggests.
    pub(super) fn choose(&self, asked: Option<Dialect>, owner: &Owner, client: Option<&str>, id: &str) -> Dialect {
        let of = |list: &[(Box<str>, Dialect)], name: &str| {
            list.iter().find(|(other, _)| **other == *name).map(|(_, dialect)| *dialect)
        };
        asked
            .or_else(|| of(&self.principals, &owner.name))
            .or_else(|| of(&self.clients, client?))
            .unwrap_or_else(|| Dialect::of_id(id))
    }
}

fn is_ulid(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() && !b"ILOUilou".contains(&byte);
    text.len() == 26 && text.bytes().all(is_digit)
}

fn is_uuid_v7(text: &str) -> bool {
    let has_form = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => byte == b'7',
        19 => b"89abAB".contains(&byte),
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(has_form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_libraries_apart() {
        for (id, dialect) in [
            ("msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", Dialect::TypeScript),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", Dialect::Python),
            ("018f3c1e-7b2a-7c3d-9e4f-0123456789ab", Dialect::Go),
            ("018f3c1e-7b2a-4c3d-9e4f-0123456789ab", Dialect::Spec),
            ("sess_01ARZ3NDEKTSV4RRFFQ69G5FAV", Dialect::Spec),
            ("msg_1", Dialect::Spec),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAI", Dialect::Spec),
            ("", Dialect::Spec),
        ] {
            assert_eq!(Dialect::of_id(id), dialect, "{id}");
        }
    }

    #[test]
    fn the_address_goes_before_the_configuration_and_that_before_the_id() {
        let dialects = Dialects {
            clients: vec![("cli".into(), Dialect::Python)],
            principals: vec![("user:ann".into(), Dialect::TypeScript)],
        };
        let choose = |asked, name: &str, client| {
            let owner = Owner { tenant: "".into(), name: name.into() };
            dialects.choose(asked, &owner, client, "018f3c1e-7b2a-7c3d-9e4f-0123456789ab")
        };
        assert_eq!(choose(Some(Dialect::Spec), "user:ann", Some("cli")), Dialect::Spec);
        assert_eq!(choose(None, "user:ann", Some("cli")), Dialect::TypeScript);
        assert_eq!(choose(None, "user:bob", Some("cli")), Dialect::Python);
        assert_eq!(choose(None, "user:bob", Some("other")), Dialect::Go);
        assert_eq!(choose(None, "user:bob", None), Dialect::Go);
    }
}
