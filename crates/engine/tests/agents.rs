//! Agents and keyrings beyond the Secret Service, over fakes: who forgets, who is ended, who stays.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::sync::Mutex;

use exeunt_catalogue::{Catalogue, KeyringStore};
use exeunt_domain::order::Demand;
use exeunt_domain::receipt::{Before, Mode, ReceiptBody};
use exeunt_domain::{Authority, Jti, Outcome, StoreReport, Tier, Timestamp, Txn, Verdict};
use exeunt_engine::ports::{
    Clock as _, HASHED, Host, KeychainError, KeychainItem, Keychains, Moment, Processes as _,
};
use exeunt_engine::{Chain, Device, Plan, Survey, issue};
use exeunt_ssf::SigningKey;
use exeunt_testkit::{FakeAgents, FakeClock, FakeFiles, FakeJournal, FakeLocker, FakeProcesses};

#[derive(Default)]
struct Rig {
    files: FakeFiles,
    processes: FakeProcesses,
    agents: FakeAgents,
    keyrings: Vec<Keyring>,
    include: Vec<String>,
}

impl Rig {
    fn of(agents: FakeAgents) -> Self {
        let processes = FakeProcesses::new().process(7, "/usr/bin/ssh-agent");
        Self { agents, processes, ..Self::default() }
    }

    fn contain(&self, tier: Tier) -> ReceiptBody {
        self.contain_while(tier, &|_| {})
    }

    fn contain_while(&self, tier: Tier, observe: &(dyn Fn(&Moment) + Sync)) -> ReceiptBody {
        let catalogue = Catalogue::builtin().unwrap();
        let (clock, journal) = (FakeClock::at(1_000).ticking(10), FakeJournal::new());
        let agents = self.agents.living_in(&self.processes);
        let locker = FakeLocker::new();
        let host = Host {
            files: &self.files,
            processes: &self.processes,
            keychains: self.keyrings.iter().map(|keyring| keyring as &dyn Keychains).collect(),
            agents: Some(&agents),
            disks: None,
            include: &self.include,
            locker: &locker,
            hand_over: None,
            isolated: true,
            clock: &clock,
            journal: &journal,
            observe,
        };
        let plan = Plan::draft(Survey::take(&catalogue, &host), tier);
        let armed = plan.arm(demand(tier), &clock, clock.instant());
        let checked = armed.execute(&host, vec![], vec![]).check(&catalogue, &host);
        let key = SigningKey::generate().unwrap();
        let (name, audience) = ("occ-07", "http://hub");
        let device = Device { name, audience, key: &key, pinned: true, mode: Mode::Installed };
        let jti = Jti::parse("r1").unwrap();
        issue(checked, &catalogue, &device, &Chain::default(), jti, Timestamp(2)).unwrap().body
    }
}

fn demand(tier: Tier) -> Demand {
    Demand {
        txn: Txn::parse("t1").unwrap(),
        authority: Authority::LocalRequest { uid: 1000, surface: "test".into() },
        tier,
        subject: None,
        reason: None,
        hand_over: false,
    }
}

fn agent_rows(body: &ReceiptBody) -> Vec<&StoreReport> {
    body.stores.iter().filter(|row| row.place.starts_with("agent:")).collect()
}

fn was_ended(rig: &Rig) -> bool {
    !rig.processes.is_running(&FakeProcesses::id(7)).unwrap()
}

/// One keyring in memory.
struct Keyring {
    store: KeyringStore,
    items: Mutex<Vec<KeychainItem>>,
    broken: bool,
    lying: bool,
}

impl Keyring {
    fn of(store: KeyringStore, label: &str, folder: &str) -> Self {
        let item = KeychainItem {
            store,
            collection: "one".into(),
            address: "1".into(),
            label: label.into(),
            attributes: [("folder".to_owned(), folder.to_owned())].into(),
            locked: false,
        };
        Self { store, items: Mutex::new(vec![item]), broken: false, lying: false }
    }

    fn broken(store: KeyringStore) -> Self {
        Self { broken: true, ..Self::of(store, "", "") }
    }

    fn left(&self) -> usize {
        self.items.lock().unwrap().len()
    }
}

