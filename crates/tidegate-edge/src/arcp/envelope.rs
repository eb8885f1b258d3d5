//! What is around every message of a client.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate_jobs::{DEPTH_MAX, Fault, TraceId, depth, is_vendors};

use super::fields::Fields;

/// The version that is spoken: the only one.
pub(super) const VERSION: &str = "1.1";
/// Longest id of a message, in bytes.
const ID_BYTES_MAX: usize = 256;

/// A message of a client, as far as all are alike.
pub(super) struct Envelope<'a> {
    /// As the client named it: 1 to 256 bytes.
    pub(super) id: Arc<str>,
    /// What it is.
    pub(super) kind: Kind,
    /// Whose it says it is.
    pub(super) session_id: Option<Cow<'a, str>>,
    /// What it is about, where that is said here.
    pub(super) job_id: Option<Cow<'a, str>>,
    /// What it belongs to.
    pub(super) trace: Option<TraceId>,
    payload: Option<&'a RawValue>,
}

/// What a client can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    /// A hello that goes on with a session.
    Resume,
    /// Also `session.bye`.
    Close,
    Ping,
    Pong,
    Ack,
    ListJobs,
    Submit,
    Cancel,
    Subscribe,
    Unsubscribe,
    /// Of a vendor's, and whoever does not know it may ignore it.
    Ignored,
}

/// A message that is none, with its id if it has one.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) id: Option<Arc<str>>,
    pub(super) fault: Fault,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, Malformed> {
        let nameless = |fault| Malformed { id: None, fault };
        if depth(text) > DEPTH_MAX {
            return Err(nameless(Fault::invalid(format!("a message nests at most {DEPTH_MAX} deep"))));
        }
        let fields = Fields::read("", text).ok_or_else(|| nameless(Fault::invalid("a message is a JSON object")))?;
        let id = read_id(&fields).map_err(nameless)?;
        Self::of(&fields, &id).map_err(|fault| Malformed { id: Some(id), fault })
    }

    fn of(fields: &Fields<'a>, id: &Arc<str>) -> Result<Self, Fault> {
        if fields.text("arcp")?.as_deref() != Some(VERSION) {
            return Err(fields.bad("arcp", "\"1.1\""));
        }
        let is_optional = read_extensions(fields)?;
        let name = fields.needed("type", fields.text("type")?)?;
        let trace = match fields.text("trace_id")? {
            Some(text) => {
                let expected = "32 lower-case hex digits, or a traceparent with them";
                Some(text.parse().map_err(|_| fields.bad("trace_id", expected))?)
            }
            None => None,
        };
        Ok(Self {
            id: id.clone(),
            kind: Kind::named(&name, is_optional)?,
            session_id: fields.text("session_id")?,
            job_id: fields.text("job_id")?,
            trace,
            payload: fields.raw("payload"),
        })
    }

    /// The fields of the payload; one that is not there has none.
    pub(super) fn payload(&self) -> Result<Fields<'a>, Fault> {
        match self.payload {
            Some(raw) => {
                Fields::read("payload.", raw.get()).ok_or_else(|| Fault::invalid("payload has to be an object"))
            }
            None => Ok(Fields::none("payload.")),
        }
    }
}

fn read_id(fields: &Fields<'_>) -> Result<Arc<str>, Fault> {
    let id = fields.needed("id", fields.text("id")?)?;
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return Err(fields.bad("id", "1 to 256 bytes long"));
    }
    Ok(id.into())
}

/// Whether whoever does not know the message may ignore it.
fn read_extensions(fields: &Fields<'_>) -> Result<bool, Fault> {
    let Some(extensions) = fields.object("extensions", "extensions.")? else { return Ok(false) };
    if extensions.names().any(|name| name != "optional" && !is_vendors(name)) {
        return Err(Fault::invalid("extensions has only optional, and names of the form x-vendor.<vendor>.<name>"));
    }
    Ok(extensions.flag("optional")?.unwrap_or(false))
}

