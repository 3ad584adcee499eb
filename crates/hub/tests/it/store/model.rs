//! A model of the record, held against a store step by step, through restarts and power cuts.
//!
//! It refuses to look inside: what is compared is what requests, devices and a starting hub see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use exeunt_check::{Batch, RevocationState, SessionKey, SubjectHash};
use exeunt_domain::order::Authority;
use exeunt_domain::receipt::{LockReport, Mode};
use exeunt_domain::session::hex;
use exeunt_domain::{Jti, Outcome, ReceiptBody, Tier, Timestamp, Txn};
use exeunt_hub::store::command::{Ack, Received};
use exeunt_hub::store::sqlite::SqliteStore;
use exeunt_hub::store::{Applied, Command, Refused, Reply, Store, View};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use sha2::{Digest, Sha256};

use super::say::{Plain, console, device_id, enrolment, hash, register, sign_out, source, subject};
use crate::disk::{Disk, Fate};

/// One request.
#[derive(Clone, Debug)]
enum Step {
    Register(usize, usize),
    Console(usize),
    SignOut(usize),
    End(usize),
    /// The device acknowledges one that is outstanding.
    Ack(usize),
    /// The device's receipt for an order that it has not answered.
    Receipt(usize),
    /// Its last receipt once more.
    ReceiptAgain,
}

#[derive(Clone, Debug)]
enum Transition {
    /// Requests that are committed together.
    Batch(Vec<Step>),
    /// The device reads what waits for it, in pages of this size.
    Poll(usize),
    /// The store puts its things in order.
    Tidy,
    /// The hub ends and starts.
    Restart,
    /// The power goes, and with it all that was not synced.
    Crash,
}

/// What should be so.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Whose, and whether it lives.
    sessions: BTreeMap<usize, (usize, bool)>,
    /// Who has a live session at the device.
    consoles: BTreeSet<usize>,
    /// Of whom anything is known.
    known: BTreeSet<usize>,
    /// Each order's transaction, by its number.
    orders: Vec<usize>,
    outstanding: Vec<usize>,
    /// Orders without a receipt.
    open: Vec<usize>,
    answered: BTreeSet<usize>,
    /// How many requests there were: each has a name of its own.
    named: usize,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Done,
    Refused,
    /// With so many orders.
    SignedOut(usize),
}

impl Model {
    fn request(&mut self, step: &Step) -> Expected {
        self.named += 1;
        match step {
            Step::Register(who, session) => match self.sessions.get(session) {
                None => {
                    self.sessions.insert(*session, (*who, true));
                    self.known.insert(*who);
                    Expected::Done
                }
                Some(held) if *held == (*who, true) => Expected::Done,
                Some(_) => Expected::Refused,
            },
            Step::Console(who) => {
                self.consoles.insert(*who);
                self.known.insert(*who);
                Expected::Done
            }
            Step::SignOut(who) if !self.known.contains(who) => Expected::Refused,
            Step::SignOut(who) => {
                for (owner, alive) in self.sessions.values_mut() {
                    *alive &= owner != who;
                }
                if !self.consoles.remove(who) {
                    return Expected::SignedOut(0);
                }
                let order = self.orders.len();
                self.orders.push(self.named);
                self.outstanding.push(order);
                self.open.push(order);
                Expected::SignedOut(1)
            }
            Step::End(session) => match self.sessions.get_mut(session) {
                None => Expected::Refused,
                Some((_, alive)) => {
                    *alive = false;
                    Expected::Done
                }
            },
            Step::Ack(at) => {
                if !self.outstanding.is_empty() {
                    self.outstanding.remove(at % self.outstanding.len());
                }
                Expected::Done
            }
            Step::Receipt(at) => {
                if !self.open.is_empty() {
                    let order = self.open.remove(at % self.open.len());
                    self.answered.insert(order);
                }
                Expected::Done
            }
            Step::ReceiptAgain => Expected::Done,
        }
    }
}

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Model;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Transition> {
        let step = prop_oneof![
            4 => (0..3_usize, 0..12_usize).prop_map(|(who, session)| Step::Register(who, session)),
            3 => (0..3_usize).prop_map(Step::Console),
            3 => (0..3_usize).prop_map(Step::SignOut),
            1 => (0..12_usize).prop_map(Step::End),
            2 => any::<usize>().prop_map(Step::Ack),
            2 => any::<usize>().prop_map(Step::Receipt),
            1 => Just(Step::ReceiptAgain),
        ];
        prop_oneof![
            8 => proptest::collection::vec(step, 1..6).prop_map(Transition::Batch),
            2 => (1..4_usize).prop_map(Transition::Poll),
            1 => Just(Transition::Tidy),
            1 => Just(Transition::Restart),
            2 => Just(Transition::Crash),
        ]
        .boxed()
    }

    fn apply(mut model: Model, transition: &Transition) -> Model {
        if let Transition::Batch(steps) = transition {
            for step in steps {
                model.request(step);
            }
        }
        model
    }
}