impl Keychains for Keyring {
    fn store(&self) -> KeyringStore {
        self.store
    }

    fn items(&self) -> Result<Vec<KeychainItem>, KeychainError> {
        if self.broken {
            return Err(KeychainError::Failed("broken".into()));
        }
        Ok(self.items.lock().unwrap().clone())
    }

    fn clear(&self, item: &KeychainItem) -> Result<(), KeychainError> {
        if item.locked {
            return Err(KeychainError::Locked);
        }
        if self.lying {
            return Ok(());
        }
        self.items.lock().unwrap().retain(|kept| kept.address != item.address);
        Ok(())
    }
}

#[test]
fn an_agent_that_forgets_is_gone_and_lives_on() {
    let rig = Rig::of(FakeAgents::new().agent(7, 2));
    let body = rig.contain(Tier::SignOut);
    let rows = agent_rows(&body);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].app.as_str(), rows[0].verdict), ("ssh", Some(Verdict::Gone)));
    assert_eq!(rows[0].place, "agent:ssh-agent runtime:agent.7");
    assert_eq!(body.outcome, Outcome::Verified);
    assert_eq!(rig.agents.kept(), 0);
    assert!(!was_ended(&rig));
    // It was frozen only after it had forgotten, and runs again.
    assert!(!rig.processes.is_frozen(&FakeProcesses::id(7)).unwrap());
}

#[test]
fn an_agent_is_not_frozen_before_it_has_forgotten() {
    let rig = Rig::of(FakeAgents::new().agent(7, 1));
    let frozen_too_early = Mutex::new(false);
    rig.contain_while(Tier::SignOut, &|moment| {
        let frozen = rig.processes.is_frozen(&FakeProcesses::id(7)).unwrap();
        if matches!(moment, Moment::Ended(step) if step.step == "freeze") && rig.agents.kept() > 0 {
            *frozen_too_early.lock().unwrap() |= frozen;
        }
    });
    assert!(!*frozen_too_early.lock().unwrap());
    assert!(rig.processes.asked().iter().any(|asked| asked.starts_with("freeze 7")));
}

#[test]
fn an_agent_that_lies_hangs_or_is_locked_is_ended() {
    for agents in [
        FakeAgents::new().liar(7, 2),
        FakeAgents::new().hanging(7, 2),
        FakeAgents::new().locked(7, 2),
    ] {
        let rig = Rig::of(agents);
        let body = rig.contain(Tier::SignOut);
        assert!(was_ended(&rig));
        assert_eq!(rig.agents.kept(), 0);
        assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    }
}

#[test]
fn a_kept_agent_that_does_not_forget_is_residual_and_a_locked_one_shows_up() {
    for agents in [FakeAgents::new().liar(7, 2), FakeAgents::new().locked(7, 2)] {
        let rig = Rig { processes: FakeProcesses::new().keep(7), ..Rig::of(agents) };
        let body = rig.contain(Tier::SignOut);
        assert!(!was_ended(&rig));
        assert_eq!(agent_rows(&body)[0].verdict, Some(Verdict::Residual), "{:#?}", body.stores);
        assert_eq!(body.outcome, Outcome::Partial);
    }
}

#[test]
fn a_kept_agent_that_hangs_is_unknown() {
    let agents = FakeAgents::new().hanging(7, 2);
    let rig = Rig { processes: FakeProcesses::new().keep(7), ..Rig::of(agents) };
    let body = rig.contain(Tier::SignOut);
    assert_eq!(agent_rows(&body)[0].verdict, Some(Verdict::Unknown));
}

#[test]
fn an_agent_out_of_reach_is_refused_and_named_beforehand() {
    let rig = Rig::of(FakeAgents::new().out_of_reach(7));
    let body = rig.contain(Tier::SignOut);
    let rows = agent_rows(&body);
    assert_eq!((rows[0].before, rows[0].verdict), (Before::Refused, Some(Verdict::Refused)));
    assert!(body.not_covered.iter().any(|entry| entry.what.contains("runtime:agent.7")));
}

