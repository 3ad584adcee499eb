//! Devices that the hub knows, each through the hub's own doors.
//!
//! It refuses to write into the record: what is measured is what devices really leave there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use exeunt_api::{DeviceTokenResponse, TokenResponse};
use exeunt_domain::order::ENROL_EVENT;
use exeunt_domain::receipt::Mode;
use exeunt_domain::{Jti, Timestamp};
use exeunt_ssf::poll::SET_MEDIA_TYPE;
use exeunt_ssf::{EnrolEvent, EnrolToken, Set, SigningKey, new_id};
use serde_json::json;

use super::crowd::{Member, assertion};
use crate::bench::wire::Wire;

/// How many enrol at the same time.
const AT_A_TIME: usize = 64;

/// Where devices are enrolled, in the clear.
pub(super) struct Desk {
    /// Host and port.
    pub(super) address: String,
    /// The hub's base URL, which is its issuer name, too.
    pub(super) hub: String,
    /// An operator's token.
    pub(super) operator: String,
}

impl Desk {
    /// Enrols so many devices.
    pub(super) fn enrol(&self, count: usize) -> Result<Vec<Member>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (next, at_a_time) = (AtomicUsize::new(0), AT_A_TIME.min(count));
        let clerk = async || {
            let mut wire = Wire::connect(&self.address).await?;
            let mut members = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(members);
                }
                members.push(self.one(&mut wire, &format!("kiosk-{number:05}")).await?);
            }
        };
        let all = futures_util::future::try_join_all((0..at_a_time).map(|_| clerk()));
        Ok(runtime.block_on(all)?.into_iter().flatten().collect())
    }

    async fn one(&self, wire: &mut Wire, name: &str) -> Result<Member> {
        let body = json!({ "name": name }).to_string();
        let (status, minted) =
            wire.send("/v1/device-tokens", &self.operator, "application/json", &body).await?;
        ensure!(status == 201, "an enrolment token: {status} {minted}");
        let minted: DeviceTokenResponse = serde_json::from_str(minted)?;
        let token = EnrolToken::decode(&minted.token)?;
        let (key, agent) = (SigningKey::generate()?, SigningKey::generate()?);
        let event = EnrolEvent {
            secret: token.secret,
            device_jwk: key.jwk().clone(),
            agent_jwk: agent.jwk().clone(),
            name: name.to_owned(),
            mode: Mode::Installed,
        };
        let at = now()?;
        let jti = Jti::parse(new_id(at)?)?;
        let set = key.sign(&Set::new(name, &self.hub, jti, at, ENROL_EVENT, &event)?)?;
        let (status, answer) = wire.send("/v1/enroll", "", SET_MEDIA_TYPE, &set).await?;
        ensure!(status == 200, "enrolling: {status} {answer}");
        let form = assertion(name, &agent, &self.hub)?;
        let media = "application/x-www-form-urlencoded";
        let (status, answer) = wire.send("/oauth/token", "", media, &form).await?;
        ensure!(status == 200, "a token: {status} {answer}");
        let token = serde_json::from_str::<TokenResponse>(answer)?.access_token;
        Ok(Member { id: name.to_owned(), seed: agent.to_seed_b64(), token })
    }
}

fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(u64::try_from(since.as_millis()).context("a time to come")?))
}
