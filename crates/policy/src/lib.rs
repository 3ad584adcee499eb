//! The device policy: TOML in, Policy out.