impl Kind {
    fn named(name: &str, is_optional: bool) -> Result<Self, Fault> {
        Ok(match name {
            "session.hello" => Self::Hello,
            "session.resume" => Self::Resume,
            "session.close" | "session.bye" => Self::Close,
            "session.ping" => Self::Ping,
            "session.pong" => Self::Pong,
            "session.ack" => Self::Ack,
            "session.list_jobs" => Self::ListJobs,
            "job.submit" => Self::Submit,
            "job.cancel" => Self::Cancel,
            "job.subscribe" => Self::Subscribe,
            "job.unsubscribe" => Self::Unsubscribe,
            _ if is_vendors(name) && is_optional => Self::Ignored,
            _ if is_vendors(name) => return Err(Fault::invalid("this extension is not known here, and not optional")),
            _ => return Err(Fault::invalid("type: clients send no such message")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<Kind, String> {
        Envelope::read(text)
            .map(|envelope| envelope.kind)
            .map_err(|malformed| format!("{} {}", malformed.id.as_deref().unwrap_or("-"), malformed.fault.message))
    }

    #[test]
    fn nulls_and_what_is_not_known_are_accepted() {
        let text = r#"{"arcp":"1.1","id":"m","type":"job.cancel","session_id":null,"job_id":null,"trace_id":null,
            "event_seq":null,"payload":null,"extensions":null,"more":[1]}"#;
        let envelope = Envelope::read(text).unwrap();
        assert_eq!((&*envelope.id, envelope.kind), ("m", Kind::Cancel));
        assert!(envelope.session_id.is_none() && envelope.job_id.is_none() && envelope.trace.is_none());
        assert!(envelope.payload().unwrap().raw("reason").is_none());
    }

    #[test]
    fn a_message_is_an_envelope_or_refused_with_its_id() {
        for (text, error) in [
            ("", "- a message is a JSON object"),
            ("[\"1.1\",\"m\"]", "- a message is a JSON object"),
            ("{} {}", "- a message is a JSON object"),
            ("{}", "- id is missing"),
            (r#"{"id":1}"#, "- id has to be a string"),
            (r#"{"id":""}"#, "- id has to be 1 to 256 bytes long"),
            (r#"{"id":"m"}"#, r#"m arcp has to be "1.1""#),
            (r#"{"id":"m","arcp":"1.0"}"#, r#"m arcp has to be "1.1""#),
            (r#"{"id":"m","arcp":"1.1"}"#, "m type is missing"),
            (r#"{"id":"m","arcp":"1.1","type":"session.nope"}"#, "m type: clients send no such message"),
            (r#"{"id":"m","arcp":"1.1","type":"job.accepted"}"#, "m type: clients send no such message"),
            (r#"{"id":"m","arcp":"1.1","type":"job.cancel","job_id":7}"#, "m job_id has to be a string"),
            (
                r#"{"id":"m","arcp":"1.1","type":"job.submit","trace_id":"abc"}"#,
                "m trace_id has to be 32 lower-case hex digits, or a traceparent with them",
            ),
            (
                r#"{"id":"m","arcp":"1.1","type":"job.submit","extensions":{"vendor":1}}"#,
                "m extensions has only optional, and names of the form x-vendor.<vendor>.<name>",
            ),
            (r#"{"id":"m","arcp":"1.1","type":"a","extensions":[]}"#, "m extensions has to be an object"),
        ] {
            assert_eq!(kind(text), Err(error.to_owned()), "{text}");
        }
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(257));
        assert_eq!(kind(&long), Err("- id has to be 1 to 256 bytes long".to_owned()));
        let deep = format!(r#"{{"id":"m","payload":{}1{}}}"#, "[".repeat(128), "]".repeat(128));
        assert_eq!(kind(&deep), Err("- a message nests at most 128 deep".to_owned()));
    }

    #[test]
    fn a_vendors_message_is_ignored_if_it_may_be() {
        let of = |extensions: &str| {
            kind(&format!(r#"{{"arcp":"1.1","id":"m","type":"x-vendor.acme.wave","extensions":{extensions}}}"#))
        };
        assert_eq!(of(r#"{"optional":true,"x-vendor.acme.more":1}"#), Ok(Kind::Ignored));
        for required in ["{}", "null", r#"{"optional":false}"#] {
            assert!(of(required).is_err(), "{required}");
        }
        assert!(kind(r#"{"arcp":"1.1","id":"m","type":"acme.wave","extensions":{"optional":true}}"#).is_err());
    }
}
