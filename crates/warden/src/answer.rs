//! What the warden answers to each message, once its sender was judged.
//!
//! It refuses to speak of one user's sessions, stores or receipts to another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use exeunt_domain::order::Demand;
use exeunt_domain::receipt::{LockReport, Mode};
use exeunt_domain::{Authority, Jti, Proof, Subject, Tier, Txn};
use exeunt_engine::ports::LockState;
use exeunt_engine::{Plan, Survey};
use exeunt_host::users::Account;
use exeunt_ipc::message::{
    Failure, PolicyInForce, ReceiptLine, Started, TriggerLine, User, WardenAnswer, WardenRequest,
    WardenStatus,
};
use exeunt_ssf::read_unverified;

use crate::enrol::console_name;
use crate::event::Event;
use crate::machine::Machine;
use crate::once::NoJournal;
use crate::warden::Warden;

/// How long the agent's wait for uplinks is held.
const UPLINK_WITHIN: Duration = Duration::from_secs(30);
/// How many SETs one uplink answer carries.
const UPLINK_BATCH: usize = 64;
/// How long a lock gets to be proved.
const LOCKED_WITHIN: Duration = Duration::from_secs(3);

/// Who asks, as the kernel vouches for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) pid: u32,
}

/// What a close is to do.
#[derive(Clone, Debug)]
struct Wanted {
    tier: Tier,
    reason: Option<String>,
    surface: String,
    hand_over: bool,
}

impl Wanted {
    fn by(self, uid: u32, subject: Option<Subject>, txn: Txn) -> Demand {
        let Self { tier, reason, surface, hand_over } = self;
        let authority = Authority::LocalRequest { uid, surface };
        Demand { txn, authority, tier, subject, reason, hand_over }
    }
}

/// One answer, or one now and more to come.
pub(crate) enum Answers {
    One(Box<WardenAnswer>),
    Many(mpsc::Receiver<WardenAnswer>),
}

/// Answers a request whose sender was judged.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other request has one answer")]
pub(crate) fn answer(warden: &Arc<Warden>, caller: Caller, request: WardenRequest) -> Answers {
    let answered = match request {
        WardenRequest::SignOutEverywhere { reason, surface, digest: _ } => {
            return many(warden, caller, |warden| warden.sign_out(caller, &surface, reason));
        }
        WardenRequest::Close { tier, reason, surface, hand_over } => {
            let wanted = Wanted { tier, reason, surface, hand_over };
            return many(warden, caller, |warden| warden.close_for(caller, wanted));
        }
        WardenRequest::Follow { txn } => return many(warden, caller, |_| Ok(txn)),
        other => warden.one(caller, other),
    };
    Answers::One(Box::new(answered.unwrap_or_else(WardenAnswer::Failed)))
}

fn many(
    warden: &Arc<Warden>,
    caller: Caller,
    start: impl FnOnce(&Arc<Warden>) -> Result<Txn, Failure>,
) -> Answers {
    let followed = start(warden).and_then(|txn| {
        warden
            .follow(&txn, caller.uid)
            .ok_or_else(|| failure("unknown_txn", "no containment of yours has that transaction"))
    });
    match followed {
        Ok(receiver) => Answers::Many(receiver),
        Err(failed) => Answers::One(Box::new(WardenAnswer::Failed(failed))),
    }
}

