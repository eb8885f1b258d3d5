//! What can be wrong with a wish.

/// A no, for programs by [`TopicError::code`] and for people by its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Of a topic.
    #[error("the topic {0}")]
    Name(&'static str),
    /// Of an ephemeral entry, or a kept value.
    #[error("the key {0}")]
    Key(&'static str),
    /// Longer than so many bytes.
    #[error("the payload has more than {0} bytes")]
    TooLarge(usize),
    /// The answer would be longer than so many bytes.
    #[error("the answer has more than {0} bytes; subscribe instead")]
    TooMuch(usize),
    /// More arrays and objects within each other than that.
    #[error("the JSON nests more than {0} deep")]
    TooDeep(usize),
    /// The client owns as many entries as it may.
    #[error("a client may own at most {0} keys; clear one first")]
    TooManyKeys(usize),
    /// The topic holds as many entries, values or members as it may.
    #[error("the topic holds as much as it may ({0}); try again later")]
    Full(usize),
    /// More is waiting than is taken.
    #[error("the gateway has more to do than it takes; try again")]
    Overloaded,
    /// The namespace does not have that: history, presence, ephemeral state.
    #[error("topics of this namespace have no {0}")]
    NotAvailable(&'static str),
    /// A position that nothing here can be compared with.
    #[error("the position is of another epoch, or of the future")]
    Unrecoverable,
    /// Nobody is connected under that name, in that tenant.
    #[error("there is no such client")]
    UnknownClient,
    /// The broker cannot be asked now.
    #[error("topics cannot be reached now; try again")]
    Unavailable,
}

impl TopicError {
    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "invalid_topic",
            Self::Key(_) => "invalid_key",
            Self::TooLarge(_) | Self::TooMuch(_) => "too_large",
            Self::TooDeep(_) => "too_deep",
            Self::TooManyKeys(_) => "too_many_keys",
            Self::Full(_) => "topic_full",
            Self::Overloaded => "overloaded",
            Self::NotAvailable(_) => "not_available",
            Self::Unrecoverable => "unrecoverable_position",
            Self::UnknownClient => "unknown_client",
            Self::Unavailable => "unavailable",
        }
    }
}
