//! The serving warden: what it knows, whose session is whose, and the containments under way.
//!
//! It refuses to contain one account twice at once: a second demand joins the first, or waits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use exeunt_catalogue::Catalogue;
use exeunt_domain::order::{
    Demand, PROGRESS_EVENT, SESSION_ESTABLISHED_EVENT, SIGN_OUT_REQUESTED_EVENT,
};
use exeunt_domain::receipt::Mode;
use exeunt_domain::{Authority, Instant, Jti, Outcome, Proof, SessionId, Subject, Timestamp, Txn};
use exeunt_engine::ports::{Bell, Clock as _, Journal, JournalError, JournalRecord, Moment};
use exeunt_engine::{Checked, Device, Receipt};
use exeunt_host::clock::SystemClock;
use exeunt_host::locker::{Guards, Wishes};
use exeunt_host::users::Account;
use exeunt_ipc::message::{
    Closed, ConsoleSession, Failure, Progress, ReceiptLine, UplinkRoute, UplinkSet, WardenAnswer,
};
use exeunt_policy::Policy;
use exeunt_ssf::Set;
use serde_json::json;

use crate::config::{Config, Places, subject_of};
use crate::confine::Launcher;
use crate::contain::{Means, Watch, contain, sign};
use crate::event::{Enrolment, Event, Open, State};
use crate::lease::{Here, within_hour};
use crate::ledger::Ledger;
use crate::machine::Whose;
use crate::returns::Watching;
use crate::running::Running;

/// How long a person's request waits for the hub's signed commit before this device closes anyway.
const COMMIT_WITHIN: Duration = Duration::from_secs(2);

/// Everything that the connections and the containments share.
pub(crate) struct Warden {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) catalogue: Catalogue,
    pub(crate) ledger: Ledger,
    pub(crate) launcher: Launcher,
    pub(crate) hub_clock: Mutex<HubClock>,
    pub(crate) enrolling: Mutex<Option<crate::enrol::Pending>>,
    /// Rings when a session began or was closed.
    pub(crate) sessions_changed: Bell,
    /// Accounts whose homes are watched.
    pub(crate) watching: Mutex<BTreeMap<u32, Watching>>,
    /// One SET of the hub at a time, so that none slips past a limit beside another.
    pub(crate) taking: Mutex<()>,
    pub(crate) keeping: Mutex<crate::keeper::Keeping>,
    pub(crate) idling: Mutex<BTreeMap<u32, crate::trigger::Stretch>>,
    /// The kernel's name of this boot.
    boot: String,
    running: Mutex<BTreeMap<Txn, Running>>,
    /// One receipt at a time is signed and journalled: each names the one before it.
    issuing: Mutex<()>,
    /// One account at a time: holding its lock is the right to contain it.
    accounts: Mutex<BTreeMap<u32, Arc<Mutex<()>>>>,
    /// The lockers that are watched, whichever order asked for them.
    guards: Guards,
}

/// The hub's time as this device reckons it: the last that a verified SET carried, plus
/// `CLOCK_BOOTTIME` since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HubClock {
    anchor: Option<(Timestamp, Instant)>,
}

impl HubClock {
    /// Takes a hub time that a verified SET carried at `at`; time never runs backwards.
    pub(crate) fn hear(&mut self, said: Timestamp, at: Instant) {
        let heard = self.now(at).map_or(said, |known| known.max(said));
        self.anchor = Some((heard, at));
    }

    /// The hub's time at `at`; None before anything was heard.
    pub(crate) fn now(&self, at: Instant) -> Option<Timestamp> {
        let (said, heard) = self.anchor?;
        Some(said.plus_ms(at.0.saturating_sub(heard.0) / 1000))
    }
}

