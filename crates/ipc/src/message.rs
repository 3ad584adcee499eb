//! The messages on `warden.sock` and `agent.sock`.
//!
//! It refuses unknown fields and unknown versions: both ends ship together.

use std::collections::BTreeMap;

use exeunt_domain::receipt::{LockReport, Mode, NotCovered};
use exeunt_domain::{
    DeviceId, Jti, Outcome, Proof, SessionId, SessionKind, StepReport, StoreReport, Subject, Tier,
    Timestamp, Txn,
};
use serde::{Deserialize, Serialize};

/// The version of everything in this module.
pub const VERSION: u16 = 1;

/// One frame towards a server: a request and the caller's number for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call<R> {
    /// [`VERSION`].
    pub v: u16,
    /// What is asked.
    pub request: R,
}

/// What anyone may ask of the warden; who is allowed what is [`crate::peer`]'s and the warden's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", content = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum WardenRequest {
    /// Agent only: a raw SET from the hub, unverified. Answer: `Done`, or `Failed` with an
    /// RFC 8935 error code.
    Deliver {
        /// The compact SET.
        set: String,
    },
    /// Agent only: wait for SETs that the hub should get. Answer: `Uplink`, empty after 30 s.
    TakeUplink,
    /// Agent only: what became of uplinked SETs. Answer: `Done`.
    UplinkResult {
        /// Durable at the hub.
        accepted: Vec<Jti>,
        /// Refused for good, with the RFC 8935 error code.
        refused: BTreeMap<Jti, String>,
    },
    /// Agent only: whose session the user `uid` has. Answer: `Sessions`.
    SessionsOf {
        /// The user id of the agent's own caller.
        uid: u32,
    },
    /// How things stand for the caller. Answer: `Status`.
    Status,
    /// What is there. Touches nothing. Answer: `Survey`.
    Survey,
    /// What `tier` would do. Touches nothing. Answer: `Preview`.
    Preview {
        /// How much would end.
        tier: Tier,
    },
    /// Sign the caller's subject out everywhere, this device included.
    /// Answers: `Progress` any number of times, then `Closed` or `Failed`.
    SignOutEverywhere {
        /// Words for the record.
        reason: Option<String>,
        /// Which surface asks: tray, cli, kiosk.
        surface: String,
        /// The digest of the preview that the person saw, if one was shown.
        digest: Option<String>,
    },
    /// Close this device only. Answers as for `SignOutEverywhere`.
    Close {
        /// How much is to end.
        tier: Tier,
        /// Words for the record.
        reason: Option<String>,
        /// Which surface asks.
        surface: String,
        /// End everything of the caller, its session too: the machine goes to the next person.
        #[serde(default)]
        hand_over: bool,
    },
    /// Root only: every user who has a home on this machine. Answer: `Users`.
    Users,
    /// Root only: what is there of a user. Touches nothing. Answer: `Survey`.
    SurveyUser {
        /// Whose.
        uid: u32,
    },
    /// Root only: what `tier` would do to a user. Touches nothing. Answer: `Preview`.
    PreviewUser {
        /// Whose.
        uid: u32,
        /// How much would end.
        tier: Tier,
    },
    /// Root only: close every user who has a home on this machine, each with a transaction and a
    /// receipt of its own, all at once. Answer: `Started`; then `Follow` each.
    CloseUsers {
        /// How much is to end.
        tier: Tier,
        /// Words for the record.
        reason: Option<String>,
        /// Which surface asks.
        surface: String,
        /// End everything of theirs, their sessions too.
        hand_over: bool,
    },
    /// Lock the caller's screen and prove it. Answer: `Locked`.
    Lock,
    /// Follow a transaction that is under way. Answers as for `SignOutEverywhere`.
    Follow {
        /// Which.
        txn: Txn,
    },
    /// The tray's report that nobody touched keyboard or pointer for so long. Answer: `Done`.
    Idle {
        /// Milliseconds.
        ms: u64,
    },
    /// The policy in force. Answer: `Policy`.
    Policy,
    /// A subject's session begins at this console. Answer: `Sessions`.
    SessionBegin {
        /// Whose.
        subject: Subject,
        /// For root, which user's console; ignored from anyone else.
        uid: Option<u32>,
    },
    /// The caller's session at this console ended by itself. Answer: `Done`.
    SessionEnd,
    /// Sessions at this console. Answer: `Sessions`.
    SessionList,
    /// Receipts of the caller's subject, newest first. Answer: `Receipts`.
    ReceiptList,
    /// One receipt. Answer: `Receipts` with one entry, or `Failed`.
    ReceiptShow {
        /// Its transaction, or its sequence number in decimal.
        id: String,
    },
    /// Root only: begin enrolment with a one-time token. Answer: `Done` once the hub's signed answer
    /// was verified, else `Failed`.
    Enroll {
        /// The token that `exeunt admin device token` printed.
        token: String,
    },
    /// Root only: forget the hub and begin a new epoch. Answer: `Done`.
    Unenroll,
}

