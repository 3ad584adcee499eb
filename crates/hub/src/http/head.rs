//! The deadline of a request's head, for hyper: set and lifted at every request, and no timer of the
//! runtime is made or taken back for that.
//!
//! It refuses to wake a connection that waits for its answer more than once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::publish::lock;

/// When the head that is being read must be here; None while none is.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadDeadline(Arc<Mutex<Option<Instant>>>);

impl HeadDeadline {
    /// Ends when a head is late.
    pub(super) async fn late(&self) {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let mut set = false;
        poll_fn(|context| {
            let Some(deadline) = *lock(&self.0) else { return Poll::Pending };
            if !set {
                sleep.as_mut().reset(deadline.into());
                set = true;
            }
            // It may have been set for an earlier head, which came in time.
            while sleep.as_mut().poll(context).is_ready() {
                if deadline <= Instant::now() {
                    return Poll::Ready(());
                }
                sleep.as_mut().reset(deadline.into());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Timer for HeadDeadline {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        *lock(&self.0) = Some(deadline);
        Box::pin(Reading(self.clone()))
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        *lock(&self.0) = Some(deadline);
    }
}

/// A head is being read. It never ends by itself: [`HeadDeadline::late`] does.
#[derive(Debug)]
struct Reading(HeadDeadline);

impl Sleep for Reading {}

impl Future for Reading {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        *lock(&self.0.0) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_is_late_only_while_it_is_read() {
        let head = HeadDeadline::default();
        let short = Duration::from_millis(20);
        let mut late = Box::pin({
            let head = head.clone();
            async move { head.late().await }
        });
        let first = head.sleep(short);
        assert!(tokio::time::timeout(Duration::ZERO, &mut late).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(2 * short, &mut late).await.is_err(), "it came in time");
        let second = head.sleep(short);
        late.await;
        drop(second);
    }
}