impl Warden {
    fn one(
        self: &Arc<Self>,
        caller: Caller,
        request: WardenRequest,
    ) -> Result<WardenAnswer, Failure> {
        match request {
            WardenRequest::Deliver { set } => self.deliver(&set),
            WardenRequest::TakeUplink => Ok(self.take_uplink()),
            WardenRequest::UplinkResult { accepted, refused } => self.settle(accepted, refused),
            WardenRequest::SessionsOf { uid } => self.sessions(uid),
            WardenRequest::Status => self.status(caller),
            WardenRequest::Survey => self.survey(caller.uid),
            WardenRequest::Preview { tier } => self.preview(caller.uid, tier),
            WardenRequest::Users => self.users().map(|users| WardenAnswer::Users { users }),
            WardenRequest::SurveyUser { uid } => {
                self.refuse_in_user_mode()?;
                self.survey(uid)
            }
            WardenRequest::PreviewUser { uid, tier } => {
                self.refuse_in_user_mode()?;
                self.preview(uid, tier)
            }
            WardenRequest::CloseUsers { tier, reason, surface, hand_over } => {
                self.close_users(caller, &Wanted { tier, reason, surface, hand_over })
            }
            WardenRequest::Lock => self.lock(caller),
            WardenRequest::SessionBegin { subject, uid } => {
                let root = caller.uid == 0;
                let console = uid.filter(|_| root).unwrap_or(caller.uid);
                let vouched = root && self.policy().subjects.may_attest(&subject);
                let proof = if vouched { Proof::Attested } else { Proof::Asserted };
                self.begin(console, subject, proof).map_err(|error| broken(&error))?;
                if root {
                    // Whoever is in charge lets the next person to the screen.
                    self.lift_curtain(console).map_err(|error| broken(&error))?;
                }
                self.sessions(console)
            }
            WardenRequest::Idle { ms } => {
                let idle = Duration::from_millis(ms);
                self.idle(caller, idle).map_err(|error| broken(&error))?;
                Ok(WardenAnswer::Done)
            }
            WardenRequest::Policy => Ok(self.policy_in_force()),
            WardenRequest::SessionEnd => {
                self.end(caller.uid).map_err(|error| broken(&error))?;
                Ok(WardenAnswer::Done)
            }
            WardenRequest::SessionList if caller.uid == 0 => {
                let sessions = self.ledger.read(|state| state.sessions.clone());
                Ok(WardenAnswer::Sessions { sessions })
            }
            WardenRequest::SessionList => self.sessions(caller.uid),
            WardenRequest::ReceiptList => {
                Ok(WardenAnswer::Receipts { receipts: self.receipts(caller, |_| true) })
            }
            WardenRequest::ReceiptShow { id } => self.receipt(caller, &id),
            WardenRequest::Enroll { token } => self.enroll(&token).map(|()| WardenAnswer::Done),
            WardenRequest::Unenroll => self
                .ledger
                .decide(|_| (vec![Event::Unenrolled], WardenAnswer::Done))
                .map_err(|error| broken(&error)),
            WardenRequest::SignOutEverywhere { .. }
            | WardenRequest::Close { .. }
            | WardenRequest::Follow { .. } => {
                Err(failure("invalid_request", "this request has several answers"))
            }
        }
    }

    fn take_uplink(&self) -> WardenAnswer {
        let sets = self.ledger.wait_for(UPLINK_WITHIN, |state| {
            let sets: Vec<_> = state.uplink.iter().take(UPLINK_BATCH).cloned().collect();
            (!sets.is_empty()).then_some(sets)
        });
        WardenAnswer::Uplink { sets: sets.unwrap_or_default() }
    }

    fn settle(
        &self,
        accepted: Vec<Jti>,
        refused: BTreeMap<Jti, String>,
    ) -> Result<WardenAnswer, Failure> {
        for (jti, code) in &refused {
            tracing::warn!(%jti, %code, "the hub refused a SET of this device");
            let uplink = self.ledger.read(|state| {
                state.uplink.iter().find(|waiting| waiting.jti == *jti).map(|u| u.set.clone())
            });
            if let Some(txn) = uplink.and_then(|set| read_unverified(&set).ok()?.txn) {
                self.hub_refused(&txn, code);
            }
        }
        let done = accepted.into_iter().map(|jti| Event::Settled { jti, refused: None });
        let failed =
            refused.into_iter().map(|(jti, code)| Event::Settled { jti, refused: Some(code) });
        let events: Vec<Event> = done.chain(failed).collect();
        self.ledger.settle(events);
        Ok(WardenAnswer::Done)
    }

    fn sessions(&self, uid: u32) -> Result<WardenAnswer, Failure> {
        let sessions = self.ledger.read(|state| state.session_of(uid).cloned());
        Ok(WardenAnswer::Sessions { sessions: sessions.into_iter().collect() })
    }

