//! What can be asked of the store, and how it answers.
//!
//! It refuses raw session ids: every command names a session by its hash.

use exeunt_api::playbook::Playbook;
use exeunt_api::{CannotEnd, SessionInfo, SignOutResponse};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{
    Approvers, DeviceId, Group, Jti, Outcome, Proof, ReceiptBody, SessionKind, StoreReport,
    Subject, Tenant, Tier, Timestamp, Txn,
};
use exeunt_ssf::PublicJwk;
use serde::{Deserialize, Serialize};

use super::Service;
pub use super::operation::{EndScope, Join, PlaceHold, ReleaseHold, Retry, Scope, Split, Tick};

/// One domain command.
#[derive(Clone, Debug)]
pub enum Command {
    /// A relying service began a session.
    Register(Register),
    /// A relying service ended one of its sessions.
    End {
        /// `service:CLIENT`.
        actor: String,
        /// Which.
        session: SessionHash,
    },
    /// Sessions of a service were in use lately.
    Seen {
        /// The service's audience.
        aud: String,
        /// Which.
        sessions: Vec<SessionHash>,
    },
    /// Sessions are over by their own time.
    Expire(Vec<SessionHash>),
    /// A device's warden says that a console session began or ended.
    DeviceSession(DeviceSession),
    /// Sign a subject out.
    SignOut(SignOut),
    /// End the sessions of one session's name, of a device or of an application.
    EndScope(EndScope),
    /// Two names are one subject's.
    Join(Join),
    /// A name is not the subject's that it was joined to.
    Split(Split),
    /// Expect nothing further of a transaction's open targets.
    Cancel {
        /// `admin:NAME`.
        actor: String,
        /// Which.
        txn: Txn,
    },
    /// Ask again what failed in a transaction.
    Retry(Retry),
    /// Something that was to be seen to was seen to.
    Tick(Tick),
    /// No session of a subject begins from now on.
    PlaceHold(PlaceHold),
    /// Sessions of a subject may begin again.
    ReleaseHold(ReleaseHold),
    /// A device's warden says how far it is.
    Progress(Progressed),
    /// A device's warden found stores again after a close.
    Returned(Returned),
    /// A device's receipt.
    Receipt(Received),
    /// A device's agent acknowledges or refuses SETs.
    Ack(Ack),
    /// Everything that is addressed to these devices up to here was acknowledged.
    Settled(Vec<Settled>),
    /// Sign a device's overdue orders again, under their transactions.
    Resign {
        /// Which.
        device: DeviceId,
        /// How long the new orders are good for, in milliseconds.
        good_for_ms: u64,
    },
    /// An order's deadline passed unanswered.
    Overdue {
        /// Its transaction.
        txn: Txn,
        /// Its device.
        device: DeviceId,
    },
    /// Every running check of a service is at least at this sequence.
    Confirmed {
        /// The service's audience.
        aud: String,
        /// The sequence.
        seq: u64,
    },
    /// An identity provider was registered; its credentials are kept elsewhere.
    AddConnector {
        /// `admin:NAME`.
        actor: String,
        /// What the operator calls it.
        name: String,
        /// What it is.
        kind: &'static str,
        /// What it keeps alive after a revocation.
        remains: Vec<Remains>,
    },
    /// What a registered identity provider keeps alive after a revocation.
    Declare {
        /// Which.
        name: String,
        /// What.
        remains: Vec<Remains>,
    },
    /// An identity provider is no target any more.
    RemoveConnector {
        /// `admin:NAME`.
        actor: String,
        /// Which.
        name: String,
    },
    /// How far an identity provider is.
    Provided(Provided),
    /// An operator minted an enrolment token.
    MintToken(MintToken),
    /// A device enrols.
    Enrol(Box<Enrol>),
    /// A relying service is registered.
    AddService {
        /// `admin:NAME`.
        actor: String,
        /// The service.
        service: Service,
    },
    /// Something about streams.
    Stream(super::stream::StreamCommand),
    /// Something about approvers, proposals and approvals.
    Approval(Box<super::approval::ApprovalCommand>),
    /// A device's warden says what it holds itself to.
    Stands(Standing),
    /// A device is removed.
    RemoveDevice {
        /// `admin:NAME`.
        actor: String,
        /// Which.
        device: DeviceId,
    },
    /// An operator looked at something, or was refused a door.
    NoteCall {
        /// `admin:NAME`.
        actor: String,
        /// `looked` or `access-refused`.
        action: &'static str,
        /// The door.
        door: String,
        /// What exactly was asked.
        what: String,
    },
    /// All of an operator's tokens end.
    RemoveOperator {
        /// `admin:NAME`.
        actor: String,
        /// Whose.
        name: String,
    },
    /// An operator's token.
    AddOperator {
        /// `admin:NAME`, `oidc:ISSUER`, or `hub` at first start.
        actor: String,
        /// The token.
        operator: super::Operator,
    },
}

