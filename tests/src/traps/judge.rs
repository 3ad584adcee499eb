//! Holds a receipt's rows against what the scanner found.
//!
//! It refuses to count a row as right because the order as a whole is: each secret has the rows that
//! must answer for it.

use std::fmt;

use exeunt_domain::Verdict;
use serde::{Deserialize, Serialize};

use super::residue::Found;
use super::scene::Secret;

/// A row of a receipt.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// The catalogue's id of the app.
    pub app: String,
    /// The profile.
    pub profile: String,
    /// The catalogue's id of the store, or `all` for a place that was not surveyed.
    pub store: String,
    /// Where.
    pub place: String,
    /// What was found at last.
    pub verdict: Option<Verdict>,
    /// Why.
    pub detail: Option<String>,
}

/// A row that claims too much or too little.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wrong {
    /// A secret can still be read, and no row says so.
    FalseSuccess {
        /// The app and store that should have.
        of: String,
        /// Where it can be read.
        place: String,
    },
    /// A row says that something is left, and nothing of it can be read.
    FalseAlarm {
        /// The row's app, profile and store.
        of: String,
        /// The verdict and its reason.
        said: String,
    },
    /// What had to be said beside the rows is nowhere in the receipt.
    Unsaid {
        /// The words that are missing.
        what: String,
    },
}

impl Wrong {
    /// Whether a reader would believe that less is left than is.
    #[must_use]
    pub fn is_false_success(&self) -> bool {
        matches!(self, Self::FalseSuccess { .. } | Self::Unsaid { .. })
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FalseSuccess { of, place } => write!(f, "FALSE SUCCESS {of}: read at {place}"),
            Self::Unsaid { what } => write!(f, "UNSAID {what:?}"),
            Self::FalseAlarm { of, said } => write!(f, "FALSE ALARM {of}: {said}"),
        }
    }
}

/// Every secret that is left unsaid, and every row that cries without cause.
pub(super) fn wrong(secrets: &[Secret], rows: &[Row], found: &[Found]) -> Vec<Wrong> {
    let alarms: Vec<&Row> = rows.iter().filter(|row| is_alarm(row)).collect();
    let mut wrong = Vec::new();
    for (index, secret) in secrets.iter().enumerate() {
        let Some(left) = found.iter().find(|found| found.secret == index) else { continue };
        if !alarms.iter().any(|row| answers(row, secret)) {
            let of = format!("{} {:?} {}", secret.app, secret.profile, secret.store);
            wrong.push(Wrong::FalseSuccess { of, place: left.place.clone() });
        }
    }
    for row in alarms {
        let left = |(index, secret): (usize, &Secret)| {
            answers(row, secret) && found.iter().any(|found| found.secret == index)
        };
        if !secrets.iter().enumerate().any(left) {
            let of = format!("{} {:?} {}", row.app, row.profile, row.store);
            let verdict = row.verdict.map_or("none", Verdict::as_str);
            let said = format!("{verdict}: {}", row.detail.as_deref().unwrap_or_default());
            wrong.push(Wrong::FalseAlarm { of, said });
        }
    }
    wrong
}

/// The worst verdict of all rows; `none` without any.
pub(super) fn worst(rows: &[Row]) -> String {
    let worst = rows
        .iter()
        .filter_map(|row| row.verdict)
        .max_by_key(|verdict| Verdict::ALL.iter().position(|other| other == verdict));
    worst.map_or("none", Verdict::as_str).to_owned()
}

/// Whether the row says that something is left, or that nobody knows.
fn is_alarm(row: &Row) -> bool {
    match row.verdict {
        Some(Verdict::Gone | Verdict::Unusable) => false,
        Some(Verdict::Residual | Verdict::Refused | Verdict::Unknown) | None => true,
    }
}

/// Whether the row speaks of the secret's store, or of a whole place that its app has.
fn answers(row: &Row, secret: &Secret) -> bool {
    let either = |one: &str, other: &str| one.is_empty() || other.is_empty() || one == other;
    row.app == secret.app
        && (row.store == secret.store || row.store == "all")
        && either(&row.profile, &secret.profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(store: &str, verdict: Verdict) -> Row {
        let text = String::new;
        let (app, store) = ("chromium".into(), store.into());
        Row { app, profile: text(), store, place: text(), verdict: Some(verdict), detail: None }
    }

    fn secret() -> Secret {
        let canary = "canary".into();
        Secret { app: "chromium", profile: "Default".into(), store: "cookies", canary }
    }

    fn left() -> Vec<Found> {
        vec![Found { secret: 0, place: "Cookies".into() }]
    }

    #[test]
    fn a_secret_that_no_row_admits_is_a_false_success() {
        for rows in
            [vec![], vec![row("cookies", Verdict::Gone)], vec![row("cache", Verdict::Residual)]]
        {
            let wrong = wrong(&[secret()], &rows, &left());
            assert!(matches!(wrong.first(), Some(Wrong::FalseSuccess { .. })), "{wrong:?}");
        }
        assert!(wrong(&[secret()], &[row("cookies", Verdict::Residual)], &left()).is_empty());
        assert!(wrong(&[secret()], &[row("all", Verdict::Refused)], &left()).is_empty());
    }

    #[test]
    fn a_row_that_cries_for_nothing_is_a_false_alarm() {
        let rows = [row("cookies", Verdict::Unknown)];
        assert!(matches!(wrong(&[secret()], &rows, &[])[..], [Wrong::FalseAlarm { .. }]));
        assert!(wrong(&[secret()], &[row("cookies", Verdict::Unusable)], &[]).is_empty());
    }
}
