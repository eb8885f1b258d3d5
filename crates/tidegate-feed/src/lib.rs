//! Where transactions come from
