//! What every store must hold, over the embedded one: a list of properties and a model.
//!
//! It refuses to name a backend except where one is opened.

mod model;
pub(crate) mod say;

use std::path::Path;

use exeunt_check::{SessionKey, SubjectHash};
use exeunt_domain::{DeviceId, Jti, Outcome, Subject, Timestamp, Txn};
use exeunt_hub::store::command::{Ack, AtDevice, Progressed, Settled, SignOut};
use exeunt_hub::store::sqlite::SqliteStore;
use exeunt_hub::store::{AHEAD_MS, Applied, Command, Keep, Pruned, Refused, Store, View};

use self::say::{Plain, console, device_id, enrolment, hash, register, sign_out, source, subject};

/// The properties, over any store that `open` opens on a directory.
fn contract<S: Store>(open: impl Fn(&Path) -> S) {
    let fresh = || tempfile::tempdir().unwrap();
    refuses_one_command_and_keeps_its_neighbours(open(fresh().path()));
    a_refusal_after_the_first_write_leaves_nothing_of_its_command(open(fresh().path()));
    what_is_settled_is_not_sent_again_and_only_in_its_enrolment(open(fresh().path()));
    numbers_without_a_gap_and_chains(open(fresh().path()));
    takes_a_set_of_a_device_once(open(fresh().path()));
    prunes_what_is_of_no_use_and_nothing_else(open(fresh().path()));
    let dir = fresh();
    forgets_nothing_when_it_is_opened_anew(|| open(dir.path()));
}

fn apply<S: Store>(store: &mut S, mint: &mut Plain, batch: &[Command]) -> Vec<Applied> {
    mint.now += 10;
    store.apply(batch, mint).unwrap()
}

fn refuses_one_command_and_keeps_its_neighbours<S: Store>(mut store: S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    let batch = [register(1, 1, 1000), register(2, 1, 1000), register(3, 3, 1000), sign_out(9, 1)];
    let applied = apply(&mut store, &mut mint, &batch);
    let replies: Vec<_> = applied.iter().map(|done| done.reply.as_ref().err()).collect();
    assert_eq!(replies, [None, Some(&Refused::SessionTaken), None, Some(&Refused::UnknownSubject)]);
    let view = store.view().unwrap();
    assert_eq!(view.sessions(&subject(1)).unwrap().unwrap().len(), 1);
    assert_eq!(view.sessions(&subject(2)).unwrap().unwrap().len(), 0);
    assert_eq!(view.sessions(&subject(3)).unwrap().unwrap().len(), 1);
}

fn a_refusal_after_the_first_write_leaves_nothing_of_its_command<S: Store>(mut store: S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    apply(&mut store, &mut mint, &enrolment());
    let Command::SignOut(ask) = sign_out(1, 1) else { unreachable!() };
    let session = hash(77);
    let at_device = Some(AtDevice { from: source(1), session, per_hour: 9 });
    let late = Command::SignOut(SignOut { at_device, ..ask });
    let batch = [register(1, 1, 1000), late.clone(), register(2, 2, 1000)];
    let applied = apply(&mut store, &mut mint, &batch);
    let replies: Vec<_> = applied.iter().map(|done| done.reply.as_ref().err()).collect();
    assert_eq!(replies, [None, Some(&Refused::NoLiveSession), None]);
    let seqs: Vec<_> = applied.iter().map(|done| done.seq.unwrap()).collect();
    assert_eq!(seqs, [seqs[0], seqs[0] + 1, seqs[0] + 2], "each is noted once");
    // The SET was not remembered: the same one is judged again, and not taken for a repeat.
    let again = apply(&mut store, &mut mint, &[late, register(3, 3, 1000)]);
    assert_eq!(again[0].reply.as_ref().err(), Some(&Refused::NoLiveSession));
    assert!(again[1].reply.is_ok());
}