/// Where a store lives, and how its power goes.
trait Backend: Sized {
    type Store: Store;
    fn new() -> Self;
    fn open(&self) -> Self::Store;
    /// What is left of it after a power cut now.
    fn after_power_cut(&self) -> Self;
}

struct Embedded {
    dir: tempfile::TempDir,
    disk: Arc<Disk>,
}

impl Backend for Embedded {
    type Store = SqliteStore;

    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::watch(dir.path());
        Self { dir, disk }
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.dir.path().canonicalize().unwrap().join("hub.db")).unwrap()
    }

    fn after_power_cut(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        self.disk.after_power_cut(self.disk.len(), || Fate::Lost, dir.path());
        let disk = Disk::watch(dir.path());
        Self { dir, disk }
    }
}

/// A store, what a running hub holds of it in memory, and the device's own memory.
struct Tested<B: Backend> {
    backend: B,
    store: B::Store,
    mint: Plain,
    memory: RevocationState,
    /// Follows the model, one step behind it.
    model: Model,
    receipts: u64,
    last: String,
    sent: Option<Received>,
}

impl<B: Backend> Tested<B> {
    fn command(&mut self, step: &Step) -> Option<Command> {
        let named = self.model.named + 1;
        let now = self.mint.now + 10;
        Some(match step {
            Step::Register(who, session) => register(*who, *session, now),
            Step::Console(who) => console(*who, named, now),
            Step::SignOut(who) => sign_out(*who, named),
            Step::End(session) => {
                Command::End { actor: "service:site".into(), session: hash(*session) }
            }
            Step::Ack(at) => {
                let open = &self.model.outstanding;
                let order = *open.get(at.checked_rem(open.len())?)?;
                Command::Ack(Ack {
                    device: device_id(),
                    epoch: 1,
                    acked: vec![jti(order)],
                    refused: vec![],
                })
            }
            Step::Receipt(at) => {
                let open = &self.model.open;
                let order = *open.get(at.checked_rem(open.len())?)?;
                let receipt = self.receipt(named, self.model.orders[order]);
                self.sent = Some(receipt.clone());
                Command::Receipt(receipt)
            }
            Step::ReceiptAgain => Command::Receipt(self.sent.clone()?),
        })
    }

    fn receipt(&mut self, named: usize, txn: usize) -> Received {
        self.receipts += 1;
        let body = ReceiptBody {
            device: device_id().to_string(),
            txn: txn_of(txn),
            seq: self.receipts,
            previous: self.last.clone(),
            authority: Authority::LocalRequest { uid: 1000, surface: "tray".into() },
            subject: None,
            tier: Tier::SignOut,
            pinned: true,
            mode: Mode::Installed,
            outcome: Outcome::Verified,
            accepted: Timestamp(1),
            checked: Timestamp(2),
            stores: vec![],
            steps: vec![],
            lock: LockReport::NotAsked,
            catalogue: "1".into(),
            coverage: String::new(),
            not_covered: vec![],
            remarks: vec![],
        };
        let compact = format!("receipt {named}");
        self.last = hex(&Sha256::digest(compact.as_bytes()));
        let (from, body) = (source(named), Box::new(body));
        Received { from, compact, body, unexpected_coverage: false }
    }

    fn commit(&mut self, steps: &[Step]) {
        let mut batch = Vec::new();
        let mut expected = Vec::new();
        for step in steps {
            let command = self.command(step);
            let comes_to = self.model.request(step);
            if let Some(command) = command {
                batch.push(command);
                expected.push(comes_to);
            }
        }
        self.mint.now += 10;
        let applied = self.store.apply(&batch, &mut self.mint).unwrap();
        assert_eq!(applied.len(), expected.len());
        for (done, expected) in applied.iter().zip(&expected) {
            assert_eq!(said(done), *expected, "{:?}", done.reply);
        }
        let seq = self.store.head().seq;
        let deltas = applied.iter().flat_map(|done| &done.effects.deltas);
        let deltas = deltas.map(|keyed| keyed.delta).collect();
        self.memory.apply(&Batch { after: self.memory.seq(), seq, deltas }).unwrap();
    }

