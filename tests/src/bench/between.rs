//! A relay between agent and warden that tells when each thing passed.
//!
//! It refuses to change a byte: what passes is timed by this one clock and handed on.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::order::{PROGRESS_EVENT, RECEIPT_EVENT};
use exeunt_domain::{Jti, Timestamp};
use exeunt_ipc::message::{Call, UplinkSet, WardenAnswer, WardenRequest};
use serde_json::Value;

use crate::people::Person;

/// When each stage of one transaction passed.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// The order's SET, which the agent handed to the warden at this instant.
    pub(super) handed_over: Option<(Jti, Instant)>,
    /// The warden's word, by the wall clock, when the stores were out of reach. It waits behind
    /// others on its way up, so that the time of its passing would say less.
    pub(super) fenced: Option<Timestamp>,
    /// The agent told that the hub had made the receipt durable.
    pub(super) committed: Option<Instant>,
}

/// What has passed so far.
#[derive(Debug, Default)]
pub(super) struct Between {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    passed: HashMap<String, Passed>,
    /// The transaction of each receipt that was handed to the agent.
    receipts: HashMap<String, String>,
    /// What the hub has, and when the agent said so. Its word can be here before the look at what it
    /// speaks of, since that goes on first and is looked at afterwards.
    accepted: HashMap<String, Instant>,
}

impl Seen {
    /// Joins a receipt and the word that the hub has it, whichever was seen first.
    fn settle(&mut self, jti: &str) {
        if let (Some(txn), Some(at)) = (self.receipts.get(jti), self.accepted.get(jti)) {
            self.passed.entry(txn.clone()).or_default().committed.get_or_insert(*at);
        }
    }
}

#[derive(Clone, Copy)]
enum Towards {
    Warden,
    Agent,
}