    fn status(self: &Arc<Self>, caller: Caller) -> Result<WardenAnswer, Failure> {
        let sessions = if caller.uid == 0 && self.places.home.is_none() {
            self.ledger.read(|state| state.sessions.clone())
        } else {
            let session =
                self.session_of(caller.uid, caller.pid).map_err(|error| broken(&error))?;
            session.into_iter().collect()
        };
        let running = self.running_for(caller.uid);
        let last = self.receipts(caller, |_| true).into_iter().next();
        let watch = self.watched(caller.uid);
        let enrolled = self.ledger.read(|state| state.enrolment.is_some());
        let lease = enrolled.then(|| self.lease_standing()).flatten();
        Ok(WardenAnswer::Status(self.ledger.read(|state| WardenStatus {
            mode: self.places.mode,
            device: state.enrolment.as_ref().map(|known| known.device.clone()),
            hub: state.enrolment.as_ref().map(|known| known.issuer.clone()),
            sessions,
            running,
            waiting: state.uplink.len() as u64,
            catalogue: self.catalogue.version().to_owned(),
            console: console_name(),
            last,
            returned: state.returned_to(caller.uid).map(Box::new),
            watch,
            lease,
        })))
    }

    fn policy_in_force(&self) -> WardenAnswer {
        let from_hub = self.ledger.read(|state| state.policy.clone());
        let sha256 = from_hub.as_deref().map(exeunt_policy::Policy::digest);
        let policy = self.policy();
        let (lasts, tier) = (policy.lease.lasts, policy.lease.tier);
        let lasts_s = lasts.map(|lasts| lasts.as_secs());
        let triggers = policy.triggers.iter().map(|trigger| TriggerLine {
            on: trigger.on.as_str().to_owned(),
            after_s: trigger.after.as_secs(),
            tier: trigger.tier,
        });
        WardenAnswer::Policy(PolicyInForce {
            sha256,
            text: from_hub,
            lease_s: lasts_s,
            lease_tier: tier,
            triggers: triggers.collect(),
        })
    }

    fn survey(&self, uid: u32) -> Result<WardenAnswer, Failure> {
        let machine = self.machine(uid)?;
        let host = machine.host(&NoJournal, &|_| {});
        let survey = Survey::take(&self.catalogue, &host);
        Ok(WardenAnswer::Survey { stores: survey.reports(), reported: machine.reported() })
    }

    fn preview(&self, uid: u32, tier: Tier) -> Result<WardenAnswer, Failure> {
        refuse_purge(tier)?;
        let machine = self.machine(uid)?;
        let host = machine.host(&NoJournal, &|_| {});
        let mut plan = Plan::draft(Survey::take(&self.catalogue, &host), tier);
        plan.look_for_residue(&host);
        let closes = plan.closes(&host);
        Ok(WardenAnswer::Preview(crate::show::preview_of(&plan, closes)))
    }

    fn lock(&self, caller: Caller) -> Result<WardenAnswer, Failure> {
        let machine = self.machine(caller.uid)?;
        let locker = machine.locker();
        if let Err(error) = locker.lock() {
            return Ok(WardenAnswer::Locked {
                lock: LockReport::NotProved { why: error.to_string() },
            });
        }
        let lock = match locker.wait_locked(LOCKED_WITHIN) {
            LockState::Locked { how } => LockReport::Proved { how },
            LockState::NotProved { why } => LockReport::NotProved { why },
            LockState::NoSession => LockReport::NotProved {
                why: "no desktop session of yours was found to lock".into(),
            },
        };
        Ok(WardenAnswer::Locked { lock })
    }

    fn sign_out(
        self: &Arc<Self>,
        caller: Caller,
        surface: &str,
        reason: Option<String>,
    ) -> Result<Txn, Failure> {
        if let Some(running) = self.running_for(caller.uid) {
            return Ok(running);
        }
        let session = self.session_of(caller.uid, caller.pid).map_err(|error| broken(&error))?;
        let Some(session) = session else {
            return Err(Failure {
                hint: Some("begin one: exeunt session begin --subject NAME".into()),
                ..failure("no_session", "nobody is signed in at this console")
            });
        };
        self.everywhere(&session, surface, reason).map_err(|error| broken(&error))
    }

