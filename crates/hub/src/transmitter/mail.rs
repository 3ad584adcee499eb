//! The recent end of the log, and one link a polling device.
//!
//! It refuses to hold what it cannot bound: the tail has a length, a link forgets what is settled.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use exeunt_domain::{DeviceId, Jti, Timestamp};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::publish::lock;
use crate::store::command::Settled;
use crate::store::{Addressee, Device, Entry};

/// How many entries of the log are kept in memory.
const TAIL: usize = 16_384;

/// Every link, and the log's recent end.
#[derive(Debug, Default)]
pub struct Mail {
    links: RwLock<HashMap<DeviceId, Arc<Link>>>,
    tail: Mutex<Tail>,
    start: RwLock<Start>,
    /// How far devices have acknowledged, which the record does not know yet: enrolment, position.
    settled: Mutex<HashMap<DeviceId, (u64, u64)>>,
}

/// Where links begin.
#[derive(Debug, Default)]
struct Start {
    /// Where the log ended when it was loaded.
    pos: u64,
    /// Devices that the record must be asked about: something waited for them then, or they were
    /// enrolled since.
    ask: HashSet<DeviceId>,
}

#[derive(Debug, Default)]
struct Tail {
    /// Entries after this position are all here, except those withdrawn.
    floor: u64,
    last: u64,
    entries: VecDeque<Entry>,
    /// Positions of entries to one device, ascending.
    own: HashMap<DeviceId, VecDeque<u64>>,
    /// Positions of entries to several devices, ascending.
    wide: VecDeque<u64>,
}

/// One device's state between its polls.
#[derive(Debug)]
pub struct Link {
    bell: Notify,
    parked: AtomicUsize,
    closed: AtomicBool,
    state: Mutex<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    /// The last position known to be addressed to the device.
    latest: u64,
    /// Everything addressed to it up to here is acknowledged. None until the record was asked,
    /// where it alone knows.
    settled: Option<u64>,
    /// Sent and not settled; true once acknowledged.
    sent: HashMap<Jti, (u64, bool)>,
    last_seen: Timestamp,
}

/// What a link knows before anything is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Fetch after this position; None: from the record.
    pub settled: Option<u64>,
    /// Up to this position the fetch is meaningful.
    pub latest: u64,
    /// How many acknowledgements the record may not know yet.
    pub unsettled: usize,
}

impl Mail {
    /// Forgets everything; the log ends at `last`, and something waits for those `behind`.
    pub(crate) fn reset(&self, last: u64, behind: Vec<DeviceId>) {
        *lock(&self.tail) = Tail { floor: last, last, ..Tail::default() };
        let start = Start { pos: last, ask: behind.into_iter().collect() };
        *self.start.write().unwrap_or_else(PoisonError::into_inner) = start;
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        for link in links.drain().map(|(_, link)| link) {
            link.close();
        }
    }

    /// The link of a device that polls now.
    pub fn link(&self, device: &DeviceId, now: Timestamp) -> Arc<Link> {
        let found = self.find(device);
        let link = found.unwrap_or_else(|| {
            let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
            let latest = lock(&self.tail).last;
            let start = self.start.read().unwrap_or_else(PoisonError::into_inner);
            let settled = (!start.ask.contains(device)).then_some(start.pos);
            let fresh = || Arc::new(Link::new(latest, settled, now));
            Arc::clone(links.entry(device.clone()).or_insert_with(fresh))
        });
        lock(&link.state).last_seen = now;
        link
    }

    /// When a device last polled, if it did since the start.
    #[must_use]
    pub fn last_seen(&self, device: &DeviceId) -> Option<Timestamp> {
        self.find(device).map(|link| lock(&link.state).last_seen)
    }

    /// Whether a device waits in a long poll now.
    #[must_use]
    pub fn is_parked(&self, device: &DeviceId) -> bool {
        self.find(device).is_some_and(|link| link.parked.load(Ordering::Relaxed) > 0)
    }

    /// Ends a device's link: its next poll starts anew.
    pub(crate) fn forget(&self, device: &DeviceId) {
        // The record alone knows where the new enrolment begins.
        let mut start = self.start.write().unwrap_or_else(PoisonError::into_inner);
        start.ask.insert(device.clone());
        drop(start);
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.remove(device) {
            link.close();
        }
    }

