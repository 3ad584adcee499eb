//! What a running hub keeps in memory of its record, and how a commit reaches it.
//!
//! It refuses to be the record: all of it is loaded again at every start.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use exeunt_check::wire::WireDelta;
use exeunt_check::{Batch, Delta, RevocationState};
use exeunt_domain::{DeviceId, Txn};
use tokio::sync::{broadcast, watch};

use crate::store::{Applied, Device, Effects, Entry, Head, KeyedDelta, Loaded, Operator, Service};
use crate::transmitter::Mail;

/// How many changes of the revocation state are kept for guards that lag.
const DELTAS: usize = 65_536;

/// A running hub's memory.
#[derive(Debug)]
pub struct Shared {
    revocations: RwLock<RevocationState>,
    deltas: Mutex<DeltaRing>,
    moved: watch::Sender<u64>,
    directory: RwLock<Directory>,
    /// Orders on their way to devices.
    pub mail: Mail,
    txns: broadcast::Sender<Txn>,
    owing: Mutex<HashSet<DeviceId>>,
    unconfirmed: Mutex<HashMap<String, BTreeSet<u64>>>,
    head: watch::Sender<Head>,
    /// Bells of streams to receivers.
    pub streams: crate::ssf::Bells,
}

#[derive(Debug, Default)]
struct DeltaRing {
    /// Changes after this sequence are all here.
    floor: u64,
    entries: VecDeque<(u64, WireDelta)>,
}

#[derive(Debug, Default)]
struct Directory {
    devices: HashMap<DeviceId, Device>,
    services: HashMap<String, Service>,
    operators: HashMap<[u8; 32], Operator>,
}

impl Shared {
    /// The memory of what was loaded.
    #[must_use]
    pub fn new(loaded: Loaded) -> Self {
        let shared = Self {
            revocations: RwLock::default(),
            deltas: Mutex::default(),
            moved: watch::Sender::new(0),
            directory: RwLock::default(),
            mail: Mail::default(),
            txns: broadcast::Sender::new(1024),
            owing: Mutex::default(),
            unconfirmed: Mutex::default(),
            head: watch::Sender::new(Head::default()),
            streams: crate::ssf::Bells::default(),
        };
        shared.reload(loaded);
        shared
    }

    /// Takes everything anew from the record.
    pub fn reload(&self, loaded: Loaded) {
        let seq = loaded.state.seq();
        *write(&self.revocations) = loaded.state;
        *lock(&self.deltas) = DeltaRing { floor: seq, entries: VecDeque::new() };
        *write(&self.directory) = Directory {
            devices: loaded.devices.into_iter().map(|d| (d.id.clone(), d)).collect(),
            services: loaded.services.into_iter().map(|s| (s.client_id.clone(), s)).collect(),
            operators: loaded.operators.into_iter().map(|o| (o.token, o)).collect(),
        };
        *lock(&self.owing) = loaded.owing.into_iter().collect();
        let mut unconfirmed: HashMap<String, BTreeSet<u64>> = HashMap::new();
        for (aud, seq) in loaded.unconfirmed {
            unconfirmed.entry(aud).or_default().insert(seq);
        }
        *lock(&self.unconfirmed) = unconfirmed;
        self.mail.reset(loaded.last_pos, loaded.behind);
        self.moved.send_replace(seq);
        self.head.send_replace(loaded.head);
    }

    /// Takes over what a batch changed. Called after the commit, before anyone is answered.
    ///
    /// Devices hear first: to wake a thread takes longer than all the rest of this.
    pub fn publish(&self, applied: &mut [Applied]) {
        let moved = applied.iter().filter_map(|done| done.seq).max().and_then(|seq| {
            let deltas =
                applied.iter_mut().flat_map(|done| std::mem::take(&mut done.effects.deltas));
            self.revoke(seq, deltas.collect())
        });
        let told: Vec<_> =
            applied.iter_mut().map(|done| self.spread(std::mem::take(&mut done.effects))).collect();
        if let Some(seq) = moved {
            self.moved.send_replace(seq);
        }
        for (streams, changed) in told {
            self.streams.ring(&streams);
            for txn in changed {
                // Nobody may be following.
                let _ = self.txns.send(txn);
            }
        }
    }

    /// Until which sequence the revocation state changed, if it did.
    fn revoke(&self, seq: u64, deltas: Vec<KeyedDelta>) -> Option<u64> {
        let changed = !deltas.is_empty();
        // Guards read the ring under this lock, so that `seq` and the deltas go together.
        let mut ring = lock(&self.deltas);
        let mut state = write(&self.revocations);
        let plain = deltas.iter().map(|keyed| keyed.delta).collect();
        let batch = Batch { after: state.seq(), seq, deltas: plain };
        if let Err(error) = state.apply(&batch) {
            // Ascending sequences come from the store; this cannot be reached in order.
            tracing::error!(%error, "a committed batch does not follow the one before");
        }
        for keyed in deltas {
            ring.push(keyed);
        }
        changed.then_some(seq)
    }

