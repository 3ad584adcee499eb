//! Commands that ask this device's warden and agent.

use exeunt_domain::receipt::{Before, LockReport, Mode, NotCovered};
use exeunt_domain::{
    DeviceId, Outcome, Proof, SessionId, SessionKind, StepReport, StoreReport, Subject, Tier,
    Timestamp, Txn, Verdict,
};
use exeunt_ipc::message::{
    AgentAnswer, AgentRequest, Closed, ConsoleSession, Ends, Failure, HubLink, HubSession,
    LeaseStanding, Preview, Progress, ReceiptLine, Returned, Started, User, WardenAnswer,
    WardenRequest, WardenStatus, Watched,
};
use exeunt_ssf::{EnrolToken, SigningKey};

use crate::offline::receipt;
use crate::schema::check;
use crate::stage::{Ran, Stage};

fn store(verdict: Option<Verdict>) -> StoreReport {
    StoreReport {
        app: "chromium".into(),
        profile: "Default".into(),
        store: "cookies".into(),
        place: ".config/chromium/Default/Cookies".into(),
        before: Before::Present,
        verdict,
        detail: None,
    }
}

fn session() -> ConsoleSession {
    ConsoleSession {
        id: SessionId::parse("s1").unwrap(),
        subject: Subject::parse("alice@corp.example").unwrap(),
        uid: 1000,
        proof: Proof::Account,
        since: Timestamp(1),
    }
}

fn line() -> ReceiptLine {
    ReceiptLine {
        seq: 1,
        txn: txn(),
        outcome: Outcome::Verified,
        at: Timestamp(1),
        subject: Some(Subject::parse("alice").unwrap()),
        receipt: receipt(&SigningKey::generate().unwrap(), true),
    }
}

fn txn() -> Txn {
    Txn::parse("t1").unwrap()
}

fn status() -> WardenAnswer {
    WardenAnswer::Status(WardenStatus {
        mode: Mode::Installed,
        device: Some(DeviceId::parse("occ-07").unwrap()),
        hub: Some("http://127.0.0.1:7443".into()),
        sessions: vec![session()],
        running: None,
        waiting: 2,
        catalogue: "1".into(),
        console: "occ-07".into(),
        last: Some(line()),
        returned: None,
        watch: None,
        lease: Some(LeaseStanding { left_ms: 86_400_000, lapsed: false, withheld: false }),
    })
}

fn preview() -> WardenAnswer {
    WardenAnswer::Preview(Preview {
        stores: vec![store(None)],
        ends: vec![Ends { app: "chromium".into(), name: "Chromium".into(), stores: 1 }],
        closes: vec!["Chromium".into()],
        stays: vec!["Documents".into()],
        cannot: vec![NotCovered { what: "copied tokens".into(), until: None }],
        digest: "d1".into(),
    })
}

fn closed(outcome: Outcome, hub_committed: bool, hub_refused: Option<&str>) -> WardenAnswer {
    let verdict = if outcome == Outcome::Verified { Verdict::Gone } else { Verdict::Residual };
    WardenAnswer::Closed(Closed {
        txn: txn(),
        outcome,
        hub_committed,
        hub_refused: hub_refused.map(str::to_owned),
        stores: vec![store(Some(verdict))],
        steps: vec![step()],
        lock: LockReport::Proved { how: "grab held".into() },
        receipt: "a.b.c".into(),
    })
}

fn step() -> StepReport {
    StepReport { step: "freeze".into(), ms: 1.5, at_ms: 2.5, error: None, detail: None }
}

fn progress() -> WardenAnswer {
    WardenAnswer::Progress(Progress {
        txn: txn(),
        outcome: Outcome::Fenced,
        hub_committed: Some(true),
        step: Some(step()),
    })
}

fn link(reachable: bool) -> AgentAnswer {
    let hub = Some("http://127.0.0.1:7443".into());
    AgentAnswer::Status(HubLink { hub, reachable, answered: None, waiting: 0 })
}