/// What the warden answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum WardenAnswer {
    /// It is done and durable.
    Done,
    /// SETs for the hub, oldest first.
    Uplink {
        /// Each with its `jti`.
        sets: Vec<UplinkSet>,
    },
    /// How things stand.
    Status(WardenStatus),
    /// What is there.
    Survey {
        /// Each store, without a verdict.
        stores: Vec<StoreReport>,
        /// Places that look as if they held a secret, and that are left to their owner.
        #[serde(default)]
        reported: Vec<Reported>,
    },
    /// What would happen.
    Preview(Preview),
    /// One step of a containment.
    Progress(Progress),
    /// A containment ended.
    Closed(Closed),
    /// Users of this machine.
    Users {
        /// Each of them.
        users: Vec<User>,
    },
    /// Containments began.
    Started {
        /// Each of them.
        started: Vec<Started>,
    },
    /// What the lock's probe saw.
    Locked {
        /// Its report.
        lock: LockReport,
    },
    /// Sessions at this console.
    Sessions {
        /// Each of them.
        sessions: Vec<ConsoleSession>,
    },
    /// Receipts.
    Receipts {
        /// Newest first.
        receipts: Vec<ReceiptLine>,
    },
    /// The policy in force.
    Policy(PolicyInForce),
    /// The request was not carried out.
    Failed(Failure),
}

/// A user who has a home on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The login name.
    pub name: String,
}

/// The containment of one user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// Whose.
    pub user: User,
    /// Its transaction.
    pub txn: Txn,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub struct Failure {
    /// A stable code: `not_allowed`, `not_enrolled`, `no_session`, `unknown_txn`, `tier_refused`,
    /// `rate_limited`, `busy`, `invalid_request`, `authentication_failed`, `access_denied`, …
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A SET on its way to the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkSet {
    /// Its identifier.
    pub jti: Jti,
    /// The compact SET.
    pub set: String,
    /// Where it goes.
    pub to: UplinkRoute,
}

/// Which of the hub's doors a SET goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "snake_case", deny_unknown_fields)]
pub enum UplinkRoute {
    /// RFC 8935 push to the hub this device is enrolled with.
    Events,
    /// The enrolment endpoint of the hub that the token names.
    Enrolment {
        /// The hub's base URL.
        hub: String,
    },
    /// The lease endpoint of the hub this device is enrolled with; its answer comes back by
    /// `Deliver`.
    Lease,
}

/// How things stand for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WardenStatus {
    /// Root warden or user mode.
    pub mode: Mode,
    /// The device's name, when enrolled.
    pub device: Option<DeviceId>,
    /// The hub's issuer URL, when enrolled.
    pub hub: Option<String>,
    /// The caller's sessions at this console.
    pub sessions: Vec<ConsoleSession>,
    /// A containment under way, if any.
    pub running: Option<Txn>,
    /// SETs that wait for the hub.
    pub waiting: u64,
    /// Version of the catalogue.
    pub catalogue: String,
    /// The host's own name.
    pub console: String,
    /// The last containment's line, if any.
    pub last: Option<ReceiptLine>,
    /// What came back after that, while nobody was signed in.
    #[serde(default)]
    pub returned: Option<Box<Returned>>,
    /// How the watch for such stores stands; None while there is nothing to watch for.
    #[serde(default)]
    pub watch: Option<Watched>,
    /// The right to go on without contact; None when not enrolled, or when it lasts for ever.
    #[serde(default)]
    pub lease: Option<LeaseStanding>,
}

/// Stores that were found again after a close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Returned {
    /// When they were last seen to come.
    pub at: Timestamp,
    /// The transaction of the close that they came back after.
    pub after: Txn,
    /// Each of them, without a verdict.
    pub stores: Vec<StoreReport>,
    /// The transaction that contained them again, when one did.
    pub contained: Option<Txn>,
    /// What else there is to say.
    pub detail: Option<String>,
}

/// How much of a closed home is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// Directories whose changes are heard at once.
    pub watched: u64,
    /// Directories that are looked at every 30 s instead.
    pub left_out: u64,
    /// Why.
    pub why: Option<String>,
}

/// How a device's lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseStanding {
    /// Milliseconds left.
    pub left_ms: u64,
    /// It has lapsed, and was not renewed since.
    pub lapsed: bool,
    /// The hub names an order that never arrived: somebody on the way withholds it.
    pub withheld: bool,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInForce {
    /// SHA-256 of the hub's policy; None while the device follows its own settings.
    pub sha256: Option<String>,
    /// The hub's policy.
    pub text: Option<String>,
    /// Seconds that a lease lasts; None: for ever.
    pub lease_s: Option<u64>,
    /// How much a lapsed lease ends.
    pub lease_tier: Tier,
    /// What ends a session here without an order.
    pub triggers: Vec<TriggerLine>,
}

