//! What the warden and the agent have said, and the view that follows from it.
//!
//! It refuses to talk to anyone: answers and times are handed in, and nothing that was not said is
//! concluded. Without an answer of the hub, elsewhere is never closed.

use exeunt_domain::receipt::LockReport;
use exeunt_domain::{Subject, Timestamp};
use exeunt_ipc::ConnectError;
use exeunt_ipc::message::{self, ConsoleSession, HubLink, HubSession, WardenStatus};

use crate::plan;
use crate::record;
use crate::run::RunModel;
use crate::view::{
    Hub, Last, Lock, Mode, Place, PreviewState, Run, Scope, Start, Unreachable, View, Warden, Who,
};

/// Length of the countdown before an order is sent, in seconds.
const COUNTDOWN_S: u32 = 10;

/// Everything the window has been told.
#[derive(Debug)]
pub(crate) struct Model {
    start: Start,
    summons: u32,
    warden: Warden,
    status: Option<WardenStatus>,
    agent: Agent,
    sessions: Option<Vec<HubSession>>,
    lock: Lock,
    preview: PreviewModel,
    run: Option<RunModel>,
}

/// What is known of the agent.
#[derive(Debug)]
enum Agent {
    NotAsked,
    Away,
    There(HubLink),
}

/// The plan, as the warden gave it.
#[derive(Debug)]
enum PreviewModel {
    Idle,
    Asking,
    Ready(message::Preview),
    Failed(String),
}

impl Model {
    /// Nothing is known yet.
    pub(crate) fn new(start: Start) -> Self {
        Self {
            start,
            summons: 1,
            warden: Warden::Asking,
            status: None,
            agent: Agent::NotAsked,
            sessions: None,
            lock: Lock::Idle,
            preview: PreviewModel::Idle,
            run: None,
        }
    }

    /// The window is wanted for `start` again.
    pub(crate) fn summon(&mut self, start: Start) {
        self.start = start;
        self.summons = self.summons.wrapping_add(1);
    }

    /// The warden answered how things stand.
    pub(crate) fn warden_answered(&mut self, status: WardenStatus) {
        self.warden = Warden::Ready;
        self.status = Some(status);
    }

    /// The warden did not answer.
    pub(crate) fn warden_away(&mut self, why: Unreachable) {
        self.warden = Warden::Unreachable { why };
        self.status = None;
    }

    /// The agent answered how its link to the hub stands.
    pub(crate) fn agent_answered(&mut self, link: HubLink) {
        self.agent = Agent::There(link);
    }

    /// The agent is not there to ask.
    pub(crate) fn agent_away(&mut self) {
        self.agent = Agent::Away;
        self.sessions = None;
    }

    /// The hub's sessions of the caller's subject; none when it could not tell.
    pub(crate) fn hub_sessions(&mut self, sessions: Option<Vec<HubSession>>) {
        self.sessions = sessions;
    }

    /// A plan was asked for.
    pub(crate) fn preview_asked(&mut self) {
        self.preview = PreviewModel::Asking;
    }

    /// The plan came, or why it did not.
    pub(crate) fn preview_answered(&mut self, answer: Result<message::Preview, String>) {
        self.preview = match answer {
            Ok(preview) => PreviewModel::Ready(preview),
            Err(why) => PreviewModel::Failed(why),
        };
    }

    /// A lock was asked for.
    pub(crate) fn lock_asked(&mut self) {
        self.lock = Lock::Asking;
    }

    /// What the lock's probe saw, or why nobody asked it.
    pub(crate) fn lock_answered(&mut self, answer: Result<LockReport, String>, now: Timestamp) {
        self.lock = match answer {
            Ok(LockReport::Proved { how: _ }) => Lock::Proved { at_ms: now.0 },
            Ok(LockReport::NotProved { why }) => Lock::NotProved { why },
            Ok(LockReport::NotAsked) => Lock::NotProved { why: "no session to lock".into() },
            Err(why) => Lock::Refused { why },
        };
    }

