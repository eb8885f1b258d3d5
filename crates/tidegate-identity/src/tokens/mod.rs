//! Bearer tokens: JWT (RFC 7519) verified with the keys of a fixed table of issuers.

mod algorithm;
mod jwks;

pub use algorithm::UnknownAlgorithm;
pub use jwks::JwksMetrics;