    /// Takes over the rest; which streams to ring for, and which transactions changed.
    fn spread(&self, effects: Effects) -> (Vec<String>, Vec<Txn>) {
        if let Some(device) = effects.device {
            self.mail.forget(&device.id);
            write(&self.directory).devices.insert(device.id.clone(), device);
        }
        if let Some(device) = effects.removed_device {
            write(&self.directory).devices.remove(&device);
            self.mail.forget(&device);
        }
        if let Some((device, in_force)) = effects.in_force
            && let Some(known) = write(&self.directory).devices.get_mut(&device)
        {
            known.in_force = Some(Arc::new(in_force));
        }
        if let Some(service) = effects.service {
            write(&self.directory).services.insert(service.client_id.clone(), service);
        }
        if let Some(operator) = effects.operator {
            write(&self.directory).operators.insert(operator.token, operator);
        }
        if let Some(name) = effects.removed_operator {
            write(&self.directory).operators.retain(|_, operator| operator.name != name);
        }
        self.mail.withdraw(&effects.withdrawn);
        self.mail.deliver(effects.entries);
        if let Some((device, owes)) = effects.owing {
            let mut owing = lock(&self.owing);
            if owes {
                owing.insert(device)
            } else {
                owing.remove(&device)
            };
        }
        for (aud, seq) in effects.unconfirmed {
            lock(&self.unconfirmed).entry(aud).or_default().insert(seq);
        }
        (effects.streams, effects.changed)
    }

    /// Notes the end of the audit chain, for the signed head.
    pub fn move_head(&self, head: Head) {
        self.head.send_replace(head);
    }

    /// Follows the end of the audit chain.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    /// Looks at the revocation state.
    pub fn revocations<T>(&self, look: impl FnOnce(&RevocationState) -> T) -> T {
        look(&self.revocations.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows the sequence of the last change of the revocation state.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Changes after `after` and the sequence up to which they are complete; None when some are
    /// no longer here, or `after` never was.
    #[must_use]
    pub fn deltas(&self, after: u64) -> Option<(u64, Vec<WireDelta>)> {
        let ring = lock(&self.deltas);
        let seq = self.revocations(RevocationState::seq);
        if after < ring.floor || after > seq {
            return None;
        }
        let start = ring.entries.partition_point(|(seq, _)| *seq <= after);
        let new = ring.entries.range(start..).map(|(_, delta)| delta.clone()).collect();
        Some((seq, new))
    }

    /// An enrolled device.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<Device> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).devices.get(id).cloned()
    }

    /// Which enrolment of a device is the current one.
    #[must_use]
    pub fn epoch(&self, id: &DeviceId) -> Option<u64> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        directory.devices.get(id).map(|device| device.epoch)
    }

    /// Entries of the log for a device after `after`, if memory reaches back that far.
    #[must_use]
    pub fn recent(&self, id: &DeviceId, after: u64) -> Option<Vec<Entry>> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        self.mail.recent(directory.devices.get(id)?, after)
    }

    /// A relying service by its client id.
    #[must_use]
    pub fn service(&self, client_id: &str) -> Option<Service> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        directory.services.get(client_id).cloned()
    }

    /// The audience that a relying service speaks for.
    #[must_use]
    pub fn audience(&self, client_id: &str) -> Option<String> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        directory.services.get(client_id).map(|service| service.aud.clone())
    }

    /// An operator by the hash of their token.
    #[must_use]
    pub fn operator(&self, token: &[u8; 32]) -> Option<Operator> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        directory.operators.get(token).cloned()
    }

    /// Whether anyone may operate this hub yet.
    #[must_use]
    pub fn has_operator(&self) -> bool {
        !self.directory.read().unwrap_or_else(PoisonError::into_inner).operators.is_empty()
    }

    /// Follows transactions as they change.
    #[must_use]
    pub fn txns(&self) -> broadcast::Receiver<Txn> {
        self.txns.subscribe()
    }

    /// Whether a device owes an answer to an overdue order.
    #[must_use]
    pub fn owes(&self, device: &DeviceId) -> bool {
        lock(&self.owing).contains(device)
    }

    /// Devices that owe an answer to an overdue order.
    #[must_use]
    pub fn owing(&self) -> Vec<DeviceId> {
        lock(&self.owing).iter().cloned().collect()
    }

    /// Whether sign-outs of `aud` up to `seq` wait to be confirmed; if so they are taken out.
    #[must_use]
    pub fn take_unconfirmed(&self, aud: &str, seq: u64) -> bool {
        let mut unconfirmed = lock(&self.unconfirmed);
        let Some(waiting) = unconfirmed.get_mut(aud) else { return false };
        let later = waiting.split_off(&(seq + 1));
        let confirmed = !waiting.is_empty();
        if later.is_empty() {
            unconfirmed.remove(aud);
        } else {
            *waiting = later;
        }
        confirmed
    }

    /// Whether any sign-out of `aud` waits to be confirmed.
    #[must_use]
    pub fn has_unconfirmed(&self, aud: &str) -> bool {
        lock(&self.unconfirmed).contains_key(aud)
    }

    /// Puts a confirmation back that could not be written.
    pub fn put_unconfirmed(&self, aud: &str, seq: u64) {
        lock(&self.unconfirmed).entry(aud.to_owned()).or_default().insert(seq);
    }
}

impl DeltaRing {
    fn push(&mut self, keyed: KeyedDelta) {
        if self.entries.len() >= DELTAS
            && let Some((seq, _)) = self.entries.pop_front()
        {
            self.floor = seq;
        }
        let KeyedDelta { delta, subject } = keyed;
        let wire = match delta {
            Delta::Watermark { mark, .. } => WireDelta::Watermark {
                subject: subject.unwrap_or_default(),
                seq: mark.seq,
                at: mark.at,
            },
            Delta::Denied { session, seq } => WireDelta::Denied { session: session.to_hex(), seq },
        };
        self.entries.push_back((delta.seq(), wire));
    }
}

/// A lock whose holder panicked still guards plain data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