fn what_is_settled_is_not_sent_again_and_only_in_its_enrolment<S: Store>(mut store: S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    apply(&mut store, &mut mint, &enrolment());
    let mut places = Vec::new();
    for round in 1..=3 {
        let now = mint.now + 10;
        apply(&mut store, &mut mint, &[console(round, round, now)]);
        let ordered = apply(&mut store, &mut mint, &[sign_out(round, round)]);
        places.push(ordered[0].effects.entries[0].pos);
    }
    let settled = |epoch, pos| Command::Settled(vec![Settled { device: device_id(), epoch, pos }]);
    let waiting = |store: &S| {
        let found = store.view().unwrap().outstanding(&device_id(), 0, 9).unwrap();
        found.into_iter().map(|entry| entry.pos).collect::<Vec<_>>()
    };
    apply(&mut store, &mut mint, &[settled(2, places[2])]);
    assert_eq!(waiting(&store), places, "another enrolment settles nothing here");
    apply(&mut store, &mut mint, &[settled(1, places[1]), settled(1, places[0])]);
    assert_eq!(waiting(&store), places[2..], "and nothing goes back");
    apply(&mut store, &mut mint, &[settled(1, places[2])]);
    assert_eq!(waiting(&store), Vec::<u64>::new());
    assert_eq!(store.view().unwrap().load().unwrap().behind, Vec::<DeviceId>::new());
}

fn numbers_without_a_gap_and_chains<S: Store>(mut store: S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    let mut seqs = Vec::new();
    for round in 0..5 {
        let batch: Vec<_> = (0..4).map(|n| register(n, round * 4 + n, 1000)).collect();
        let applied = apply(&mut store, &mut mint, &batch);
        seqs.extend(applied.iter().map(|done| done.seq.unwrap()));
        let again = apply(&mut store, &mut mint, &batch);
        assert!(again.iter().all(|done| done.seq.is_none()), "a repeat leaves no trace");
    }
    assert_eq!(seqs, (1..=20).collect::<Vec<u64>>());
    let chain = store.view().unwrap().audit_chain(20).unwrap();
    assert_eq!((chain.rows, chain.broken, chain.head), (20, None, store.head()));
    assert_eq!(chain.at, Some(store.head().hash));
}

fn takes_a_set_of_a_device_once<S: Store>(mut store: S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    apply(&mut store, &mut mint, &enrolment());
    apply(&mut store, &mut mint, &[console(1, 1, 1000), sign_out(1, 1)]);
    let progress = |jti, outcome| {
        let txn = Txn::parse("txn-1").unwrap();
        Command::Progress(Progressed { from: source(jti), txn, outcome })
    };
    let fenced = progress(2, Outcome::Fenced);
    let applied =
        apply(&mut store, &mut mint, &[fenced.clone(), fenced, progress(3, Outcome::Delivered)]);
    let traces: Vec<_> = applied.iter().map(|done| done.seq.is_some()).collect();
    assert_eq!(traces, [true, false, false], "a repeat and a step back change nothing");
    let state = store.view().unwrap().txn(&Txn::parse("txn-1").unwrap(), None).unwrap().unwrap();
    assert_eq!(state.targets[0].outcome, Outcome::Fenced);
}

fn forgets_nothing_when_it_is_opened_anew<S: Store>(open: impl Fn() -> S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    let mut store = open();
    apply(&mut store, &mut mint, &enrolment());
    apply(&mut store, &mut mint, &[register(1, 1, 1000), console(1, 1, 1000), sign_out(1, 1)]);
    let (head, orders) = (store.head(), outstanding(&store));
    assert_eq!(orders.len(), 1);
    drop(store);
    let mut store = open();
    assert_eq!((store.head(), outstanding(&store)), (head, orders));
    store.reopen().unwrap();
    assert_eq!(store.head(), head);
    let stale = apply(&mut store, &mut mint, &[register(1, 2, 1)]);
    assert_eq!(stale[0].reply.as_ref().err(), Some(&Refused::StaleAuth));
}

/// Steps until everything was looked at once; the sums of what went.
fn prune<S: Store>(store: &mut S, now: u64, keep: &Keep) -> Pruned {
    let mut sum = Pruned::default();
    while !sum.whole {
        let step = store.prune(Timestamp(now), keep, 3).unwrap();
        sum.orders += step.orders;
        sum.acks += step.acks;
        sum.seen += step.seen;
        sum.denials += step.denials;
        sum.tokens += step.tokens;
        sum.whole = step.whole;
    }
    sum
}

