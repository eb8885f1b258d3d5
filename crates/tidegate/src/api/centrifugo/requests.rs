//! The bodies of commands. Members that nothing here knows are left alone, as its clients expect; what they know and this
//! has not is named to be refused.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_edge::CentrifugoFault as Fault;
use tidegate_topics::Data;

use super::super::topics::{AtMost, Message, given};

/// What one command says.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a RawValue) -> Result<T, Fault> {
    serde_json::from_str(body.get()).map_err(|error| Fault::bad(error.to_string()))
}

/// Several commands.
#[derive(Deserialize)]
pub(super) struct Batch<'a> {
    #[serde(borrow)]
    pub(super) commands: AtMost<&'a RawValue>,
    pub(super) tenant: Option<String>,
}

/// `publish`, `broadcast`, `map_publish`, `map_remove`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Publish<'a> {
    pub(super) channel: String,
    pub(super) channels: Option<AtMost<String>>,
    #[serde(borrow, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    pub(super) key: Option<String>,
    pub(super) removed: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
    idempotency_key: Option<String>,
    skip_history: Option<bool>,
    tenant: Option<String>,
    /// Of the document; 0 is none.
    version: Option<u64>,
    version_epoch: Option<String>,
    key_mode: Option<String>,
    score: Option<i64>,
}

impl Publish<'_> {
    /// `null` where a value is removed and nothing said about it.
    pub(super) fn data(&self) -> Result<Data, Fault> {
        match (self.data, &self.b64data) {
            // A copy of its own: the body around it may be much larger, and what is kept is counted.
            (Some(data), None) => Ok(Data::json(Bytes::copy_from_slice(data.get().as_bytes()))?),
            (None, Some(data)) => {
                let data = STANDARD.decode(data).map_err(|_| Fault::bad("b64data must be base64, padded"))?;
                Ok(Data::Binary(data.into()))
            }
            (None, None) if self.removed == Some(true) => Ok(Data::Json(Bytes::from_static(b"null"))),
            _ => Err(Fault::bad("one of data and b64data must be given")),
        }
    }

    /// The rest, as the topics' own requests have it.
    pub(super) fn message(&mut self, tenant: Option<&str>) -> Result<Message<'static>, Fault> {
        let is_said = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        refuse(&[
            ("version", self.version.is_some_and(|version| version > 0)),
            ("version_epoch", is_said(&self.version_epoch)),
            ("key_mode", is_said(&self.key_mode)),
            ("score", self.score.is_some_and(|score| score != 0)),
        ])?;
        let message = Message {
            topic: None,
            topics: None,
            data: None,
            key: self.key.take().filter(|key| !key.is_empty()),
            removed: self.removed.unwrap_or(false),
            tags: self.tags.take().unwrap_or_default(),
            idempotency_key: self.idempotency_key.take().filter(|key| !key.is_empty()),
            skip_history: self.skip_history.unwrap_or(false),
            tenant: self.tenant.take().or_else(|| tenant.map(str::to_owned)),
        };
        message.check()?;
        Ok(message)
    }
}

/// Whose connections: all of a user, or one of them.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Whom {
    /// Empty is good only for a `client` that is a stranger.
    pub(super) user: String,
    pub(super) client: Option<String>,
    session: Option<String>,
    pub(super) tenant: Option<String>,
}

impl Whom {
    pub(super) fn check(&self) -> Result<(), Fault> {
        refuse(&[("session", self.session.as_deref().is_some_and(|session| !session.is_empty()))])
    }
}

/// `subscribe`, beside whom.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Subscribe<'a> {
    pub(super) channel: String,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    pub(super) recover_since: Option<Position>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    b64data: Option<String>,
    #[serde(borrow, rename = "override")]
    options: Option<&'a RawValue>,
}

impl Subscribe<'_> {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let is_said = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        refuse(&[
            ("info", self.info.is_some()),
            ("b64info", is_said(&self.b64info)),
            ("b64data", is_said(&self.b64data)),
            ("override", self.options.is_some()),
        ])
    }
}

#[derive(Deserialize)]
pub(super) struct Position {
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) epoch: String,
}

/// `disconnect`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Disconnect {
    pub(super) disconnect: Option<Code>,
    whitelist: Option<Vec<String>>,
}

impl Disconnect {
    pub(super) fn check(&self) -> Result<(), Fault> {
        refuse(&[("whitelist", self.whitelist.as_ref().is_some_and(|names| !names.is_empty()))])
    }
}

#[derive(Deserialize)]
pub(super) struct Code {
    pub(super) code: u16,
    #[serde(default)]
    pub(super) reason: String,
}

/// `refresh`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Refresh {
    pub(super) expired: bool,
    /// In seconds since 1970; 0 is never.
    pub(super) expire_at: u64,
}

/// What is about one channel and says no more.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct OfChannel {
    pub(super) channel: String,
    pub(super) tenant: Option<String>,
}

/// `history`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct History {
    pub(super) channel: String,
    /// 0: the position alone; less: as many as there are.
    pub(super) limit: i64,
    pub(super) since: Option<Position>,
    pub(super) reverse: bool,
    pub(super) tenant: Option<String>,
}

/// `channels`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Channels {
    pub(super) pattern: Option<String>,
    pub(super) tenant: Option<String>,
}

/// Says no to the first that is there.
fn refuse(named: &[(&str, bool)]) -> Result<(), Fault> {
    match named.iter().find(|(_, is_there)| *is_there) {
        Some((name, _)) => Err(Fault::not_available(name)),
        None => Ok(()),
    }
}
