//! The store's contract: a batch of domain commands in, one durable answer each out.
//!
//! It refuses partial durability: when `apply` answers, every effect of the batch is on disk.

pub mod approval;
pub mod command;
pub mod operation;
pub mod sqlite;
pub mod stream;

use std::sync::Arc;

use exeunt_api::{
    Alarm, ApproverList, AuditEntry, DeviceInfo, Followup, Hold, HubSession, ProposalInfo,
    ReceiptRecord, SessionInfo, SubjectInfo, TxnState,
};
use exeunt_check::{Delta, RevocationState};
use exeunt_domain::order::WideOrder;
use exeunt_domain::session::SessionHash;
use exeunt_domain::{DeviceId, Group, Jti, Kid, Order, Subject, Targets, Tenant, Timestamp, Txn};
use exeunt_ssf::{ChangeEvent, InForce, PublicJwk};

pub use command::{Command, Refused, Reply};

/// Why the store could not answer. Nothing of the batch is durable.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space is left where the store lives.
    #[error("no space is left for the store")]
    Full,
    /// Reading, writing or syncing failed.
    #[error("the store failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored contradicts itself or this program's version.
    #[error("the store is damaged or of another version: {0}")]
    Damaged(String),
    /// A SET could not be signed.
    #[error("signing failed: {0}")]
    Signing(#[from] exeunt_ssf::SetError),
}

/// What became of one command.
#[derive(Debug)]
pub struct Applied {
    /// Its sequence number; none when it left no trace in the audit.
    pub seq: Option<u64>,
    /// The answer.
    pub reply: Result<Reply, Refused>,
    /// What else changed, for the state that is kept in memory.
    pub effects: Effects,
}

/// Changes that the memory of a running hub follows.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes of the revocation state, with the subject's key where one is concerned.
    pub deltas: Vec<KeyedDelta>,
    /// Log entries to deliver.
    pub entries: Vec<Entry>,
    /// Transactions whose state changed.
    pub changed: Vec<Txn>,
    /// A device that was enrolled.
    pub device: Option<Device>,
    /// A device that was removed.
    pub removed_device: Option<DeviceId>,
    /// What a device's warden says that it holds itself to.
    pub in_force: Option<(DeviceId, InForce)>,
    /// A service that was registered.
    pub service: Option<Service>,
    /// An operator's token that was minted.
    pub operator: Option<Operator>,
    /// An operator whose tokens ended.
    pub removed_operator: Option<String>,
    /// Log entries that are delivered no more: newer ones took their place.
    pub withdrawn: Vec<u64>,
    /// Whether a device owes an answer to an order that is overdue.
    pub owing: Option<(DeviceId, bool)>,
    /// The key that signs from now on, and those that signed before.
    pub hub_keys: Option<(Kid, Vec<Kid>)>,
    /// An audience whose session targets wait for its checks to reach a sequence.
    pub unconfirmed: Vec<(String, u64)>,
    /// Streams with news for their receivers.
    pub streams: Vec<String>,
}

/// A change of the revocation state and the words it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedDelta {
    /// The change.
    pub delta: Delta,
    /// The subject's key, for a watermark.
    pub subject: Option<String>,
}

/// One entry of the shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, ascending.
    pub pos: u64,
    /// Whom it is for.
    pub to: Addressee,
    /// The SET's identifier.
    pub jti: Jti,
    /// The signed bytes.
    pub compact: String,
}

/// Whom a log entry is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addressee {
    /// One device.
    Device(DeviceId),
    /// Every device of a named group.
    Group(String),
    /// Every device of a tenant.
    Tenant(String),
    /// Every device.
    All,
}

impl Addressee {
    /// Who all of `targets` are at once; None for a list, where each is addressed by itself.
    #[must_use]
    pub fn of(targets: &Targets) -> Option<Self> {
        match targets {
            Targets::Devices { .. } => None,
            Targets::Group { name } => Some(Addressee::Group(name.to_string())),
            Targets::Tenant { name } => Some(Addressee::Tenant(name.to_string())),
            Targets::Everyone => Some(Addressee::All),
        }
    }

