//! The runtime of ARCP, between connections and jobs: sessions that outlive their connections.

mod command;

pub use command::{
    Command, Hello, Letter, Link, List, Listed, Reply, Request, Resume, Submission, Subscribed, Wants, Welcome,
    token_hash,
};
