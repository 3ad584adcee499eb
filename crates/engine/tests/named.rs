//! Variables that name a file elsewhere: followed inside the home, and said where they lead out.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use exeunt_catalogue::Catalogue;
use exeunt_domain::StoreReport;
use exeunt_domain::receipt::Before;
use exeunt_engine::Survey;
use exeunt_engine::ports::{Host, Locker};
use exeunt_testkit::{FakeClock, FakeFiles, FakeJournal, FakeLocker, FakeProcesses};

fn surveyed(files: &FakeFiles, variable: &str, value: &str) -> Vec<StoreReport> {
    let processes = FakeProcesses::new().process(7, "/usr/bin/sh").env(7, variable, value);
    let (clock, journal, locker) = (FakeClock::at(1), FakeJournal::new(), FakeLocker::new());
    let host = Host {
        files,
        processes: &processes,
        keychains: vec![],
        agents: None,
        disks: None,
        include: &[],
        locker: &locker as &dyn Locker,
        hand_over: None,
        isolated: true,
        clock: &clock,
        journal: &journal,
        observe: &|_| {},
    };
    Survey::take(&Catalogue::builtin().unwrap(), &host).reports()
}

#[test]
fn a_file_that_a_variable_names_is_surveyed_as_that_store() {
    let files = FakeFiles::new()
        .file_with_rows("work/kube.yaml", 1)
        .file_with_rows("work/other.yaml", 1)
        .file("auth.json", b"{}");
    let list = "/home/fake/work/kube.yaml:/home/fake/work/other.yaml:/home/fake/none/x.yaml";
    let rows = surveyed(&files, "KUBECONFIG", list);
    let found: Vec<_> = rows.iter().map(|row| (row.store.as_str(), row.profile.as_str())).collect();
    assert_eq!(found, [("clusters", "$KUBECONFIG"), ("configuration", "$KUBECONFIG")], "{rows:?}");
    let rows = surveyed(&files, "REGISTRY_AUTH_FILE", "/home/fake/auth.json");
    assert_eq!(rows[0].place, "auth.json", "{rows:?}");
}

#[test]
fn a_file_outside_the_home_is_refused_and_named() {
    let rows = surveyed(&FakeFiles::new(), "AWS_SHARED_CREDENTIALS_FILE", "/srv/keys/credentials");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].app.as_str(), rows[0].before), ("aws", Before::Refused));
    assert_eq!(rows[0].place, "/srv/keys/credentials");
    let why = rows[0].detail.as_deref().unwrap();
    assert!(why.contains("AWS_SHARED_CREDENTIALS_FILE: outside the home"), "{why}");
}

/// Whoever sets a variable of a process cannot have a document removed by it.
#[test]
fn a_variable_that_names_a_protected_file_leads_to_a_refusal() {
    let files = FakeFiles::new().file("Documents/letter", b"dear").symlink("out");
    let rows = surveyed(&files, "REGISTRY_AUTH_FILE", "/home/fake/Documents/letter");
    assert_eq!((rows.len(), rows[0].before), (1, Before::Refused), "{rows:?}");
    assert!(rows[0].detail.as_deref().unwrap().contains("protected"), "{rows:?}");
    let rows = surveyed(&files, "REGISTRY_AUTH_FILE", "/home/fake/out/auth.json");
    assert_eq!((rows.len(), rows[0].before), (1, Before::Refused), "{rows:?}");
}

#[test]
fn what_names_no_file_of_the_home_is_nothing() {
    let files = FakeFiles::new().dir("work").special("pipe");
    for value in
        ["", "/dev/null", "relative/path", "/home/fake/work", "/home/fake/pipe", "/home/fake/no/x"]
    {
        let rows = surveyed(&files, "REGISTRY_AUTH_FILE", value);
        assert_eq!(rows, [], "{value}");
    }
}
