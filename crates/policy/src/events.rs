//! Events of other parties that can end sessions here, and what each ends when no policy names it.
//!
//! It refuses to let an event end anything that is not in the table.

/// What an event ends when no policy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// As much as its transmitter may cause.
    Ceiling,
    /// Nothing; it is noted.
    Nothing,
}

/// An event that a policy may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The last part of its type.
    pub name: &'static str,
    /// What it ends when no policy names it.
    pub usual: Usual,
}

const fn event(name: &'static str, usual: Usual) -> Event {
    Event { name, usual }
}

/// Every event that a policy may name (CAEP 1.0 §3, RISC 1.0 §2).
pub const EVENTS: [Event; 9] = [
    event("session-revoked", Usual::Ceiling),
    // `revoke` and `delete`; the others end nothing.
    event("credential-change", Usual::Ceiling),
    // To `not-compliant`.
    event("device-compliance-change", Usual::Nothing),
    // To `HIGH`.
    event("risk-level-change", Usual::Nothing),
    event("account-disabled", Usual::Ceiling),
    event("account-purged", Usual::Ceiling),
    event("account-credential-change-required", Usual::Nothing),
    event("credential-compromise", Usual::Ceiling),
    event("sessions-revoked", Usual::Ceiling),
];

/// What an event of that name ends when no policy names it.
#[must_use]
pub fn usual(name: &str) -> Usual {
    EVENTS.iter().find(|event| event.name == name).map_or(Usual::Nothing, |event| event.usual)
}
