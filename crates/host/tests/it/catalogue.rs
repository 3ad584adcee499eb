//! Every row of the compiled-in catalogue, on planted homes: surveyed, closed, and looked at again.
//!
//! It refuses to believe the receipt alone: what is on the disk afterwards is compared by byte.

mod fixture;
mod planted;

use exeunt_catalogue::{Action, Catalogue, Platform};
use exeunt_domain::order::Demand;
use exeunt_domain::receipt::{Mode, ReceiptBody};
use exeunt_domain::{Authority, Jti, Outcome, Tier, Txn, Verdict};
use exeunt_engine::ports::{Clock as _, Host};
use exeunt_engine::{Chain, Device, Plan, Survey, issue};
use exeunt_host::clock::SystemClock;
use exeunt_host::locker::NoLocker;
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_ssf::SigningKey;
use exeunt_testkit::FakeJournal;
use exeunt_testkit::contract::files::FilesRig;

use crate::homes::Home;
use planted::Planted;

/// Apps without a file of their own on Linux: what they keep is elsewhere, or elsewhere alone.
const NO_FILES: [&str; 9] = [
    "arc",
    "evolution",
    "gnome-online-accounts",
    "safari",
    "ssh",
    "gpg",
    "kerberos",
    "teams",
    "windows-accounts",
];

/// The catalogue, read once.
fn catalogue() -> &'static Catalogue {
    static READ: std::sync::OnceLock<Catalogue> = std::sync::OnceLock::new();
    READ.get_or_init(|| Catalogue::builtin().unwrap())
}

/// Closes the home with the real adapters, and returns what the receipt says.
fn close(home: &Home, tier: Tier) -> ReceiptBody {
    let (clock, journal) = (SystemClock, FakeJournal::new());
    let processes = LinuxProcesses::of_account(home.owner(), KeepList::default());
    let host = Host {
        files: home.files(),
        processes: &processes,
        keychains: vec![],
        agents: None,
        disks: None,
        include: &[],
        locker: &NoLocker,
        hand_over: None,
        isolated: true,
        clock: &clock,
        journal: &journal,
        observe: &|_| {},
    };
    let authority = Authority::LocalRequest { uid: 0, surface: "test".into() };
    let txn = Txn::parse("t1").unwrap();
    let demand = Demand { txn, authority, tier, subject: None, reason: None, hand_over: false };
    let survey = Survey::take(catalogue(), &host);
    let armed = Plan::draft(survey, tier).arm(demand, &clock, clock.instant());
    let checked = armed.execute(&host, vec![], vec![]).check(catalogue(), &host);
    let key = SigningKey::generate().unwrap();
    let device =
        Device { name: "d", audience: "a", key: &key, pinned: false, mode: Mode::Installed };
    let jti = Jti::parse("r1").unwrap();
    issue(checked, catalogue(), &device, &Chain::default(), jti, clock.now()).unwrap().body
}

/// Every file of the home with its bytes.
fn home_files(home: &Home) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![home.root().to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let place = path.strip_prefix(home.root()).unwrap().to_str().unwrap().to_owned();
                found.insert(place, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// R7, R8: each row is found, goes with everything in it, and takes nothing else with it.
#[test]
fn every_row_goes_at_its_tier_and_takes_nothing_else_with_it() {
    let home = Home::in_memory();
    let planted: Vec<Planted<'_>> =
        catalogue().apps().iter().map(|app| Planted::all_of(app, &home)).collect();
    let mut faults = Vec::new();
    for tier in [Tier::SignOut, Tier::Purge] {
        let before = home_files(&home);
        assert!(tier > Tier::SignOut || before.len() > 1000, "only {} files", before.len());
        let body = close(&home, tier);
        if body.outcome != Outcome::Verified {
            faults.push(format!("{tier} came to {}", body.outcome));
        }
        let left = body.stores.iter().filter(|row| row.verdict != Some(Verdict::Gone));
        faults.extend(left.map(|row| format!("{tier}: {row:?}")));
        let said = |app: &str, store: &str| {
            body.stores.iter().any(|row| row.app == app && row.store == store)
        };
        for app in &planted {
            let unsaid = app.rows_of(tier).filter(|store| !said(app.id(), store));
            faults.extend(unsaid.map(|store| format!("{}/{store}: not in the receipt", app.id())));
            faults.extend(app.faults(&home, tier));
        }
        let after = home_files(&home);
        let changed = before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes));
        let unasked = changed.filter(|(path, _)| !planted.iter().any(|p| p.may_change(path, tier)));
        faults.extend(unasked.map(|(path, _)| format!("{tier}: {path}: was changed or removed")));
        let added = after.keys().filter(|path| !before.contains_key(*path));
        faults.extend(added.map(|path| format!("{tier}: {path}: is new")));
    }
    let outside = std::fs::read(home.outside().join("canary"));
    assert_eq!(outside.unwrap(), b"untouched");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_row_that_is_on_linux_is_planted() {
    let (mut rows, mut bare) = (0, Vec::new());
    for app in catalogue().apps() {
        let on_linux = |rule: &&exeunt_catalogue::StoreRule| {
            let rooted = !app.roots(Platform::Linux).is_empty() && !rule.paths.is_empty();
            rooted || !rule.at(Platform::Linux).is_empty()
        };
        let here: Vec<_> = app.stores.iter().filter(on_linux).collect();
        if here.is_empty() {
            bare.push(app.id.as_str());
        }
        for rule in here {
            let mut paths = rule.examples.removes.iter().flat_map(|text| app.spelt_out(text));
            assert!(paths.next().is_some(), "{}/{} is not planted", app.id, rule.id);
            rows += 1;
        }
    }
    assert_eq!(bare, NO_FILES);
    assert!(rows > 300, "only {rows} rows");
}

#[test]
fn a_fixture_of_every_format_loses_its_secret_alone() {
    let mut formats = std::collections::BTreeSet::new();
    for app in catalogue().apps() {
        for rule in &app.stores {
            if let Action::Edit(edit) = &rule.action {
                formats.insert(fixture::format(edit));
                let bytes = fixture::of_edit(edit);
                assert!(fixture::holds(&bytes, fixture::SECRET), "{}/{}", app.id, rule.id);
                assert!(fixture::holds(&bytes, fixture::KEPT), "{}/{}", app.id, rule.id);
            }
        }
    }
    assert_eq!(formats.len(), 7, "{formats:?}");
}
