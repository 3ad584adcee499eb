//! Containment end to end over fakes: every trap must show in the receipt.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use exeunt_catalogue::Catalogue;
use exeunt_domain::order::{Demand, RECEIPT_EVENT};
use exeunt_domain::receipt::{Before, LockReport, Mode, ReceiptBody};
use exeunt_domain::{Authority, Jti, Outcome, StoreReport, Tier, Timestamp, Txn, Verdict};
use exeunt_engine::ports::{Clock as _, HandOver, Host, Identity, Keychains, Locker, Moment};
use exeunt_engine::{Chain, Device, Plan, Receipt, Survey, issue};
use exeunt_ssf::{Expected, Jwks, SigningKey};
use exeunt_testkit::{
    FakeClock, FakeFiles, FakeHandOver, FakeJournal, FakeKeychains, FakeLocker, FakeProcesses,
};

const COOKIES: &str = ".config/chromium/Default/Cookies";
const SSO: &str = ".aws/sso/cache/a.json";

/// A machine of fakes and what is done while the engine works on it.
struct Rig {
    files: FakeFiles,
    processes: FakeProcesses,
    keychains: FakeKeychains,
    locker: FakeLocker,
    isolated: bool,
    hand_over: Option<FakeHandOver>,
    demand: Demand,
}

fn home() -> FakeFiles {
    FakeFiles::new()
        .file(".config/chromium/Local State", b"{}")
        .file(".config/chromium/Default/Preferences", b"{}")
        .file(".config/chromium/Default/Bookmarks", b"{}")
        .file(COOKIES, b"sid")
        .file(SSO, b"token")
        .file("Documents/letter.odt", b"dear")
}

impl Rig {
    fn over(files: FakeFiles) -> Self {
        let processes = FakeProcesses::new().holding(&files);
        let (keychains, locker) = (FakeKeychains::new(), FakeLocker::new());
        Self {
            files,
            processes,
            keychains,
            locker,
            isolated: true,
            hand_over: Some(FakeHandOver::new()),
            demand: demand(),
        }
    }

    fn contain(&self) -> ReceiptBody {
        self.contain_while(&|_| {}).body
    }

    fn contain_while(&self, observe: &(dyn Fn(&Moment) + Sync)) -> Receipt {
        let catalogue = Catalogue::builtin().unwrap();
        let (clock, journal) = (FakeClock::at(1_000_000).ticking(100), FakeJournal::new());
        let host = self.host(&clock, &journal, observe);
        let survey = Survey::take(&catalogue, &host);
        let plan = Plan::draft(survey, self.demand.tier);
        let armed = plan.arm(self.demand.clone(), &clock, clock.instant());
        let checked = armed.execute(&host, vec![], vec![]).check(&catalogue, &host);
        let key = SigningKey::generate().unwrap();
        let device = Device {
            name: "occ-07",
            audience: "http://hub",
            key: &key,
            pinned: true,
            mode: Mode::Installed,
        };
        let jti = Jti::parse("r1").unwrap();
        let receipt =
            issue(checked, &catalogue, &device, &Chain::default(), jti, Timestamp(2)).unwrap();
        let expected = Expected { issuer: None, audience: "http://hub".into() };
        let set = exeunt_ssf::verify(&receipt.compact, &Jwks::of(key.jwk()), &expected).unwrap();
        assert_eq!(set.event_as::<ReceiptBody>(RECEIPT_EVENT).unwrap(), receipt.body);
        receipt
    }

    fn host<'a>(
        &'a self,
        clock: &'a FakeClock,
        journal: &'a FakeJournal,
        observe: &'a (dyn Fn(&Moment) + Sync),
    ) -> Host<'a, FakeFiles> {
        Host {
            files: &self.files,
            processes: &self.processes,
            keychains: vec![&self.keychains as &dyn Keychains],
            agents: None,
            disks: None,
            include: &[],
            locker: &self.locker as &dyn Locker,
            hand_over: self.hand_over.as_ref().map(|port| port as &dyn HandOver),
            isolated: self.isolated,
            clock,
            journal,
            observe,
        }
    }
}

fn demand() -> Demand {
    Demand {
        txn: Txn::parse("t1").unwrap(),
        authority: Authority::LocalRequest { uid: 1000, surface: "test".into() },
        tier: Tier::SignOut,
        subject: None,
        reason: None,
        hand_over: false,
    }
}

