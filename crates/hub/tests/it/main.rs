//! The hub over real HTTP on loopback.
//!
//! It refuses to sleep where an answer can be awaited.

#[cfg(test)]
mod rig;
#[cfg(test)]
mod story;
