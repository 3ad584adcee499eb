//! One containment as it goes: what the warden reports of this device, what the hub says of the rest.
//!
//! It refuses to call anything verified that neither of them has called so, and to forget a target
//! that has not answered.

use exeunt_domain::receipt::LockReport;
use exeunt_domain::{Outcome, Timestamp, Txn, Verdict};
use exeunt_ipc::message::{self, Closed, Failure, Progress, TxnState};

use crate::plan::count;
use crate::record;
use crate::view::{Commit, Detail, Run, Target, TargetKind};

/// A containment under way or ended.
#[derive(Debug)]
pub(crate) struct RunModel {
    device: String,
    everywhere: bool,
    started: Timestamp,
    sessions: Option<u32>,
    app_names: Vec<(String, String)>,
    txn: Option<Txn>,
    outcome: Outcome,
    step: Option<String>,
    hub_committed: Option<bool>,
    committed_ms: Option<u64>,
    closed: Option<(Closed, Timestamp)>,
    elsewhere: Option<TxnState>,
    failure: Option<Ending>,
    ended: Option<Timestamp>,
}

/// How a containment ended without its last word.
#[derive(Debug)]
enum Ending {
    /// The warden refused the request: nothing was begun.
    Refused(String),
    /// The connection broke: what happened is not known.
    BrokeOff(String),
}

impl RunModel {
    /// An order that goes out from `device` at `started`.
    pub(crate) fn new(
        device: String,
        everywhere: bool,
        started: Timestamp,
        sessions: Option<u32>,
        app_names: Vec<(String, String)>,
    ) -> Self {
        Self {
            device,
            everywhere,
            started,
            sessions,
            app_names,
            txn: None,
            outcome: Outcome::Requested,
            step: None,
            hub_committed: None,
            committed_ms: None,
            closed: None,
            elsewhere: None,
            failure: None,
            ended: None,
        }
    }

    /// Whether nothing further is awaited.
    pub(crate) fn ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether this device is done.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Whether the hub may still tell something: also after the end, when the order was queued or a
    /// target was late.
    pub(crate) fn may_still_hear(&self) -> bool {
        let waiting = self.hub_committed == Some(false) && self.elsewhere.is_none();
        self.everywhere && self.failure.is_none() && (self.awaits_others() || waiting)
    }

    /// The transaction, once the warden has named it.
    pub(crate) fn txn(&self) -> Option<&Txn> {
        self.txn.as_ref()
    }

    /// A step ended on this device.
    pub(crate) fn progressed(&mut self, progress: Progress, now: Timestamp) {
        self.txn = Some(progress.txn);
        self.outcome = progress.outcome;
        self.commit(progress.hub_committed, now);
        if let Some(step) = progress.step {
            self.step = Some(step.step);
        }
    }

    /// This device is done.
    pub(crate) fn closed(&mut self, closed: Closed, now: Timestamp) {
        self.txn = Some(closed.txn.clone());
        self.outcome = closed.outcome;
        self.commit(Some(closed.hub_committed), now);
        self.closed = Some((closed, now));
        if !self.awaits_others() {
            self.ended = Some(now);
        }
    }

    /// The warden refused the request.
    pub(crate) fn refused(&mut self, failure: &Failure, now: Timestamp) {
        let hint = failure.hint.as_deref().map(|hint| format!(" {hint}")).unwrap_or_default();
        self.failure = Some(Ending::Refused(format!("{}{hint}", failure.message)));
        self.ended = Some(now);
    }

    /// The answers broke off before the last one.
    pub(crate) fn broke_off(&mut self, why: String, now: Timestamp) {
        self.failure = Some(Ending::BrokeOff(why));
        self.ended = Some(now);
    }

    /// How the transaction stands at the hub. It may also answer after the run has ended: what a
    /// target says late replaces what was unknown.
    pub(crate) fn elsewhere(&mut self, state: TxnState, now: Timestamp) {
        self.elsewhere = Some(state);
        self.commit(Some(true), now);
        if self.closed.is_some() && !self.awaits_others() && self.ended.is_none() {
            self.ended = Some(now);
        }
    }

