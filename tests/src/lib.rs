//! End-to-end tests, the demonstration and its relying service.
//!
//! It refuses to act on anything that it did not make itself: every home, user, display, bus and
//! process that a rig touches was started by that rig, and is ended by its id.

pub mod bench;
pub mod browser;
pub mod container;
pub mod desk;
pub mod desktop;
pub mod gateway;
pub mod house;
pub mod http;
pub mod keyring;
pub mod large;
pub mod people;
pub mod planted;
pub mod process;
pub mod provider;
pub mod site;
pub mod story;
pub mod traps;
pub mod typist;
pub mod waiting;
pub mod window;
