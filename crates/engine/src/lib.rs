//! Containment as a chain of consumed values: [`Survey`] → [`Plan`] → [`ArmedPlan`] →
//! [`Execution`] → [`Checked`] → [`Receipt`].
//!
//! It refuses to know an operating system: everything outside goes through [`ports`].

pub mod agents;
pub mod bounds;
pub mod check;
mod discover;
pub mod execute;
mod hand_over;
pub mod issue;
mod keyrings;
mod named;
pub mod plan;
pub mod ports;
mod record;
pub mod reported;
mod residue;
pub mod survey;
pub mod watch;

pub use bounds::{Bounds, OutOfBounds, Target};
pub use check::Checked;
pub use discover::{listed_profiles, profile_paths};
pub use execute::Execution;
pub use issue::{Chain, Device, Receipt, issue};
pub use plan::{ArmedPlan, Plan};
pub use survey::{Store, Survey};