fn row<'b>(body: &'b ReceiptBody, app: &str, store: &str) -> &'b StoreReport {
    let found = body.stores.iter().find(|row| row.app == app && row.store == store);
    found.unwrap_or_else(|| panic!("no {app} {store} in {:#?}", body.stores))
}

/// Does `work` once, when the step `name` has ended.
fn after<'a>(name: &'a str, work: impl Fn() + Sync + 'a) -> impl Fn(&Moment) + Sync + 'a {
    let done = std::sync::atomic::AtomicBool::new(false);
    move |moment| {
        let here = matches!(moment, Moment::Ended(step) if step.step == name);
        if here && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            work();
        }
    }
}

#[test]
fn removes_sessions_keeps_the_rest_and_verifies() {
    let rig = Rig::over(home());
    let body = rig.contain();
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Gone));
    assert!(!rig.files.exists(COOKIES) && !rig.files.exists(SSO));
    for kept in [".config/chromium/Default/Bookmarks", "Documents/letter.odt"] {
        assert!(rig.files.exists(kept), "{kept}");
    }
    assert_eq!(rig.files.quarantined(), 0);
    assert!(matches!(body.lock, LockReport::Proved { .. }));
}

#[test]
fn a_survey_and_a_preview_touch_nothing() {
    let files = home().hold(7, COOKIES);
    let rig = Rig::over(files);
    let (clock, journal) = (FakeClock::at(1), FakeJournal::new());
    let host = rig.host(&clock, &journal, &|_| {});
    let catalogue = Catalogue::builtin().unwrap();
    let survey = Survey::take(&catalogue, &host);
    assert!(survey.reports().iter().any(|row| row.store == "cookies"));
    let plan = Plan::draft(survey, Tier::SignOut);
    assert_eq!(plan.closes(&host).len(), 1);
    assert!(rig.files.exists(COOKIES) && rig.files.exists(SSO));
    assert_eq!(rig.processes.asked(), Vec::<String>::new());
    assert_eq!(rig.locker.asked(), 0);
}

#[test]
fn the_digest_of_a_preview_changes_with_what_would_go() {
    let digest = |files: FakeFiles| {
        let rig = Rig::over(files);
        let (clock, journal) = (FakeClock::at(1), FakeJournal::new());
        let catalogue = Catalogue::builtin().unwrap();
        let survey = Survey::take(&catalogue, &rig.host(&clock, &journal, &|_| {}));
        Plan::draft(survey, Tier::SignOut).digest()
    };
    assert_eq!(digest(home()), digest(home()));
    assert_ne!(digest(home()), digest(home().file(".vault-token", b"hvs")));
}

#[test]
fn a_store_that_comes_back_is_contained_again_and_said() {
    let rig = Rig::over(home());
    let files = &rig.files;
    let body = rig.contain_while(&after("unlink", || {
        files.put(COOKIES, b"again");
    }));
    assert!(!rig.files.exists(COOKIES));
    let cookies = row(&body.body, "chromium", "cookies");
    assert_eq!(cookies.verdict, Some(Verdict::Gone));
    assert!(cookies.detail.as_ref().unwrap().contains("came back"), "{cookies:?}");
}

#[test]
fn a_store_that_appears_during_the_lock_is_contained_too() {
    let rig = Rig::over(home());
    let files = &rig.files;
    let body = rig.contain_while(&after("prove-lock", || {
        files.put(".vault-token", b"hvs");
    }));
    assert!(!rig.files.exists(".vault-token"));
    assert!(body.body.stores.iter().any(|row| row.before == Before::Appeared), "{:#?}", body.body);
    assert_eq!(body.body.outcome, Outcome::Verified);
}

#[test]
fn a_file_swapped_in_at_the_last_moment_is_not_removed_unseen() {
    let rig = Rig::over(home().swap_before_change(COOKIES, b"other"));
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Gone));
    assert!(!rig.files.exists(COOKIES));
    let quarantine = body.steps.iter().find(|step| step.step == "quarantine").unwrap();
    assert!(quarantine.error.as_ref().unwrap().contains("another file took its place"));
}