    /// Notes how far a device has acknowledged.
    pub(crate) fn settle(&self, device: &DeviceId, epoch: u64, pos: u64) {
        let mut settled = lock(&self.settled);
        let known = settled.entry(device.clone()).or_default();
        *known = (epoch, pos).max(*known);
    }

    /// Takes some of what was noted, to write it down.
    pub(crate) fn take_settled(&self, most: usize) -> Vec<Settled> {
        let mut settled = lock(&self.settled);
        let some: Vec<_> = settled.keys().take(most).cloned().collect();
        let take = |device| {
            let (device, (epoch, pos)) = settled.remove_entry(&device)?;
            Some(Settled { device, epoch, pos })
        };
        some.into_iter().filter_map(take).collect()
    }

    /// Takes entries out that newer ones replace.
    pub(crate) fn withdraw(&self, positions: &[u64]) {
        if !positions.is_empty() {
            lock(&self.tail).withdraw(positions);
        }
    }

    /// Appends committed entries and rings for their devices.
    pub(crate) fn deliver(&self, entries: Vec<Entry>) {
        for entry in entries {
            let (pos, to) = (entry.pos, entry.to.clone());
            lock(&self.tail).push(entry);
            // After the tail: a link made in between has seen the new end already.
            match to {
                Addressee::Device(device) => {
                    if let Some(link) = self.find(&device) {
                        link.ring(pos);
                    }
                }
                Addressee::Group(_) | Addressee::Tenant(_) | Addressee::All => {
                    let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
                    links.values().for_each(|link| link.ring(pos));
                }
            }
        }
    }

    /// Entries for a device after `after`, if the tail reaches back that far.
    #[must_use]
    pub fn recent(&self, device: &Device, after: u64) -> Option<Vec<Entry>> {
        let tail = lock(&self.tail);
        if after < tail.floor {
            return None;
        }
        let own = tail.own.get(&device.id).into_iter().flat_map(|own| since(own, after));
        let mut mine: Vec<_> = own.chain(since(&tail.wide, after)).collect();
        mine.sort_unstable();
        let mine = mine.into_iter().filter_map(|pos| tail.entry(pos));
        Some(mine.filter(|entry| entry.to.means(device)).cloned().collect())
    }

    fn find(&self, device: &DeviceId) -> Option<Arc<Link>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(device).map(Arc::clone)
    }
}

impl Tail {
    fn push(&mut self, entry: Entry) {
        self.last = self.last.max(entry.pos);
        if self.entries.len() >= TAIL
            && let Some(oldest) = self.entries.pop_front()
        {
            self.floor = oldest.pos;
            self.forget(&oldest);
        }
        self.positions(&entry.to).push_back(entry.pos);
        self.entries.push_back(entry);
    }

    fn withdraw(&mut self, positions: &[u64]) {
        for pos in positions {
            if let Ok(place) = self.entries.binary_search_by_key(pos, |entry| entry.pos)
                && let Some(entry) = self.entries.remove(place)
            {
                self.forget(&entry);
            }
        }
    }

    /// Forgets the position of an entry that is here no longer.
    fn forget(&mut self, entry: &Entry) {
        let positions = self.positions(&entry.to);
        positions.retain(|pos| *pos != entry.pos);
        if let (true, Addressee::Device(device)) = (positions.is_empty(), &entry.to) {
            self.own.remove(device);
        }
    }

    fn positions(&mut self, of: &Addressee) -> &mut VecDeque<u64> {
        match of {
            Addressee::Device(device) => self.own.entry(device.clone()).or_default(),
            Addressee::Group(_) | Addressee::Tenant(_) | Addressee::All => &mut self.wide,
        }
    }

    fn entry(&self, pos: u64) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&pos, |entry| entry.pos).ok()?;
        self.entries.get(place)
    }
}

/// Those of ascending `positions` after `after`.
fn since(positions: &VecDeque<u64>, after: u64) -> impl Iterator<Item = u64> + '_ {
    let start = positions.partition_point(|pos| *pos <= after);
    positions.range(start..).copied()
}

