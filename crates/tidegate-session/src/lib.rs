//! One client's state, whatever the transport
