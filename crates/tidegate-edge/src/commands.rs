//! What clients may say, decoded: typed commands or an error, from any bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_model::Object;

use crate::{ApiError, Ask};

mod topics;

pub(crate) use self::topics::{Act, Post};

/// Longest text of a message's `id` and of a subscription's name, in bytes of JSON.
const NAME_BYTES_MAX: usize = 128;
/// Longest resume token; ours are shorter.
const TOKEN_BYTES_MAX: usize = 128;

/// A command of `/v1/live/ws`.
#[derive(Debug)]
pub(crate) enum LiveCommand<'a> {
    Subscribe(Subscribe<'a>),
    Reanchor(Reanchor<'a>),
    Unsubscribe,
}

/// What is to be watched.
#[derive(Debug)]
pub(crate) struct Subscribe<'a> {
    pub(crate) query: &'a str,
    pub(crate) resume_from: Option<Cow<'a, str>>,
    pub(crate) synced: bool,
}

/// Where the window is to go.
#[derive(Debug)]
pub(crate) struct Reanchor<'a> {
    /// Absent or null: the head.
    pub(crate) cursor: Option<&'a RawValue>,
    /// Absent: as before.
    pub(crate) limit: Option<i64>,
}

#[derive(Deserialize)]
struct LiveJson<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    resume_from: Option<Cow<'a, str>>,
    #[serde(default)]
    synced: bool,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
    limit: Option<i64>,
}

/// Decodes a message of `/v1/live/ws`.
pub(crate) fn live(text: &str) -> Result<LiveCommand<'_>, ApiError> {
    let json: LiveJson<'_> = parse(text)?;
    match &*json.action {
        "subscribe" => Ok(LiveCommand::Subscribe(Subscribe {
            query: needed(json.query, "query")?.get(),
            resume_from: resume(json.resume_from),
            synced: json.synced,
        })),
        "reanchor" => Ok(LiveCommand::Reanchor(Reanchor { cursor: json.cursor, limit: json.limit })),
        "unsubscribe" => Ok(LiveCommand::Unsubscribe),
        _ => {
            let message = "the action is unknown; there are subscribe, reanchor and unsubscribe";
            Err(ApiError::new(axum::http::StatusCode::BAD_REQUEST, "unknown_action", message))
        }
    }
}

/// A message of `/ws`.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow)]
    pub(crate) event: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, ApiError> {
        let envelope: Self = parse(text)?;
        if let Some(id) = envelope.id {
            name(id, "id")?;
        }
        Ok(envelope)
    }

    /// The message's `id` as it was written, to be sent back with the reply.
    pub(crate) fn id(&self) -> Option<&'a str> {
        self.id.map(RawValue::get)
    }

    pub(crate) fn auth(&self) -> Result<Ask, ApiError> {
        #[derive(Deserialize)]
        struct Json<'a> {
            #[serde(borrow)]
            token: Cow<'a, str>,
            #[serde(borrow)]
            proof: Option<Cow<'a, str>>,
        }
        let json: Json<'a> = parse(self.data())?;
        Ok(Ask::new(json.token, json.proof.map(|proof| proof.into_owned().into())))
    }

    pub(crate) fn subscribe(&self) -> Result<(&'a str, Subscribe<'a>), ApiError> {
        #[derive(Deserialize)]
        struct Json<'a> {
            #[serde(borrow)]
            sub: Option<&'a RawValue>,
            #[serde(borrow)]
            query: Option<&'a RawValue>,
            #[serde(borrow)]
            resume_from: Option<Cow<'a, str>>,
            #[serde(default)]
            synced: bool,
        }
        let json: Json<'a> = parse(self.data())?;
        let query = needed(json.query, "query")?.get();
        let resume_from = resume(json.resume_from);
        Ok((name(needed(json.sub, "sub")?, "sub")?, Subscribe { query, resume_from, synced: json.synced }))
    }

    pub(crate) fn reanchor(&self) -> Result<(&'a str, Reanchor<'a>), ApiError> {
        #[derive(Deserialize)]
        struct Json<'a> {
            #[serde(borrow)]
            sub: Option<&'a RawValue>,
            #[serde(borrow)]
            cursor: Option<&'a RawValue>,
            limit: Option<i64>,
        }
        let json: Json<'a> = parse(self.data())?;
        let sub = name(needed(json.sub, "sub")?, "sub")?;
        Ok((sub, Reanchor { cursor: json.cursor, limit: json.limit }))
    }

    pub(crate) fn sub(&self) -> Result<&'a str, ApiError> {
        self.reanchor().map(|(sub, _)| sub)
    }

    /// What it carries, as JSON.
    pub(crate) fn data(&self) -> &'a str {
        self.data.map_or("null", RawValue::get)
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ApiError> {
    let parsed = serde_json::from_str(text).map(|Object(parsed)| parsed);
    parsed.map_err(|error| ApiError::malformed(error.to_string()))
}