#[test]
fn an_agent_that_comes_up_meanwhile_is_flushed_too_and_said() {
    let processes = FakeProcesses::new().process(7, "/usr/bin/ssh-agent").keep(9);
    let rig = Rig { processes, ..Rig::of(FakeAgents::new().agent(7, 1)) };
    let started = Mutex::new(false);
    let body = rig.contain_while(Tier::SignOut, &|moment| {
        let here = matches!(moment, Moment::Ended(step) if step.step == "survey-last");
        if here && !std::mem::replace(&mut *started.lock().unwrap(), true) {
            rig.agents.start(9, 3);
        }
    });
    let rows = agent_rows(&body);
    assert_eq!(rows.len(), 2, "{:#?}", body.stores);
    assert_eq!((rows[1].before, rows[1].verdict), (Before::Appeared, Some(Verdict::Gone)));
    assert_eq!(rig.agents.kept(), 0);
}

#[test]
fn an_agent_that_keeps_nothing_is_no_row() {
    let body = Rig::of(FakeAgents::new().agent(7, 0)).contain(Tier::SignOut);
    assert_eq!(agent_rows(&body), Vec::<&StoreReport>::new());
    assert_eq!(body.outcome, Outcome::Verified);
}

#[test]
fn a_lock_leaves_agents_alone() {
    let rig = Rig::of(FakeAgents::new().agent(7, 2));
    let body = rig.contain(Tier::Lock);
    assert_eq!(agent_rows(&body), Vec::<&StoreReport>::new());
    assert_eq!(rig.agents.kept(), 2);
}

#[test]
fn a_keyring_that_fails_hides_no_other() {
    let keyrings = vec![
        Keyring::broken(KeyringStore::SecretService),
        Keyring::of(KeyringStore::Kernel, "_krb", ""),
    ];
    let rig = Rig { keyrings, ..Rig::default() };
    let body = rig.contain(Tier::SignOut);
    assert_eq!(rig.keyrings[1].left(), 0);
    let tickets = body.stores.iter().find(|row| row.store == "tickets-kernel").unwrap();
    assert_eq!(tickets.verdict, Some(Verdict::Gone));
    let broken = body.stores.iter().find(|row| row.app == "keyring").unwrap();
    assert_eq!(broken.verdict, Some(Verdict::Unknown));
}

#[test]
fn a_rule_for_one_keyring_never_means_an_item_of_another() {
    let keyrings = vec![Keyring::of(KeyringStore::SecretService, "_krb", "")];
    let rig = Rig { keyrings, ..Rig::default() };
    rig.contain(Tier::Purge);
    assert_eq!(rig.keyrings[0].left(), 1);
}

#[test]
fn an_opt_in_key_goes_only_when_it_was_asked_for() {
    let wallet =
        || vec![Keyring::of(KeyringStore::KWallet, "Chromium Safe Storage", "Chromium Keys")];
    let spared = Rig { keyrings: wallet(), ..Rig::default() };
    spared.contain(Tier::Purge);
    assert_eq!(spared.keyrings[0].left(), 1);
    let include = vec!["chromium/safe-storage-kwallet".to_owned()];
    let asked = Rig { keyrings: wallet(), include, ..Rig::default() };
    assert_eq!(asked.contain(Tier::Purge).outcome, Outcome::Verified);
    assert_eq!(asked.keyrings[0].left(), 0);
}

#[test]
fn a_keyring_that_no_rule_concerns_is_not_asked() {
    let keyrings = vec![Keyring::broken(KeyringStore::CredentialManager)];
    let rig = Rig { keyrings, ..Rig::default() };
    assert_eq!(rig.contain(Tier::SignOut).outcome, Outcome::Verified);
}

#[test]
fn a_locked_keyring_that_hides_what_it_holds_is_refused_and_named() {
    let mut keyring = Keyring::of(KeyringStore::SecretService, "", "");
    let hashes = [("gkr:compat:hashed:service", "e84f"), ("xdg:schema", "org.example.Generic")];
    for item in keyring.items.get_mut().unwrap() {
        item.locked = true;
        item.attributes = hashes.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    }
    let rig = Rig { keyrings: vec![keyring], ..Rig::default() };
    let body = rig.contain(Tier::SignOut);
    let row = body.stores.iter().find(|row| row.app == "keyring").unwrap();
    assert_eq!((row.store.as_str(), row.verdict), ("locked", Some(Verdict::Refused)));
    assert!(body.not_covered.iter().any(|entry| entry.what.contains("\"one\"")));
    assert_eq!(body.outcome, Outcome::Partial);
}

