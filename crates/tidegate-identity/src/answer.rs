//! What the authority says: mostly at once, from what it holds; else a key, a session or the application is asked first.

use crate::Refusal;

/// As it is handed over.
pub type Answer<T> = tidegate_model::Answer<T, Refusal>;

/// One that has to be fetched.
pub type Later<T> = tidegate_model::Later<T, Refusal>;
