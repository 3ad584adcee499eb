//! The catalogue of places that hold sessions: TOML in, Catalogue out.