    /// The word for its kind, and the name within it.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Addressee::Device(device) => ("device", device.as_str()),
            Addressee::Group(name) => ("group", name),
            Addressee::Tenant(name) => ("tenant", name),
            Addressee::All => ("all", ""),
        }
    }

    /// Whether a device is meant.
    #[must_use]
    pub fn means(&self, device: &Device) -> bool {
        match self {
            Addressee::Device(id) => *id == device.id,
            Addressee::Group(name) => device.group.as_ref().is_some_and(|own| own.as_str() == name),
            Addressee::Tenant(name) => {
                device.tenant.as_ref().is_some_and(|own| own.as_str() == name)
            }
            Addressee::All => true,
        }
    }
}

/// A device, as far as requests are judged by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Which enrolment.
    pub epoch: u64,
    /// The warden's key.
    pub device_key: PublicJwk,
    /// The agent's transport key.
    pub agent_key: PublicJwk,
    /// Its group.
    pub group: Option<Group>,
    /// Its tenant.
    pub tenant: Option<Tenant>,
    /// What its warden last said that it holds itself to.
    pub in_force: Option<Arc<InForce>>,
}

/// A relying service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its client id.
    pub client_id: String,
    /// For people.
    pub name: String,
    /// The one audience it speaks for.
    pub aud: String,
    /// SHA-256 of its secret.
    pub secret: [u8; 32],
    /// What it may do with streams: `ssf.read`, `ssf.manage`.
    pub scopes: Vec<String>,
}

/// An operator's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// SHA-256 of the token.
    pub token: [u8; 32],
    /// Who uses it.
    pub name: String,
    /// What they may do.
    pub roles: Vec<exeunt_api::Role>,
    /// When it expires.
    pub expires: Option<Timestamp>,
}

/// What a running hub loads when it starts.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Revocations.
    pub state: RevocationState,
    /// The chain's head.
    pub head: Head,
    /// The last place in the log.
    pub last_pos: u64,
    /// Enrolled devices.
    pub devices: Vec<Device>,
    /// Those for whom something in the log may wait.
    pub behind: Vec<DeviceId>,
    /// Relying services.
    pub services: Vec<Service>,
    /// Operators' tokens.
    pub operators: Vec<Operator>,
    /// Devices that owe a receipt.
    pub owing: Vec<DeviceId>,
    /// The key that signs, if it was ever changed, and those that signed before.
    pub hub_keys: (Option<Kid>, Vec<Kid>),
    /// Per audience, sequences whose session targets no guard has confirmed yet.
    pub unconfirmed: Vec<(String, u64)>,
}

/// The end of the audit chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The last row's sequence number; 0 when there is none.
    pub seq: u64,
    /// The last row's hash.
    pub hash: [u8; 32],
}

/// How long is remembered what guards against a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Identifiers of SETs, in milliseconds. An older SET, but for a receipt, is refused by its
    /// time; receipts are known for ever.
    pub seen_ms: u64,
    /// The longest that any session lives, in milliseconds: a denial is of no use afterwards.
    pub session_ms: u64,
}

/// How far ahead of the hub's clock the time of a SET may be, in milliseconds.
pub const AHEAD_MS: u64 = 86_400_000;

impl Keep {
    /// A SET that says it is from before this is refused.
    #[must_use]
    pub fn oldest(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_sub(self.seen_ms))
    }

    /// What was first seen before this may be forgotten: whatever time it bore, it is refused now.
    #[must_use]
    pub fn forgotten(&self, now: Timestamp) -> Timestamp {
        Timestamp(self.oldest(now).0.saturating_sub(AHEAD_MS))
    }
}

/// What a step of pruning took away, in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Orders that were acknowledged.
    pub orders: u64,
    /// Acknowledgements of orders that are gone.
    pub acks: u64,
    /// Identifiers of SETs.
    pub seen: u64,
    /// Denials.
    pub denials: u64,
    /// Enrolment tokens.
    pub tokens: u64,
    /// Everything was looked at once; the next step begins anew.
    pub whole: bool,
}

/// A record that was made of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// When the copy was taken; what came after it is not known.
    pub taken: Timestamp,
    /// When it was restored.
    pub now: Timestamp,
    /// Whether sessions at relying services stay alive, though some may have been revoked since.
    pub keep_sessions: bool,
}

/// A restored record that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anew {
    /// The copy's last row.
    pub rows_to: u64,
    /// Where the numbers go on.
    pub seq: u64,
    /// How many sessions were ended.
    pub sessions_ended: u64,
}