#[test]
fn an_immutable_store_is_residual_and_never_verified() {
    let rig = Rig::over(home().immutable(COOKIES));
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Residual));
    assert_eq!(body.outcome, Outcome::Partial);
    assert!(!rig.files.exists(SSO));
}

#[test]
fn what_cannot_be_erased_is_unusable_only_where_the_account_cannot_reach_it() {
    for (isolated, verdict) in [(true, Verdict::Unusable), (false, Verdict::Residual)] {
        let rig = Rig { isolated, ..Rig::over(home().immutable(SSO)) };
        let body = rig.contain();
        assert_eq!(row(&body, "aws", "sso-cache").verdict, Some(verdict));
        assert!(!rig.files.exists(SSO));
    }
}

#[test]
fn ends_who_holds_a_store_and_thaws_who_does_not() {
    let files = home().hold(7, COOKIES);
    let rig = Rig {
        processes: FakeProcesses::new()
            .process(7, "/usr/lib/chromium/chromium")
            .process(8, "/usr/bin/writer")
            .holding(&files),
        ..Rig::over(files)
    };
    assert_eq!(rig.contain().outcome, Outcome::Verified);
    let asked = rig.processes.asked();
    assert!(asked.contains(&"end 7".to_owned()), "{asked:?}");
    assert!(asked.contains(&"thaw 8".to_owned()) && !asked.contains(&"end 8".to_owned()));
    let frozen = asked.iter().position(|verb| verb == "freeze 7");
    assert!(frozen < asked.iter().position(|verb| verb == "end 7"), "{asked:?}");
}

#[test]
fn a_process_that_will_not_end_makes_the_verdict_unknown() {
    let files = home().hold(7, COOKIES);
    let rig = Rig {
        processes: FakeProcesses::new().process(7, "/usr/bin/stuck").stubborn(7).holding(&files),
        ..Rig::over(files)
    };
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Unknown));
    assert_eq!(body.outcome, Outcome::Unreachable);
}

/// Rows are never cut out of a database that somebody is still writing.
#[test]
fn a_file_that_a_living_process_holds_is_not_edited() {
    const WEB_DATA: &str = ".config/chromium/Default/Web Data";
    let files = home().file_with_rows(WEB_DATA, 1).hold(7, WEB_DATA);
    let before = files.file_identity(WEB_DATA);
    let rig = Rig {
        processes: FakeProcesses::new().process(7, "/usr/bin/stuck").stubborn(7).holding(&files),
        ..Rig::over(files)
    };
    let body = rig.contain();
    assert_eq!(rig.files.file_identity(WEB_DATA), before, "it was replaced under its holder");
    let row = row(&body, "chromium", "account-tokens");
    assert_ne!(row.verdict, Some(Verdict::Gone));
    assert_ne!(body.outcome, Outcome::Verified);
    let edit = body.steps.iter().find(|step| step.step == "edit").unwrap();
    let error = edit.error.as_deref().unwrap();
    assert!(error.contains("not edited: pid 7 holds it open"), "{error}");
}

#[test]
fn a_kept_process_that_holds_a_store_leaves_it_residual() {
    let files = home().hold(7, COOKIES);
    let rig = Rig {
        processes: FakeProcesses::new().process(7, "/usr/bin/sway").keep(7).holding(&files),
        ..Rig::over(files)
    };
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Residual));
    assert!(!rig.processes.asked().iter().any(|verb| verb.ends_with(" 7")));
    assert!(body.remarks.iter().any(|remark| remark.contains("keep-list")), "{:?}", body.remarks);
}

#[test]
fn only_the_store_that_is_held_open_suffers_from_its_holder() {
    let files = home().hold(7, COOKIES);
    let rig = Rig {
        processes: FakeProcesses::new().process(7, "/usr/bin/stuck").stubborn(7).holding(&files),
        ..Rig::over(files)
    };
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Unknown));
    assert_eq!(row(&body, "aws", "sso-cache").verdict, Some(Verdict::Gone));
}