    /// Waits no longer for the others; what has not answered is unreachable.
    pub(crate) fn patience_ended(&mut self, now: Timestamp) {
        if self.closed.is_some() && self.ended.is_none() {
            self.ended = Some(now);
        }
    }

    /// Whether the hub still has something to tell.
    pub(crate) fn awaits_others(&self) -> bool {
        self.everywhere
            && self.failure.is_none()
            && self.refusal().is_none()
            && !self.others().is_some_and(|mut others| others.all(|other| other.outcome.is_final()))
            && (self.hub_committed != Some(false) || self.elsewhere.is_some())
    }

    /// Every target but this device, which its own warden knows better and earlier than the hub.
    fn others(&self) -> Option<impl Iterator<Item = &message::Target>> {
        let state = self.elsewhere.as_ref()?;
        Some(state.targets.iter().filter(|target| is_session(target) || target.id != self.device))
    }

    fn commit(&mut self, committed: Option<bool>, now: Timestamp) {
        if self.hub_committed == Some(true) || committed.is_none() {
            return;
        }
        self.hub_committed = committed;
        if committed == Some(true) {
            self.committed_ms = Some(now.since_ms(self.started));
        }
    }

    fn refusal(&self) -> Option<&String> {
        let (closed, _) = self.closed.as_ref()?;
        closed.hub_refused.as_ref()
    }

    /// The worst part over this device and everywhere else; none while it runs, and when the
    /// answers broke off.
    fn overall(&self) -> Option<Outcome> {
        self.ended?;
        match &self.failure {
            Some(Ending::Refused(_)) => return Some(Outcome::Refused),
            Some(Ending::BrokeOff(_)) => return None,
            None => {}
        }
        let mut parts = vec![settled(self.outcome)];
        if self.everywhere {
            match (self.others(), self.refusal()) {
                (_, Some(_)) => parts.push(Outcome::Refused),
                (Some(others), None) => parts.extend(others.map(|other| settled(other.outcome))),
                (None, None) => parts.push(Outcome::Unreachable),
            }
        }
        Some(Outcome::worst(parts))
    }

    /// The run for the page. `silent_since` is when the hub last answered, if ever.
    pub(crate) fn view(&self, silent_since: Option<u64>) -> Run {
        let receipt = self
            .closed
            .as_ref()
            .map(|(closed, _)| record::receipt(closed, &self.device, &self.app_names));
        let mut targets = Vec::new();
        if self.everywhere && !matches!(self.failure, Some(Ending::Refused(_))) {
            targets.push(self.hub_target());
        }
        targets.push(self.here_target());
        targets.extend(self.other_targets());
        targets.extend(receipt.iter().flat_map(|receipt| &receipt.not_covered).map(open_target));
        Run {
            everywhere: self.everywhere,
            started_ms: self.started.0,
            ended_ms: self.ended.map(|at| at.0),
            outcome: self.overall().map(Into::into),
            commit: self.commit_view(silent_since),
            sessions: self.ended_sessions(),
            targets,
            receipt,
            problem: match &self.failure {
                Some(Ending::Refused(why) | Ending::BrokeOff(why)) => Some(why.clone()),
                None => None,
            },
        }
    }

    fn commit_view(&self, silent_since: Option<u64>) -> Commit {
        if !self.everywhere {
            return Commit::NotAsked;
        }
        if let Some(why) = self.refusal() {
            return Commit::Refused { why: why.clone() };
        }
        match self.hub_committed {
            None => Commit::Awaited,
            Some(true) => Commit::Committed,
            Some(false) => Commit::Queued { since_ms: silent_since },
        }
    }

    /// How many sessions end: as the hub told before the press, else as many as it lists now. It
    /// does not list a console session, which is this device.
    fn ended_sessions(&self) -> Option<u32> {
        let listed = || {
            let sessions = self.others()?.filter(|target| is_session(target)).count();
            (sessions > 0).then(|| count(sessions))
        };
        self.sessions.or_else(listed)
    }