    fn close_for(self: &Arc<Self>, caller: Caller, wanted: Wanted) -> Result<Txn, Failure> {
        self.refuse(&wanted)?;
        // A close goes on whatever is wrong with the journal.
        let session = self.session_of(caller.uid, caller.pid).unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "no session could be begun");
            None
        });
        let subject = session.map(|session| session.subject);
        self.close_here(caller.uid, |txn| wanted.by(caller.uid, subject, txn))
            .map_err(|error| broken(&error))
    }

    /// Everyone who has a home here, but for root: its home is that of whoever asks.
    fn users(&self) -> Result<Vec<User>, Failure> {
        self.refuse_in_user_mode()?;
        let accounts = Account::with_homes().map_err(|error| broken(&error.into()))?;
        Ok(accounts.into_iter().map(|it| User { uid: it.uid, name: it.name }).collect())
    }

    fn close_users(
        self: &Arc<Self>,
        caller: Caller,
        wanted: &Wanted,
    ) -> Result<WardenAnswer, Failure> {
        self.refuse(wanted)?;
        let mut started = Vec::new();
        for user in self.users()? {
            let session = self.ledger.read(|state| state.session_of(user.uid).cloned());
            let subject = session.map(|session| session.subject);
            let demand = |txn| wanted.clone().by(caller.uid, subject, txn);
            let txn = self.close_here(user.uid, demand).map_err(|error| broken(&error))?;
            started.push(Started { user, txn });
        }
        Ok(WardenAnswer::Started { started })
    }

    fn refuse(&self, wanted: &Wanted) -> Result<(), Failure> {
        refuse_purge(wanted.tier)?;
        if wanted.hand_over {
            self.refuse_in_user_mode()?;
            if wanted.tier == Tier::Lock {
                return Err(failure("invalid_request", "a hand-over does more than lock"));
            }
        }
        Ok(())
    }

    fn refuse_in_user_mode(&self) -> Result<(), Failure> {
        if self.places.mode == Mode::User {
            let message = "only an installed warden ends whole sessions and other users";
            return Err(failure("not_allowed", message));
        }
        Ok(())
    }

    fn receipts(&self, caller: Caller, want: impl Fn(&ReceiptLine) -> bool) -> Vec<ReceiptLine> {
        let mine = |uids: &[u32]| caller.uid == 0 || uids.contains(&caller.uid);
        self.ledger.read(|state| {
            let all = state.receipts.iter().rev();
            all.filter(|(uids, line)| mine(uids) && want(line)).map(|(_, l)| l.clone()).collect()
        })
    }

    fn receipt(&self, caller: Caller, id: &str) -> Result<WardenAnswer, Failure> {
        let seq: Option<u64> = id.parse().ok();
        let receipts =
            self.receipts(caller, |line| line.txn.as_str() == id || Some(line.seq) == seq);
        if receipts.is_empty() {
            return Err(failure(
                "unknown_receipt",
                "no receipt of yours has that number or transaction",
            ));
        }
        Ok(WardenAnswer::Receipts { receipts })
    }

    fn machine(&self, uid: u32) -> Result<Machine, Failure> {
        let whose = self.whose(uid).map_err(|error| broken(&error))?;
        let quarantine = self.places.state.join("quarantine");
        Machine::open(&whose, &quarantine, &self.launcher).map_err(|error| broken(&error))
    }
}

fn refuse_purge(tier: Tier) -> Result<(), Failure> {
    if tier == Tier::Purge {
        return Err(Failure {
            hint: Some("an operator proposes it: exeunt admin sign-out --tier purge".into()),
            ..failure("tier_refused", "tier purge needs a quorum of approvers, by the hub")
        });
    }
    Ok(())
}

pub(crate) fn broken(error: &anyhow::Error) -> Failure {
    failure("failed", &format!("{error:#}"))
}

pub(crate) fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.into(), message: message.into(), hint: None }
}
