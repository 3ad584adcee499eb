//! Policy: whose session a console is, what ends it without an order, how much another party's event
//! ends, and how long a device may go on without its hub. TOML in, [`Policy`] out.
//!
//! It refuses unknown keys, tiers above what a place allows, and lengths that make no sense.

mod error;
pub mod events;
mod read;
mod subjects;
mod widen;

use std::collections::BTreeMap;
use std::time::Duration;

use exeunt_domain::Tier;
use exeunt_domain::session::hex;
use sha2::{Digest, Sha256};

pub use error::{Location, PolicyError};
pub use subjects::{Pattern, Rule, Subjects};

/// What a device or a hub does without being told each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whose session a console is.
    pub subjects: Subjects,
    /// What ends a session at the device without an order.
    pub triggers: Vec<Trigger>,
    /// How much an event of another party ends, by the last part of its type. What is not named
    /// ends what [`events::EVENTS`] says. None: nothing.
    pub events: BTreeMap<String, Option<Tier>>,
    /// What happens when no lock can be proved. None: what is usual for such a device.
    pub lock_fallback: Option<LockFallback>,
    /// The right to go on without contact.
    pub lease: Lease,
}

/// Something that ends a session at the device without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What is seen.
    pub on: Seen,
    /// For how long.
    pub after: Duration,
    /// How much ends.
    pub tier: Tier,
}

/// What a trigger waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// Nobody touched keyboard or pointer.
    Idle,
}

impl Seen {
    /// The word in a policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Seen::Idle => "idle",
        }
    }
}

/// What happens when no lock can be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFallback {
    /// The receipt says so.
    Report,
    /// The login session is ended.
    EndSession,
}

/// A device's right to go on without contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long, counted from the request that the hub answered. None: for ever.
    pub lasts: Option<Duration>,
    /// How much ends when it has lapsed.
    pub tier: Tier,
}

impl Default for Lease {
    fn default() -> Self {
        Self { lasts: Some(Duration::from_secs(7 * 86_400)), tier: Tier::Lock }
    }
}

impl Policy {
    /// Reads a policy. `file` is what mistakes are named by.
    ///
    /// # Errors
    /// [`PolicyError`], with line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        read::read(file, text)
    }

    /// The name of a policy's text: its SHA-256 in lowercase hexadecimal.
    #[must_use]
    pub fn digest(text: &str) -> String {
        hex(&Sha256::digest(text.as_bytes()))
    }

    /// In what ways this policy gives more power over a device than `before` did; empty when it
    /// gives none. What is listed needs a quorum.
    #[must_use]
    pub fn widens(&self, before: &Policy) -> Vec<String> {
        widen::widens(self, before)
    }

    /// How much an event of another party ends, at most `ceiling`. None: nothing.
    #[must_use]
    pub fn tier_of(&self, event_type: &str, ceiling: Tier) -> Option<Tier> {
        let name = event_type.rsplit('/').next().unwrap_or(event_type);
        match (self.events.get(name), events::usual(name)) {
            (Some(named), _) => named.map(|tier| tier.min(ceiling)),
            (None, events::Usual::Ceiling) => Some(ceiling),
            (None, events::Usual::Nothing) => None,
        }
    }
}