impl Warden {
    /// Opens the memory and prepares everything. Contains nothing yet.
    ///
    /// # Errors
    /// A state directory, catalogue or journal that cannot be used.
    pub(crate) fn open(
        config: Config,
        places: Places,
        launcher: Launcher,
    ) -> anyhow::Result<Arc<Self>> {
        let catalogue = crate::machine::catalogue()?;
        let ledger = Ledger::open(&places.state)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("reading the name of this boot")?;
        let boot = boot.trim().to_owned();
        let here = Here { boot: boot.clone(), at: crate::debug::boottime() };
        ledger.correct(|state| {
            let noted = crate::keeper::notes(&places.state);
            state.lease = noted
                .into_iter()
                .fold(state.lease.take(), |lease, note| Some(lease?.or_less(Some(note), &here)));
        });
        let mut hub_clock = HubClock::default();
        if let Some(known) = ledger.read(|state| state.hub_time) {
            hub_clock.hear(known, SystemClock.instant());
        }
        Ok(Arc::new(Self {
            config,
            places,
            catalogue,
            ledger,
            launcher,
            hub_clock: Mutex::new(hub_clock),
            enrolling: Mutex::new(None),
            sessions_changed: Bell::default(),
            watching: Mutex::default(),
            taking: Mutex::default(),
            keeping: Mutex::default(),
            idling: Mutex::default(),
            boot,
            running: Mutex::default(),
            issuing: Mutex::default(),
            accounts: Mutex::default(),
            guards: Guards::default(),
        }))
    }

    /// Takes up every containment that was accepted before a crash and has no receipt.
    pub(crate) fn resume(self: &Arc<Self>) {
        let open: Vec<Open> = self.ledger.read(|state| state.open.values().cloned().collect());
        for interrupted in open {
            tracing::warn!(txn = %interrupted.demand.txn, "resuming an interrupted containment");
            let at = interrupted.at.0;
            let remark = format!(
                "interrupted and resumed: accepted at {at} ms since the epoch, before a restart"
            );
            self.start(interrupted.demand, interrupted.uids, vec![remark]);
        }
    }

    /// The policy in force: the hub's, else this machine's own.
    pub(crate) fn policy(&self) -> Policy {
        let sent = self.ledger.read(|state| state.policy.clone());
        match sent.map(|text| Policy::parse("policy", &text)) {
            Some(Ok(policy)) => policy,
            Some(Err(error)) => {
                tracing::error!(%error, "the hub's policy can no longer be read");
                self.config.policy.clone()
            }
            None => self.config.policy.clone(),
        }
    }

    /// Now, on this machine.
    pub(crate) fn here(&self) -> Here {
        Here { boot: self.boot.clone(), at: crate::debug::boottime() }
    }

    /// The account behind a user id; in user mode, with the home that was named.
    ///
    /// # Errors
    /// No such account.
    pub(crate) fn account(&self, uid: u32) -> anyhow::Result<Account> {
        let known = Account::of_uid(uid).with_context(|| format!("no account has uid {uid}"))?;
        Ok(match &self.places.home {
            Some(home) if self.places.mode == Mode::User => Account { home: home.clone(), ..known },
            _ => known,
        })
    }

    /// The account with its live session, and what to spare.
    ///
    /// # Errors
    /// No such account.
    pub(crate) fn whose(&self, uid: u32) -> anyhow::Result<Whose> {
        let account = self.account(uid)?;
        let keep = exeunt_host::process::KeepList::default();
        let wishes = self.config.wishes(&self.policy(), self.places.mode);
        let locker = Wishes { guards: self.guards.clone(), ..wishes };
        let include = Vec::new();
        let whose = Whose { account, session: None, bus: None, keep, locker, include };
        Ok(whose.with_live_session())
    }

    /// Takes the curtain away that hangs before an account's screens, if one does.
    ///
    /// # Errors
    /// It is still there.
    pub(crate) fn lift_curtain(&self, uid: u32) -> anyhow::Result<()> {
        let whose = self.whose(uid)?;
        let Some(session) = &whose.session else { return Ok(()) };
        let lifted = self.guards.lift(session).context("lifting the curtain")?;
        tracing::info!(uid, lifted, "curtains lifted");
        Ok(())
    }