impl Link {
    fn new(latest: u64, settled: Option<u64>, now: Timestamp) -> Self {
        let state = LinkState { latest, settled, sent: HashMap::new(), last_seen: now };
        let (bell, parked, closed) = (Notify::new(), AtomicUsize::new(0), AtomicBool::new(false));
        Self { bell, parked, closed, state: Mutex::new(state) }
    }

    /// Nothing rings here any more.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.bell.notify_waiters();
    }

    /// Whether another link has taken this one's place: the device polls again.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn ring(&self, pos: u64) {
        {
            let mut state = lock(&self.state);
            state.latest = state.latest.max(pos);
        }
        self.bell.notify_waiters();
    }

    /// Waits for the bell.
    pub fn rung(&self) -> Notified<'_> {
        self.bell.notified()
    }

    /// Counts this poll as parked until the guard is dropped.
    pub fn park(&self) -> Parked<'_> {
        self.parked.fetch_add(1, Ordering::Relaxed);
        Parked(self)
    }

    /// Whether anything may wait; None when all is settled.
    #[must_use]
    pub fn look(&self) -> Option<Look> {
        let state = lock(&self.state);
        let (settled, latest) = (state.settled, state.latest);
        let open = settled.is_none_or(|settled| latest > settled);
        open.then(|| Look { settled, latest, unsettled: state.sent.len() })
    }

    /// Notes acknowledgements of what this process sent. False: some are not of them.
    pub fn acknowledge<'a>(&self, jtis: impl Iterator<Item = &'a Jti>) -> bool {
        let mut state = lock(&self.state);
        let mut known = true;
        for jti in jtis {
            match state.sent.get_mut(jti) {
                Some((_, acked)) => *acked = true,
                None => known = false,
            }
        }
        known
    }

    /// Those of the fetched entries that are not acknowledged. When none is, everything up to
    /// `latest` is settled.
    #[must_use]
    pub fn open(&self, entries: Vec<Entry>, latest: u64) -> Vec<Entry> {
        let mut state = lock(&self.state);
        let acked = |entry: &Entry| state.sent.get(&entry.jti).is_some_and(|(_, acked)| *acked);
        let open: Vec<_> = entries.into_iter().filter(|entry| !acked(entry)).collect();
        let settled = match open.first() {
            Some(first) => first.pos - 1,
            None => latest,
        };
        let settled = state.settled.unwrap_or(0).max(settled);
        state.settled = Some(settled);
        state.sent.retain(|_, (pos, _)| *pos > settled);
        open
    }

    /// Notes what is sent.
    pub fn sent(&self, entries: &[Entry]) {
        let mut state = lock(&self.state);
        for entry in entries {
            state.sent.entry(entry.jti.clone()).or_insert((entry.pos, false));
        }
    }
}