    /// As a hub starts: everything in memory comes from the record.
    fn start(&mut self) {
        self.memory = self.store.view().unwrap().load().unwrap().state;
    }

    fn poll(&self, page: usize) -> Vec<Jti> {
        let view = self.store.view().unwrap();
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let entries = view.outstanding(&device_id(), after, page).unwrap();
            let Some(last) = entries.last() else { return all };
            after = last.pos;
            all.extend(entries.into_iter().map(|entry| entry.jti));
        }
    }

    fn agrees_with(&self, model: &Model) {
        let view = self.store.view().unwrap();
        let loaded = view.load().unwrap();
        assert_eq!(loaded.state.seq(), self.store.head().seq);
        for (session, (who, alive)) in &model.sessions {
            let seq = view.session(&hash(*session)).unwrap().expect("a session was lost").seq;
            let (key, owner) = (SessionKey::from(&hash(*session)), SubjectHash::of(&subject(*who)));
            for state in [&self.memory, &loaded.state] {
                assert_eq!(state.is_refused(owner, key, seq).is_none(), *alive, "s{session}");
            }
        }
        let outstanding: Vec<_> = model.outstanding.iter().map(|order| jti(*order)).collect();
        assert_eq!(self.poll(1000), outstanding);
        for (order, txn) in model.orders.iter().enumerate() {
            let answered = model.answered.contains(&order);
            let receipts = view.receipts(&txn_of(*txn)).unwrap();
            assert_eq!(receipts.len(), usize::from(answered));
            assert!(receipts.iter().all(|receipt| receipt.chained), "the chain is whole");
            let state = view.txn(&txn_of(*txn), None).unwrap().expect("an order was lost");
            let target = state.targets.iter().find(|target| target.kind == "device").unwrap();
            assert_eq!(target.outcome == Outcome::Verified, answered);
        }
        let chain = view.audit_chain(0).unwrap();
        assert_eq!((chain.broken, chain.head), (None, self.store.head()));
        assert_eq!(chain.rows, chain.head.seq, "no number is left out");
    }
}

fn jti(order: usize) -> Jti {
    Jti::parse(format!("order-{:06}", order + 1)).unwrap()
}

fn txn_of(named: usize) -> Txn {
    Txn::parse(format!("txn-{named}")).unwrap()
}

fn said(done: &Applied) -> Expected {
    match &done.reply {
        Ok(Reply::SignedOut(_)) => Expected::SignedOut(done.effects.entries.len()),
        Ok(_) => Expected::Done,
        Err(Refused::SessionTaken | Refused::UnknownSession | Refused::UnknownSubject) => {
            Expected::Refused
        }
        Err(other) => panic!("refused: {other}"),
    }
}

impl<B: Backend> StateMachineTest for Tested<B> {
    type SystemUnderTest = Self;
    type Reference = Machine;

    fn init_test(_: &Model) -> Self {
        let backend = B::new();
        let store = backend.open();
        let mint = Plain { now: 1000, minted: 0 };
        let (memory, model) = (RevocationState::default(), Model::default());
        let mut tested = Self {
            backend,
            store,
            mint,
            memory,
            model,
            receipts: 0,
            last: String::new(),
            sent: None,
        };
        tested.store.apply(&enrolment(), &mut tested.mint).unwrap();
        tested.start();
        tested
    }

    fn apply(mut tested: Self, model: &Model, transition: Transition) -> Self {
        match transition {
            Transition::Batch(steps) => tested.commit(&steps),
            Transition::Poll(page) => {
                let expected: Vec<_> = model.outstanding.iter().map(|order| jti(*order)).collect();
                assert_eq!(tested.poll(page), expected);
            }
            Transition::Tidy => tested.store.tidy(true).unwrap(),
            Transition::Restart => {
                drop(tested.store);
                tested.store = tested.backend.open();
                tested.start();
            }
            Transition::Crash => {
                tested.backend = tested.backend.after_power_cut();
                tested.store = tested.backend.open();
                tested.start();
            }
        }
        tested
    }

    fn check_invariants(tested: &Self, model: &Model) {
        tested.agrees_with(model);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_history_leaves_the_embedded_record_memory_and_model_agreed(
        sequential 1..24 => Tested<Embedded>
    );
}
