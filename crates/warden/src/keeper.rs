//! The lease in service: asked for, renewed by a nonce's answer, and what happens when it lapses.
//!
//! It refuses a renewal that answers no nonce of its own, and one that names an order which never
//! arrived: whoever withholds an order ends the lease with it.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use exeunt_domain::order::{Demand, LEASE_ASKED_EVENT, LEASE_EVENT};
use exeunt_domain::{Authority, Jti, Tier, Txn};
use exeunt_engine::ports::Clock as _;
use exeunt_host::clock::SystemClock;
use exeunt_ipc::message::{Failure, LeaseStanding, UplinkRoute};
use exeunt_ssf::{InForce, LeaseAsked, LeaseEvent, VerifiedSet};

use crate::event::{Enrolment, Event};
use crate::lease::{Here, Lease};
use crate::quorum::denied;
use crate::warden::Warden;

/// Renewals are asked for at least this often: it bounds how long a withheld order goes unnoticed.
const RENEW_WITHIN: Duration = Duration::from_secs(3600);
/// And at most this often.
const RENEW_AFTER: Duration = Duration::from_secs(15);
/// How long an answer is waited for before the next request takes its place.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often the lease is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often what is left of it is noted beside the journal.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// Where that note is.
const NOTE_FILE: &str = "lease";
/// Room of one note, in bytes; two take turns, so that a torn one leaves the other.
const NOTE_BYTES: usize = 512;

/// What the keeper remembers between two looks. None of it outlives the process.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    asked: Option<Asked>,
    /// When a renewal is due.
    due: Option<Here>,
    noted: Option<(Here, bool)>,
    /// The last renewal named an order that never arrived.
    withheld: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    /// None once it was answered.
    nonce: Option<String>,
    jti: Jti,
    at: Here,
}

