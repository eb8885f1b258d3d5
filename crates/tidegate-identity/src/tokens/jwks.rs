//! The public keys of an issuer: a JWK set (RFC 7517), fetched.
