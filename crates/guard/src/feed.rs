//! The background task: ordered changes by long poll, and a snapshot wherever some are missing.
//!
//! It refuses to skip and to go back: a batch that does not follow what is held is thrown away, and
//! so is a snapshot of an earlier time.

use std::sync::Arc;
use std::time::Duration;

use exeunt_check::wire::DeltasResponse;

use crate::guard::{Known, Options};
use crate::hub::{Hub, HubError};

/// The longest wait for a change that is asked of the hub, in seconds.
const LONGEST_WAIT: u64 = 25;
/// The first and the longest pause after a failure. A guard grows stale while it waits, so they
/// are short.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

pub(crate) struct Feed {
    hub: Hub,
    known: Arc<Known>,
    instance: String,
    wait: u64,
}

impl Feed {
    pub(crate) fn new(hub: Hub, known: Arc<Known>, options: &Options) -> Self {
        let wait = (options.max_stale / 2).as_secs().clamp(1, LONGEST_WAIT);
        Self { hub, known, instance: options.instance.clone(), wait }
    }

    pub(crate) async fn follow(self) {
        let mut pause = PAUSES.0;
        loop {
            match self.step().await {
                Ok(()) => pause = PAUSES.0,
                Err(error) => {
                    tracing::warn!(%error, "the hub's changes do not come in");
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    async fn step(&self) -> Result<(), HubError> {
        let after = self.known.seq();
        let waiting = self.hub.deltas(after, self.wait, &self.instance);
        let answer = tokio::select! {
            answer = waiting => answer,
            () = self.known.hurry.notified() => self.hub.deltas(after, 0, &self.instance).await,
        };
        match answer {
            Ok(deltas) => self.take(&deltas).await,
            Err(HubError::SnapshotNeeded) => self.restart().await,
            Err(error) => Err(error),
        }
    }

    async fn take(&self, deltas: &DeltasResponse) -> Result<(), HubError> {
        let batch = deltas.batch()?;
        match self.known.update(|state| state.apply(&batch)) {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "a batch of changes does not follow the one before");
                self.restart().await
            }
        }
    }

    async fn restart(&self) -> Result<(), HubError> {
        let fresh = self.hub.snapshot().await?.state()?;
        let seq = self.known.update(|state| {
            // A hub that forgot would bring dead sessions back.
            if fresh.seq() < state.seq() {
                return Err(HubError::WentBack { have: state.seq(), hub: fresh.seq() });
            }
            *state = fresh;
            Ok(())
        })?;
        tracing::info!(seq, "took a snapshot");
        Ok(())
    }
}

/// Half of `pause` to all of it, so that many guards do not come back at once.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let draw = RandomState::new().hash_one(0_u8) % 1024;
    pause / 2 + pause.mul_f64(draw as f64 / 2048.0)
}
