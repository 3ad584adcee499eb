//! Somebody who keeps sending a stolen cookie.
//!
//! It refuses to stop at the first refusal: one that is taken back would be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use reqwest::header::COOKIE;

/// How long the thief rests between two tries.
const REST: Duration = Duration::from_millis(2);

/// What the cookie got.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The very first answer.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// When an answer first was a refusal.
    pub refused: Option<Instant>,
    /// How often it was accepted in a request that began after the first refusal had come.
    pub accepted_again: u32,
}

/// A thread that sends the cookie until it is told to stop.
#[derive(Debug)]
pub struct Thief {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Thief {
    /// Begins to send `cookie` to `address`.
    ///
    /// # Errors
    /// No client or no thread could be made.
    pub fn begin(address: String, cookie: String) -> Result<Self> {
        let client = crate::http::client(Duration::from_secs(10))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("thief".into()).spawn(move || {
            let try_once = || -> Result<u16> {
                Ok(client.get(&address).header(COOKIE, &cookie).send()?.status().as_u16())
            };
            let first = try_once()?;
            let mut seen = Seen { first, last: first, refused: None, accepted_again: 0 };
            while !told.load(Ordering::Relaxed) {
                seen.last = try_once()?;
                if seen.last != 200 {
                    seen.refused.get_or_insert_with(Instant::now);
                } else if seen.refused.is_some() {
                    seen.accepted_again += 1;
                }
                std::thread::sleep(REST);
            }
            Ok(seen)
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops, and tells what was seen.
    ///
    /// # Errors
    /// The site could not be asked.
    pub fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(_panic) => bail!("the thread that sends the old cookie panicked"),
        }
    }
}
