//! Topics over HTTP, at the built binary on a real port.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod demo;
mod ephemeral;
mod fixture;
mod history;
mod hostile;
mod metrics;
mod permissions;
mod presence;
mod publish;
mod server_api;
mod tenants;
mod values;
