//! The revocation check: watermarks and denials by sequence.