    /// The caller's session; begun from its account when policy knows the subject and nobody
    /// closed it since the caller's process started.
    ///
    /// # Errors
    /// No subject can be made of the account.
    pub(crate) fn session_of(
        self: &Arc<Self>,
        uid: u32,
        pid: u32,
    ) -> anyhow::Result<Option<ConsoleSession>> {
        let (session, closed_at) = self
            .ledger
            .read(|state| (state.session_of(uid).cloned(), state.closed_at.get(&uid).copied()));
        if session.is_some() {
            return Ok(session);
        }
        if closed_at.is_some_and(|closed| !started_after(pid, closed)) {
            return Ok(None);
        }
        let (subject, proof) = subject_of(&self.policy(), &self.account(uid)?)?;
        self.begin(uid, subject, proof).map(Some)
    }

    /// Begins a console session and tells the hub.
    ///
    /// # Errors
    /// The journal failed: nothing began.
    pub(crate) fn begin(
        self: &Arc<Self>,
        uid: u32,
        subject: Subject,
        proof: Proof,
    ) -> anyhow::Result<ConsoleSession> {
        let since = SystemClock.now();
        let id = SessionId::parse(exeunt_ssf::new_id(since)?)?;
        let session = ConsoleSession { id, subject, uid, proof, since };
        let mut events = vec![Event::SessionBegan { session: session.clone() }];
        events.extend(self.session_uplink(&session, false)?);
        let lapsed = self.ledger.decide(|state| (events, state.lapsed))?;
        self.sessions_changed.change();
        if lapsed {
            self.close_lapsed(Some(uid), Vec::new());
        }
        Ok(session)
    }

    /// Ends a console session that its own side ended.
    ///
    /// # Errors
    /// The journal failed.
    pub(crate) fn end(&self, uid: u32) -> anyhow::Result<()> {
        let Some(session) = self.ledger.read(|state| state.session_of(uid).cloned()) else {
            return Ok(());
        };
        let at = SystemClock.now();
        let mut events = vec![Event::SessionEnded { uid, at, by_order: false }];
        events.extend(self.session_uplink(&session, true)?);
        self.ledger.decide(|_| (events, ()))
    }

    /// Tells the hub of the sessions that are there, after an enrolment.
    ///
    /// # Errors
    /// The journal failed.
    pub(crate) fn announce_sessions(&self) -> anyhow::Result<()> {
        for session in self.ledger.read(|state| state.sessions.clone()) {
            let events: Vec<Event> = self.session_uplink(&session, false)?.into_iter().collect();
            self.ledger.decide(|_| (events, ()))?;
        }
        Ok(())
    }

    fn session_uplink(
        &self,
        session: &ConsoleSession,
        ended: bool,
    ) -> anyhow::Result<Option<Event>> {
        let event = json!({
            "subject": session.subject, "session_id": session.id, "kind": "console",
            "proof": session.proof, "since": session.since, "ended": ended,
        });
        let uplink = self.to_hub(SESSION_ESTABLISHED_EVENT, &event, None)?;
        Ok(uplink.map(|uplink| Event::Queued { uplink }))
    }

    /// A SET for the hub, signed by the device key; None when no hub is known.
    ///
    /// # Errors
    /// It could not be signed.
    pub(crate) fn to_hub(
        &self,
        event_type: &str,
        event: &impl serde::Serialize,
        txn: Option<&Txn>,
    ) -> anyhow::Result<Option<UplinkSet>> {
        let Some((device, issuer)) = self.ledger.read(|state| {
            state.enrolment.as_ref().map(|known| (known.device.clone(), known.issuer.clone()))
        }) else {
            return Ok(None);
        };
        let now = SystemClock.now();
        let jti = Jti::parse(exeunt_ssf::new_id(now)?)?;
        let mut set = Set::new(device.as_str(), issuer, jti.clone(), now, event_type, event)?;
        set.txn = txn.cloned();
        let set = self.ledger.key.sign(&set)?;
        Ok(Some(UplinkSet { jti, set, to: UplinkRoute::Events }))
    }

