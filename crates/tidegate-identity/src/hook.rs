//! The application's connect hook: who is there, for those without tokens.
