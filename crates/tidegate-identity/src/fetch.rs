//! Asking the endpoints that configuration names: bounded in time and bytes, never redirected.
