//! The catalogue of places that hold sessions: TOML in, [`Catalogue`] out.
//! It refuses to touch a file, run a command, or name a place that it was not shown as plain data.
//!
//! An entry names closed bases, relative globs and closed actions; it has no commands, no absolute
//! paths and no expansion of variables. [`Protected`] is compiled in and wins over every entry.

mod builtin;
mod catalogue;
mod coverage;
mod entry;
mod error;
mod glob;
mod ids;
mod place;
mod proof;
mod protected;
mod reach;
mod resolve;
mod schema;

pub use crate::catalogue::Catalogue;
pub use crate::entry::{
    Action, AgentKind, AgentRule, App, Edit, EnvDir, EnvFile, KeyringRule, KeyringStore, Kind,
    Layout, StoreRule, Within,
};
pub use crate::error::{CatalogueError, Location};
pub use crate::glob::{Glob, GlobError, RelGlob};
pub use crate::ids::{AppId, IdError, StoreId};
pub use crate::place::{Base, Place, PlaceError, Platform};
pub use crate::proof::{Examples, Failure};
pub use crate::protected::Protected;
