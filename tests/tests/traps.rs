//! Homes in which a cleaner is easily fooled: each is closed for real, and then searched.

use exeunt_tests::traps::{self, CONTROL, Sprung};

fn problems(all: &[Sprung]) -> Vec<String> {
    let wrong = all.iter().flat_map(|it| it.wrong.iter().map(|w| format!("{}: {w}", it.name)));
    let lost = all.iter().filter(|it| !it.lost.is_empty());
    wrong.chain(lost.map(|it| format!("{}: lost {:?}", it.name, it.lost))).collect()
}

/// What everybody must manage: nothing is left, nothing is lost, and that is said.
#[test]
fn an_ordinary_home_is_closed_without_residue() {
    let all = traps::spring(&[CONTROL], true, false).unwrap();
    assert_eq!(problems(&all), Vec::<String>::new());
    assert_eq!(all[0].outcome, "verified");
    assert_eq!(all[0].truth, "gone");
}

/// No verdict claims more than is true, and none cries where nothing is left (R7, R8, R51).
#[test]
fn no_trap_gets_a_false_success_a_false_alarm_or_a_loss() {
    let only = std::env::var("EXEUNT_TRAP").ok();
    let chosen = traps::chosen(only.as_deref());
    assert!(only.is_some() || chosen.len() >= 25, "{} traps", chosen.len());
    let all = traps::spring(&chosen, true, false).unwrap();
    assert_eq!(problems(&all), Vec::<String>::new());
}
