//! The feed and the mirror against a real PostgreSQL: copied, followed, and broken in every way that a session can break.

mod follower;
mod following;