    /// A person at this device asked to be signed out everywhere: the hub is asked first, and
    /// waited for briefly; then this device closes, whatever the hub said.
    ///
    /// # Errors
    /// There is no session to end, or the journal failed.
    pub(crate) fn everywhere(
        self: &Arc<Self>,
        session: &ConsoleSession,
        surface: &str,
        reason: Option<String>,
    ) -> anyhow::Result<Txn> {
        let now = SystemClock.now();
        let txn = Txn::parse(exeunt_ssf::new_id(now)?)?;
        let demand = local_demand(session, surface, reason.clone(), txn.clone());
        let event = json!({
            "txn": txn, "subject": session.subject, "tier": demand.tier, "reason": reason,
            "requested": now, "session": session.id,
        });
        let asked = self.to_hub(SIGN_OUT_REQUESTED_EVENT, &event, Some(&txn))?;
        let request = asked.as_ref().map(|uplink| uplink.jti.clone());
        let uids = vec![session.uid];
        let accept = Event::Accepted { demand: demand.clone(), uids: uids.clone(), at: now };
        let mut events = vec![accept];
        events.extend(asked.map(|uplink| Event::Queued { uplink }));
        self.lock_running().insert(txn.clone(), Running::new(uids.clone()));
        self.ledger.record(&events);
        let warden = Arc::clone(self);
        let accepted = SystemClock.instant();
        spawn("everywhere", move || {
            if let Some(request) = request {
                warden.await_commit(&demand.txn, &request);
            }
            warden.run(demand, &uids, accepted, Vec::new());
        })?;
        Ok(txn)
    }

    /// Waits for the hub's order of that transaction, for its refusal, or for two seconds.
    fn await_commit(&self, txn: &Txn, request: &Jti) {
        let settled = |state: &State| {
            let open = state.uplink.iter().any(|waiting| waiting.jti == *request);
            (state.is_committed(txn) || !open && self.refusal_of(txn).is_some()).then_some(())
        };
        if self.ledger.wait_for(COMMIT_WITHIN, settled).is_none() {
            tracing::warn!(%txn, "the hub has not committed yet; closing this device all the same");
        }
        self.tell(txn, None, None);
    }

    /// Closes this device only.
    ///
    /// # Errors
    /// The transaction could not be named.
    pub(crate) fn close_here(
        self: &Arc<Self>,
        uid: u32,
        demand: impl FnOnce(Txn) -> Demand,
    ) -> anyhow::Result<Txn> {
        let txn = Txn::parse(exeunt_ssf::new_id(SystemClock.now())?)?;
        self.accept(demand(txn.clone()), vec![uid], Vec::new(), Vec::new());
        Ok(txn)
    }

    /// Journals a demand, with `events` in the same record, and starts containing.
    pub(crate) fn accept(
        self: &Arc<Self>,
        demand: Demand,
        uids: Vec<u32>,
        mut events: Vec<Event>,
        remarks: Vec<String>,
    ) {
        let at = SystemClock.now();
        events.push(Event::Accepted { demand: demand.clone(), uids: uids.clone(), at });
        self.ledger.record(&events);
        self.start(demand, uids, remarks);
    }

