//! What every store must hold, over the embedded one: a list of properties and a random history.
//!
//! It refuses to name a backend except where one is opened.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::Path;

use exeunt_api::Countersigned;
use exeunt_check::{Batch, RevocationState, SessionKey, SubjectHash};
use exeunt_domain::receipt::Mode;
use exeunt_domain::session::SessionHash;
use exeunt_domain::{
    DeviceId, Jti, Order, Outcome, Proof, SessionId, SessionKind, Subject, Tier, Timestamp, Txn,
};
use exeunt_hub::store::command::{
    Ack, DeviceLimit, DeviceSession, Enrol, MintToken, Progressed, Register, SignOut, Source,
};
use exeunt_hub::store::sqlite::SqliteStore;
use exeunt_hub::store::{Applied, Command, Mint, Refused, Reply, Store, View};
use exeunt_ssf::{SetError, SigningKey};
use proptest::prelude::*;

/// Time, names and "signatures" that a test can foresee.
struct Plain {
    now: u64,
    minted: u64,
}

impl Mint for Plain {
    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn order(&mut self, order: &Order, txn: &Txn) -> Result<(Jti, String), SetError> {
        self.minted += 1;
        let jti = Jti::parse(format!("order-{:06}", self.minted)).unwrap();
        Ok((jti, format!("{} {txn}", order.device)))
    }

    fn countersign(&mut self, claims: &Countersigned) -> Result<String, SetError> {
        Ok(claims.receipt.clone())
    }
}

fn device_id() -> DeviceId {
    DeviceId::parse("occ-07").unwrap()
}

fn hash(session: usize) -> SessionHash {
    SessionHash::of("site", &SessionId::parse(format!("s{session}")).unwrap())
}

fn subject(n: usize) -> Subject {
    Subject::parse(&format!("subject-{n}")).unwrap()
}

fn register(who: usize, session: usize, auth_time: u64) -> Command {
    Command::Register(Register {
        actor: "service:site".into(),
        aud: "site".into(),
        subject: subject(who),
        session: hash(session),
        kind: SessionKind::Web,
        auth_time: Timestamp(auth_time),
        device: None,
        label: "site".into(),
        place: "site".into(),
        idp_sid: None,
    })
}

fn sign_out(who: usize, txn: usize) -> Command {
    Command::SignOut(SignOut {
        actor: "admin:test".into(),
        txn: Txn::parse(format!("txn-{txn}")).unwrap(),
        subject: subject(who),
        tier: Tier::SignOut,
        reason: None,
        only: None,
        idempotency_key: None,
        digest: None,
        limit: DeviceLimit::NONE,
        at_device: None,
        good_for_ms: 1_000_000,
    })
}

fn source(jti: usize) -> Source {
    Source { device: device_id(), epoch: 1, jti: Jti::parse(format!("up-{jti}")).unwrap() }
}

fn console(who: usize, jti: usize, since: u64) -> Command {
    let id = SessionId::parse(format!("console-{jti}")).unwrap();
    Command::DeviceSession(DeviceSession {
        from: source(jti),
        subject: subject(who),
        session: SessionHash::of("occ-07", &id),
        kind: SessionKind::Console,
        proof: Proof::Account,
        since: Timestamp(since),
        ended: false,
        good_for_ms: 1_000_000,
    })
}

fn enrolment() -> [Command; 2] {
    let (device, agent) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let mint = MintToken {
        actor: "admin:test".into(),
        secret: [7; 32],
        name: Some(device_id()),
        expires: Timestamp(u64::MAX >> 1),
    };
    let enrol = Enrol {
        secret: [7; 32],
        jti: Jti::parse("enrol").unwrap(),
        name: device_id(),
        device_key: device.jwk().clone(),
        agent_key: agent.jwk().clone(),
        mode: Mode::Installed,
    };
    [Command::MintToken(mint), Command::Enrol(Box::new(enrol))]
}

/// The properties, over any store that `open` opens on a directory.
fn contract<S: Store>(open: impl Fn(&Path) -> S) {
    let fresh = || tempfile::tempdir().unwrap();
    refuses_one_command_and_keeps_its_neighbours(open(fresh().path()));
    numbers_without_a_gap_and_chains(open(fresh().path()));
    takes_a_set_of_a_device_once(open(fresh().path()));
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
    assert_eq!(view.sessions(&subject(1)).unwrap().len(), 1);
    assert_eq!(view.sessions(&subject(2)).unwrap().len(), 0);
    assert_eq!(view.sessions(&subject(3)).unwrap().len(), 1);
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

fn outstanding<S: Store>(store: &S) -> Vec<Jti> {
    let view = store.view().unwrap();
    let entries = view.outstanding(&device_id(), 0, 1000).unwrap();
    entries.into_iter().map(|entry| entry.jti).collect()
}

#[test]
fn the_embedded_store_keeps_the_contract() {
    contract(|dir| SqliteStore::open(&dir.join("hub.db")).unwrap());
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Register(usize, usize),
    Console(usize),
    SignOut(usize),
    End(usize),
    /// Acknowledge the oldest, or the newest, that is outstanding.
    Ack(bool),
    /// Open the store anew, as after a crash between two batches.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..12_usize).prop_map(|(who, session)| Step::Register(who, session)),
        2 => (0..3_usize).prop_map(Step::Console),
        2 => (0..3_usize).prop_map(Step::SignOut),
        1 => (0..12_usize).prop_map(Step::End),
        2 => any::<bool>().prop_map(Step::Ack),
        1 => Just(Step::Restart),
    ]
}