/// Mints what a transaction needs and a database cannot: time, identifiers and signatures.
pub trait Mint {
    /// Hub time of the batch.
    fn now(&self) -> Timestamp;
    /// Signs an order for one device.
    ///
    /// # Errors
    /// When it cannot be signed.
    fn order(&mut self, order: &Order, txn: &Txn) -> Result<(Jti, String), exeunt_ssf::SetError>;
    /// Signs an order to a group, a tenant or everyone, once for all of them.
    ///
    /// # Errors
    /// When it cannot be signed.
    fn wide_order(&mut self, order: &WideOrder) -> Result<(Jti, String), exeunt_ssf::SetError>;
    /// Signs a change for one device.
    ///
    /// # Errors
    /// When it cannot be signed.
    fn change(
        &mut self,
        change: &ChangeEvent,
        txn: &Txn,
    ) -> Result<(Jti, String), exeunt_ssf::SetError>;
    /// Signs with another key from now on, and names it.
    ///
    /// # Errors
    /// When that key is not held.
    fn rekey(&mut self, kid: &Kid) -> Result<PublicJwk, exeunt_ssf::SetError>;
    /// Whether a key is held.
    fn has_key(&self, kid: &Kid) -> bool;
    /// The key that signs.
    fn kid(&self) -> Kid;
    /// Signs the countersignature of a receipt.
    ///
    /// # Errors
    /// When it cannot be signed.
    fn countersign(
        &mut self,
        claims: &exeunt_api::Countersigned,
    ) -> Result<String, exeunt_ssf::SetError>;
}

/// One shard's record.
pub trait Store: Send {
    /// Its read side.
    type View: View;

    /// Applies a batch in one transaction: each command by itself, in order, under contiguous
    /// sequence numbers, chained into the audit; durable before it returns.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the batch happened, and [`Store::reopen`] comes next.
    fn apply(&mut self, batch: &[Command], mint: &mut dyn Mint)
    -> Result<Vec<Applied>, StoreError>;

    /// The end of the audit chain.
    fn head(&self) -> Head;

    /// Does what the store has put off to keep commits short. `idle`: nothing waits for it now;
    /// otherwise it may do nothing.
    ///
    /// # Errors
    /// [`StoreError`]; what was committed is durable all the same.
    fn tidy(&mut self, idle: bool) -> Result<(), StoreError>;

    /// Looks at the next `most` rows or so of what may be of no use any more, and takes away what is
    /// not. Never the audit, a receipt or a transaction.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of this step happened.
    fn prune(&mut self, now: Timestamp, keep: &Keep, most: usize) -> Result<Pruned, StoreError>;

    /// Lets go of everything held open and opens it anew: after a failed write nothing that was
    /// held may be trusted.
    ///
    /// # Errors
    /// [`StoreError`].
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Makes a record that was restored from a copy fit to be served: numbers go on beyond all that
    /// can have been given out after the copy was taken, so that a session of that time is older
    /// than any later sign-out; operators' tokens and unused enrolment tokens end, and, unless they
    /// are to be kept, sessions at relying services; enrolments get epochs that were never used.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing happened.
    fn begin_anew(&mut self, restored: &Restored) -> Result<Anew, StoreError>;

    /// An independent reader of what is durable.
    ///
    /// # Errors
    /// [`StoreError`].
    fn view(&self) -> Result<Self::View, StoreError>;
}

/// Reads what is durable. Each call sees one consistent state.
pub trait View: Send {
    /// Everything a running hub keeps in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Watermarks by subject key, denials, and the sequence at which they hold.
    ///
    /// # Errors
    /// [`StoreError`].
    fn revocations(&self) -> Result<Revocations, StoreError>;

    /// Unacknowledged entries for a device after `pos`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn outstanding(
        &self,
        device: &DeviceId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// The last SET that was addressed to this enrolment of a device.
    ///
    /// # Errors
    /// [`StoreError`].
    fn last_order(&self, device: &DeviceId) -> Result<Option<Jti>, StoreError>;

    /// Sessions of a subject under any of its names, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sessions(&self, subject: &Subject) -> Result<Result<Vec<SessionInfo>, Refused>, StoreError>;

    /// Everything by which a subject is known.
    ///
    /// # Errors
    /// [`StoreError`].
    fn subject(&self, subject: &Subject) -> Result<Result<SubjectInfo, Refused>, StoreError>;

    /// One session by its hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn session(&self, session: &SessionHash) -> Result<Option<SessionInfo>, StoreError>;