    fn start(self: &Arc<Self>, demand: Demand, uids: Vec<u32>, remarks: Vec<String>) {
        let accepted = SystemClock.instant();
        {
            let mut running = self.lock_running();
            // One that is over begins anew when the hub asks again.
            if running.get(&demand.txn).is_none_or(Running::is_over) {
                running.insert(demand.txn.clone(), Running::new(uids.clone()));
            }
        }
        let warden = Arc::clone(self);
        let spawned = spawn("contain", move || {
            warden.run(demand, &uids, accepted, remarks);
            crate::memory::give_back();
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a containment; it resumes at the next start");
        }
    }

    /// Contains on this thread, from demand to receipt.
    fn run(&self, demand: Demand, uids: &[u32], accepted: Instant, mut remarks: Vec<String>) {
        let turns: Vec<_> = uids.iter().map(|uid| self.turn_of(*uid)).collect();
        let _held: Vec<_> =
            turns.iter().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        let txn = demand.txn.clone();
        remarks.extend(self.ledger.failure());
        self.report(&txn, Outcome::Delivered);
        let authority = self.authority(&demand);
        let demand = Demand { authority, ..demand };
        let checked = self.contained(demand, uids, accepted, remarks);
        if let Err(error) = checked.and_then(|checked| self.issue(&txn, uids, checked)) {
            tracing::error!(%txn, error = format!("{error:#}"), "containment failed");
            let failure = Failure {
                code: "containment_failed".into(),
                message: format!("{error:#}"),
                hint: Some("see the warden's log; it resumes at the next start".into()),
            };
            self.finish(&txn, WardenAnswer::Failed(failure));
        }
    }

    /// The hub's signed order replaces the local request once it is there.
    fn authority(&self, demand: &Demand) -> Authority {
        let running = self.lock_running();
        let order = running.get(&demand.txn).and_then(|running| running.order.clone());
        order.unwrap_or_else(|| demand.authority.clone())
    }

    fn contained(
        &self,
        demand: Demand,
        uids: &[u32],
        accepted: Instant,
        remarks: Vec<String>,
    ) -> anyhow::Result<Checked> {
        let whose = uids.iter().map(|uid| self.whose(*uid)).collect::<anyhow::Result<Vec<_>>>()?;
        let enrolment = self.ledger.read(|state| state.enrolment.clone());
        let quarantine = self.quarantine();
        let means = self.means(enrolment.as_ref(), &quarantine);
        let txn = demand.txn.clone();
        let observe = |moment: &Moment| self.observe(&txn, moment);
        let journal = Quiet;
        let watch = Watch { remarks, journal: &journal, observe: &observe };
        contain(&means, &whose, demand, accepted, &watch)
    }

    /// Signs what was found as the next receipt of this device, and journals it before another one
    /// can take its place in the chain.
    ///
    /// # Errors
    /// It could not be signed.
    fn issue(&self, txn: &Txn, uids: &[u32], checked: Checked) -> anyhow::Result<()> {
        let _one_at_a_time = self.issuing.lock().unwrap_or_else(PoisonError::into_inner);
        let (enrolment, chain) =
            self.ledger.read(|state| (state.enrolment.clone(), state.chain.clone()));
        let quarantine = self.quarantine();
        let receipt = sign(&self.means(enrolment.as_ref(), &quarantine), checked, &chain)?;
        self.close(txn, uids, &receipt);
        Ok(())
    }

    fn means<'a>(&'a self, enrolment: Option<&'a Enrolment>, quarantine: &'a Path) -> Means<'a> {
        let name = enrolment.map_or("unenrolled", |known| known.device.as_str());
        let audience = enrolment.map_or("unenrolled", |known| known.issuer.as_str());
        let (key, mode) = (&self.ledger.key, self.places.mode);
        let device = Device { name, audience, key, pinned: enrolment.is_some(), mode };
        Means { catalogue: &self.catalogue, launcher: &self.launcher, quarantine, device }
    }

    /// A receipt for an order whose subject nobody here is.
    ///
    /// # Errors
    /// It could not be signed.
    pub(crate) fn nobody_here(&self, demand: Demand, remark: &str) -> anyhow::Result<()> {
        let txn = demand.txn.clone();
        let checked = Checked::nothing_here(demand, SystemClock.now(), remark.to_owned());
        self.issue(&txn, &[], checked)
    }

    fn quarantine(&self) -> PathBuf {
        self.places.state.join("quarantine")
    }

    fn observe(&self, txn: &Txn, moment: &Moment) {
        match moment {
            Moment::Begins(step) => die_here_for_a_test(step),
            Moment::Ended(step) => self.tell(txn, None, Some(step.clone())),
            Moment::Reached(outcome) => self.report(txn, *outcome),
        }
    }

    /// Tells followers, and the hub, how far this device is. Not journalled: the receipt is.
    fn report(&self, txn: &Txn, outcome: Outcome) {
        self.tell(txn, Some(outcome), None);
        let epoch = self.ledger.read(|state| state.enrolment.as_ref().map(|known| known.epoch));
        let event =
            json!({ "txn": txn, "outcome": outcome, "at": SystemClock.now(), "epoch": epoch });
        match self.to_hub(PROGRESS_EVENT, &event, Some(txn)) {
            Ok(Some(uplink)) => self.ledger.queue_unjournalled(uplink),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "progress could not be signed"),
        }
    }

    /// Journals the receipt, ends the session, and answers whoever waits.
    fn close(&self, txn: &Txn, uids: &[u32], receipt: &Receipt) {
        let body = &receipt.body;
        let at = SystemClock.now();
        let line = ReceiptLine {
            seq: body.seq,
            txn: txn.clone(),
            outcome: body.outcome,
            at,
            subject: body.subject.clone(),
            receipt: receipt.compact.clone(),
        };
        let mut events = vec![Event::Closed { line, uids: uids.to_vec() }];
        if body.tier > exeunt_domain::Tier::Lock {
            let ended =
                uids.iter().map(|uid| Event::SessionEnded { uid: *uid, at, by_order: true });
            events.extend(ended);
        }
        if self.ledger.read(|state| state.enrolment.is_some()) {
            let set = receipt.compact.clone();
            if let Ok(read) = exeunt_ssf::read_unverified(&set) {
                let uplink = UplinkSet { jti: read.jti, set, to: UplinkRoute::Events };
                events.push(Event::Queued { uplink });
            }
        }
        self.ledger.record(&events);
        self.sessions_changed.change();
        tracing::info!(%txn, outcome = %body.outcome, stores = body.stores.len(), "contained");
        let hub_committed = self.ledger.read(|state| state.is_committed(txn));
        let closed = Closed {
            txn: txn.clone(),
            outcome: body.outcome,
            hub_committed,
            hub_refused: self.refusal_of(txn),
            stores: body.stores.clone(),
            steps: body.steps.clone(),
            lock: body.lock.clone(),
            receipt: receipt.compact.clone(),
        };
        self.finish(txn, WardenAnswer::Closed(closed));
    }

    /// The hub's time now; None before anything was heard from it.
    pub(crate) fn hub_now(&self, at: Instant) -> Option<Timestamp> {
        self.hub_clock.lock().unwrap_or_else(PoisonError::into_inner).now(at)
    }

    /// Whether one more order that only the hub vouches for is within its hourly bound.
    pub(crate) fn within_rate(&self, per_hour: u32, here: &Here) -> bool {
        let taken = self.ledger.read(|state| within_hour(state.taken.iter(), here));
        taken < u64::from(per_hour)
    }

    /// The hub's order for a transaction that began here arrived: its signed commit.
    pub(crate) fn joined(&self, txn: &Txn, order: Authority) -> bool {
        let mut running = self.lock_running();
        let Some(known) = running.get_mut(txn) else { return false };
        known.order = Some(order);
        true
    }

    /// The hub refused the request for good.
    pub(crate) fn hub_refused(&self, txn: &Txn, code: &str) {
        if let Some(running) = self.lock_running().get_mut(txn) {
            running.refused = Some(code.to_owned());
        }
    }

    fn refusal_of(&self, txn: &Txn) -> Option<String> {
        self.lock_running().get(txn).and_then(|running| running.refused.clone())
    }

    /// The transaction under way for a user id, if any.
    pub(crate) fn running_for(&self, uid: u32) -> Option<Txn> {
        let running = self.lock_running();
        running
            .iter()
            .find(|(_, run)| run.uids.contains(&uid) && !run.is_over())
            .map(|(txn, _)| txn.clone())
    }

    /// Everything that a transaction has told so far and will tell, for a user id.
    pub(crate) fn follow(&self, txn: &Txn, uid: u32) -> Option<mpsc::Receiver<WardenAnswer>> {
        let mut running = self.lock_running();
        running
            .get_mut(txn)
            .filter(|known| known.uids.contains(&uid) || uid == 0)
            .map(Running::follow)
    }

    fn tell(&self, txn: &Txn, outcome: Option<Outcome>, step: Option<exeunt_domain::StepReport>) {
        let committed = self.ledger.read(|state| state.is_committed(txn));
        if let Some(running) = self.lock_running().get_mut(txn) {
            running.outcome = outcome.unwrap_or(running.outcome);
            let hub_committed = match (committed, &running.refused) {
                (true, _) => Some(true),
                (false, Some(_)) => Some(false),
                (false, None) => None,
            };
            let outcome = running.outcome;
            let progress = Progress { txn: txn.clone(), outcome, hub_committed, step };
            running.tell(&WardenAnswer::Progress(progress));
        }
    }

    fn finish(&self, txn: &Txn, last: WardenAnswer) {
        let mut running = self.lock_running();
        if let Some(run) = running.get_mut(txn) {
            run.finish(last);
        }
        Running::forget_old(&mut running);
    }

    pub(crate) fn turn_of(&self, uid: u32) -> Arc<Mutex<()>> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(uid).or_default())
    }

    fn lock_running(&self) -> MutexGuard<'_, BTreeMap<Txn, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a debug build, ends this very process where `EXEUNT_FAULT_AT` says: what a power cut would do.
