//! An account to be ended, in memory.
//!
//! It refuses to end anything but itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use exeunt_engine::ports::{HandOver, HandOverError, Left};

/// The whole presence of an account.
#[derive(Debug, Default)]
pub struct FakeHandOver {
    survivor: Option<(u32, String)>,
    ended: Mutex<u32>,
}

impl FakeHandOver {
    /// One that ends when it is told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One of which a process lives on.
    #[must_use]
    pub fn with_survivor(pid: u32, name: &str) -> Self {
        Self { survivor: Some((pid, name.to_owned())), ..Self::default() }
    }

    /// How often it was told to end.
    #[must_use]
    pub fn asked(&self) -> u32 {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandOver for FakeHandOver {
    fn end_all(&self, _deadline: Duration) -> Result<(), HandOverError> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ok(())
    }

    fn left(&self) -> Result<Left, HandOverError> {
        let there = self.asked() == 0;
        let mut processes: Vec<_> = self.survivor.iter().cloned().collect();
        if there {
            processes.push((2, "session".to_owned()));
        }
        Ok(Left {
            logins: Some(there.then(|| "1".to_owned()).into_iter().collect()),
            processes,
            runtime_dir: "/run/user/1000".to_owned(),
            has_runtime_dir: there,
            screen: None,
        })
    }
}