    /// Live sessions of a subject, as one of its devices may see them; None unless the subject
    /// has a live session there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn sessions_for(
        &self,
        device: &DeviceId,
        subject: &Subject,
    ) -> Result<Option<Vec<HubSession>>, StoreError>;

    /// Enrolled devices by id.
    ///
    /// # Errors
    /// [`StoreError`].
    fn devices(&self) -> Result<Vec<DeviceInfo>, StoreError>;

    /// The set of approvers.
    ///
    /// # Errors
    /// [`StoreError`].
    fn approvers(&self) -> Result<ApproverList, StoreError>;

    /// The hourly limit that a quorum set; None: the hub's own setting holds.
    ///
    /// # Errors
    /// [`StoreError`].
    fn orders_per_hour(&self) -> Result<Option<u32>, StoreError>;

    /// What a proposal would be, keeping nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn draft(
        &self,
        ask: &approval::Propose,
        now: Timestamp,
    ) -> Result<Result<ProposalInfo, Refused>, StoreError>;

    /// One proposal as it stands at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn proposal(&self, txn: &Txn, now: Timestamp) -> Result<Option<ProposalInfo>, StoreError>;

    /// The newest proposals, newest first, as they stand at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn proposals(&self, now: Timestamp) -> Result<Vec<ProposalInfo>, StoreError>;

    /// A transaction's targets. With `device`, only if that device is one of them.
    ///
    /// # Errors
    /// [`StoreError`].
    fn txn(&self, txn: &Txn, device: Option<&DeviceId>) -> Result<Option<TxnState>, StoreError>;

    /// What a sign-out would end, touching nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn preview(
        &self,
        ask: &command::SignOut,
    ) -> Result<Result<command::SignedOut, Refused>, StoreError>;

    /// What the end of a scope would end, touching nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn preview_scope(
        &self,
        scope: &command::Scope,
    ) -> Result<Result<command::SignedOut, Refused>, StoreError>;

    /// What is to be seen to after sign-outs, oldest first: one subject's or everyone's; the open
    /// ones, or all.
    ///
    /// # Errors
    /// [`StoreError`].
    fn followups(
        &self,
        of: Option<&Subject>,
        all: bool,
    ) -> Result<Result<Vec<Followup>, Refused>, StoreError>;

    /// Holds in force, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    /// Streams: one client's, or all.
    ///
    /// # Errors
    /// [`StoreError`].
    fn streams(&self, client: Option<&str>) -> Result<Vec<stream::Stream>, StoreError>;

    /// What waits in a stream and may go out now, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn stream_waiting(
        &self,
        stream: &str,
        limit: usize,
    ) -> Result<Vec<stream::Waiting>, StoreError>;

    /// Parties that send SETs to this hub.
    ///
    /// # Errors
    /// [`StoreError`].
    fn transmitters(&self) -> Result<Vec<stream::Transmitter>, StoreError>;

    /// Identity providers that have no final outcome in a transaction yet.
    ///
    /// # Errors
    /// [`StoreError`].
    fn open_providers(&self) -> Result<Vec<command::ProviderTarget>, StoreError>;

    /// Receipts of a transaction, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn receipts(&self, txn: &Txn) -> Result<Vec<ReceiptRecord>, StoreError>;

    /// Device targets whose order passed its deadline unanswered.
    ///
    /// # Errors
    /// [`StoreError`].
    fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<(Txn, DeviceId)>, StoreError>;

    /// Sessions whose time is over, and which nobody has ended, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn expired(&self, now: Timestamp, limit: usize) -> Result<Vec<SessionHash>, StoreError>;

    /// Audit rows after `seq`, at most `limit`, with each row's hash as stored.
    ///
    /// # Errors
    /// [`StoreError`].
    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// What an operator has to look at, before the audit's row `before`, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn alarms(&self, before: u64, limit: usize) -> Result<Vec<Alarm>, StoreError>;

    /// Looks at every row of the chain, and reports the hash of the row `at`.
    ///
    /// # Errors
    /// [`StoreError`] when the rows cannot be read at all.
    fn audit_chain(&self, at: u64) -> Result<crate::audit::Chain, StoreError>;
}

/// The revocation state with its words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Complete up to here.
    pub seq: u64,
    /// Subject key, sequence, hub time.
    pub watermarks: Vec<(String, u64, Timestamp)>,
    /// Session hash and sequence.
    pub denied: Vec<(SessionHash, u64)>,
}