#[test]
fn keyring_items_go_and_a_locked_one_is_refused() {
    let gh: &[(&str, &str)] = &[("service", "gh:github.com"), ("username", "alice")];
    let open = Rig { keychains: FakeKeychains::new().item("gh", gh), ..Rig::over(home()) };
    let body = open.contain();
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    assert_eq!(open.keychains.items().unwrap().len(), 0);

    let locked = Rig { keychains: FakeKeychains::new().locked_item("gh", gh), ..Rig::over(home()) };
    let body = locked.contain();
    assert!(body.stores.iter().any(|row| row.verdict == Some(Verdict::Refused)));
    assert_eq!(body.outcome, Outcome::Partial);
    assert!(!body.not_covered.is_empty());
}

#[test]
fn an_item_that_no_rule_means_stays() {
    let wifi: &[(&str, &str)] = &[("xdg:schema", "org.example.Wifi")];
    let rig = Rig { keychains: FakeKeychains::new().item("wifi", wifi), ..Rig::over(home()) };
    rig.contain();
    assert_eq!(rig.keychains.items().unwrap().len(), 1);
}

#[test]
fn a_keychain_that_hangs_is_unknown_and_the_rest_goes_on() {
    let stalled = FakeKeychains::new().stalled(std::time::Duration::from_secs(5));
    let rig = Rig { keychains: stalled, ..Rig::over(home()) };
    let body = rig.contain();
    assert_eq!(row(&body, "keyring", "all").verdict, Some(Verdict::Unknown));
    assert_eq!(body.outcome, Outcome::Unreachable);
    assert!(!rig.files.exists(COOKIES));
}

#[test]
fn no_keychain_at_all_is_no_fault() {
    let rig = Rig { keychains: FakeKeychains::absent(), ..Rig::over(home()) };
    assert_eq!(rig.contain().outcome, Outcome::Verified);
}

#[test]
fn without_a_quarantine_stores_are_unlinked_in_place() {
    for files in [home().without_quarantine(), home().quarantine_on_another_mount()] {
        let rig = Rig::over(files);
        assert_eq!(rig.contain().outcome, Outcome::Verified);
        assert!(!rig.files.exists(COOKIES));
    }
}

#[test]
fn a_link_in_a_stores_place_is_cut_and_what_it_led_to_is_said() {
    let rig = Rig::over(home().symlink(".config/chromium/Default/Local Storage"));
    let body = rig.contain();
    let storage = row(&body, "chromium", "local-storage");
    assert_eq!(storage.verdict, Some(Verdict::Residual));
    assert!(storage.detail.as_ref().unwrap().contains("symbolic link"));
    assert!(!rig.files.exists(".config/chromium/Default/Local Storage"));
}

#[test]
fn a_link_on_the_way_to_a_store_is_refused_and_named() {
    let rig = Rig::over(home().symlink(".config/Slack").symlink(".config/chromium/Profile 1"));
    let body = rig.contain();
    for (app, place) in [("slack", ".config/Slack"), ("chromium", ".config/chromium/Profile 1")] {
        let refused = body.stores.iter().find(|row| row.app == app && row.place == place);
        assert_eq!(refused.unwrap().verdict, Some(Verdict::Refused), "{place}");
    }
    assert_eq!(body.outcome, Outcome::Partial);
}

#[test]
fn another_file_system_in_a_stores_place_is_refused() {
    let files = home().dir(".config/chromium/Default/Local Storage");
    let rig = Rig::over(files.mount(".config/chromium/Default/Local Storage"));
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "local-storage").verdict, Some(Verdict::Refused));
    assert!(rig.files.exists(".config/chromium/Default/Local Storage"));
}

#[test]
fn a_live_browser_names_its_own_profile_directory() {
    let custom = "work/profile";
    let files = home()
        .file(&format!("{custom}/Local State"), b"{}")
        .file(&format!("{custom}/Default/Preferences"), b"{}")
        .file(&format!("{custom}/Default/Cookies"), b"sid");
    let arg = format!("--user-data-dir=/home/fake/{custom}");
    let rig = Rig {
        processes: FakeProcesses::new()
            .process(7, "/usr/lib/chromium/chromium")
            .arg(7, &arg)
            .process(8, "/usr/lib/chromium/chromium")
            .arg(8, "--user-data-dir=/srv/elsewhere"),
        ..Rig::over(files)
    };
    let body = rig.contain();
    assert!(!rig.files.exists(&format!("{custom}/Default/Cookies")), "{:#?}", body.stores);
    let outside = body.stores.iter().find(|row| row.place == "/srv/elsewhere").unwrap();
    assert_eq!(outside.verdict, Some(Verdict::Refused));
}

