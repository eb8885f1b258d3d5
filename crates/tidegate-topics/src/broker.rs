//! The seam to what all nodes agree on.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_model::{Answer, Tenant};

use crate::{Cleared, ClientInfo, Data, Owner, Record, Topic, TopicError};

/// What somebody publishes.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where.
    pub topic: Arc<Topic>,
    /// What: at most `payload_bytes`.
    pub data: Data,
    /// Who, if that is to be told.
    pub client: Option<Arc<ClientInfo>>,
    /// Which value this replaces, in a topic that keeps the last of each key; at most 255 bytes.
    pub key: Option<Box<str>>,
    /// Whether the value of that key is removed instead.
    pub removed: bool,
    /// What subscribers may filter by.
    pub tags: Box<[(Box<str>, Box<str>)]>,
    /// The same key of the same user (or of any server) within the topic is published once; at most 128 bytes.
    pub idempotency_key: Option<Box<str>>,
    /// Whether it stays out of the history: it has no offset then.
    pub skip_history: bool,
}

impl Publish {
    /// Plain data, from nobody in particular.
    #[must_use]
    pub fn new(topic: Arc<Topic>, data: Data) -> Self {
        Self {
            topic,
            data,
            client: None,
            key: None,
            removed: false,
            tags: Box::default(),
            idempotency_key: None,
            skip_history: false,
        }
    }
}

/// Where a topic is. Without history the epoch is empty and the offset 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Changes whenever offsets begin anew.
    pub epoch: Arc<str>,
    /// Of the last publication.
    pub offset: u64,
}

/// Up to where somebody has seen a topic. What a client says of it is compared, never trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// As it was given. An empty one, at offset 0, is the beginning of whatever epoch it is now: whoever says so has seen nothing
    /// of the topic, or found it empty.
    pub epoch: Box<str>,
    /// The last offset seen.
    pub offset: u64,
}

impl Since {
    pub(crate) fn is_beginning(&self) -> bool {
        self.epoch.is_empty() && self.offset == 0
    }
}

/// A subscribe, once the relay is joined.
#[derive(Debug, Clone)]
pub struct Join {
    /// Where.
    pub topic: Arc<Topic>,
    /// Who becomes present, where the namespace has presence.
    pub member: Option<Arc<ClientInfo>>,
    /// Where a client that comes back was.
    pub since: Option<Since>,
    /// Bytes of records that the answer may bring; a recovery that needs more is none.
    pub bytes_max: usize,
}

/// The answer to a subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Where the topic is: what comes after this is told live.
    pub at: Published,
    /// Whether everything after the position is in `records`; None where none was given.
    pub recovered: Option<bool>,
    /// Recovered publications, in order; for one who did not recover the last value, where the namespace keeps it.
    pub records: Vec<Arc<Record>>,
}

/// An unsubscribe.
#[derive(Debug, Clone)]
pub struct Leave {
    /// Where.
    pub topic: Arc<Topic>,
    /// The public name of the connection that was a member, where it was one.
    pub member: Option<Arc<str>>,
}

/// Which part of a history.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Only what came after (or, in reverse, before) this.
    pub since: Option<Since>,
    /// At most so many; 0 = the position alone.
    pub limit: usize,
    /// From the newest on.
    pub reverse: bool,
    /// Bytes of records that the answer may bring; it ends early where they would not suffice.
    pub bytes_max: usize,
}

/// A part of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Where the topic is.
    pub at: Published,
    /// In the order that was asked for.
    pub records: Vec<Arc<Record>>,
}

/// Kept values, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Where the topic is.
    pub at: Published,
    /// The values.
    pub records: Vec<Arc<Record>>,
    /// The key to go on after, if there are more.
    pub next: Option<Box<str>>,
}

/// What is asked about who is present.
#[derive(Debug, Clone, Default)]
pub struct PresenceAsk {
    /// What changed since this version, if that is still known; else a page.
    pub since: Option<u64>,
    /// The page after this member.
    pub after: Option<Box<str>>,
    /// Members of a page at most; 0 = the counts alone.
    pub limit: usize,
}

