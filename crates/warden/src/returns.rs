//! The watch of each account's home. While somebody is signed in it keeps the survey warm; after a
//! close it tells at once what comes back, and contains it if the settings say so.
//!
//! It refuses to act while somebody is signed in at the console, to believe an event without
//! looking, and to tell or contain more often than a few times an hour.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use exeunt_domain::order::{Demand, RECEIPT_EVENT, STORES_RETURNED_EVENT};
use exeunt_domain::receipt::ReceiptBody;
use exeunt_domain::{Authority, StoreReport, Tier, Txn, Verdict};
use exeunt_engine::ports::{Bell, Clock as _, Heard};
use exeunt_engine::watch::{Returns, Sight, look};
use exeunt_host::clock::SystemClock;
use exeunt_host::files::{Bases, LinuxFiles};
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_host::watch::{LinuxWatcher, MOST};
use exeunt_ipc::message::{Returned, Watched};
use serde_json::json;

use crate::config::OnReturn;
use crate::event::Event;
use crate::rate::Rate;
use crate::warden::{Warden, spawn};

/// Least time between two looks; a pause is also ten times as long as the look before it.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause, however long a look takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long between two looks when nothing is heard and everything is watched.
const LOOK_ANYWAY: Duration = Duration::from_secs(600);
/// The same, when something could not be watched.
const LOOK_OFTEN: Duration = Duration::from_secs(30);
/// Least time between two looks while somebody is signed in: they only keep the way to every store
/// in the kernel's memory, so that an order's survey does not wait for the disk.
const WARM_PAUSE: Duration = Duration::from_secs(60);
/// How often an hour the hub is told of one account.
const TOLD_PER_HOUR: u32 = 12;
/// How often an hour what came back to one account is contained.
const CONTAINED_PER_HOUR: u32 = 3;

/// The watch of one account, as others see it.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    bell: Bell,
    state: Option<Watched>,
    /// Somebody is signed in there.
    warm: bool,
}

/// The close that a watch follows: its transaction, its tier, and what it left.
struct Close {
    txn: Txn,
    tier: Tier,
    left: Vec<StoreReport>,
}

/// What one watch knows from look to look.
struct Memory {
    watcher: LinuxWatcher,
    since: Option<(Txn, Returns)>,
    told: Rate,
    contained: Rate,
    /// How long the last look took.
    took: Duration,
}