    /// The order goes out now. Returns what to ask of the warden, or none when one is under way.
    pub(crate) fn order(&mut self, now: Timestamp) -> Option<message::WardenRequest> {
        if self.run.as_ref().is_some_and(|run| !run.ended()) {
            return None;
        }
        let everywhere = self.scope() == Scope::Everywhere;
        let digest = match &self.preview {
            PreviewModel::Ready(preview) => Some(preview.digest.clone()),
            PreviewModel::Idle | PreviewModel::Asking | PreviewModel::Failed(_) => None,
        };
        let device = self.device().unwrap_or_default();
        let sessions = self.planned_sessions();
        self.run = Some(RunModel::new(device, everywhere, now, sessions, self.app_names()));
        let surface = "tray".to_owned();
        Some(if everywhere {
            message::WardenRequest::SignOutEverywhere { reason: None, surface, digest }
        } else {
            let tier = exeunt_domain::Tier::SignOut;
            message::WardenRequest::Close { tier, reason: None, surface, hand_over: false }
        })
    }

    /// A containment that was under way when the window opened. False when one is already shown.
    pub(crate) fn follow(&mut self, now: Timestamp) -> bool {
        if self.run.is_some() {
            return false;
        }
        let everywhere = self.scope() == Scope::Everywhere;
        let device = self.device().unwrap_or_default();
        self.run = Some(RunModel::new(device, everywhere, now, None, self.app_names()));
        true
    }

    /// The transaction that the warden says is under way.
    pub(crate) fn running(&self) -> Option<exeunt_domain::Txn> {
        self.status.as_ref()?.running.clone()
    }

    /// The containment that is shown, to be told what happened.
    pub(crate) fn run_mut(&mut self) -> Option<&mut RunModel> {
        self.run.as_mut()
    }

    /// The containment that is shown.
    pub(crate) fn run(&self) -> Option<&RunModel> {
        self.run.as_ref()
    }

    /// This device's name: the hub's for it, else the host's own.
    fn device(&self) -> Option<String> {
        let status = self.status.as_ref()?;
        Some(match &status.device {
            Some(device) => device.as_str().to_owned(),
            None => status.console.clone(),
        })
    }

    /// The caller's latest session at this console: two people in turn are two sessions.
    fn session(&self) -> Option<&ConsoleSession> {
        latest_session(self.status.as_ref()?)
    }

    fn scope(&self) -> Scope {
        self.status.as_ref().map_or(Scope::Nobody, scope)
    }

    fn hub(&self) -> Hub {
        let Some(status) = &self.status else { return Hub::Unknown };
        if status.hub.is_none() {
            return Hub::Unenrolled;
        }
        match &self.agent {
            Agent::NotAsked => Hub::Unknown,
            Agent::Away => Hub::Silent { since_ms: None },
            Agent::There(link) => match link.answered {
                Some(at) if link.reachable => Hub::Answered { at_ms: at.0 },
                answered => Hub::Silent { since_ms: answered.map(|at| at.0) },
            },
        }
    }

    /// Places, this device first, in the order in which the hub names them.
    fn places(&self) -> Option<Vec<Place>> {
        let mut places: Vec<Place> = Vec::new();
        for session in self.sessions.as_ref()? {
            let known = places.iter_mut().find(|place| {
                place.here == session.here && (place.here || place.name == session.place)
            });
            match known {
                Some(place) => place.sessions += 1,
                None => places.push(Place {
                    name: session.place.clone(),
                    here: session.here,
                    sessions: 1,
                    until_ms: None,
                }),
            }
        }
        places.sort_by_key(|place| !place.here);
        Some(places)
    }

    /// How many sessions the hub would end, when it has told.
    fn planned_sessions(&self) -> Option<u32> {
        let reachable = matches!(self.hub(), Hub::Answered { .. });
        let sessions = self.sessions.as_ref().filter(|_| reachable)?;
        (self.scope() == Scope::Everywhere).then(|| plan::count(sessions.len()))
    }