/// What the history should have led to.
#[derive(Default)]
struct Model {
    /// Session to owner, sequence, and whether it lives.
    sessions: BTreeMap<usize, (usize, u64, bool)>,
    /// Owners with a live console session at the device.
    consoles: BTreeMap<usize, bool>,
    orders: Vec<Jti>,
}

impl Model {
    fn learn(&mut self, step: &Step, done: &Applied, orders: impl Iterator<Item = Jti>) {
        match (step, &done.reply) {
            (Step::Register(who, session), Ok(Reply::Registered(seq))) => {
                self.sessions.entry(*session).or_insert((*who, *seq, true));
            }
            (Step::Console(who), Ok(Reply::Registered(_))) => {
                self.consoles.insert(*who, true);
            }
            (Step::SignOut(who), Ok(Reply::SignedOut(_))) => {
                for (owner, _, alive) in self.sessions.values_mut() {
                    *alive &= owner != who;
                }
                let ordered = self.consoles.insert(*who, false) == Some(true);
                assert_eq!(ordered, done.effects.entries.len() == 1);
                self.orders.extend(orders);
            }
            (Step::End(session), Ok(Reply::Done)) => {
                if let Some((_, _, alive)) = self.sessions.get_mut(session) {
                    *alive = false;
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_the_record_memory_and_model_agreed(
        steps in proptest::collection::vec(step(), 1..40),
        batch_size in 1..6_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.db");
        let mut store = SqliteStore::open(&path).unwrap();
        let mut mint = Plain { now: 1000, minted: 0 };
        apply(&mut store, &mut mint, &enrolment());
        let (mut model, mut memory) = (Model::default(), RevocationState::default());
        let mut named = 0;
        for chunk in steps.chunks(batch_size) {
            let mut batch = Vec::new();
            let mut of = Vec::new();
            for step in chunk {
                named += 1;
                let now = mint.now + 10;
                match step {
                    Step::Register(who, session) => batch.push(register(*who, *session, now)),
                    Step::Console(who) => batch.push(console(*who, named, now)),
                    Step::SignOut(who) => batch.push(sign_out(*who, named)),
                    Step::End(session) => batch.push(Command::End {
                        actor: "service:site".into(),
                        session: hash(*session),
                    }),
                    Step::Ack(oldest) => {
                        let jti = if *oldest { model.orders.first() } else { model.orders.last() };
                        let Some(jti) = jti.cloned() else { continue };
                        model.orders.retain(|open| *open != jti);
                        batch.push(Command::Ack(Ack {
                            device: device_id(), epoch: 1, acked: vec![jti], refused: vec![],
                        }));
                    }
                    Step::Restart => {
                        drop(store);
                        store = SqliteStore::open(&path).unwrap();
                        continue;
                    }
                }
                of.push(step.clone());
            }
            let applied = apply(&mut store, &mut mint, &batch);
            for (step, done) in of.iter().zip(&applied) {
                let orders = done.effects.entries.iter().map(|entry| entry.jti.clone());
                model.learn(step, done, orders);
            }
            let seq = store.head().seq;
            let deltas = applied.iter().flat_map(|done| &done.effects.deltas);
            let deltas = deltas.map(|keyed| keyed.delta).collect();
            memory.apply(&Batch { after: memory.seq(), seq, deltas }).unwrap();
            let loaded = store.view().unwrap().load().unwrap();
            prop_assert_eq!(loaded.state.seq(), seq);
            for (session, (who, seq, alive)) in &model.sessions {
                let key = SessionKey::from(&hash(*session));
                let owner = SubjectHash::of(&subject(*who));
                for state in [&memory, &loaded.state] {
                    prop_assert_eq!(state.is_refused(owner, key, *seq).is_none(), *alive);
                }
            }
            prop_assert_eq!(&outstanding(&store), &model.orders);
        }
        let chain = store.view().unwrap().audit_chain(0).unwrap();
        prop_assert_eq!(chain.broken, None);
        prop_assert_eq!(chain.head, store.head());
    }
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
