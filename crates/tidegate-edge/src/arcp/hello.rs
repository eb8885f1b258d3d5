//! What a client says first: who it is, what it understands, and which session it goes on with.

use tidegate_jobs::{Code, Fault};
use tidegate_session::runtime::{Resume, token_hash};

use super::envelope::{Envelope, Kind};
use super::features::Features;
use super::fields::Fields;

/// Longest resume token that is looked at, in bytes; ours have 67.
const TOKEN_BYTES_MAX: usize = 256;

/// A hello, read. It holds secrets and is never printed.
pub(super) struct Hello {
    /// How the client calls itself.
    pub(super) client: Option<Box<str>>,
    /// What it shows of who it is.
    pub(super) token: Option<Box<str>>,
    /// What it can.
    pub(super) features: Features,
    /// Whether it said so at all.
    pub(super) tells_features: bool,
    /// Which session it goes on with.
    pub(super) resume: Option<Resume>,
}

impl Hello {
    pub(super) fn read(envelope: &Envelope<'_>) -> Result<Self, Fault> {
        let payload = envelope.payload()?;
        let client = payload.object("client", "payload.client.")?;
        let client = client.map(|client| client.text("name")).transpose()?.flatten();
        let capabilities = payload.object("capabilities", "payload.capabilities.")?;
        let capabilities = capabilities.unwrap_or_else(|| Fields::none("payload.capabilities."));
        let encodings = capabilities.texts("encodings")?.unwrap_or_default();
        if !encodings.is_empty() && !encodings.iter().any(|encoding| encoding == "json") {
            return Err(capabilities.bad("encodings", "a list with json"));
        }
        let features = capabilities.texts("features")?;
        Ok(Self {
            client: client.map(|name| name.into()),
            token: read_token(&payload)?,
            // Who says nothing of features is told events as the draft has them.
            tells_features: features.is_some(),
            features: Features::named(features.iter().flatten().map(|name| &**name)),
            resume: read_resume(envelope, &payload)?,
        })
    }
}

fn read_token(payload: &Fields<'_>) -> Result<Option<Box<str>>, Fault> {
    let Some(auth) = payload.object("auth", "payload.auth.")? else { return Ok(None) };
    if auth.text("scheme")?.is_some_and(|scheme| !scheme.eq_ignore_ascii_case("bearer")) {
        return Err(Fault::new(Code::Unauthenticated, "payload.auth.scheme has to be bearer"));
    }
    Ok(auth.text("token")?.map(|token| token.into()))
}

/// Three forms are known: an object `resume`, the same at the top of the payload without the session's id, and either in a message
/// `session.resume`.
fn read_resume(envelope: &Envelope<'_>, payload: &Fields<'_>) -> Result<Option<Resume>, Fault> {
    let inner = payload.object("resume", "payload.resume.")?;
    let resume = inner.as_ref().unwrap_or(payload);
    if inner.is_none() && envelope.kind != Kind::Resume && resume.raw("resume_token").is_none() {
        return Ok(None);
    }
    let token = resume.needed("resume_token", resume.text("resume_token")?)?;
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(resume.bad("resume_token", "a token of session.welcome"));
    }
    let last_event_seq = resume.needed("last_event_seq", resume.number("last_event_seq")?)?;
    let session = match resume.text("session_id")?.or_else(|| envelope.session_id.clone()) {
        // No name of ours is one that is not kept.
        Some(name) => Some(
            name.parse()
                .map_err(|_| Fault::new(Code::ResumeWindowExpired, "this session is not kept here; begin a new one"))?,
        ),
        None => None,
    };
    Ok(Some(Resume { session, token: token_hash(&token), last_event_seq }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arcp::features::Feature;

    const SESSION: &str = "sess_01ARZ3NDEKTSV4RRFFQ69G5FAV";

    fn read(kind: &str, payload: &str) -> Result<Hello, String> {
        let text = format!(r#"{{"arcp":"1.1","id":"m","type":"session.{kind}","payload":{payload}}}"#);
        let envelope = Envelope::read(&text).map_err(|malformed| malformed.fault.message)?;
        Hello::read(&envelope).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_hello_says_who_it_is_and_what_it_can() {
        let hello = read(
            "hello",
            r#"{"client":{"name":"cli","version":"1"},"auth":{"scheme":"bearer","token":"t"},
                "capabilities":{"encodings":["json"],"features":["ack","subscribe","x-vendor.acme.y"]}}"#,
        );
        let hello = hello.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((hello.client.as_deref(), hello.token.as_deref()), (Some("cli"), Some("t")));
        assert!(hello.features.have(Feature::Ack) && hello.features.have(Feature::Subscribe));
        assert_eq!(hello.features.names().count(), 2);
        assert!(hello.resume.is_none());
        let bare = read("hello", "{}").unwrap_or_else(|error| panic!("{error}"));
        assert!(bare.token.is_none() && bare.client.is_none() && bare.features == Features::default());
    }

    #[test]
    fn a_session_is_gone_on_with_in_three_forms() {
        let with = format!(r#"{{"session_id":"{SESSION}","resume_token":"rt_1","last_event_seq":7}}"#);
        let forms = [
            ("hello", format!(r#"{{"resume":{with}}}"#), true),
            ("hello", r#"{"resume_token":"rt_1","last_event_seq":7}"#.to_owned(), false),
            ("resume", with, true),
        ];
        for (kind, payload, is_named) in forms {
            let hello = read(kind, &payload).unwrap_or_else(|error| panic!("{error}"));
            let Some(resume) = hello.resume else { panic!("{payload}") };
            assert_eq!(resume.session.map(|session| session.to_string()), is_named.then(|| SESSION.to_owned()));
            assert_eq!((resume.token, resume.last_event_seq), (token_hash("rt_1"), 7));
        }
    }

    #[test]
    fn what_is_wrong_with_a_hello_is_said_by_its_place() {
        for (kind, payload, error) in [
            ("hello", r#"{"client":"cli"}"#, "INVALID_REQUEST: payload.client has to be an object"),
            ("hello", r#"{"auth":{"token":7}}"#, "INVALID_REQUEST: payload.auth.token has to be a string"),
            ("hello", r#"{"auth":{"scheme":"basic"}}"#, "UNAUTHENTICATED: payload.auth.scheme has to be bearer"),
            (
                "hello",
                r#"{"capabilities":{"features":"ack"}}"#,
                "INVALID_REQUEST: payload.capabilities.features has to be an array of strings",
            ),
            (
                "hello",
                r#"{"capabilities":{"encodings":["cbor"]}}"#,
                "INVALID_REQUEST: payload.capabilities.encodings has to be a list with json",
            ),
            ("hello", r#"{"resume":{}}"#, "INVALID_REQUEST: payload.resume.resume_token is missing"),
            ("resume", "{}", "INVALID_REQUEST: payload.resume_token is missing"),
            (
                "resume",
                r#"{"resume_token":"t","last_event_seq":-1}"#,
                "INVALID_REQUEST: payload.last_event_seq has to be a whole number that is not negative",
            ),
            (
                "resume",
                r#"{"resume_token":"t","last_event_seq":1,"session_id":"mine"}"#,
                "RESUME_WINDOW_EXPIRED: this session is not kept here; begin a new one",
            ),
        ] {
            assert_eq!(read(kind, payload).err().as_deref(), Some(error), "{payload}");
        }
    }
}