/// A locked keyring's item, of which no more than hashes is shown.
fn veiled(hashes: &[(&str, &str)]) -> Keyring {
    let mut keyring = Keyring::of(KeyringStore::SecretService, "", "");
    for item in keyring.items.get_mut().unwrap() {
        item.locked = true;
        let hashed = |&(name, hash): &(&str, &str)| (format!("{HASHED}{name}"), hash.to_owned());
        item.attributes = hashes.iter().map(hashed).collect();
    }
    keyring
}

#[test]
fn a_locked_keyring_whose_hashes_no_rule_means_is_no_fault() {
    // The hash of "psk".
    let wifi = veiled(&[("setting-key", "797633604dd0ac41f2a7fc6d0be64f22")]);
    let rig = Rig { keyrings: vec![wifi], ..Rig::default() };
    let body = rig.contain(Tier::SignOut);
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
}

#[test]
fn an_item_that_a_keyring_only_claims_to_have_deleted_is_residual() {
    let mut keyring = Keyring::of(KeyringStore::Kernel, "_krb", "");
    keyring.lying = true;
    let rig = Rig { keyrings: vec![keyring], ..Rig::default() };
    let body = rig.contain(Tier::SignOut);
    let row = body.stores.iter().find(|row| row.store == "tickets-kernel").unwrap();
    assert_eq!(row.verdict, Some(Verdict::Residual));
    assert_eq!(body.outcome, Outcome::Partial);
}

#[test]
fn an_item_that_is_stored_meanwhile_is_cleared_as_well_and_said() {
    let keyring = Keyring::of(KeyringStore::Kernel, "_krb", "");
    let rig = Rig { keyrings: vec![keyring], ..Rig::default() };
    let stored = |moment: &Moment| {
        if matches!(moment, Moment::Begins("survey-again")) {
            let late = KeychainItem { address: "2".into(), ..late_item() };
            rig.keyrings[0].items.lock().unwrap().push(late);
        }
    };
    let body = rig.contain_while(Tier::SignOut, &stored);
    let late = body.stores.iter().find(|row| row.before == Before::Appeared).unwrap();
    assert_eq!((late.store.as_str(), late.verdict), ("tickets-kernel", Some(Verdict::Gone)));
    assert_eq!(rig.keyrings[0].left(), 0);
}

fn late_item() -> KeychainItem {
    let keyring = Keyring::of(KeyringStore::Kernel, "_krb", "");
    keyring.items.into_inner().unwrap().remove(0)
}

/// What a keyring's file holds and nothing shows is never taken for gone (R8).
#[test]
fn an_item_whose_keyring_hides_everything_in_the_end_is_refused() {
    let shown = Keyring::of(KeyringStore::SecretService, "", "");
    shown.items.lock().unwrap()[0].attributes = [("service".into(), "gh:github.com".into())].into();
    let rig = Rig { keyrings: vec![shown], ..Rig::default() };
    let dies = |moment: &Moment| {
        if matches!(moment, Moment::Begins("survey-again")) {
            let hidden = veiled(&[("service", "e84fbf1a5a27f8b9b1f84fcc621b14b1")]);
            let mut items = rig.keyrings[0].items.lock().unwrap();
            items.clear();
            let from_file = hidden.items.into_inner().unwrap();
            items.extend(
                from_file.into_iter().map(|i| KeychainItem { address: "file:1".into(), ..i }),
            );
        }
    };
    let body = rig.contain_while(Tier::SignOut, &dies);
    let token = body.stores.iter().find(|row| row.app == "gh").unwrap();
    assert_eq!(token.verdict, Some(Verdict::Refused), "{:#?}", body.stores);
    assert_eq!(body.outcome, Outcome::Partial);
}
