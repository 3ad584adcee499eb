//! What can be asked of the store about streams to receivers and about transmitters that speak to
//! this hub.
//!
//! It refuses signatures: what waits for a receiver is kept as claims, and signed on its way out.

use exeunt_domain::{Jti, Subject, Tier, Timestamp};
use exeunt_ssf::normalise::Scope;
use exeunt_ssf::stream::{Status, Wishes};
use serde_json::Value;

use super::command::SignOut;

/// A stream to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub client: String,
    /// The audience of its SETs.
    pub aud: String,
    /// What the receiver chose.
    pub wishes: Wishes,
    /// Whether it delivers.
    pub status: Status,
    /// Why not.
    pub reason: Option<String>,
}

/// A SET that waits for its receiver, without issuer and signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its identifier.
    pub jti: Jti,
    /// Its claims.
    pub claims: Value,
}

/// Another party that sends SETs to this hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmitter {
    /// Its name here.
    pub id: String,
    /// The issuer of its SETs.
    pub issuer: String,
    /// Our name there.
    pub aud: String,
    /// Its keys, when they were handed in.
    pub jwks: Option<Value>,
    /// Where its keys are.
    pub jwks_uri: Option<String>,
    /// Issuers whose subjects it may speak about.
    pub issuers: Vec<String>,
    /// Mail domains whose subjects it may speak about.
    pub domains: Vec<String>,
    /// The most that it may cause.
    pub tier_ceiling: Tier,
    /// How many sign-outs an hour it may cause.
    pub rate_per_hour: u64,
    /// SHA-256 of the bearer token that its pushes carry, if they must.
    pub token: Option<[u8; 32]>,
    /// Clients of its provider whose logout and command tokens are taken here; [`Self::aud`] when
    /// there is none.
    pub clients: Vec<String>,
    /// How its stream stands.
    pub stream: Standing,
}

/// What a transmitter last said of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its word for the status; None: it said nothing, and a stream begins enabled.
    pub status: Option<String>,
    /// Its reason.
    pub reason: Option<String>,
    /// When it said so, by hub time.
    pub at: Option<Timestamp>,
    /// When a verification event was last asked for that has not come.
    pub awaited: Option<Timestamp>,
    /// When a verification event last came.
    pub verified: Option<Timestamp>,
}

impl Transmitter {
    /// Our names at its provider, as a relying party.
    #[must_use]
    pub fn client_ids(&self) -> Vec<&str> {
        if self.clients.is_empty() {
            return vec![&self.aud];
        }
        self.clients.iter().map(String::as_str).collect()
    }

    /// Whether it may speak about a subject. A name that only two sides understand is nobody's to
    /// speak about.
    #[must_use]
    pub fn may_speak_about(&self, subject: &Subject) -> bool {
        let within = |address: &str| {
            address.rsplit_once('@').is_some_and(|(_, domain)| {
                self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain))
            })
        };
        match subject {
            Subject::Email { email } => within(email),
            Subject::Account { uri } => within(uri),
            Subject::IssSub { iss, .. } => self.issuers.contains(iss),
            Subject::Opaque { .. } => false,
        }
    }
}