impl Warden {
    /// Keeps every account watched that has a session or was closed, for as long as this runs.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start_watching(self: &Arc<Self>) -> anyhow::Result<()> {
        let warden = Arc::clone(self);
        spawn("watches", move || {
            loop {
                warden.tend_watches();
                if warden.sessions_changed.wait(LOOK_ANYWAY) == Heard::Called {
                    return;
                }
            }
        })
    }

    fn tend_watches(self: &Arc<Self>) {
        let wanted: BTreeMap<u32, bool> = self.ledger.read(|state| {
            let closed = state.closed_at.keys().map(|uid| (*uid, false));
            closed.chain(state.sessions.iter().map(|session| (session.uid, true))).collect()
        });
        let mut watching = self.lock_watching();
        watching.retain(|uid, watch| {
            let stays = wanted.get(uid) == Some(&watch.warm);
            if !stays {
                watch.bell.call();
            }
            stays
        });
        for (uid, warm) in wanted {
            if watching.contains_key(&uid) {
                continue;
            }
            let bell = Bell::default();
            let (warden, hears) = (Arc::clone(self), bell.clone());
            match spawn("watch", move || warden.watch(uid, warm, &hears)) {
                Ok(()) => {
                    watching.insert(uid, Watching { bell, state: None, warm });
                }
                Err(error) => tracing::error!(uid, %error, "an account is not watched"),
            }
        }
    }

    /// How the watch of an account stands; for root, of whichever there is.
    pub(crate) fn watched(&self, uid: u32) -> Option<Watched> {
        if self.is_signed_in(uid) {
            return None;
        }
        let watching = self.lock_watching();
        let closed = |watch: &&Watching| !watch.warm;
        let any = || watching.values().find(closed).filter(|_| uid == 0);
        let own = watching.get(&uid).filter(closed).or_else(any);
        own.and_then(|watching| watching.state.clone())
    }

    fn watch(self: &Arc<Self>, uid: u32, warm: bool, bell: &Bell) {
        let watcher = LinuxWatcher::new(bell.clone(), MOST);
        let (told, contained) = (Rate::default(), Rate::default());
        let mut memory = Memory { watcher, since: None, told, contained, took: PAUSE };
        loop {
            let (within, pause) = if warm {
                self.look_ahead(uid, &mut memory);
                (LOOK_ANYWAY, WARM_PAUSE)
            } else {
                let within = self.look_once(uid, &mut memory);
                (within, (memory.took * 10).clamp(PAUSE, LONGEST_PAUSE))
            };
            crate::memory::give_back();
            // A change that comes after a quiet time is looked at at once.
            let looked = Instant::now();
            if bell.wait(within.max(pause)) == Heard::Called
                || bell.pause(pause.saturating_sub(looked.elapsed())) == Heard::Called
            {
                return;
            }
        }
    }

    /// A look whose answer is not kept: what an order finds, it finds by its own.
    fn look_ahead(&self, uid: u32, memory: &mut Memory) {
        if self.running_for(uid).is_some() {
            return;
        }
        if let Err(error) = self.sight(uid, Tier::SignOut, &mut memory.watcher) {
            tracing::debug!(uid, error = format!("{error:#}"), "nothing to keep warm");
        }
    }

    /// One look; says how long may pass until the next when nothing is heard.
    fn look_once(self: &Arc<Self>, uid: u32, memory: &mut Memory) -> Duration {
        let idle = self.running_for(uid).is_none() && !self.is_signed_in(uid);
        let Some(close) = self.last_close(uid).filter(|_| idle) else { return PAUSE };
        let began = Instant::now();
        let sight = self.sight(uid, close.tier, &mut memory.watcher);
        memory.took = began.elapsed();
        let sight = match sight {
            Ok(sight) => sight,
            Err(error) => {
                let why = format!("{error:#}");
                tracing::warn!(uid, error = why, "a closed account could not be looked at");
                self.note_watch(uid, Watched { watched: 0, left_out: 0, why: Some(why) });
                return LOOK_OFTEN;
            }
        };
        // A close that began meanwhile looks for itself.
        let same = self.last_close(uid).is_some_and(|now| now.txn == close.txn);
        if !same || self.running_for(uid).is_some() || self.is_signed_in(uid) {
            return PAUSE;
        }
        let coverage = &sight.coverage;
        self.note_watch(
            uid,
            Watched {
                watched: coverage.watched as u64,
                left_out: coverage.left_out as u64,
                why: coverage.why.clone(),
            },
        );
        let returns = match memory.since.take() {
            Some((txn, returns)) if txn == close.txn => returns,
            Some(_) | None => Returns::after(&close.left),
        };
        let (_, returns) = memory.since.insert((close.txn.clone(), returns));
        let fresh = returns.see(&sight.rows);
        if !fresh.is_empty() {
            self.came_back(uid, &close, fresh, memory);
        }
        match (sight.settled, sight.coverage.left_out) {
            (false, _) => PAUSE,
            (true, 0) => LOOK_ANYWAY,
            (true, _) => LOOK_OFTEN,
        }
    }

    fn is_signed_in(&self, uid: u32) -> bool {
        self.ledger.read(|state| state.session_of(uid).is_some())
    }

    fn sight(&self, uid: u32, tier: Tier, watcher: &mut LinuxWatcher) -> anyhow::Result<Sight> {
        let account = self.account(uid)?;
        let files = LinuxFiles::open(&account.home, &account, Bases::default(), &[])?;
        let processes = LinuxProcesses::of_account(&account, KeepList::default());
        Ok(look(&self.catalogue, &files, &processes, tier, watcher))
    }

    /// The last close of an account that touched stores.
    fn last_close(&self, uid: u32) -> Option<Close> {
        self.ledger.read(|state| {
            let of_uid = state.receipts.iter().rev().filter(|(uids, _)| uids.contains(&uid));
            let mut bodies = of_uid.filter_map(|(_, line)| {
                let set = exeunt_ssf::read_unverified(&line.receipt).ok()?;
                set.event_as::<ReceiptBody>(RECEIPT_EVENT).ok()
            });
            let body = bodies.find(|body| body.tier > Tier::Lock)?;
            let left = body.stores.into_iter().filter(|row| row.verdict != Some(Verdict::Gone));
            Some(Close { txn: body.txn, tier: body.tier, left: left.collect() })
        })
    }

    fn came_back(
        self: &Arc<Self>,
        uid: u32,
        close: &Close,
        stores: Vec<StoreReport>,
        memory: &mut Memory,
    ) {
        let at = SystemClock.instant();
        tracing::warn!(uid, after = %close.txn, stores = stores.len(), "stores came back");
        let contains = self.config.on_return == OnReturn::Contain;
        let contains_now = contains && memory.contained.take(CONTAINED_PER_HOUR, at);
        let detail = (contains && !contains_now).then(|| {
            format!("contained {CONTAINED_PER_HOUR} times within an hour: now only reported")
        });
        let (after, now) = (close.txn.clone(), SystemClock.now());
        let mut returned = Returned { at: now, after, stores, contained: None, detail };
        let mut events = vec![Event::Returned { uid, returned: returned.clone() }];
        if memory.told.take(TOLD_PER_HOUR, at) {
            match self.tell_hub(uid, &returned, contains_now) {
                Ok(uplink) => events.extend(uplink),
                Err(error) => tracing::error!(%error, "a return could not be signed"),
            }
        }
        self.ledger.record(&events);
        if contains_now {
            returned.contained = self.contain_returned(uid, close);
            self.ledger.record(&[Event::Returned { uid, returned }]);
        }
    }

    fn tell_hub(
        &self,
        uid: u32,
        returned: &Returned,
        contains: bool,
    ) -> anyhow::Result<Option<Event>> {
        let (epoch, subject) = self.ledger.read(|state| {
            let epoch = state.enrolment.as_ref().map(|known| known.epoch);
            (epoch, state.last_subjects.get(&uid).cloned())
        });
        let event = json!({
            "after": returned.after, "at": returned.at, "epoch": epoch, "subject": subject,
            "stores": returned.stores, "contains": contains,
        });
        let uplink = self.to_hub(STORES_RETURNED_EVENT, &event, Some(&returned.after))?;
        Ok(uplink.map(|uplink| Event::Queued { uplink }))
    }

    /// Contains the account again under a transaction of its own, and waits for the receipt.
    fn contain_returned(self: &Arc<Self>, uid: u32, close: &Close) -> Option<Txn> {
        let trigger = format!("stores came back after {}", close.txn);
        let subject = self.ledger.read(|state| state.last_subjects.get(&uid).cloned());
        let txn = self.close_here(uid, |txn| Demand {
            txn,
            authority: Authority::LocalPolicy { trigger },
            tier: close.tier,
            subject,
            reason: Some("a session store came back after it was closed".into()),
            hand_over: false,
        });
        match txn {
            Ok(txn) => {
                // The receipt is in the ledger once nothing more is told.
                self.follow(&txn, uid).into_iter().flatten().for_each(drop);
                Some(txn)
            }
            Err(error) => {
                tracing::error!(uid, error = format!("{error:#}"), "a return was not contained");
                None
            }
        }
    }

    fn note_watch(&self, uid: u32, state: Watched) {
        if let Some(watching) = self.lock_watching().get_mut(&uid) {
            if state.left_out > 0 && watching.state.as_ref() != Some(&state) {
                let why = state.why.as_deref().unwrap_or_default();
                tracing::warn!(uid, left_out = state.left_out, why, "looking every 30 s instead");
            }
            watching.state = Some(state);
        }
    }

    fn lock_watching(&self) -> MutexGuard<'_, BTreeMap<u32, Watching>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
