//! Ends what a provider ends only one by one: lists, ends each, and lists again.
//!
//! It refuses to call a part the whole: what was not ended is named.

use std::collections::HashSet;

use super::call::{Again, Failed};

/// Most lists that are gone through for one person.
const MOST: usize = 50;
/// Most names that a failure lists.
const NAMED: usize = 5;

/// Ends everything that `list` names, by its id, until it names nothing more; how many ended.
/// What is still listed after it was ended is left to the probe.
///
/// # Errors
/// [`Failed`]; [`Failed::Partly`], naming what is left, when some ended and some did not.
pub(super) async fn each<L, E>(
    what: &str,
    list: impl Fn() -> L,
    end: impl Fn(String) -> E,
) -> Result<usize, Failed>
where
    L: Future<Output = Result<Vec<String>, Failed>>,
    E: Future<Output = Result<(), Failed>>,
{
    let mut ended = HashSet::new();
    for _ in 0..MOST {
        let found = match list().await {
            Ok(found) => found,
            Err(failed) if ended.is_empty() => return Err(failed),
            Err(failed) => return Err(failed.having(&format!("{} {what} ended", ended.len()))),
        };
        let mut left = Vec::new();
        let before = ended.len();
        for id in found {
            if ended.contains(&id) {
                continue;
            }
            match end(id.clone()).await {
                Ok(()) => drop(ended.insert(id)),
                Err(failed) => left.push((id, failed)),
            }
        }
        if !left.is_empty() {
            return Err(partly(what, ended.len(), left));
        }
        if ended.len() == before {
            break;
        }
    }
    Ok(ended.len())
}

fn partly(what: &str, done: usize, left: Vec<(String, Failed)>) -> Failed {
    let all = done + left.len();
    let names: Vec<_> = left.iter().take(NAMED).map(|(id, _)| id.as_str()).collect();
    let more = left.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = names.join(", ");
    // The one that is worth another try, if there is one.
    let worth = left.iter().position(|(_, failed)| matches!(failed.again(), Again::After(_)));
    let Some((_, why)) = left.into_iter().nth(worth.unwrap_or_default()) else {
        return Failed::Never(format!("{done} of {all} {what} ended"));
    };
    if done == 0 {
        return match why {
            Failed::Later(say, after) => Failed::Later(format!("{say}: {names}{more}"), after),
            Failed::Never(say) => Failed::Never(format!("{say}: {names}{more}")),
            Failed::Denied(say) => Failed::Denied(say),
            Failed::Partly(say, again) => Failed::Partly(say, again),
        };
    }
    let again = why.again();
    Failed::Partly(format!("{done} of {all} {what} ended; not {names}{more}: {why}"), again)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|&name| name.to_owned()).collect()
    }

    #[tokio::test]
    async fn goes_on_until_nothing_new_is_listed() {
        let pages = Mutex::new(vec![names(&["b"]), names(&["c", "b"]), names(&["a", "b"])]);
        let list = || async { Ok(pages.lock().unwrap().pop().unwrap_or_default()) };
        let seen = Mutex::new(Vec::new());
        let end = |id: String| {
            seen.lock().unwrap().push(id);
            async { Ok(()) }
        };
        assert_eq!(each("sessions", list, end).await, Ok(3));
        assert_eq!(*seen.lock().unwrap(), ["a", "b", "c"], "each once");
    }

    #[tokio::test]
    async fn names_what_is_left_and_says_whether_it_is_worth_another_try() {
        let list = || async { Ok(names(&["a", "b", "c"])) };
        let end = |id: String| async move {
            match id.as_str() {
                "b" => Err(Failed::Later("busy".into(), None)),
                _ => Ok(()),
            }
        };
        let failed = each("sessions", list, end).await.unwrap_err();
        assert_eq!(failed.to_string(), "2 of 3 sessions ended; not b: busy");
        assert_eq!(failed.again(), Again::After(None));
    }

    #[tokio::test]
    async fn nothing_ended_is_no_part() {
        let list = || async { Ok(names(&["a"])) };
        let end = |_| async { Err(Failed::Denied("no".into())) };
        assert_eq!(each("x", list, end).await, Err(Failed::Denied("no".into())));
    }
}
