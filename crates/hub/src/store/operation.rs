//! What operators ask of the registry beyond a subject's sign-out: names joined and split, scopes,
//! failures asked again, follow-ups, holds.
//!
//! It refuses a change of names or holds without a reason.

use exeunt_domain::{DeviceId, Subject, Timestamp, Txn};

use super::command::DeviceLimit;

/// Two names are one subject's.
#[derive(Clone, Debug)]
pub struct Join {
    /// `admin:NAME`.
    pub actor: String,
    /// One.
    pub subject: Subject,
    /// The other.
    pub alias: Subject,
    /// Why.
    pub reason: String,
}

/// A name is not the subject's that it was joined to.
#[derive(Clone, Debug)]
pub struct Split {
    /// `admin:NAME`.
    pub actor: String,
    /// The name that is taken out.
    pub alias: Subject,
    /// Why.
    pub reason: String,
}

/// Something that was to be seen to was seen to.
#[derive(Clone, Debug)]
pub struct Tick {
    /// `admin:NAME`.
    pub actor: String,
    /// Which.
    pub id: u64,
    /// What was done.
    pub note: Option<String>,
    /// When; now when absent.
    pub done_at: Option<Timestamp>,
}

/// No session of a subject begins from now on.
#[derive(Clone, Debug)]
pub struct PlaceHold {
    /// `admin:NAME`.
    pub actor: String,
    /// Whose.
    pub subject: Subject,
    /// Why.
    pub reason: String,
}

/// Sessions of a subject may begin again.
#[derive(Clone, Debug)]
pub struct ReleaseHold {
    /// `admin:NAME`.
    pub actor: String,
    /// Whose.
    pub subject: Subject,
    /// Why.
    pub reason: String,
}

/// What ends, where it is not one person's everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One session, by the first 16 or more hexadecimal digits of its hash.
    Session(String),
    /// Every session at a device, whoever's.
    Device(DeviceId),
    /// Every session of an application, by its audience.
    Application(String),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Session(name) => write!(f, "session {name}"),
            Scope::Device(device) => write!(f, "device {device}"),
            Scope::Application(aud) => write!(f, "application {aud}"),
        }
    }
}

/// End what a scope names.
#[derive(Clone, Debug)]
pub struct EndScope {
    /// `admin:NAME`.
    pub actor: String,
    /// The transaction.
    pub txn: Txn,
    /// What ends.
    pub scope: Scope,
    /// Words for the record.
    pub reason: Option<String>,
    /// A repeat under the same key is answered like the first.
    pub idempotency_key: Option<String>,
    /// What the operator was shown.
    pub digest: Option<String>,
    /// How many devices the actor, and all actors, may reach within an hour.
    pub limit: DeviceLimit,
    /// How long an order is good for, in milliseconds.
    pub good_for_ms: u64,
}

/// Ask again what failed in a transaction.
#[derive(Clone, Debug)]
pub struct Retry {
    /// `admin:NAME`.
    pub actor: String,
    /// Which.
    pub txn: Txn,
    /// How many devices the actor, and all actors, may reach within an hour.
    pub limit: DeviceLimit,
    /// How long an order is good for, in milliseconds.
    pub good_for_ms: u64,
}
