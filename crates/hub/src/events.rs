//! What an event of another party ends here, by the operator's policy file.
//!
//! It refuses a policy with a mistake: with one the hub does not start, and a running one keeps what
//! it had.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use exeunt_domain::Tier;
use exeunt_policy::{Policy, PolicyError};

/// The policy file cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It cannot be read.
    #[error("the policy {path} cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It has a mistake.
    #[error("{0}; `exeunt policy check FILE` says the same")]
    Mistake(#[from] PolicyError),
}

/// The policy that is followed now.
#[derive(Debug)]
pub struct Events {
    file: Option<PathBuf>,
    followed: RwLock<Policy>,
}

impl Events {
    /// Reads `file`; without one, every event does the usual.
    ///
    /// # Errors
    /// [`PolicyFileError`].
    pub fn open(file: Option<PathBuf>) -> Result<Self, PolicyFileError> {
        let policy = file.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { file, followed: RwLock::new(policy) })
    }

    /// Reads the file again. When it cannot be followed, what was followed stays, and the log says
    /// so.
    pub fn reload(&self) {
        let Some(file) = &self.file else { return };
        match read(file) {
            Ok(policy) => {
                *self.followed.write().unwrap_or_else(PoisonError::into_inner) = policy;
                tracing::info!("the policy was read again");
            }
            Err(error) => tracing::error!(%error, "the policy stays as it was"),
        }
    }

    /// How much an event ends, at most `ceiling`. None: nothing.
    #[must_use]
    pub fn tier_of(&self, event_type: &str, ceiling: Tier) -> Option<Tier> {
        let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner);
        followed.tier_of(event_type, ceiling)
    }
}

fn read(file: &Path) -> Result<Policy, PolicyFileError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| PolicyFileError::Unreadable { path: file.to_owned(), source })?;
    Ok(Policy::parse(&file.display().to_string(), &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RISK: &str = "https://schemas.openid.net/secevent/caep/event-type/risk-level-change";

    #[test]
    fn a_mistake_stops_a_start_and_leaves_a_running_policy_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.toml");
        std::fs::write(&file, "[events]\nrisk-level-change = \"lock\"\n").unwrap();
        let events = Events::open(Some(file.clone())).unwrap();
        assert_eq!(events.tier_of(RISK, Tier::SignOut), Some(Tier::Lock));
        std::fs::write(&file, "[events]\nrisk-level-change = \"purge\"\n").unwrap();
        events.reload();
        assert_eq!(events.tier_of(RISK, Tier::SignOut), Some(Tier::Lock));
        let refused = Events::open(Some(file.clone())).unwrap_err().to_string();
        assert!(refused.contains("policy.toml:2:21"), "{refused}");
        std::fs::write(&file, "[events]\nrisk-level-change = \"sign-out\"\n").unwrap();
        events.reload();
        assert_eq!(events.tier_of(RISK, Tier::SignOut), Some(Tier::SignOut));
        let missing = Events::open(Some(dir.path().join("none.toml"))).unwrap_err();
        assert!(missing.to_string().contains("none.toml"));
        assert_eq!(Events::open(None).unwrap().tier_of(RISK, Tier::SignOut), None);
    }
}