impl Between {
    /// Listens at `socket` for `agent` and hands everything on to `warden`.
    pub(super) fn listen(socket: &Path, warden: &Path, agent: &Person) -> Result<Arc<Self>> {
        let listener = UnixListener::bind(socket)?;
        chown(socket, Some(agent.uid), Some(agent.gid))?;
        let between = Arc::new(Self::default());
        let (shared, warden) = (Arc::clone(&between), warden.to_owned());
        std::thread::Builder::new().name("between".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                // The agent tries again while no warden is there.
                let Ok(server) = UnixStream::connect(&warden) else { continue };
                if let Err(error) = join(&shared, client, server) {
                    eprintln!("between agent and warden: {error:#}");
                }
            }
        })?;
        Ok(between)
    }

    /// Waits until the hub has the receipt of `txn`, and tells when everything passed.
    pub(super) fn wait(&self, txn: &str, limit: Duration) -> Result<Passed> {
        let end = Instant::now() + limit;
        let mut seen = self.seen();
        loop {
            let passed = seen.passed.get(txn).cloned().unwrap_or_default();
            if passed.committed.is_some() {
                return Ok(passed);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{txn} did not end within {} s: {passed:?}", limit.as_secs());
            }
            let woken = self.changed.wait_timeout(seen, left);
            seen = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a frame that passed at `at`.
    fn look(&self, frame: &[u8], at: Instant, towards: Towards) {
        match towards {
            Towards::Warden => {
                if let Ok(call) = serde_json::from_slice::<Call<WardenRequest>>(frame) {
                    self.asked(call.request, at);
                }
            }
            Towards::Agent => {
                if let Ok(WardenAnswer::Uplink { sets }) = serde_json::from_slice(frame) {
                    sets.into_iter().for_each(|set| self.handed_out(set));
                }
            }
        }
    }

    fn asked(&self, request: WardenRequest, at: Instant) {
        let mut seen = self.seen();
        if let WardenRequest::Deliver { set } = &request
            && let Some(claims) = claims(set)
            && let (Some(txn), Some(jti)) = (claims["txn"].as_str(), claims["jti"].as_str())
            && let Ok(jti) = Jti::parse(jti)
        {
            seen.passed.entry(txn.to_owned()).or_default().handed_over.get_or_insert((jti, at));
        } else if let WardenRequest::UplinkResult { accepted, .. } = &request {
            for jti in accepted {
                seen.accepted.insert(jti.as_str().to_owned(), at);
                seen.settle(jti.as_str());
            }
            self.changed.notify_all();
        }
    }

    fn handed_out(&self, set: UplinkSet) {
        let Some(claims) = claims(&set.set) else { return };
        let Some(txn) = claims["txn"].as_str().map(str::to_owned) else { return };
        let events = &claims["events"];
        let mut seen = self.seen();
        if events[PROGRESS_EVENT]["outcome"] == "fenced" {
            let at = events[PROGRESS_EVENT]["at"].as_u64();
            seen.passed.entry(txn.clone()).or_default().fenced = at.map(Timestamp);
        }
        if !events[RECEIPT_EVENT].is_null() {
            seen.receipts.insert(set.jti.as_str().to_owned(), txn);
            seen.settle(set.jti.as_str());
            self.changed.notify_all();
        }
    }
}

/// Joins two streams, each way on a thread of its own.
fn join(between: &Arc<Between>, client: UnixStream, server: UnixStream) -> Result<()> {
    let back = (server.try_clone()?, client.try_clone()?);
    for (from, to, towards) in [(client, server, Towards::Warden), (back.0, back.1, Towards::Agent)]
    {
        let between = Arc::clone(between);
        std::thread::Builder::new().spawn(move || {
            // It ends when either side closes, which is told to the other.
            let _ended = hand_on(&between, &from, &to, towards);
            let _closed = to.shutdown(std::net::Shutdown::Both);
        })?;
    }
    Ok(())
}

fn hand_on(
    between: &Between,
    mut from: &UnixStream,
    mut to: &UnixStream,
    towards: Towards,
) -> Result<()> {
    loop {
        let mut length = [0_u8; 4];
        from.read_exact(&mut length)?;
        let count = usize::try_from(u32::from_be_bytes(length)).context("a frame's length")?;
        let mut frame = vec![0_u8; count + length.len()];
        let (head, body) = frame.split_at_mut(length.len());
        head.copy_from_slice(&length);
        from.read_exact(body)?;
        let at = Instant::now();
        to.write_all(&frame)?;
        between.look(frame.get(length.len()..).unwrap_or_default(), at, towards);
    }
}

/// The claims of a compact SET, unverified: only its times are of interest here.
fn claims(compact: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(compact.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Ground;
    use exeunt_ipc::message::VERSION;
    use exeunt_ipc::{read_frame, write_frame};
    use serde_json::json;

    /// A receipt of some stores: it takes a while to read.
    fn receipt(number: u32) -> UplinkSet {
        let stores = vec![json!({ "app": "chromium", "store": "cookies" }); 2000];
        let claims = json!({
            "jti": format!("j{number}"), "txn": format!("t{number}"),
            "events": { RECEIPT_EVENT: { "stores": stores } },
        });
        let set = format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let jti = Jti::parse(format!("j{number}")).unwrap();
        UplinkSet { jti, set, to: exeunt_ipc::message::UplinkRoute::Events }
    }

    #[test]
    fn hears_of_a_receipt_whose_answer_overtakes_the_look_at_it() {
        let ground = Ground::new().unwrap();
        let alice = ground.person("alice").unwrap();
        let (socket, behind) = (ground.path().join("between"), ground.path().join("warden"));
        let warden = UnixListener::bind(&behind).unwrap();
        let between = Between::listen(&socket, &behind, &alice).unwrap();
        let mut agent = UnixStream::connect(&socket).unwrap();
        let (mut warden, _) = warden.accept().unwrap();
        for number in 0..20 {
            let set = receipt(number);
            let accepted = vec![set.jti.clone()];
            write_frame(&mut warden, &WardenAnswer::Uplink { sets: vec![set] }).unwrap();
            // An agent that has its answer ready before anybody could have read the question.
            let mut head = [0; 4];
            agent.read_exact(&mut head).unwrap();
            let result = WardenRequest::UplinkResult { accepted, refused: Default::default() };
            write_frame(&mut agent, &Call { v: VERSION, request: result }).unwrap();
            let mut rest = vec![0; usize::try_from(u32::from_be_bytes(head)).unwrap()];
            agent.read_exact(&mut rest).unwrap();
            let _asked: Call<WardenRequest> = read_frame(&mut warden).unwrap();
            between.wait(&format!("t{number}"), Duration::from_secs(5)).unwrap();
        }
    }
}
