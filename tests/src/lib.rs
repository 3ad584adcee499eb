//! End-to-end tests, the demonstration and its relying service.
