//! The embedded store: every entity at exactly one position
