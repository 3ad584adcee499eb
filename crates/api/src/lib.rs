//! The messages of the hub's admin, device and check interfaces.
