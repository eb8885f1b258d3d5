//! The gateway on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod embedded;
mod follow;
mod init;