#[test]
fn status_tells_who_is_here_and_how_the_hub_stands() {
    let stage = Stage::empty().warden(|_| vec![status()]).agent(|_| link(false));
    let ran = stage.run(&["status", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    check("status", &ran.json());
    let words = stage.run(&["status"]).out;
    assert!(words.contains("alice@corp.example"), "{words}");
    assert!(words.contains("The hub does not answer"), "{words}");
}

#[test]
fn status_says_what_came_back_and_how_well_that_is_watched_for() {
    let stage = Stage::empty().warden(|_| {
        let WardenAnswer::Status(status) = status() else { unreachable!() };
        vec![WardenAnswer::Status(WardenStatus {
            sessions: vec![],
            returned: Some(Box::new(Returned {
                at: Timestamp(2),
                after: txn(),
                stores: vec![store(None)],
                contained: None,
                detail: None,
            })),
            watch: Some(Watched { watched: 9, left_out: 3, why: Some("the limit is 9".into()) }),
            ..status
        })]
    });
    check("status", &stage.run(&["status", "--json"]).json());
    let words = stage.run(&["status"]).out;
    assert!(words.contains("Came back after the close"), "{words}");
    assert!(words.contains(".config/chromium/Default/Cookies"), "{words}");
    assert!(words.contains("3 directories are looked at every 30 s"), "{words}");
}

#[test]
fn status_answers_without_an_agent_and_says_so() {
    let stage = Stage::empty().warden(|_| vec![status()]);
    let json = stage.run(&["status", "--json"]).json();
    check("status", &json);
    assert!(json["link"].is_null());
}

#[test]
fn survey_and_preview_print_what_the_warden_found() {
    let stage = Stage::empty().warden(|request| match request {
        WardenRequest::Preview { tier: Tier::SignOut } => vec![preview()],
        _ => vec![WardenAnswer::Survey {
            stores: vec![store(None)],
            reported: vec![exeunt_ipc::message::Reported {
                kind: "env-file".into(),
                place: "project/.env".into(),
                count: 2,
            }],
        }],
    });
    for command in ["survey", "preview"] {
        let ran = stage.run(&[command, "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        match command {
            "survey" => check("survey", &ran.json()),
            _ => check("preview", &ran.json()),
        }
    }
    assert!(stage.run(&["preview"]).out.contains("stays   Documents"));
}

#[test]
fn close_shows_each_step_and_exits_by_the_outcome() {
    for (outcome, code) in [
        (Outcome::Verified, 0),
        (Outcome::Partial, 3),
        (Outcome::Unreachable, 4),
        (Outcome::Refused, 5),
    ] {
        let stage = Stage::empty().warden(move |_| vec![progress(), closed(outcome, false, None)]);
        let ran = stage.run(&["close", "--yes"]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains("freeze"), "{ran:?}");
        let ran = stage.run(&["close", "--yes", "--json"]);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.is_empty(), "{ran:?}");
        check("close", &ran.json());
    }
}

#[test]
fn a_hand_over_is_asked_for_by_its_own_flag() {
    let stage = Stage::empty().warden(move |request| {
        let wanted = matches!(request, WardenRequest::Close { hand_over: true, .. });
        vec![closed(if wanted { Outcome::Verified } else { Outcome::Refused }, false, None)]
    });
    assert_eq!(stage.run(&["close", "--yes", "--hand-over"]).code, 0);
    assert_eq!(stage.run(&["close", "--yes"]).code, 5);
}

#[test]
fn of_all_users_the_worst_governs_and_each_is_named() {
    let users = || ["alice", "bob"].into_iter().zip([1000, 1001]);
    let user = |(name, uid): (&str, u32)| User { uid, name: name.into() };
    let txn = |name: &str| Txn::parse(name.to_owned()).unwrap();
    let stage = Stage::empty().warden(move |request| match request {
        WardenRequest::Users => {
            vec![WardenAnswer::Users { users: users().map(user).collect() }]
        }
        WardenRequest::CloseUsers { hand_over: false, .. } => {
            let started = users().map(|it| Started { txn: txn(it.0), user: user(it) });
            vec![WardenAnswer::Started { started: started.collect() }]
        }
        WardenRequest::Follow { txn } if txn.as_str() == "bob" => {
            vec![progress(), closed(Outcome::Partial, false, None)]
        }
        WardenRequest::Follow { .. } => vec![closed(Outcome::Verified, false, None)],
        WardenRequest::PreviewUser { .. } => vec![preview()],
        _ => vec![WardenAnswer::Survey { stores: vec![store(None)], reported: vec![] }],
    });
    let ran = stage.run(&["close", "--all-users", "--yes", "--json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let json = ran.json();
    check("close-all-users", &json);
    assert_eq!(json["outcome"], "partial");
    let of = |index: usize| (&json["users"][index]["user"], &json["users"][index]["outcome"]);
    assert_eq!(of(0), (&"alice".into(), &"verified".into()));
    assert_eq!(of(1), (&"bob".into(), &"partial".into()));
    assert!(stage.run(&["close", "--all-users", "--yes"]).out.contains("bob (1001)"));
    check("survey-all-users", &stage.run(&["survey", "--all-users", "--json"]).json());
    check("preview-all-users", &stage.run(&["preview", "--all-users", "--json"]).json());
}

#[test]
fn a_warden_that_breaks_off_in_the_middle_is_never_called_closed() {
    let stage = Stage::empty().warden_that_hangs_up(vec![progress()]);
    let ran = stage.run(&["close", "--yes", "--json"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let error = ran.json();
    check("error", &error);
    assert_eq!(error["error"]["code"], "interrupted");
    assert!(error["error"]["hint"].as_str().unwrap().contains("receipt show t1"), "{error}");
}

#[test]
fn a_partial_close_names_what_remains() {
    let stage = Stage::empty().warden(|_| vec![closed(Outcome::Partial, false, None)]);
    let words = stage.run(&["close", "--yes"]).out;
    assert!(words.contains("residual"), "{words}");
    assert!(words.contains(".config/chromium/Default/Cookies"), "{words}");
}

#[test]
fn everywhere_never_says_done_for_what_the_hub_did_not_commit() {
    for (committed, refused, outcome, code, words) in [
        (true, None, "verified", 0, "every session is refused from now on"),
        (false, None, "unreachable", 4, "Elsewhere is still signed in"),
        (false, Some("rate_limited"), "refused", 5, "the hub refused (rate_limited)"),
    ] {
        let stage = Stage::empty()
            .warden(move |_| vec![progress(), closed(Outcome::Verified, committed, refused)])
            .agent(|_| link(true));
        let ran = stage.run(&["everywhere", "--yes", "--json"]);
        assert_eq!(ran.code, code, "{ran:?}");
        let json = ran.json();
        check("everywhere", &json);
        assert_eq!(json["outcome"], outcome);
        assert_eq!(json["device"], "verified");
        assert!(stage.run(&["everywhere", "--yes"]).out.contains(words), "{words}");
    }
}

#[test]
fn a_refusal_of_the_warden_keeps_its_code_and_exits_5() {
    let stage = Stage::empty().warden(|_| {
        vec![WardenAnswer::Failed(Failure {
            code: "tier_refused".into(),
            message: "purge is not there yet".into(),
            hint: Some("use sign-out".into()),
        })]
    });
    let ran = stage.run(&["close", "--tier", "purge", "--yes", "--json"]);
    assert_eq!(ran.code, 5);
    check("error", &ran.json());
    assert_eq!(ran.json()["error"]["code"], "tier_refused");
}

#[test]
fn lock_exits_0_only_when_it_is_proved() {
    for (lock, code) in [
        (LockReport::Proved { how: "grab held".into() }, 0),
        (LockReport::NotProved { why: "no locker".into() }, 3),
    ] {
        let stage =
            Stage::empty().warden(move |_| vec![WardenAnswer::Locked { lock: lock.clone() }]);
        let ran = stage.run(&["lock", "--json"]);
        assert_eq!(ran.code, code, "{ran:?}");
        check("lock", &ran.json());
    }
}

#[test]
fn sessions_begin_end_and_are_listed_with_those_elsewhere() {
    let stage = Stage::empty()
        .warden(|request| match request {
            WardenRequest::SessionEnd => vec![WardenAnswer::Done],
            _ => vec![WardenAnswer::Sessions { sessions: vec![session()] }],
        })
        .agent(|request| match request {
            AgentRequest::HubSessions => AgentAnswer::Sessions {
                sessions: vec![HubSession {
                    kind: SessionKind::Web,
                    place: "desk".into(),
                    label: "Chromium on occ-07".into(),
                    here: true,
                    since: Timestamp(1),
                    last_seen: Timestamp(2),
                }],
            },
            AgentRequest::Status | AgentRequest::TxnState { .. } => link(true),
        });
    let begun = stage.run(&["session", "begin", "--subject", "Alice@Corp.example", "--json"]);
    check("session-begin", &begun.json());
    let alice = Subject::Email { email: "alice@corp.example".into() };
    assert_eq!(stage.asked(), [WardenRequest::SessionBegin { subject: alice, uid: None }]);
    check("session-end", &stage.run(&["session", "end", "--json"]).json());
    let listed = stage.run(&["session", "list", "--json"]).json();
    check("session-list", &listed);
    assert_eq!(listed["hub_sessions"][0]["label"], "Chromium on occ-07");
}

#[test]
fn sessions_elsewhere_are_not_known_when_the_agent_is_not_there() {
    let stage = Stage::empty().warden(|_| vec![WardenAnswer::Sessions { sessions: vec![] }]);
    let listed = stage.run(&["session", "list", "--json"]).json();
    check("session-list", &listed);
    assert!(listed["hub_sessions"].is_null());
    assert_eq!(listed["hub_error"]["code"], "not_running");
}

#[test]
fn receipts_are_listed_shown_and_bundled_with_the_device_key() {
    let key = SigningKey::generate().unwrap();
    let line = ReceiptLine { receipt: receipt(&key, true), ..line() };
    let stage = Stage::empty()
        .warden(move |_| vec![WardenAnswer::Receipts { receipts: vec![line.clone()] }]);
    check("receipt-list", &stage.run(&["receipt", "list", "--json"]).json());
    check("receipt-show", &stage.run(&["receipt", "show", "1", "--json"]).json());
    assert_eq!(stage.run(&["receipt", "show", "1", "--bundle"]).code, 1, "no key is published");
    stage.file("device-key.pub.json", &serde_json::to_string(key.jwk()).unwrap());
    let bundle = stage.run(&["receipt", "show", "1", "--bundle"]);
    check("receipt-bundle", &bundle.json());
    let keys = stage.file("keys.json", &serde_json::to_string(key.jwk()).unwrap());
    let verify = ["receipt", "verify", "-", "--jwks", &keys];
    assert_eq!(stage.run_with_input(&verify, &bundle.out).code, 0);
}

#[test]
fn enrolment_takes_a_token_from_standard_input_and_names_the_device() {
    let token = EnrolToken {
        v: 1,
        hub: "http://127.0.0.1:7443".into(),
        issuer: "http://127.0.0.1:7443".into(),
        secret: "s".into(),
        thumbprints: vec![SigningKey::generate().unwrap().kid().clone()],
        approvers: None,
        orders_per_hour: None,
        group: None,
        tenant: None,
        name: None,
        expires: Timestamp(1),
    };
    let text = token.encode();
    let stage = Stage::empty().warden(|request| match request {
        WardenRequest::Status => vec![status()],
        _ => vec![WardenAnswer::Done],
    });
    let ran =
        stage.run_with_input(&["enroll", "--token-file", "-", "--json"], &format!("{text}\n"));
    assert_eq!(ran.code, 0, "{ran:?}");
    check("enroll", &ran.json());
    assert_eq!(stage.asked()[0], WardenRequest::Enroll { token: text });
    check("unenroll", &stage.run(&["unenroll", "--yes", "--json"]).json());
}

#[test]
fn doctor_names_a_next_step_for_everything_that_is_missing() {
    let ran = Stage::empty().run(&["doctor", "--json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let found = ran.json();
    check("doctor", &found);
    for one in found["checks"].as_array().unwrap() {
        assert_eq!(one["ok"].as_bool().unwrap(), one["next"].is_null(), "{one}");
    }
    let stage = Stage::empty().warden(|_| vec![status()]).agent(|_| link(true));
    let found = stage.run(&["doctor", "--json"]).json();
    check("doctor", &found);
    let is_ok = |name: &str| {
        found["checks"].as_array().unwrap().iter().any(|c| c["name"] == name && c["ok"] == true)
    };
    assert!(["warden", "enrolment", "session", "agent", "hub"].into_iter().all(is_ok), "{found}");
}

/// A copy of the program, so that the warden beside it is the test's: `script` for a shell.
///
/// Another process writes both: a file that this one had open for writing could still be so in a
/// child of another test, and would then not be executable.
fn beside(script: &str) -> (Stage, std::path::PathBuf) {
    let stage = Stage::empty();
    let text = stage.file("script", &format!("#!/bin/sh\n{script}\n"));
    for (from, to) in [(text.as_str(), "exeunt-warden"), (env!("CARGO_BIN_EXE_exeunt"), "exeunt")] {
        let mut install = std::process::Command::new("install");
        let done = install.args(["-m", "755", from]).arg(stage.dir.path().join(to)).status();
        assert!(done.unwrap().success());
    }
    let program = stage.dir.path().join("exeunt");
    (stage, program)
}

#[test]
fn home_runs_the_warden_s_once_and_passes_its_output_and_exit_code_through() {
    let (_stage, program) = beside("echo \"$@\"\nexit 3");
    for json in [&["--json"][..], &[]] {
        let arguments = ["close", "--home", "/tmp/alice", "--yes", "--reason", "x"];
        let ran = std::process::Command::new(&program).args(arguments).args(json).output();
        let ran = Ran::of(&ran.unwrap());
        assert_eq!(ran.code, 3);
        let asked = format!("once --home /tmp/alice --tier sign-out --reason x {}", json.concat());
        assert_eq!(ran.out.trim(), asked.trim());
    }
}

#[test]
fn a_warden_that_ends_without_json_is_a_json_error_with_its_words_and_exit_code() {
    let (_stage, program) = beside("echo 'exeunt-warden: that is your own home' >&2\nexit 1");
    let arguments = ["survey", "--home", "/tmp/alice", "--json"];
    let ran = Ran::of(&std::process::Command::new(&program).args(arguments).output().unwrap());
    assert_eq!(ran.code, 1);
    let error = ran.json();
    check("error", &error);
    assert_eq!(error["error"]["message"], "that is your own home");
}
