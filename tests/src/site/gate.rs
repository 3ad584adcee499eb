//! Which sessions of the site are still good.
//!
//! It refuses nothing while open; the site then knows no revocation at all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use exeunt_check::wire::SessionRequest;
use exeunt_domain::{SessionId, SessionKind, Subject, Timestamp};
use exeunt_guard::{Guard, Options};

/// A guard that has not heard from the hub for so long admits nobody.
const MAX_STALE: Duration = Duration::from_secs(30);

/// Where to learn which sessions are still good.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Nowhere: all that the site itself made are.
    Open,
    /// At a hub.
    Hub {
        /// Its address.
        url: String,
        /// The site's name there.
        client_id: String,
        /// The site's secret.
        client_secret: String,
    },
}

/// A session as it is announced.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    /// Whose.
    pub(super) account: String,
    /// Its secret id.
    pub(super) id: String,
    /// What it is.
    pub(super) kind: SessionKind,
    /// What a person would call it.
    pub(super) label: String,
}

/// An opened [`Gate`].
#[derive(Debug)]
pub(super) enum Watch {
    Open,
    Guarded(Guard),
}

impl Watch {
    /// Opens `gate`; what it learns later, it learns on the runtime that this is called on.
    pub(super) async fn open(gate: &Gate) -> Result<Self> {
        match gate {
            Gate::Open => Ok(Self::Open),
            Gate::Hub { url, client_id, client_secret } => {
                let options = Options { max_stale: MAX_STALE, ..Options::default() };
                let guard = Guard::connect(url, client_id, client_secret, options).await;
                Ok(Self::Guarded(guard.context("the site's guard")?))
            }
        }
    }

    /// Announces a session; the number is needed to check it later.
    pub(super) async fn register(&self, session: &Announced) -> Result<u64> {
        let Self::Guarded(guard) = self else { return Ok(0) };
        let request = SessionRequest {
            subject: Subject::parse(&session.account)?,
            session_id: SessionId::parse(session.id.clone())?,
            kind: session.kind,
            auth_time: now()?,
            device: None,
            label: Some(session.label.clone()),
            place: None,
            idp_sid: None,
            id_token: None,
            expires: None,
        };
        Ok(guard.register(&request).await?)
    }

    /// Whether a session is still good, at this very request.
    pub(super) fn admits(&self, account: &str, id: &str, seq: u64) -> bool {
        match self {
            Self::Open => true,
            Self::Guarded(guard) => {
                let (Ok(subject), Ok(id)) = (Subject::parse(account), SessionId::parse(id)) else {
                    return false;
                };
                guard.check(&subject, &id, seq).is_ok()
            }
        }
    }
}

fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(u64::try_from(since.as_millis())?))
}