/// A relying service began a session.
#[derive(Clone, Debug)]
pub struct Register {
    /// `service:CLIENT`.
    pub actor: String,
    /// The service's audience.
    pub aud: String,
    /// Whose.
    pub subject: Subject,
    /// Which.
    pub session: SessionHash,
    /// What it is.
    pub kind: SessionKind,
    /// When the person authenticated.
    pub auth_time: Timestamp,
    /// For people.
    pub device: Option<String>,
    /// For people.
    pub label: String,
    /// For people.
    pub place: String,
    /// The identity provider's own name of its session.
    pub idp_sid: Option<String>,
    /// Every name of the subject in the identity provider's own word, the subject's among them;
    /// empty without that word.
    pub aliases: Vec<Subject>,
    /// When it ends at the latest.
    pub expires: Option<Timestamp>,
}

/// Names a SET that came from a device, for deduplication.
#[derive(Clone, Debug)]
pub struct Source {
    /// The device.
    pub device: DeviceId,
    /// The enrolment whose key signed it.
    pub epoch: u64,
    /// The SET.
    pub jti: Jti,
}

/// A console session began or ended.
#[derive(Clone, Debug)]
pub struct DeviceSession {
    /// The SET.
    pub from: Source,
    /// Whose.
    pub subject: Subject,
    /// Which.
    pub session: SessionHash,
    /// What it is.
    pub kind: SessionKind,
    /// How the subject was established.
    pub proof: Proof,
    /// Since when.
    pub since: Timestamp,
    /// It has ended.
    pub ended: bool,
    /// How long an order is good for, in milliseconds.
    pub good_for_ms: u64,
}

/// Sign a subject out.
#[derive(Clone, Debug)]
pub struct SignOut {
    /// `admin:NAME` or `device:ID`.
    pub actor: String,
    /// The transaction: the device's own, or a fresh one.
    pub txn: Txn,
    /// Whose sessions.
    pub subject: Subject,
    /// How much is to end.
    pub tier: Tier,
    /// Words for the record.
    pub reason: Option<String>,
    /// Only the sessions on this device.
    pub only: Option<DeviceId>,
    /// A repeat under the same key is answered like the first.
    pub idempotency_key: Option<String>,
    /// What the operator was shown.
    pub digest: Option<String>,
    /// What is known to live on at identity providers; a part of what was shown.
    pub cannot: Vec<CannotEnd>,
    /// What else belongs to it.
    pub playbook: Option<&'static Playbook>,
    /// The device and session at which a person asked.
    pub at_device: Option<AtDevice>,
    /// How many devices the actor, and all actors, may reach within an hour.
    pub limit: DeviceLimit,
    /// How long an order is good for, in milliseconds.
    pub good_for_ms: u64,
}

/// How many distinct devices sign-outs may reach within a sliding hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimit {
    /// Those of one actor.
    pub each: u64,
    /// Those of all actors together.
    pub in_all: u64,
}