/// One trigger of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerLine {
    /// What is seen.
    pub on: String,
    /// For how many seconds.
    pub after_s: u64,
    /// How much ends.
    pub tier: Tier,
}

/// A subject's session at this console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSession {
    /// Its id at the hub.
    pub id: SessionId,
    /// Whose.
    pub subject: Subject,
    /// The console's user id.
    pub uid: u32,
    /// How the subject was established.
    pub proof: Proof,
    /// Since when.
    pub since: Timestamp,
}

/// A place that looks as if it held a secret. Never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// `environment`, `user-environment`, `manager-environment`, `shell-history` or `env-file`.
    pub kind: String,
    /// Where: a variable's name, or a file relative to the home.
    pub place: String,
    /// How many processes or lines.
    pub count: u64,
}

/// What a tier would do. Nothing has been touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// Each store that would go.
    pub stores: Vec<StoreReport>,
    /// What would end, for people: apps and how many stores of each.
    pub ends: Vec<Ends>,
    /// Processes that would be closed, by display name.
    pub closes: Vec<String>,
    /// What stays.
    pub stays: Vec<String>,
    /// What cannot be ended from here.
    pub cannot: Vec<NotCovered>,
    /// SHA-256 over what was shown; hand it back with the order.
    pub digest: String,
}

/// One app in a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// The catalogue's id.
    pub app: String,
    /// Its name for people.
    pub name: String,
    /// How many stores of it.
    pub stores: u64,
}

/// One step of a containment, as it happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Which containment.
    pub txn: Txn,
    /// How far this device is.
    pub outcome: Outcome,
    /// Whether the hub's signed commit has arrived: None while it is awaited.
    pub hub_committed: Option<bool>,
    /// The step that just ended.
    pub step: Option<StepReport>,
}

/// The end of a containment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Which containment.
    pub txn: Txn,
    /// The outcome on this device.
    pub outcome: Outcome,
    /// Whether the hub committed the revoke. False: it waits in the outbox, and elsewhere is open.
    pub hub_committed: bool,
    /// Why the hub refused, when it did.
    pub hub_refused: Option<String>,
    /// Each store with its verdict.
    pub stores: Vec<StoreReport>,
    /// Each step.
    pub steps: Vec<StepReport>,
    /// The lock.
    pub lock: LockReport,
    /// The compact SET.
    pub receipt: String,
}

/// One receipt in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptLine {
    /// Position in the device's chain.
    pub seq: u64,
    /// Its transaction.
    pub txn: Txn,
    /// Its outcome.
    pub outcome: Outcome,
    /// When it was issued.
    pub at: Timestamp,
    /// Whose sessions.
    pub subject: Option<Subject>,
    /// The compact SET.
    pub receipt: String,
}

/// What tray and CLI may ask of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", content = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentRequest {
    /// Is the hub there? Answer: `Status`.
    Status,
    /// The caller's own subject's sessions, as the hub knows them. Answer: `Sessions`.
    HubSessions,
    /// How a transaction of the caller's own subject stands. Answer: `Txn`.
    TxnState {
        /// Which.
        txn: Txn,
    },
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentAnswer {
    /// The hub link.
    Status(HubLink),
    /// Sessions at the hub.
    Sessions {
        /// Each of them.
        sessions: Vec<HubSession>,
    },
    /// A transaction.
    Txn(TxnState),
    /// The request was not carried out.
    Failed(Failure),
}

/// The agent's link to the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubLink {
    /// The hub's URL, when enrolled.
    pub hub: Option<String>,
    /// The hub answered the last attempt.
    pub reachable: bool,
    /// When it last answered, by the wall clock.
    pub answered: Option<Timestamp>,
    /// SETs that wait to go out.
    pub waiting: u64,
}

/// One session at the hub, as a person recognises it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSession {
    /// What it is.
    pub kind: SessionKind,
    /// Where: a device's or a service's name.
    pub place: String,
    /// A phrase a person recognises: "Chromium on occ-07".
    pub label: String,
    /// It is this very device.
    pub here: bool,
    /// Since when.
    pub since: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
}

/// How a transaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TxnState {
    /// Which.
    pub txn: Txn,
    /// The worst part.
    pub outcome: Outcome,
    /// Each target.
    pub targets: Vec<Target>,
}

/// One target of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `device`, `session`, `service`, `identity-provider`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// How far it is.
    pub outcome: Outcome,
    /// Since when.
    pub at: Timestamp,
    /// One phrase for people.
    pub detail: Option<String>,
}