fn die_here_for_a_test(step: &str) {
    if cfg!(debug_assertions)
        && std::env::var_os("EXEUNT_FAULT_AT").is_some_and(|wanted| wanted == step)
    {
        let own = rustix::process::getpid();
        let _never_returns = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    }
}

/// Whether the process `pid` started after `closed`, by the wall clock: a new login, not the tray
/// that was there when the session was closed.
fn started_after(pid: u32, closed: Timestamp) -> bool {
    let Ok(Some(id)) = exeunt_host::process::LinuxProcesses::identify(pid) else { return false };
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let started_ms = id.start.saturating_mul(1000) / ticks;
    let up_ms = SystemClock.instant().0 / 1000;
    let age = up_ms.saturating_sub(started_ms);
    SystemClock.now().0.saturating_sub(age) > closed.0
}

fn local_demand(
    session: &ConsoleSession,
    surface: &str,
    reason: Option<String>,
    txn: Txn,
) -> Demand {
    Demand {
        txn,
        authority: Authority::LocalRequest { uid: session.uid, surface: surface.to_owned() },
        tier: exeunt_domain::Tier::SignOut,
        subject: Some(session.subject.clone()),
        reason,
        hand_over: false,
    }
}

pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).context("starting a thread")?;
    Ok(())
}

/// The steps within a containment are not journalled one by one: an interrupted one is run again
/// from the survey, which finds whatever is left.
struct Quiet;

impl Journal for Quiet {
    fn record(&self, _: &JournalRecord) -> Result<(), JournalError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_time_goes_on_with_the_boot_clock_and_never_back() {
        let mut clock = HubClock::default();
        assert_eq!(clock.now(Instant(0)), None);
        clock.hear(Timestamp(10_000), Instant(1_000_000));
        assert_eq!(clock.now(Instant(3_000_000)), Some(Timestamp(12_000)));
        clock.hear(Timestamp(5_000), Instant(3_000_000));
        assert_eq!(clock.now(Instant(3_000_000)), Some(Timestamp(12_000)));
    }

    #[test]
    fn this_very_process_did_not_start_after_now() {
        assert!(!started_after(std::process::id(), SystemClock.now()));
        assert!(started_after(std::process::id(), Timestamp(1)));
    }
}