impl DeviceLimit {
    /// No limit: nothing is counted.
    pub const NONE: Self = Self { each: u64::MAX, in_all: u64::MAX };
}

/// Where a person asked to be signed out everywhere.
#[derive(Clone, Debug)]
pub struct AtDevice {
    /// The SET.
    pub from: Source,
    /// The console session.
    pub session: SessionHash,
    /// How many such requests the device may make in an hour.
    pub per_hour: u64,
}

/// A device's warden says how far it is.
#[derive(Clone, Debug)]
pub struct Progressed {
    /// The SET.
    pub from: Source,
    /// Which transaction.
    pub txn: Txn,
    /// How far.
    pub outcome: Outcome,
}

/// A device's receipt, its signature verified.
#[derive(Clone, Debug)]
pub struct Received {
    /// The SET.
    pub from: Source,
    /// Its compact form.
    pub compact: String,
    /// Its body.
    pub body: Box<ReceiptBody>,
    /// What it looked for is not what this hub was told to expect.
    pub unexpected_coverage: bool,
}

/// A device's warden found stores again after a close.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The SET.
    pub from: Source,
    /// The close's transaction.
    pub after: Txn,
    /// When, by the device's wall clock.
    pub at: Timestamp,
    /// Whose sessions those were.
    pub subject: Option<Subject>,
    /// Which stores.
    pub stores: Vec<StoreReport>,
    /// Whether the device contains them again; the receipt comes under a transaction of its own.
    pub contains: bool,
}

/// How far a device has acknowledged what is addressed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which.
    pub device: DeviceId,
    /// In which enrolment.
    pub epoch: u64,
    /// The last position of it.
    pub pos: u64,
}

/// A device's agent acknowledges or refuses SETs. It proves transport only.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Which device.
    pub device: DeviceId,
    /// Which enrolment.
    pub epoch: u64,
    /// Durable at the device.
    pub acked: Vec<Jti>,
    /// Refused there, with the RFC 8935 code.
    pub refused: Vec<(Jti, String)>,
}

/// A device's warden says what it holds itself to.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which device.
    pub device: DeviceId,
    /// Which enrolment.
    pub epoch: u64,
    /// What it says.
    pub in_force: exeunt_ssf::InForce,
}

/// How far an identity provider is in a transaction.
#[derive(Clone, Debug)]
pub struct Provided {
    /// Which transaction.
    pub txn: Txn,
    /// Which provider.
    pub name: String,
    /// How far.
    pub outcome: Outcome,
    /// What was seen, and what is not covered.
    pub detail: String,
    /// How many milliseconds after the first call what was revoked was seen refused.
    pub rejected_after_ms: Option<u64>,
}

/// Something that stays usable although its target was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// What.
    pub what: String,
    /// Until when, for people; empty when only a time is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub until: String,
    /// How many seconds after the commit it is over at the latest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_after_s: Option<u64>,
    /// When it is over at the latest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses: Option<Timestamp>,
}

/// An identity provider that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTarget {
    /// Under which transaction.
    pub txn: Txn,
    /// Which provider.
    pub name: String,
    /// Whose sessions are to end.
    pub subject: Subject,
    /// The subject's other names.
    pub aliases: Vec<Subject>,
}

/// A one-time enrolment token.
#[derive(Clone, Debug)]
pub struct MintToken {
    /// `admin:NAME`.
    pub actor: String,
    /// SHA-256 of its secret.
    pub secret: [u8; 32],
    /// The device's name, if chosen.
    pub name: Option<DeviceId>,
    /// The group that the device will belong to.
    pub group: Option<Group>,
    /// The tenant that it will belong to.
    pub tenant: Option<Tenant>,
    /// The approvers that the token names. Refused when they are no longer those in force.
    pub approvers: Option<Approvers>,
    /// When it expires.
    pub expires: Timestamp,
}