/// A poll that waits.
#[derive(Debug)]
pub struct Parked<'a>(&'a Link);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceId {
        DeviceId::parse("occ-07").unwrap()
    }

    fn kiosk() -> Device {
        let key = || exeunt_ssf::SigningKey::generate().unwrap().jwk().clone();
        Device {
            id: device(),
            epoch: 1,
            device_key: key(),
            agent_key: key(),
            group: Some(exeunt_domain::Group::parse("kiosks").unwrap()),
            tenant: None,
            in_force: None,
        }
    }

    fn entry(pos: u64) -> Entry {
        let jti = Jti::parse(format!("j{pos}")).unwrap();
        Entry { pos, to: Addressee::Device(device()), jti, compact: String::new() }
    }

    fn positions(mail: &Mail, link: &Link) -> Vec<u64> {
        let Some(look) = link.look() else { return vec![] };
        let after = look.settled.unwrap_or(0);
        let open = link.open(mail.recent(&kiosk(), after).unwrap(), look.latest);
        link.sent(&open);
        open.iter().map(|entry| entry.pos).collect()
    }

    #[test]
    fn sends_again_until_acknowledged_and_never_after() {
        let mail = Mail::default();
        let link = mail.link(&device(), Timestamp(1));
        assert!(positions(&mail, &link).is_empty());
        mail.deliver(vec![entry(1), entry(2), entry(3)]);
        assert_eq!(positions(&mail, &link), [1, 2, 3]);
        assert_eq!(positions(&mail, &link), [1, 2, 3]);
        assert!(link.acknowledge([entry(2).jti].iter()));
        assert_eq!(positions(&mail, &link), [1, 3]);
        assert!(link.acknowledge([entry(1).jti, entry(3).jti].iter()));
        assert!(positions(&mail, &link).is_empty());
        assert!(link.look().is_none(), "nothing is fetched when all is settled");
        mail.deliver(vec![entry(4)]);
        assert_eq!(positions(&mail, &link), [4]);
    }

    #[test]
    fn an_acknowledgement_of_something_unsent_is_left_to_the_record() {
        let mail = Mail::default();
        let link = mail.link(&device(), Timestamp(1));
        assert!(!link.acknowledge([entry(9).jti].iter()));
    }

    #[test]
    fn a_link_that_was_replaced_says_so_and_the_next_one_asks_the_record() {
        let mail = Mail::default();
        mail.deliver(vec![entry(1)]);
        let link = mail.link(&device(), Timestamp(1));
        assert!(!link.is_closed());
        mail.forget(&device());
        assert!(link.is_closed());
        let next = mail.link(&device(), Timestamp(1));
        assert!(!next.is_closed());
        assert_eq!(next.look().unwrap().settled, None);
    }

    #[test]
    fn an_entry_to_a_group_or_to_all_reaches_its_members_and_no_other() {
        let mail = Mail::default();
        let link = mail.link(&device(), Timestamp(1));
        let to = |pos, to| Entry { to, ..entry(pos) };
        mail.deliver(vec![
            to(1, Addressee::Group("desks".into())),
            to(2, Addressee::Group("kiosks".into())),
            to(3, Addressee::Tenant("kiosks".into())),
            to(4, Addressee::All),
            to(5, Addressee::Device(DeviceId::parse("kiosks").unwrap())),
        ]);
        assert_eq!(positions(&mail, &link), [2, 4]);
    }

    #[test]
    fn after_a_start_only_who_is_behind_asks_the_record() {
        let (mail, behind) = (Mail::default(), DeviceId::parse("occ-08").unwrap());
        mail.reset(7, vec![behind.clone()]);
        assert!(
            mail.link(&device(), Timestamp(1)).look().is_none(),
            "nothing waits, none is asked"
        );
        assert_eq!(mail.link(&behind, Timestamp(1)).look().unwrap().settled, None);
        mail.deliver(vec![entry(8)]);
        assert_eq!(positions(&mail, &mail.link(&device(), Timestamp(2))), [8]);
    }

    #[test]
    fn a_first_poll_after_the_tail_was_cut_asks_the_record() {
        let mail = Mail::default();
        mail.reset(7, vec![]);
        mail.deliver((8..9 + TAIL as u64).map(entry).collect());
        let look = mail.link(&device(), Timestamp(1)).look().unwrap();
        assert_eq!(look.settled.and_then(|after| mail.recent(&kiosk(), after)), None);
    }

    #[test]
    fn a_withdrawn_entry_is_not_sent() {
        let mail = Mail::default();
        let link = mail.link(&device(), Timestamp(1));
        mail.deliver(vec![entry(1), entry(2)]);
        mail.withdraw(&[1]);
        assert_eq!(positions(&mail, &link), [2]);
    }

    #[test]
    fn a_tail_that_was_cut_sends_the_reader_to_the_record() {
        let mail = Mail::default();
        mail.deliver((1..=TAIL as u64 + 1).map(entry).collect());
        assert!(mail.recent(&kiosk(), 0).is_none());
        assert_eq!(mail.recent(&kiosk(), 1).unwrap().len(), TAIL);
    }

    #[test]
    fn writes_down_the_furthest_acknowledgement_of_the_latest_enrolment_once() {
        let mail = Mail::default();
        for (epoch, pos) in [(1, 7), (1, 5), (2, 6), (1, 9)] {
            mail.settle(&device(), epoch, pos);
        }
        let other = DeviceId::parse("other").unwrap();
        mail.settle(&other, 1, 3);
        let mut all = mail.take_settled(1);
        assert_eq!(all.len(), 1, "no more than were asked for");
        all.extend(mail.take_settled(9));
        all.sort_by_key(|one| one.pos);
        let expected = [(other, 1, 3), (device(), 2, 6)];
        assert_eq!(all, expected.map(|(device, epoch, pos)| Settled { device, epoch, pos }));
        assert!(mail.take_settled(9).is_empty());
    }
}