impl Warden {
    /// Looks after the lease for as long as the process lives.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn keep_lease(self: &Arc<Self>) -> anyhow::Result<()> {
        let warden = Arc::clone(self);
        crate::warden::spawn("lease", move || {
            if warden.ledger.read(|state| state.lapsed) {
                warden.close_lapsed(None, Vec::new());
            }
            loop {
                warden.look_after_lease();
                warden.ledger.wait_for_change(crate::debug::look_every(LOOK_EVERY));
            }
        })
    }

    fn look_after_lease(self: &Arc<Self>) {
        let (enrolment, lease, lapsed) =
            self.ledger.read(|state| (state.enrolment.clone(), state.lease.clone(), state.lapsed));
        let Some(enrolment) = enrolment else { return };
        let now = self.here();
        let policy = self.policy().lease;
        if let (Some(lasts), Some(lease)) = (policy.lasts, &lease) {
            if !lapsed && lease.left(&now).min(lasts).is_zero() {
                self.lapse();
            }
            self.note(lease, &now, lasts);
        }
        let every = policy.lasts.map_or(RENEW_WITHIN, |lasts| (lasts / 4).min(RENEW_WITHIN));
        self.ask_for_renewal(&enrolment, &now, every.max(RENEW_AFTER));
    }

    /// Puts a request into the uplink when one is due and none is under way.
    fn ask_for_renewal(&self, enrolment: &Enrolment, now: &Here, every: Duration) {
        let mut keeping = self.keeping();
        let waits = |since: &Here, most: Duration| now.since_us(since) < micros(most);
        let is_waited_for =
            keeping.asked.as_ref().is_some_and(|asked| waits(&asked.at, ANSWER_WITHIN));
        if is_waited_for || keeping.due.as_ref().is_some_and(|last| waits(last, every)) {
            return;
        }
        if let Some(old) = keeping.asked.take() {
            self.ledger.settle_unjournalled(&old.jti);
        }
        match self.lease_request(enrolment) {
            Ok(Some((nonce, uplink))) => {
                let (nonce, jti) = (Some(nonce), uplink.jti.clone());
                keeping.asked = Some(Asked { nonce, jti, at: now.clone() });
                drop(keeping);
                self.ledger.queue_unjournalled(uplink);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "no lease could be asked for")
            }
        }
    }

    fn lease_request(
        &self,
        enrolment: &Enrolment,
    ) -> anyhow::Result<Option<(String, exeunt_ipc::message::UplinkSet)>> {
        let nonce = exeunt_ssf::random_token()?;
        let policy =
            self.ledger.read(|state| state.policy.as_deref().map(exeunt_policy::Policy::digest));
        let hub_keys: BTreeSet<_> =
            enrolment.keys.keys.iter().map(|key| key.kid().clone()).collect();
        let in_force = InForce {
            policy,
            hub_keys,
            approvers: enrolment.approvers.clone(),
            orders_per_hour: enrolment.orders_per_hour,
        };
        let asked = LeaseAsked { nonce: nonce.clone(), epoch: enrolment.epoch, in_force };
        let uplink = self.to_hub(LEASE_ASKED_EVENT, &asked, None)?;
        Ok(uplink.map(|mut uplink| {
            uplink.to = UplinkRoute::Lease;
            (nonce, uplink)
        }))
    }

    /// Asks for a renewal at the next look: the hub is to learn what is in force now.
    pub(crate) fn renew_soon(&self) {
        let mut keeping = self.keeping();
        keeping.due = None;
        if let Some(old) = keeping.asked.take() {
            self.ledger.settle_unjournalled(&old.jti);
        }
    }

    /// Takes the hub's answer to a nonce.
    ///
    /// # Errors
    /// [`Failure`]: it answers none, or names an order that never arrived.
    pub(crate) fn renewed(&self, set: &VerifiedSet, enrolment: &Enrolment) -> Result<(), Failure> {
        let event: LeaseEvent = set.event_as(LEASE_EVENT).map_err(|error| Failure {
            code: error.err_code().into(),
            message: error.to_string(),
            hint: None,
        })?;
        if event.device != enrolment.device || event.epoch != enrolment.epoch {
            return Err(denied("the renewal is for another enrolment"));
        }
        let mut keeping = self.keeping();
        let answered = |asked: &Asked| asked.nonce.as_ref() == Some(&event.nonce);
        let asked = keeping.asked.clone().filter(answered);
        let Some(asked) = asked else {
            return Err(denied("the renewal answers no nonce of this warden"));
        };
        keeping.asked = None;
        let lacks =
            self.ledger.read(|state| event.last_order.clone().filter(|jti| !state.has_heard(jti)));
        keeping.withheld = lacks.is_some();
        if let Some(jti) = lacks {
            // It may be on its way: the next request comes soon.
            keeping.due = None;
            keeping.asked = Some(Asked { nonce: None, ..asked });
            tracing::warn!(%jti, "the hub addressed an order to this device that never arrived");
            return Err(denied(
                "an order to this device has not arrived, so the lease is not renewed",
            ));
        }
        keeping.due = Some(asked.at.clone());
        drop(keeping);
        self.hear_hub(event.hub_time);
        let lasts = self.policy().lease.lasts.unwrap_or(Duration::MAX);
        let lease = Lease::granted(event.nonce, asked.at, lasts);
        let was_lapsed = self.ledger.read(|state| state.lapsed);
        if was_lapsed {
            tracing::info!("the lease is renewed after it had lapsed");
        }
        self.ledger.record(&[Event::Leased { lease }]);
        Ok(())
    }

    /// The lease that an enrolment begins with.
    pub(crate) fn first_lease(&self) -> Event {
        let lasts = self.config.policy.lease.lasts.unwrap_or(Duration::MAX);
        Event::Leased { lease: Lease::granted("enrolment".into(), self.here(), lasts) }
    }

    /// How the lease stands, for people; None while there is none, or it lasts for ever.
    pub(crate) fn lease_standing(&self) -> Option<LeaseStanding> {
        let (lease, lapsed) = self.ledger.read(|state| (state.lease.clone(), state.lapsed));
        let lasts = self.policy().lease.lasts?;
        let left = lease?.left(&self.here()).min(lasts);
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Some(LeaseStanding { left_ms, lapsed, withheld: self.keeping().withheld })
    }

    fn lapse(self: &Arc<Self>) {
        tracing::warn!("the lease has lapsed: this device was too long without its hub");
        self.close_lapsed(None, vec![Event::Lapsed]);
    }

    /// Contains whoever has a session, or the one account named, as the policy says.
    pub(crate) fn close_lapsed(self: &Arc<Self>, only: Option<u32>, events: Vec<Event>) {
        let uids: Vec<u32> = self.ledger.read(|state| {
            let all = state.sessions.iter().map(|session| session.uid);
            all.filter(|uid| only.is_none_or(|only| only == *uid)).collect()
        });
        let tier = self.policy().lease.tier;
        match self.lapsed_demand(tier) {
            Ok(demand) if !uids.is_empty() => {
                let remark = "the lease lapsed: this device was too long without its hub";
                self.accept(demand, uids, events, vec![remark.to_owned()]);
            }
            Ok(_) => self.ledger.record(&events),
            Err(error) => tracing::error!(error = format!("{error:#}"), "a lapsed lease"),
        }
    }

    fn lapsed_demand(&self, tier: Tier) -> anyhow::Result<Demand> {
        Ok(Demand {
            txn: Txn::parse(exeunt_ssf::new_id(SystemClock.now())?)?,
            authority: Authority::LocalPolicy { trigger: "lease-lapsed".into() },
            tier,
            subject: None,
            reason: None,
            hand_over: false,
        })
    }

    /// Notes what is left, so that a restart of the machine gives nothing back.
    fn note(&self, lease: &Lease, now: &Here, lasts: Duration) {
        let mut keeping = self.keeping();
        let slot = match &keeping.noted {
            Some((last, _)) if now.since_us(last) < micros(NOTE_EVERY) => return,
            Some((_, slot)) => !slot,
            None => false,
        };
        let noted = lease.noted(now, lasts);
        match write_note(&self.places.state.join(NOTE_FILE), slot, &noted) {
            Ok(()) => keeping.noted = Some((now.clone(), slot)),
            Err(error) => tracing::warn!(%error, "what is left of the lease could not be noted"),
        }
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn write_note(path: &Path, second: bool, lease: &Lease) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(lease)?;
    text.resize(NOTE_BYTES, b' ');
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.write_all_at(&text, if second { NOTE_BYTES as u64 } else { 0 })?;
    file.sync_data()
}

/// The notes of leases in a state directory; none that is torn.
pub(crate) fn notes(state: &Path) -> Vec<Lease> {
    let bytes = std::fs::read(state.join(NOTE_FILE)).unwrap_or_default();
    let whole = bytes.chunks(NOTE_BYTES).map(|text| serde_json::from_slice(text.trim_ascii()));
    whole.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::Instant;

    #[test]
    fn a_torn_note_leaves_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let here = Here { boot: "b".into(), at: Instant(0) };
        let lease = Lease::granted("n".into(), here, Duration::from_secs(60));
        let path = dir.path().join(NOTE_FILE);
        write_note(&path, false, &lease).unwrap();
        write_note(&path, true, &lease).unwrap();
        assert_eq!(notes(dir.path()).len(), 2);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"xx", NOTE_BYTES as u64).unwrap();
        assert_eq!(notes(dir.path()), [lease]);
    }
}