#[test]
fn an_unproved_lock_is_partial_and_the_stores_are_gone_all_the_same() {
    for locker in [FakeLocker::ignoring(), FakeLocker::missing()] {
        let rig = Rig { locker, ..Rig::over(home()) };
        let body = rig.contain();
        assert_eq!(body.outcome, Outcome::Partial);
        assert!(matches!(body.lock, LockReport::NotProved { .. }));
        assert!(!rig.files.exists(COOKIES));
    }
}

#[test]
fn secrets_are_cut_out_of_files_that_stay() {
    let web_data = ".config/chromium/Default/Web Data";
    let rig = Rig::over(home().file_with_rows(web_data, 2));
    let body = rig.contain();
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    assert!(rig.files.exists(web_data));
}

#[test]
fn receipts_chain_by_the_hash_of_the_one_before() {
    let first = Rig::over(home()).contain_while(&|_| {});
    let chain = Chain::default().after(&first.compact);
    assert_eq!(chain.seq, 1);
    assert_eq!(chain.last.len(), 64);
    assert_ne!(chain.last, Chain::default().after("another").last);
}

/// A holder in a group of its own, somebody beside it, a bus and a manager.
fn processes(files: &FakeFiles) -> FakeProcesses {
    FakeProcesses::new()
        .process(7, "/usr/lib/chromium/chromium")
        .group(7, "app")
        .process(8, "/usr/bin/writer")
        .process(9, "/usr/bin/dbus-daemon")
        .keep(9)
        .process(10, "/usr/lib/systemd/systemd")
        .pillar(10)
        .holding(files)
}

#[test]
fn a_group_is_frozen_as_one_and_thawed_and_its_stray_is_stopped_by_signal() {
    let files = home();
    let rig = Rig { processes: processes(&files), ..Rig::over(files) };
    let body = rig.contain();
    let asked = rig.processes.asked();
    assert!(
        asked.contains(&"freeze app".into()) && asked.contains(&"thaw app".into()),
        "{asked:?}"
    );
    assert!(!asked.contains(&"freeze 7".into()), "{asked:?}");
    let freeze = body.steps.iter().find(|step| step.step == "freeze").unwrap();
    assert!(freeze.detail.as_ref().unwrap().contains("1 control group"), "{freeze:?}");

    let files = home();
    let rig = Rig { processes: processes(&files).thawed_at_once("app"), ..Rig::over(files) };
    rig.contain();
    assert!(rig.processes.asked().contains(&"freeze 7".into()), "{:?}", rig.processes.asked());
}

#[test]
fn a_sign_out_leaves_whoever_holds_nothing_and_a_purge_only_what_the_session_stands_on() {
    let sign_out = Rig { processes: processes(&home()), ..Rig::over(home()) };
    let body = sign_out.contain();
    assert!([7, 8, 9, 10].iter().all(|pid| sign_out.processes.lives(*pid)));
    assert!(!body.stores.iter().any(|row| row.app == "account"));

    let demand = Demand { tier: Tier::Purge, ..demand() };
    let purge = Rig { processes: processes(&home()), demand, ..Rig::over(home()) };
    let body = purge.contain();
    let asked = purge.processes.asked();
    assert!(asked.contains(&"end app".into()), "{asked:?}");
    assert!(!asked.contains(&"thaw 8".into()), "ended while it stood: {asked:?}");
    assert!(!purge.processes.lives(7) && !purge.processes.lives(8));
    assert!(purge.processes.lives(9) && purge.processes.lives(10));
    assert_eq!(row(&body, "account", "processes").verdict, Some(Verdict::Gone));
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
}

#[test]
fn a_purge_ends_who_starts_meanwhile_and_says_who_would_not_end() {
    let demand = Demand { tier: Tier::Purge, ..demand() };
    let rig = Rig { processes: processes(&home()).stubborn(8), demand, ..Rig::over(home()) };
    let late = &rig.processes;
    let body = rig.contain_while(&after("thaw", || late.start(20, &[]))).body;
    assert!(!rig.processes.lives(20));
    let left = row(&body, "account", "processes");
    assert_eq!(left.verdict, Some(Verdict::Residual));
    assert!(left.detail.as_ref().unwrap().contains("pid 8"), "{left:?}");
    assert_eq!(body.outcome, Outcome::Partial);
}

