//! Leaving nothing of an account behind: its processes, its login sessions, its runtime directory.
//!
//! It refuses to count what was ended: only what is found afterwards.

use std::time::Duration;

use exeunt_domain::receipt::{Before, LockReport};
use exeunt_domain::{StoreReport, Verdict};

use crate::execute::Run;
use crate::ports::{Files, Left, LockState};

/// How long everything of the account gets to be gone.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// At most so many processes are named in a row.
const NAMED: usize = 4;

impl<F: Files> Run<'_, '_, F> {
    /// Ends everything of the account and says how the lock stands afterwards: where nothing of the
    /// session is left, there is nothing to lock.
    pub(crate) fn hand_over(&self, lock: LockReport) -> LockReport {
        let left = self.recorder.step("hand-over", |errors| {
            let port = self.host.hand_over?;
            if let Err(error) = port.end_all(ENDED_WITHIN) {
                errors.push(error.to_string());
            }
            port.left().ok()
        });
        if lock == LockReport::NotAsked {
            return lock;
        }
        if left.is_some_and(|left| left.is_nothing()) {
            let how = "handed over: nothing of the session that it locked is left".into();
            return LockReport::Proved { how };
        }
        match self.host.locker.is_locked() {
            LockState::Locked { how } => LockReport::Proved { how },
            LockState::NotProved { why } => LockReport::NotProved { why },
            LockState::NoSession => lock,
        }
    }

    /// The rows of a hand-over.
    pub(crate) fn judge_hand_over(&self) -> Vec<StoreReport> {
        self.recorder.step("look-for-leftovers", |errors| {
            let Some(port) = self.host.hand_over else {
                let why = "only a warden of root can hand the machine over".to_owned();
                return vec![row("processes", "processes", Verdict::Refused, Some(why))];
            };
            match port.left() {
                Ok(left) => rows(&left),
                Err(error) => {
                    errors.push(error.to_string());
                    let why = Some(error.to_string());
                    vec![row("processes", "processes", Verdict::Unknown, why)]
                }
            }
        })
    }

    /// The row of a purge: no process of the account but what its session stands on.
    pub(crate) fn judge_rest(&self) -> StoreReport {
        match self.rest() {
            Err(why) => row("processes", "processes", Verdict::Unknown, Some(why)),
            Ok(rest) => {
                let rest = rest.into_iter().map(|process| (process.id.pid, process.comm));
                processes(&rest.collect::<Vec<_>>())
            }
        }
    }
}

fn rows(left: &Left) -> Vec<StoreReport> {
    let mut rows = vec![processes(&left.processes)];
    if let Some(logins) = &left.logins {
        let verdict = if logins.is_empty() { Verdict::Gone } else { Verdict::Residual };
        let still = || Some(format!("still there: {}", logins.join(", ")));
        let detail = if logins.is_empty() { left.screen.clone() } else { still() };
        rows.push(row("login-sessions", "login sessions", verdict, detail));
    }
    let verdict = if left.has_runtime_dir { Verdict::Residual } else { Verdict::Gone };
    let detail = left.has_runtime_dir.then(|| "is still there".to_owned());
    rows.push(row("runtime-directory", &left.runtime_dir, verdict, detail));
    rows
}

fn processes(left: &[(u32, String)]) -> StoreReport {
    if left.is_empty() {
        return row("processes", "processes", Verdict::Gone, None);
    }
    let named = left.iter().take(NAMED).map(|(pid, name)| format!("pid {pid} ({name})"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = left.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let detail = format!("{named}{more} still live");
    row("processes", "processes", Verdict::Residual, Some(detail))
}

fn row(what: &str, place: &str, verdict: Verdict, detail: Option<String>) -> StoreReport {
    StoreReport {
        app: "account".into(),
        profile: String::new(),
        store: what.into(),
        place: place.into(),
        before: Before::Present,
        verdict: Some(verdict),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_thing_left_behind_is_named_and_never_gone() {
        let left = Left { processes: vec![(7, "sh".into())], ..Left::default() };
        let found = rows(&left);
        assert_eq!(found[0].verdict, Some(Verdict::Residual));
        assert_eq!(found[0].detail.as_deref(), Some("pid 7 (sh) still live"));
        let left =
            Left { logins: Some(vec!["3".into()]), has_runtime_dir: true, ..Left::default() };
        let verdicts: Vec<_> = rows(&left).iter().map(|row| row.verdict.unwrap()).collect();
        assert_eq!(verdicts, [Verdict::Gone, Verdict::Residual, Verdict::Residual]);
        assert!(!left.is_nothing());
    }
}