    /// Names of apps for people, by catalogue id, as far as the plan told.
    fn app_names(&self) -> Vec<(String, String)> {
        match &self.preview {
            PreviewModel::Ready(preview) => {
                preview.ends.iter().map(|ends| (ends.app.clone(), ends.name.clone())).collect()
            }
            PreviewModel::Idle | PreviewModel::Asking | PreviewModel::Failed(_) => Vec::new(),
        }
    }

    fn preview(&self) -> PreviewState {
        match &self.preview {
            PreviewModel::Idle => PreviewState::Idle,
            PreviewModel::Asking => PreviewState::Asking,
            PreviewModel::Failed(why) => PreviewState::Failed { why: why.clone() },
            PreviewModel::Ready(preview) => {
                let everywhere = self.scope() == Scope::Everywhere;
                let sessions = self.sessions.as_deref().filter(|_| everywhere);
                let mut plan = plan::preview(preview, sessions, self.device().unwrap_or_default());
                plan.sessions = self.planned_sessions();
                PreviewState::Ready { preview: plan }
            }
        }
    }

    fn shown_run(&self) -> Option<Run> {
        let since = match self.hub() {
            Hub::Silent { since_ms } => since_ms,
            Hub::Answered { at_ms } => Some(at_ms),
            Hub::Unknown | Hub::Unenrolled => None,
        };
        Some(self.run.as_ref()?.view(since))
    }

    fn last(&self) -> Option<Last> {
        let line = self.status.as_ref()?.last.as_ref()?;
        Some(record::last(line, &self.device().unwrap_or_default()))
    }

    /// The whole view at `now`.
    pub(crate) fn view(&self, now: Timestamp) -> View {
        let everywhere = self.scope() == Scope::Everywhere;
        View {
            now_ms: now.0,
            start: self.start,
            summons: self.summons,
            countdown_s: COUNTDOWN_S,
            warden: self.warden.clone(),
            hub: self.hub(),
            mode: self.status.as_ref().map(|status| Mode::from(status.mode)),
            device: self.device(),
            who: self
                .session()
                .map(|session| Who { name: person(&session.subject), since_ms: session.since.0 }),
            scope: self.scope(),
            places: self.places().filter(|_| everywhere),
            lock: self.lock.clone(),
            preview: self.preview(),
            run: self.shown_run(),
            last: self.last(),
        }
    }
}

/// The latest of the caller's sessions at this console.
pub(crate) fn latest_session(status: &WardenStatus) -> Option<&ConsoleSession> {
    status.sessions.iter().max_by_key(|session| session.since)
}

/// Whether a sign-out from here can reach every session of the one who is signed in.
pub(crate) fn reaches_everywhere(status: &WardenStatus) -> bool {
    scope(status) == Scope::Everywhere
}

fn scope(status: &WardenStatus) -> Scope {
    match latest_session(status) {
        None => Scope::Nobody,
        Some(_) if status.hub.is_none() => Scope::NoHub,
        Some(session) if !session.proof.reaches_everywhere() => Scope::NotProved,
        Some(_) => Scope::Everywhere,
    }
}

/// A subject as a person writes it.
pub(crate) fn person(subject: &Subject) -> String {
    match subject {
        Subject::Account { uri } => uri.trim_start_matches("acct:").to_owned(),
        Subject::Email { email } => email.clone(),
        Subject::IssSub { iss: _, sub } => sub.clone(),
        Subject::Opaque { id } => id.clone(),
    }
}

impl From<&ConnectError> for Unreachable {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::NotRunning { .. } => Unreachable::NotRunning,
            ConnectError::NotAllowed { .. } => Unreachable::NotAllowed,
            ConnectError::Io { .. } => Unreachable::Broken,
        }
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