fn prunes_what_is_of_no_use_and_nothing_else<S: Store>(mut store: S) {
    let mut mint = Plain { now: 1000, minted: 0 };
    let keep = Keep { seen_ms: 50_000, session_ms: 1_000_000_000 };
    apply(&mut store, &mut mint, &enrolment());
    for n in 0..8 {
        let now = mint.now + 10;
        let [session, dies] = [register(2, n, now), console(1, n, now)];
        apply(&mut store, &mut mint, &[session, dies, sign_out(1, n)]);
    }
    let end = Command::End { actor: "service:site".into(), session: hash(3) };
    apply(&mut store, &mut mint, &[end]);
    let orders = outstanding(&store);
    assert_eq!(orders.len(), 8);
    let none = Pruned { whole: true, ..Pruned::default() };
    assert_eq!(prune(&mut store, mint.now, &keep), none, "all of it is of use");

    // Five are acknowledged, the last of all among them; that one stays, and so does the gap.
    let acked = orders[..4].iter().chain(&orders[7..]).cloned().collect();
    let ack = Ack { device: device_id(), epoch: 1, acked, refused: vec![] };
    apply(&mut store, &mut mint, &[Command::Ack(ack)]);
    let head = store.head();
    assert_eq!(prune(&mut store, mint.now, &keep), Pruned { orders: 4, ..none });
    assert_eq!(outstanding(&store), orders[4..7]);
    let view = store.view().unwrap();
    assert_eq!(view.last_order(&device_id()).unwrap().as_ref(), orders.last());

    // Eight consoles and one that ended; a day more for clocks that are ahead.
    let forgotten = mint.now + keep.seen_ms + AHEAD_MS;
    let known = |store: &S| store.view().unwrap().revocations().unwrap().denied.len();
    let denials = known(&store);
    assert_eq!(prune(&mut store, forgotten, &keep), Pruned { seen: 8, ..none });
    assert_eq!(known(&store), denials);
    let over = mint.now + keep.session_ms + 1;
    assert_eq!(prune(&mut store, over, &keep), Pruned { denials: denials as u64, ..none });
    assert_eq!((known(&store), denials > 0), (0, true));

    assert_eq!(store.head(), head, "the audit is left alone");
    let chain = store.view().unwrap().audit_chain(0).unwrap();
    assert_eq!((chain.broken, chain.head), (None, head));
    assert_eq!(store.view().unwrap().sessions(&subject(2)).unwrap().unwrap().len(), 8);
}

fn outstanding<S: Store>(store: &S) -> Vec<Jti> {
    let view = store.view().unwrap();
    let entries = view.outstanding(&device_id(), 0, 1000).unwrap();
    entries.into_iter().map(|entry| entry.jti).collect()
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    contract(|dir| SqliteStore::open(&dir.join("hub.db")).unwrap());
}

#[test]
fn a_record_of_the_first_version_is_carried_forward_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../fixtures/hub_v1.sql")).unwrap();
    drop(old);
    let mut store = SqliteStore::open(&path).unwrap();
    let view = store.view().unwrap();
    let chain = view.audit_chain(6).unwrap();
    assert_eq!((chain.rows, chain.broken, chain.head), (6, None, store.head()));
    let loaded = view.load().unwrap();
    assert_eq!(loaded.operators[0].roles, [exeunt_api::Role::Administrator]);
    assert_eq!((loaded.devices.len(), loaded.services.len()), (1, 1));
    let bob = &view.sessions(&Subject::parse("bob").unwrap()).unwrap().unwrap()[0];
    assert_eq!((bob.seq, bob.status), (5, exeunt_domain::SessionStatus::Active));
    let alice = SubjectHash::of(&Subject::parse("alice").unwrap());
    let session = exeunt_domain::session::SessionHash([1; 32]);
    assert!(loaded.state.is_refused(alice, SessionKey::from(&session), 4).is_some());
    assert_eq!(outstanding(&store), [Jti::parse("order-1").unwrap()]);
    let mut mint = Plain { now: 2000, minted: 0 };
    let applied = apply(&mut store, &mut mint, &[register(1, 1, 2000)]);
    assert_eq!(applied[0].seq, Some(7));
    drop(store);
    SqliteStore::open(&path).expect("a second start has nothing left to carry forward");
    let later = rusqlite::Connection::open(&path).unwrap();
    later.pragma_update(None, "user_version", 9999).unwrap();
    drop(later);
    let refused = SqliteStore::open(&path).unwrap_err().to_string();
    assert!(refused.contains("version 9999"), "{refused}");
}

#[test]
fn commits_leave_checkpoints_to_tidying_and_nothing_is_lost_by_either() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.db");
    let mut store = SqliteStore::open(&path).unwrap();
    let mut mint = Plain { now: 1000, minted: 0 };
    for n in 0..400 {
        apply(&mut store, &mut mint, &[register(n % 3, n, 1000)]);
    }
    let main = || std::fs::metadata(&path).unwrap().len();
    let before = main();
    store.tidy(false).unwrap();
    assert_eq!(main(), before, "a short log waits until the store is idle");
    store.tidy(true).unwrap();
    assert!(main() > before);
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.head().seq, 400);
}