    fn hub_target(&self) -> Target {
        let sessions = self.elsewhere.iter().flat_map(|state| &state.targets);
        let outcomes: Vec<Outcome> =
            sessions.filter(|target| is_session(target)).map(|target| target.outcome).collect();
        let known = match self.ended_sessions() {
            Some(sessions) => Detail::Sessions { sessions },
            None => Detail::None,
        };
        let (outcome, detail) = match (self.refusal(), self.hub_committed) {
            (Some(why), _) => (Outcome::Refused, Detail::Text { text: why.clone() }),
            (None, None) => (Outcome::Requested, Detail::None),
            (None, Some(false)) => (Outcome::Unreachable, Detail::Queued),
            // Asked again, the hub told of the transaction: its commit stands, and the worst of its
            // sessions governs, where there are any.
            (None, Some(true)) if self.elsewhere.is_some() => (Outcome::worst(outcomes), known),
            (None, Some(true)) => (Outcome::Fenced, known),
        };
        Target {
            name: "hub".into(),
            kind: TargetKind::Hub,
            outcome: Some(outcome.into()),
            detail,
            until_ms: None,
            took_ms: self.committed_ms.map(to_f64),
        }
    }

    fn here_target(&self) -> Target {
        let refused = matches!(self.failure, Some(Ending::Refused(_)));
        let outcome = if refused { Outcome::Refused } else { self.outcome };
        let detail = match (&self.closed, &self.step) {
            (Some((closed, _)), _) => stores(closed),
            (None, Some(step)) => Detail::Step { step: step.clone() },
            (None, None) => Detail::None,
        };
        Target {
            name: self.device.clone(),
            kind: TargetKind::Here,
            outcome: Some(outcome.into()),
            detail,
            until_ms: None,
            took_ms: self.closed.as_ref().map(|(_, at)| to_f64(at.since_ms(self.started))),
        }
    }

    /// Targets other than sessions and this device, which speak for themselves.
    fn other_targets(&self) -> impl Iterator<Item = Target> {
        self.others().into_iter().flatten().filter(|target| !is_session(target)).map(|target| {
            Target {
                name: target.id.clone(),
                kind: kind(&target.kind),
                outcome: Some(target.outcome.into()),
                detail: match &target.detail {
                    Some(text) => Detail::Text { text: text.clone() },
                    None => Detail::None,
                },
                until_ms: None,
                took_ms: (target.at >= self.started)
                    .then(|| to_f64(target.at.since_ms(self.started))),
            }
        })
    }
}

/// A session at the hub, which is counted and not listed.
fn is_session(target: &message::Target) -> bool {
    target.kind == "session"
}

fn kind(kind: &str) -> TargetKind {
    match kind {
        "identity-provider" => TargetKind::Provider,
        "service" => TargetKind::Service,
        _ => TargetKind::Device,
    }
}

/// An unfinished part, once nobody waits for it any longer, is one that has not answered.
fn settled(outcome: Outcome) -> Outcome {
    if outcome.is_final() { outcome } else { Outcome::Unreachable }
}

fn open_target(open: &crate::view::Cannot) -> Target {
    Target {
        name: open.what.clone(),
        kind: TargetKind::Open,
        outcome: None,
        detail: Detail::None,
        until_ms: open.until_ms,
        took_ms: None,
    }
}

fn stores(closed: &Closed) -> Detail {
    let clear = closed.stores.iter().filter(|store| match store.verdict {
        Some(Verdict::Gone | Verdict::Unusable) => true,
        Some(Verdict::Residual | Verdict::Refused | Verdict::Unknown) | None => false,
    });
    Detail::Stores {
        clear: count(clear.count()),
        of: count(closed.stores.len()),
        locked: match &closed.lock {
            LockReport::Proved { how: _ } => Some(true),
            LockReport::NotProved { why: _ } => Some(false),
            LockReport::NotAsked => None,
        },
    }
}

/// Milliseconds for the page; exact below 2^53, which is 285,000 years.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of one containment")]
fn to_f64(ms: u64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests;