/// A device enrols; the SET's signature by `device_key` was verified.
#[derive(Clone, Debug)]
pub struct Enrol {
    /// SHA-256 of the token's secret.
    pub secret: [u8; 32],
    /// The SET, so that a repeat of it is answered like the first.
    pub jti: Jti,
    /// What the machine calls itself, as a device id.
    pub name: DeviceId,
    /// The warden's key.
    pub device_key: PublicJwk,
    /// The agent's key.
    pub agent_key: PublicJwk,
    /// `installed` or `user`.
    pub mode: exeunt_domain::receipt::Mode,
}

/// How the store answers.
#[derive(Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// It had been done before; nothing happened.
    Repeated,
    /// It was noted, and nobody here was meant by it.
    Unresolved,
    /// A session was registered at this sequence.
    Registered(u64),
    /// A sign-out was committed, or had been.
    SignedOut(Box<SignedOut>),
    /// How a proposal stands now.
    Proposal(Box<exeunt_api::ProposalInfo>),
    /// A device was enrolled.
    Enrolled {
        /// What it is called.
        device: DeviceId,
        /// Which enrolment.
        epoch: u64,
    },
}

/// What a sign-out ended, or would end.
#[derive(Clone, Debug)]
pub struct SignedOut {
    /// The transaction; none in a preview.
    pub txn: Option<Txn>,
    /// The commit.
    pub seq: u64,
    /// Every name of the subject that it reaches, the one that was asked for first.
    pub aliases: Vec<String>,
    /// Sessions.
    pub sessions: Vec<SessionInfo>,
    /// Devices that get an order.
    pub devices: Vec<DeviceId>,
    /// The worst part so far.
    pub outcome: Outcome,
    /// Over what is shown.
    pub digest: String,
    /// What lives on all the same.
    pub cannot: Vec<CannotEnd>,
}

impl From<SignedOut> for SignOutResponse {
    fn from(done: SignedOut) -> Self {
        let SignedOut { txn, seq, aliases, sessions, devices, outcome, digest, cannot } = done;
        let (v, federated, not_listed) = (exeunt_api::VERSION, Vec::new(), Vec::new());
        Self {
            v,
            txn,
            seq,
            aliases,
            sessions,
            devices,
            outcome,
            digest,
            cannot,
            federated,
            not_listed,
        }
    }
}

