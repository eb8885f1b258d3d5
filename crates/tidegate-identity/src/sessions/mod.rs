//! Device sessions: which are active, and word of those that end.