/// Who is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Grows with every join and leave.
    pub version: u64,
    /// Members.
    pub clients: usize,
    /// Different users among them.
    pub users: usize,
    /// Which.
    pub members: Members,
}

/// A part of who is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// Sorted by the connection's name, with the name to go on after, if there are more.
    Page(Vec<Arc<ClientInfo>>, Option<Arc<str>>),
    /// The net difference to the version that was asked about.
    Changes {
        /// Who is there and was not, or is there with other words.
        joined: Vec<Arc<ClientInfo>>,
        /// Who was and is not.
        left: Vec<Arc<str>>,
    },
}

/// An ephemeral entry to be set.
#[derive(Debug, Clone)]
pub struct Set {
    /// Where.
    pub topic: Arc<Topic>,
    /// Within the topic; 1 to 255 bytes.
    pub key: Box<str>,
    /// At most `ephemeral_bytes`.
    pub payload: Bytes,
    /// 0 or less: 60 s; more than 30 minutes: 30 minutes.
    pub ttl_ms: i64,
    /// Whose it is from now on.
    pub owner: Owner,
}

/// An ephemeral entry that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Within the topic.
    pub key: Box<str>,
    /// As it was set.
    pub payload: Bytes,
    /// The owner's public name.
    pub client: Arc<str>,
    /// Milliseconds that are left; at least 1.
    pub expires_in_ms: u64,
}

/// At once, or later.
pub type Answered<T> = Answer<T, TopicError>;

/// What all nodes agree on. Everything that happens is passed to the relay in the order of its topic, before or while the
/// answer is given. No method waits.
pub trait Broker: Send + Sync {
    /// Publishes. Without subscribers, history and values nothing is left of it.
    fn publish(&self, publish: Publish) -> Answered<Published>;

    /// Tells where a topic is and what somebody missed, and enters them among those who are present. The caller has joined
    /// the relay before.
    fn join(&self, join: Join) -> Answered<Joined>;

    /// The other way round; cannot be refused.
    fn leave(&self, leave: Leave);

    /// A part of the history. Of a topic of which nothing is known it is empty, and so is its epoch: reading leaves nothing
    /// behind, so names that somebody makes up cost nothing.
    fn history(&self, topic: &Arc<Topic>, range: Range) -> Answered<History>;

    /// Forgets the history, and kept values with it: offsets begin anew, in another epoch.
    fn forget(&self, topic: &Arc<Topic>) -> Answered<()>;

    /// Kept values after a key: at most `limit`, of `bytes_max` bytes together, or one. It leaves nothing behind either.
    fn values(&self, topic: &Arc<Topic>, after: Option<&str>, limit: usize, bytes_max: usize) -> Answered<Page>;

    /// Who is present.
    fn presence(&self, topic: &Arc<Topic>, ask: PresenceAsk) -> Answered<Presence>;

    /// Names of topics of a tenant that have subscribers, members or history, sorted, with the subscribers on all nodes as far
    /// as they are counted; at most `limit` after a name.
    fn topics(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Answered<Vec<Box<str>>>;

    /// Sets an ephemeral entry.
    fn set(&self, set: Set) -> Answered<()>;

    /// Clears one. Of one that is not there, or another's, nothing happens, and that is a success.
    fn clear(&self, topic: &Arc<Topic>, key: &str, owner: &Owner) -> Answered<()>;

    /// The live entries of a topic, sorted by key; none of them where keys and payloads have more than `bytes_max` bytes
    /// together: [`TopicError::TooMuch`].
    fn list(&self, topic: &Arc<Topic>, bytes_max: usize) -> Answered<Vec<Entry>>;

    /// Clears all that somebody owns, in work proportional to that; cannot be refused.
    fn disown(&self, owner: &Owner, reason: Cleared);
}
