//! The authority as it is put together: identity for a process, permissions for a run of its rooms.
