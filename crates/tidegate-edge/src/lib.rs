//! Sockets and protocols
