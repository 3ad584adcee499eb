//! The home that is being contained, by handles.
//!
//! It refuses to follow a symbolic link, to leave the home, and to remove what it did not look at.

mod beneath;
mod edit;
mod erase;
mod flags;
mod linux;
mod quarantine;
mod walk;

pub use edit::{Cut, CutError, cut_database, cut_text};
pub use linux::{Bases, Dir, LinuxFiles};
pub use quarantine::Quarantine;