/// One command about streams.
#[derive(Clone, Debug)]
pub enum StreamCommand {
    /// A receiver creates its stream.
    Create {
        /// `service:CLIENT`.
        actor: String,
        /// The stream.
        stream: Stream,
    },
    /// A receiver changes what it chose.
    Configure {
        /// `service:CLIENT`.
        actor: String,
        /// Which.
        stream: String,
        /// All that it chooses now.
        wishes: Wishes,
    },
    /// A receiver changes the status.
    SetStatus {
        /// `service:CLIENT`.
        actor: String,
        /// Which.
        stream: String,
        /// The status.
        status: Status,
        /// Why.
        reason: Option<String>,
    },
    /// A receiver deletes its stream.
    Delete {
        /// `service:CLIENT`.
        actor: String,
        /// Which.
        stream: String,
    },
    /// A receiver takes a subject out of its stream, or in again.
    Subject {
        /// `service:CLIENT`.
        actor: String,
        /// Which.
        stream: String,
        /// Whom.
        subject: Subject,
        /// In, or out.
        included: bool,
    },
    /// A receiver asks for a verification event.
    Verify {
        /// `service:CLIENT`.
        actor: String,
        /// Which.
        stream: String,
        /// What the event is to carry.
        state: Option<String>,
        /// Least time between two, in milliseconds.
        every_ms: u64,
    },
    /// A receiver has taken or refused SETs.
    Taken {
        /// Which stream.
        stream: String,
        /// Taken.
        acked: Vec<Jti>,
        /// Refused, with the RFC 8935 code.
        refused: Vec<(Jti, String)>,
    },
    /// An operator registers a transmitter.
    AddTransmitter {
        /// `admin:NAME`.
        actor: String,
        /// The transmitter.
        transmitter: Box<Transmitter>,
    },
    /// An operator has asked a transmitter for a verification event with this state.
    Expect {
        /// `admin:NAME`.
        actor: String,
        /// Which.
        transmitter: String,
        /// The state.
        state: String,
    },
    /// An operator takes nothing of a transmitter any more.
    RemoveTransmitter {
        /// `admin:NAME`.
        actor: String,
        /// Which.
        transmitter: String,
    },
    /// Something about a transmitter's stream that operators must see.
    Alarm {
        /// Which.
        transmitter: String,
        /// `stream-alarm` or `stream-restored`.
        action: &'static str,
        /// What it is.
        why: String,
    },
    /// A transmitter's SET was verified.
    Heard(Box<Heard>),
}

/// A verified SET of a transmitter.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which transmitter.
    pub transmitter: String,
    /// Its issuer.
    pub issuer: String,
    /// The SET.
    pub jti: Jti,
    /// The cause that it names.
    pub cause: Option<exeunt_domain::Txn>,
    /// Its event's type.
    pub event: String,
    /// How many sign-outs an hour the transmitter may cause.
    pub rate_per_hour: u64,
    /// The person's other names, in the transmitter's word, all of which it may speak about.
    pub aliases: Vec<Subject>,
    /// What it asks for.
    pub act: Act,
}

/// What a transmitter's SET asks for.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sign the subject out.
    SignOut(Box<SignOut>),
    /// End one session of a subject, by its name at the identity provider.
    Session {
        /// Whose.
        subject: Subject,
        /// Which.
        scope: Scope,
    },
    /// End the sessions that came of one session at the transmitter's provider.
    IdpSession(Box<IdpSession>),
    /// The stream works.
    Verified {
        /// With the state that was asked for.
        state: Option<String>,
    },
    /// The stream's status changed at the transmitter.
    StreamUpdated {
        /// Its word for the status.
        status: String,
        /// Its reason.
        reason: Option<String>,
    },
    /// For the record only.
    Noted(Value),
    /// It is refused: the transmitter may not, or names nobody.
    Refuse {
        /// Whom it named, if anyone.
        subject: Option<Subject>,
        /// Why.
        why: super::Refused,
    },
}

/// One session at a transmitter's provider.
#[derive(Clone, Debug)]
pub struct IdpSession {
    /// Its name there.
    pub sid: String,
    /// Whose it is, if that was said.
    pub person: Option<Subject>,
    /// The transmitter, whose bounds hold.
    pub by: Transmitter,
}

/// What the audit calls a transmitter.
#[must_use]
pub fn actor(transmitter: &str) -> String {
    format!("transmitter:{transmitter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transmitter_speaks_only_about_its_own_issuers_and_domains() {
        let it = Transmitter {
            id: "t".into(),
            issuer: "https://idp.example".into(),
            aud: "hub".into(),
            jwks: None,
            jwks_uri: None,
            issuers: vec!["https://idp.example".into()],
            domains: vec!["corp.example".into()],
            tier_ceiling: Tier::SignOut,
            rate_per_hour: 1,
            token: None,
            clients: Vec::new(),
            stream: Standing::default(),
        };
        assert_eq!(it.client_ids(), ["hub"]);
        let may = |text: &str| it.may_speak_about(&Subject::parse(text).unwrap());
        assert!(may("a@corp.example") && may("acct:a@corp.example"));
        assert!(may("https://idp.example|u1"));
        for other in
            ["a@sub.corp.example", "a@corp.example.evil", "https://other.example|u1", "alice"]
        {
            assert!(!may(other), "{other}");
        }
    }
}
