//! The RFC 8936 receiver: long poll, cursor, backoff.
