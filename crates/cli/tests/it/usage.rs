//! What was not typed right, help, completions and the manual page.

use crate::schema::check;
use crate::stage::Stage;

#[test]
fn a_command_that_is_not_there_exits_2() {
    for arguments in [&["frobnicate"][..], &[], &["close", "--tier", "everything"]] {
        assert_eq!(Stage::empty().run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_usage_error_is_json_when_json_was_asked_for() {
    let ran = Stage::empty().run(&["--json", "session", "begin"]);
    assert_eq!(ran.code, 2);
    let error = ran.json();
    check("error", &error);
    assert_eq!(error["error"]["code"], "usage");
}

#[test]
fn ending_something_without_a_terminal_and_without_yes_exits_2_and_asks_nobody() {
    for command in ["close", "everywhere", "unenroll"] {
        let stage = Stage::empty().warden(|request| panic!("asked {request:?}"));
        let ran = stage.run(&[command]);
        assert_eq!(ran.code, 2, "{command}: {ran:?}");
        assert!(ran.err.contains("--yes"), "{command}: {ran:?}");
        assert!(stage.asked().is_empty());
    }
}

#[test]
fn help_names_the_exit_codes_and_exits_0() {
    let ran = Stage::empty().run(&["--help"]);
    assert_eq!(ran.code, 0);
    for words in ["Exit codes:", "Examples:", "EXEUNT_ADMIN_TOKEN"] {
        assert!(ran.out.contains(words), "{words}");
    }
}

#[test]
fn prints_completions_and_a_manual_page() {
    let stage = Stage::empty();
    for shell in ["bash", "zsh", "fish"] {
        let ran = stage.run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("everywhere"), "{shell}");
    }
    assert!(stage.run(&["man"]).out.contains(".TH exeunt"));
}

#[test]
fn a_warden_that_is_not_there_exits_4_with_a_next_step() {
    let ran = Stage::empty().run(&["status", "--json"]);
    assert_eq!(ran.code, 4);
    let error = ran.json();
    check("error", &error);
    assert_eq!(error["error"]["code"], "not_running");
    assert!(error["error"]["hint"].as_str().unwrap().contains("exeunt doctor"));
}

#[test]
fn a_token_that_is_none_is_not_sent_to_the_warden() {
    let stage = Stage::empty().warden(|request| panic!("asked {request:?}"));
    let ran = stage.run(&["enroll", "--token", "hello", "--json"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    check("error", &ran.json());
}