fn needed<'a>(value: Option<&'a RawValue>, field: &str) -> Result<&'a RawValue, ApiError> {
    value.ok_or_else(|| ApiError { path: Some(field.to_owned()), ..ApiError::malformed("is needed") })
}

/// A name that the client chooses: a short string or number, compared by its text.
fn name<'a>(raw: &'a RawValue, field: &str) -> Result<&'a str, ApiError> {
    let text = raw.get();
    let is_name = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    if is_name && text.len() <= NAME_BYTES_MAX {
        return Ok(text);
    }
    let message = format!("must be a string or a number of at most {NAME_BYTES_MAX} bytes");
    Err(ApiError { path: Some(field.to_owned()), ..ApiError::malformed(message) })
}

/// A token longer than any of ours is none: as good as no token.
fn resume(text: Option<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    text.filter(|text| text.len() <= TOKEN_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_decode() {
        let text = r#"{"action":"subscribe","query":{"entity":"a"},"resume_from":"1.2.3~4","synced":true}"#;
        let Ok(LiveCommand::Subscribe(subscribe)) = live(text) else { panic!("no subscribe") };
        assert_eq!(subscribe.query, r#"{"entity":"a"}"#);
        assert_eq!(subscribe.resume_from.as_deref(), Some("1.2.3~4"));
        assert!(subscribe.synced);
        assert!(matches!(
            live(r#"{"action":"reanchor"}"#),
            Ok(LiveCommand::Reanchor(Reanchor { cursor: None, limit: None }))
        ));
        assert!(matches!(live(r#"{"action":"unsubscribe","x":1}"#), Ok(LiveCommand::Unsubscribe)));
        assert_eq!(live(r#"{"action":"dance"}"#).unwrap_err().code, "unknown_action");
        assert_eq!(live(r#"{"action":"subscribe"}"#).unwrap_err().code, "malformed");
        // A struct's members by position are no command.
        for array in ["[]", r#"["unsubscribe",null,null,false,null,null]"#] {
            let error = live(array).unwrap_err();
            assert_eq!((error.code, error.is_malformed()), ("malformed", true));
            assert!(error.message.contains("expected an object"), "{}", error.message);
        }
    }

    #[test]
    fn names_are_short_strings_or_numbers() {
        let sub = |sub: &str| {
            Envelope::parse(&format!(r#"{{"event":"e","data":{{"sub":{sub}}}}}"#)).unwrap().sub().map(str::to_owned)
        };
        assert_eq!(sub("7").unwrap(), "7");
        assert_eq!(sub("\"a b\"").unwrap(), "\"a b\"");
        for bad in ["null", "[1]", "{}", "true", &format!("\"{}\"", "x".repeat(200))] {
            assert!(sub(bad).is_err(), "{bad}");
        }
        assert!(Envelope::parse(r#"{"event":"e","id":{}}"#).is_err());
        assert!(Envelope::parse(r#"["e",{"sub":1},1]"#).is_err());
        assert!(Envelope::parse(r#"{"event":"e","data":[1]}"#).unwrap().sub().is_err());
        assert_eq!(Envelope::parse(r#"{"event":"e","id":"x"}"#).unwrap().id(), Some("\"x\""));
    }

    fn anything() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"action\"",
            "\"subscribe\"",
            "\"event\"",
            "\"live.subscribe\"",
            "\"topic.publish\"",
            "\"topic.history\"",
            "\"ephemeral.set\"",
            "\"topic\"",
            "\"since\"",
            "\"payload\"",
            "\"data\"",
            "\"sub\"",
            "\"query\"",
            "\"id\"",
            "\"limit\"",
            "\"cursor\"",
            "null",
            "-1",
            "1e999",
            "\"\\u0000\"",
            "true",
        ]);
        prop_oneof![".{0,64}", prop::collection::vec(word, 0..24).prop_map(|words| words.concat())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_text_panics(text in anything()) {
            let _ = live(&text);
            if let Ok(envelope) = Envelope::parse(&text) {
                let _ = (envelope.auth(), envelope.subscribe(), envelope.reanchor(), envelope.sub(), envelope.topic());
            }
        }
    }
}