#[test]
fn a_hand_over_is_verified_only_when_nothing_of_the_account_is_left() {
    let demand = Demand { hand_over: true, ..demand() };
    let rig = Rig { processes: processes(&home()), demand: demand.clone(), ..Rig::over(home()) };
    let body = rig.contain();
    assert_eq!(rig.hand_over.as_ref().unwrap().asked(), 1);
    assert_eq!(body.outcome, Outcome::Verified, "{:#?}", body.stores);
    for what in ["processes", "login-sessions", "runtime-directory"] {
        assert_eq!(row(&body, "account", what).verdict, Some(Verdict::Gone), "{what}");
    }
    assert!(matches!(&body.lock, LockReport::Proved { how } if how.contains("handed over")));
    assert!(body.steps.iter().any(|step| step.step == "hand-over"));

    let hand_over = Some(FakeHandOver::with_survivor(7, "sh"));
    let rig = Rig { hand_over, demand: demand.clone(), ..Rig::over(home()) };
    let body = rig.contain();
    assert_eq!(row(&body, "account", "processes").verdict, Some(Verdict::Residual));
    assert_eq!(body.outcome, Outcome::Partial);

    let body = Rig { hand_over: None, demand, ..Rig::over(home()) }.contain();
    assert_eq!(row(&body, "account", "processes").verdict, Some(Verdict::Refused));
}

#[test]
fn a_hand_over_counts_keyring_items_while_the_keyring_still_runs() {
    let gh: &[(&str, &str)] = &[("service", "gh:github.com"), ("username", "alice")];
    let demand = Demand { hand_over: true, ..demand() };
    let keychains = FakeKeychains::new().item("gh", gh);
    let body = Rig { keychains, demand, ..Rig::over(home()) }.contain();
    let at = |name: &str| body.steps.iter().find(|step| step.step == name).unwrap().at_ms;
    assert!(at("count-keychain") <= at("hand-over"), "{:#?}", body.steps);
}

#[test]
fn a_process_that_hides_what_it_holds_makes_every_verdict_unknown() {
    let files = home().hold(7, COOKIES);
    let rig = Rig { processes: processes(&files).hide(8), ..Rig::over(files) };
    let body = rig.contain();
    assert_eq!(row(&body, "chromium", "cookies").verdict, Some(Verdict::Unknown));
    assert!(row(&body, "aws", "sso-cache").detail.as_ref().unwrap().contains("hides"));
    assert_eq!(body.outcome, Outcome::Unreachable);
}

#[test]
fn a_holder_that_is_started_again_takes_who_started_it_along_and_the_receipt_says_so() {
    let files = home().hold(7, COOKIES);
    let held = FakeProcesses::new().process(6, "/bin/sh").child_of(7, 6).holding(&files);
    let rig = Rig { processes: held, ..Rig::over(files) };
    let (files, started) = (&rig.files, &rig.processes);
    let body = rig.contain_while(&after("prove-lock", || {
        let again = files.put(COOKIES, b"again");
        started.start_below(17, 6, &[Identity { dev: 1, ino: again }]);
    }));
    assert!(!rig.processes.lives(7) && !rig.processes.lives(17) && !rig.processes.lives(6));
    let body = body.body;
    let cookies = row(&body, "chromium", "cookies");
    assert_eq!(cookies.verdict, Some(Verdict::Gone));
    assert!(cookies.detail.as_ref().unwrap().contains("came back"), "{cookies:?}");
    assert!(body.remarks.iter().any(|remark| remark.contains("pid 6")), "{:?}", body.remarks);
}

#[test]
fn the_service_behind_a_holder_is_stopped_once_its_manager_runs_again() {
    let files = home().hold(7, COOKIES);
    let rig = Rig { processes: processes(&files).service(7, "sync.service"), ..Rig::over(files) };
    rig.contain();
    let asked = rig.processes.asked();
    let at = |what: &str| asked.iter().position(|verb| verb == what).unwrap();
    assert!(at("thaw 10") < at("stop sync.service"), "{asked:?}");
}
