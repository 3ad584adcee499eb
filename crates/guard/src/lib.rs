//! exeunt-guard: the in-process revocation check for relying services.
//!
//! It refuses when it cannot know: a strict guard that has not heard from the hub within its limit
//! admits nobody.

mod feed;
pub mod guard;
pub mod hub;
pub mod layer;

pub use guard::{Behind, Freshness, Guard, InvalidOptions, Key, Mode, Options, Refused};
pub use hub::{ConnectError, HubError};
pub use layer::{GuardLayer, GuardService};
