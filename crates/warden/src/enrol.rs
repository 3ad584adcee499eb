//! Enrolment: a one-time token in, a pinned hub out.
//!
//! It refuses to trust on first use: only keys whose thumbprints the token named are kept.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use exeunt_domain::Jti;
use exeunt_domain::order::{ENROL_EVENT, ENROLLED_EVENT};
use exeunt_engine::ports::Clock as _;
use exeunt_host::clock::SystemClock;
use exeunt_ipc::message::{Failure, UplinkRoute, UplinkSet};
use exeunt_ssf::{
    EnrolEvent, EnrolToken, EnrolledEvent, Expected, Jwks, PublicJwk, Set, read_unverified,
};

use crate::event::{Enrolment, Event};
use crate::warden::Warden;

/// How long the hub's answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The file in the runtime directory in which the agent shows its transport key.
const AGENT_KEY_FILE: &str = "agent-key.pub.json";

/// An enrolment that waits for the hub's answer.
pub(crate) struct Pending {
    token: EnrolToken,
    request: Jti,
}

impl Warden {
    /// Asks the hub of `token` to enrol this device, and waits for its signed answer.
    ///
    /// # Errors
    /// [`Failure`]: a bad token, an agent that is not running, a hub that refused or did not answer.
    pub(crate) fn enroll(&self, token: &str) -> Result<(), Failure> {
        let token =
            EnrolToken::decode(token).map_err(|e| failure("invalid_token", &e.to_string()))?;
        let uplink = self
            .request(&token)
            .map_err(|error| failure("agent_not_ready", &format!("{error:#}")))?;
        let request = uplink.jti.clone();
        let before = self.epoch_mark();
        *self.pending() = Some(Pending { token, request: request.clone() });
        self.ledger.queue_unjournalled(uplink);
        let outcome = self.ledger.wait_for(ANSWER_WITHIN, |state| {
            let enrolled =
                state.enrolment.as_ref().map(|known| (known.device.clone(), known.epoch));
            let waiting = state.uplink.iter().any(|uplink| uplink.jti == request);
            (enrolled != before || !waiting).then(|| enrolled != before)
        });
        let refused = self.pending().take().is_some();
        match outcome {
            Some(true) => {
                self.announce_sessions().map_err(|e| failure("journal", &format!("{e:#}")))
            }
            Some(false) if refused => Err(Failure {
                hint: Some("make a fresh one: exeunt admin device token".into()),
                ..failure(
                    "access_denied",
                    "the hub refused the enrolment token: used, expired or unknown",
                )
            }),
            Some(false) => Err(failure("access_denied", "the hub's answer could not be verified")),
            None => {
                self.ledger.settle_unjournalled(&request);
                Err(Failure {
                    hint: Some("is exeunt-agent running, and does it reach the hub?".into()),
                    ..failure("hub_unreachable", "the hub did not answer within 20 s")
                })
            }
        }
    }

    /// Takes the hub's answer to the pending enrolment.
    ///
    /// # Errors
    /// [`Failure`] with an RFC 8935 code when it is not that answer, or not signed by a key that
    /// the token named.
    pub(crate) fn enrolled(&self, compact: &str) -> Result<(), Failure> {
        let mut pending = self.pending();
        let Some(Pending { token, request }) = pending.as_ref() else {
            return Err(failure("access_denied", "no enrolment is waiting"));
        };
        let read = read_unverified(compact).map_err(|e| failure(e.err_code(), &e.to_string()))?;
        let event: EnrolledEvent =
            read.event_as(ENROLLED_EVENT).map_err(|e| failure(e.err_code(), &e.to_string()))?;
        let named = |key: &PublicJwk| token.thumbprints.contains(key.kid());
        let keys = Jwks { keys: event.hub_jwks.keys.into_iter().filter(named).collect() };
        let expected = Expected {
            issuer: Some(token.issuer.clone()),
            audience: event.device.as_str().to_owned(),
        };
        exeunt_ssf::verify(compact, &keys, &expected)
            .map_err(|error| failure(error.err_code(), &error.to_string()))?;
        let enrolment = Enrolment {
            device: event.device,
            epoch: event.epoch,
            issuer: token.issuer.clone(),
            keys,
            // Root handed over the token; the answer is the hub's alone.
            orders_per_hour: token.orders_per_hour.unwrap_or(event.orders_per_hour),
            mode: self.places.mode,
            approvers: token.approvers.clone(),
            group: token.group.clone(),
            tenant: token.tenant.clone(),
            since: Some(event.hub_time),
        };
        tracing::info!(device = %enrolment.device, epoch = enrolment.epoch, "enrolled");
        self.begin_hub_clock(event.hub_time);
        self.renew_soon();
        let settled = Event::Settled { jti: request.clone(), refused: None };
        *pending = None;
        drop(pending);
        self.ledger
            .decide(|_| (vec![Event::Enrolled { enrolment }, self.first_lease(), settled], ()))
            .map_err(|error| failure("invalid_request", &format!("the journal failed: {error:#}")))
    }

    /// A hub time that a verified SET carried.
    pub(crate) fn hear_hub(&self, said: exeunt_domain::Timestamp) {
        let mut clock = self.hub_clock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        clock.hear(said, SystemClock.instant());
    }

    /// The hub's clock begins anew: whatever was said in its name before does not count.
    pub(crate) fn begin_hub_clock(&self, said: exeunt_domain::Timestamp) {
        let mut clock = self.hub_clock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *clock = crate::warden::HubClock::default();
        clock.hear(said, SystemClock.instant());
    }

    fn request(&self, token: &EnrolToken) -> anyhow::Result<UplinkSet> {
        let agent_jwk = agent_key(&self.places.runtime.join(AGENT_KEY_FILE))?;
        let now = SystemClock.now();
        let event = EnrolEvent {
            secret: token.secret.clone(),
            device_jwk: self.ledger.key.jwk().clone(),
            agent_jwk,
            name: token.name.clone().unwrap_or_else(console_name),
            mode: self.places.mode,
        };
        let jti = Jti::parse(exeunt_ssf::new_id(now)?)?;
        let kid = self.ledger.key.kid().as_str();
        let set = Set::new(kid, token.issuer.as_str(), jti.clone(), now, ENROL_EVENT, &event)?;
        let set = self.ledger.key.sign(&set)?;
        Ok(UplinkSet { jti, set, to: UplinkRoute::Enrolment { hub: token.hub.clone() } })
    }

    fn epoch_mark(&self) -> Option<(exeunt_domain::DeviceId, u64)> {
        self.ledger
            .read(|state| state.enrolment.as_ref().map(|known| (known.device.clone(), known.epoch)))
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Option<Pending>> {
        self.enrolling.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The machine's own name.
pub(crate) fn console_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn agent_key(path: &Path) -> anyhow::Result<PublicJwk> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("the agent has shown no transport key: is exeunt-agent running?")
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    serde_json::from_str(&text).with_context(|| format!("{} holds no public key", path.display()))
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.into(), message: message.into(), hint: None }
}