/// Why a command was not carried out. Nothing changed, except that the audit may note it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The person authenticated before the subject was signed out.
    #[error("the subject was signed out after this authentication: the person must sign in again")]
    StaleAuth,
    /// That session id is registered already.
    #[error("this session is registered already")]
    SessionTaken,
    /// No such session of the caller.
    #[error("no such session")]
    UnknownSession,
    /// Nothing is known of the subject.
    #[error("no session of this subject was ever registered, so there is nobody to sign out")]
    UnknownSubject,
    /// A subject has as many names as it can have.
    #[error("that would be more than {most} names of one subject: split one from it first")]
    TooManyAliases {
        /// How many.
        most: usize,
    },
    /// One issuer's two names would become one subject's.
    #[error("that would make two people of one issuer one: an operator has to decide")]
    TwoOfOneIssuer,
    /// A name was to be joined to itself.
    #[error("both are the same name")]
    SameName,
    /// The name stands alone.
    #[error("this name is no other subject's alias")]
    NoAlias,
    /// No such device.
    #[error("no such device")]
    UnknownDevice,
    /// No such transaction.
    #[error("no such transaction")]
    UnknownTxn,
    /// The subject is on hold.
    #[error("this subject is on hold: an operator has to release it first")]
    OnHold,
    /// The subject is not on hold.
    #[error("this subject is not on hold")]
    NoHold,
    /// No such follow-up.
    #[error("no such follow-up")]
    UnknownFollowup,
    /// It only counts after the sessions had ended, and was done before.
    #[error(
        "this was done before the sessions had ended: what they could still reach may know the new \
         one, so do it again"
    )]
    DoneTooEarly,
    /// It only counts after the sessions had ended, and a provider has not answered.
    #[error("an identity provider has not answered yet: look at the transaction, and tick it then")]
    StillEnding,
    /// No such application.
    #[error("no service has this audience, and no session is of it")]
    UnknownApplication,
    /// Two sessions have names that begin so.
    #[error("several sessions have names that begin so: give more digits of it")]
    Ambiguous,
    /// The session is over.
    #[error("this session is over already")]
    SessionOver,
    /// The transaction was cancelled.
    #[error("this transaction was cancelled: sign out anew")]
    Cancelled,
    /// The transaction's name is taken by another cause.
    #[error("this transaction's name is taken")]
    TxnTaken,
    /// The same idempotency key came with another demand.
    #[error("this idempotency key was used for another demand")]
    KeyReused,
    /// What would end is no longer what was shown.
    #[error("what would end has changed since the preview")]
    PreviewChanged,
    /// The asking console session is not live at this device, or not this subject's.
    #[error("the subject has no live session at this device")]
    NoLiveSession,
    /// The asking console session was only asserted.
    #[error("the session was only asserted, which ends this device only")]
    OnlyAsserted,
    /// Too many devices within an hour.
    #[error(
        "{whose} would reach {would} devices within an hour, and {most} is the limit; nobody was \
         signed out"
    )]
    TooManyDevices {
        /// Whose sign-outs.
        whose: &'static str,
        /// How many devices.
        would: u64,
        /// The limit.
        most: u64,
    },
    /// No such identity provider.
    #[error("no identity provider of this name is registered")]
    UnknownConnector,
    /// No such operator.
    #[error("no operator of this name has a token")]
    UnknownOperator,
    /// Nobody could set the hub up any more.
    #[error("this is the last administrator: make another one first")]
    LastAdministrator,
    /// The device asked too often.
    #[error("this device asked too often within an hour")]
    RateLimited,
    /// The SET belongs to an earlier enrolment.
    #[error("this enrolment is over")]
    OldEpoch,
    /// The claims contradict each other or the device's standing.
    #[error("{0}")]
    Contradiction(&'static str),
    /// No such enrolment token.
    #[error("this enrolment token is unknown")]
    UnknownToken,
    /// The token was used.
    #[error("this enrolment token was used already")]
    UsedToken,
    /// The token expired.
    #[error("this enrolment token has expired")]
    ExpiredToken,
    /// A device of that name is enrolled, and the token does not name it.
    #[error("a device of this name is enrolled: mint a token that names it to enrol it anew")]
    NameTaken,
    /// The device key belongs to another device.
    #[error("this key belongs to another device")]
    KeyTaken,
    /// The audience is taken.
    #[error("this audience is registered by another service")]
    AudTaken,
    /// No such stream of the caller.
    #[error("no such stream")]
    UnknownStream,
    /// The receiver has a stream.
    #[error("this receiver has a stream already, and one is all it can have")]
    StreamTaken,
    /// No such transmitter.
    #[error("no such transmitter")]
    UnknownTransmitter,
    /// The issuer is registered.
    #[error("a transmitter with this issuer is registered already")]
    TransmitterTaken,
    /// A verification event with a state that nobody asked for.
    #[error("the verification event carries a state that was not asked for")]
    WrongState,
    /// A transmitter caused too many sign-outs.
    #[error("this transmitter caused as many sign-outs within an hour as it may")]
    TooManySignals,
    /// A transmitter speaks about someone whom it may not speak about.
    #[error("this transmitter may not speak about this subject")]
    NotItsSubject,
    /// A revocation is asked of a transmitter's ceiling that ends no session.
    #[error("this transmitter may cause locks only, and a lock revokes nothing")]
    OnlyLocks,
    /// Nobody can approve anything yet.
    #[error("no approvers are in force, so that nothing which needs a quorum can be proposed")]
    NoApprovers,
    /// No approver of that name.
    #[error("{0:?} is no approver")]
    UnknownApprover(String),
    /// The demand contradicts itself.
    #[error("{0}; nothing was changed")]
    Unsound(&'static str),
    /// No device would get it.
    #[error("no enrolled device is meant by this, so that there is nothing to propose")]
    NobodyThere,
    /// No such proposal.
    #[error("no such proposal")]
    UnknownProposal,
    /// Nothing is left to approve.
    #[error("this proposal {0}")]
    Decided(&'static str),
    /// The signature does not hold for this proposal.
    #[error("this is no approval of this proposal: {0}")]
    BadApproval(String),
    /// The key is not in the set.
    #[error("this key is no approver's: only keys of the set that is in force count")]
    NotAnApprover,
    /// The key is another operator's.
    #[error("this key is another operator's: each approver sends their own approval")]
    NotYourKey,
    /// Whoever asked does not approve.
    #[error("whoever proposed this cannot approve it")]
    OwnProposal,
    /// Another's proposal.
    #[error("only whoever proposed this, or an administrator, takes it back")]
    NotYours,
    /// The approvers changed while a token was made.
    #[error("the approvers changed meanwhile: make the token again")]
    ApproversChanged,
    /// An event names nobody.
    #[error("{0}; nobody was signed out")]
    Unresolvable(exeunt_ssf::normalise::Unresolvable),
}

impl Refused {
    /// The stable code of the JSON interfaces.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Refused::StaleAuth => "stale_auth",
            Refused::OnHold => "on_hold",
            Refused::SessionTaken
            | Refused::TxnTaken
            | Refused::KeyReused
            | Refused::NameTaken
            | Refused::KeyTaken
            | Refused::AudTaken
            | Refused::StreamTaken
            | Refused::TransmitterTaken
            | Refused::LastAdministrator
            | Refused::NoApprovers
            | Refused::Decided(_)
            | Refused::Unsound(_)
            | Refused::NobodyThere
            | Refused::ApproversChanged
            | Refused::Cancelled
            | Refused::Ambiguous
            | Refused::SameName
            | Refused::DoneTooEarly
            | Refused::StillEnding
            | Refused::SessionOver
            | Refused::TooManyAliases { .. }
            | Refused::TwoOfOneIssuer => "conflict",
            Refused::UnknownSession
            | Refused::UnknownDevice
            | Refused::UnknownTxn
            | Refused::UnknownStream
            | Refused::UnknownTransmitter
            | Refused::UnknownConnector
            | Refused::UnknownOperator
            | Refused::UnknownApprover(_)
            | Refused::UnknownProposal
            | Refused::UnknownApplication
            | Refused::UnknownFollowup
            | Refused::NoHold
            | Refused::NoAlias => "not_found",
            Refused::WrongState => "invalid_state",
            Refused::UnknownSubject => "unknown_subject",
            Refused::PreviewChanged => "preview_changed",
            Refused::RateLimited | Refused::TooManySignals | Refused::TooManyDevices { .. } => {
                "rate_limited"
            }
            Refused::NoLiveSession
            | Refused::OnlyAsserted
            | Refused::OldEpoch
            | Refused::UnknownToken
            | Refused::UsedToken
            | Refused::ExpiredToken
            | Refused::NotItsSubject
            | Refused::OnlyLocks
            | Refused::NotAnApprover
            | Refused::NotYourKey
            | Refused::OwnProposal
            | Refused::NotYours => "forbidden",
            Refused::Contradiction(_) | Refused::Unresolvable(_) | Refused::BadApproval(_) => {
                "invalid_request"
            }
        }
    }

    /// The code of RFC 8935 §2.4, for SET endpoints.
    #[must_use]
    pub fn err_code(&self) -> &'static str {
        match self.code() {
            "invalid_request" | "not_found" | "conflict" => "invalid_request",
            "invalid_state" => "invalid_state",
            _ => "access_denied",
        }
    }

    /// The audit notes it: someone with standing asked for what they may not have.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        !matches!(self, Refused::UnknownToken | Refused::UnknownSession | Refused::RateLimited)
    }
}
