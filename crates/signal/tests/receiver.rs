//! The poll loop against a scripted transport, under paused time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exeunt_domain::Jti;
use exeunt_signal::{Link, Receiver, ReceiverSettings, Transport, TransportError};
use exeunt_ssf::{PollRequest, PollResponse, SetErr};
use tokio::time::Instant;

enum Step {
    Sets(&'static [&'static str]),
    Fails(TransportError),
    Parks,
}

#[derive(Clone)]
struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    asked: Arc<Mutex<Vec<(PollRequest, Instant)>>>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: Arc::new(Mutex::new(steps.into_iter().collect())), asked: Arc::default() }
    }

    fn asked(&self) -> Vec<(PollRequest, Instant)> {
        self.asked.lock().unwrap().clone()
    }

    fn receiver(&self) -> Receiver<Script> {
        Receiver::new(self.clone(), ReceiverSettings::default())
    }
}

impl Transport for Script {
    async fn poll(&self, request: &PollRequest) -> Result<PollResponse, TransportError> {
        self.asked.lock().unwrap().push((request.clone(), Instant::now()));
        let step = self.steps.lock().unwrap().pop_front().unwrap_or(Step::Parks);
        match step {
            Step::Sets(names) => {
                let sets = names.iter().map(|name| (jti(name), format!("set-{name}"))).collect();
                Ok(PollResponse { sets, more_available: false })
            }
            Step::Fails(error) => Err(error),
            Step::Parks => std::future::pending().await,
        }
    }
}

fn jti(name: &str) -> Jti {
    Jti::parse(name).unwrap()
}

fn refused() -> TransportError {
    TransportError::Unreachable("connection refused".into())
}

#[tokio::test(start_paused = true)]
async fn the_next_request_carries_acks_and_errors_and_goes_out_at_once() {
    let script = Script::new([Step::Sets(&["a", "b"]), Step::Sets(&["c"])]);
    let mut receiver = script.receiver();
    let start = Instant::now();
    assert_eq!(receiver.next().await.keys().map(Jti::as_str).collect::<Vec<_>>(), ["a", "b"]);
    receiver.ack(jti("a"));
    let error = SetErr { err: "invalid_audience".into(), description: String::new() };
    receiver.refuse(jti("b"), error.clone());
    assert_eq!(receiver.next().await.keys().map(Jti::as_str).collect::<Vec<_>>(), ["c"]);
    assert_eq!(start.elapsed(), Duration::ZERO);

    let asked = script.asked();
    assert!(asked[0].0.return_immediately, "the first poll learns whether the link stands");
    assert!(!asked[1].0.return_immediately);
    assert_eq!(asked[1].0.ack, [jti("a")]);
    assert_eq!(asked[1].0.set_errs, BTreeMap::from([(jti("b"), error)]));
}

#[tokio::test(start_paused = true)]
async fn acks_are_kept_until_a_request_that_carried_them_was_answered() {
    let script = Script::new([
        Step::Sets(&["a"]),
        Step::Fails(TransportError::Closed),
        Step::Fails(refused()),
        Step::Sets(&["b"]),
        Step::Sets(&["c"]),
    ]);
    let mut receiver = script.receiver();
    receiver.next().await;
    receiver.ack(jti("a"));
    receiver.next().await;
    receiver.next().await;
    let acks: Vec<usize> = script.asked().iter().map(|(request, _)| request.ack.len()).collect();
    assert_eq!(acks, [0, 1, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_dropped_loses_no_ack() {
    let script = Script::new([Step::Sets(&["a"]), Step::Parks]);
    let mut receiver = script.receiver();
    receiver.next().await;
    receiver.ack(jti("a"));
    let dropped = tokio::time::timeout(Duration::from_secs(1), receiver.next()).await;
    assert!(dropped.is_err());
    let _ = tokio::time::timeout(Duration::from_secs(1), receiver.next()).await;
    assert_eq!(script.asked()[2].0.ack, [jti("a")]);
}

#[tokio::test(start_paused = true)]
async fn reconnects_at_once_after_a_clean_close_then_backs_off_within_bounds() {
    let failures = (0..12).map(|_| Step::Fails(refused()));
    let steps = [Step::Sets(&["a"]), Step::Fails(TransportError::Closed)];
    let script = Script::new(steps.into_iter().chain(failures).chain([Step::Sets(&["b"])]));
    let mut receiver = script.receiver();
    receiver.next().await;
    receiver.next().await;
    let asked = script.asked();
    let gaps: Vec<Duration> = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert_eq!(gaps[1], Duration::ZERO, "the reconnect after the close");
    // Tokio's timer rounds up to whole milliseconds.
    let ceilings = [20, 40, 80, 90, 90, 90, 90, 90, 90, 90, 90, 90];
    for (gap, ceiling) in gaps[2..].iter().zip(ceilings) {
        assert!(*gap <= Duration::from_millis(ceiling * 1000 + 1), "{gap:?} over {ceiling} s");
    }
    assert!(gaps[2..].iter().any(|gap| *gap > Duration::ZERO), "no wait at all");
}

#[tokio::test(start_paused = true)]
async fn waits_at_least_as_long_as_it_was_asked_to() {
    let busy = TransportError::Busy { status: 503, retry_after: Some(Duration::from_secs(40)) };
    let script = Script::new([Step::Fails(busy), Step::Sets(&["a"])]);
    let start = Instant::now();
    script.receiver().next().await;
    assert!(start.elapsed() >= Duration::from_secs(40), "{:?}", start.elapsed());
    assert!(start.elapsed() <= Duration::from_secs(51), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_nudge_ends_the_wait_and_the_link_tells_down_from_up() {
    let busy = TransportError::Busy { status: 503, retry_after: Some(Duration::from_secs(600)) };
    let script = Script::new([Step::Fails(busy), Step::Sets(&["a"])]);
    let nudge = Arc::new(tokio::sync::Notify::new());
    let mut receiver = script.receiver().nudged_by(Arc::clone(&nudge));
    let mut link = receiver.link();
    let start = Instant::now();
    let polled = tokio::spawn(async move { receiver.next().await });
    link.wait_for(|link| matches!(link, Link::Down(_))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    nudge.notify_waiters();
    assert_eq!(polled.await.unwrap().len(), 1);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(*link.borrow(), Link::Up);
}

#[tokio::test(start_paused = true)]
async fn slows_down_for_a_transmitter_that_does_not_honour_long_polls() {
    let script = Script::new((0..10).map(|_| Step::Sets(&[])).chain([Step::Sets(&["a"])]));
    let start = Instant::now();
    script.receiver().next().await;
    assert!(start.elapsed() >= Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn flush_hands_over_acks_and_asks_for_no_set() {
    let script = Script::new([Step::Sets(&["a"]), Step::Sets(&[])]);
    let mut receiver = script.receiver();
    receiver.flush().await.unwrap();
    assert!(script.asked().is_empty(), "nothing to hand over, nothing asked");
    receiver.next().await;
    receiver.ack(jti("a"));
    receiver.flush().await.unwrap();
    let last = script.asked().pop().unwrap().0;
    assert_eq!((last.max_events, last.return_immediately, last.ack.len()), (Some(0), true, 1));
}
