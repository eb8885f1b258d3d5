//! Proof of possession: a challenge, signed with the key of the device session.
