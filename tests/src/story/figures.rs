//! What one run of the story measured.
//!
//! It refuses figures that were not measured in that very run: everything here is filled in by it.

use std::fmt::Write as _;

use exeunt_domain::receipt::Mode;
use exeunt_domain::{Outcome, Txn};
use serde::Serialize;

use crate::browser::Kept;

/// The result, in the form that scripts read.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The version of this form.
    pub v: u16,
    /// What the hub says of the transaction, made worse by anything that came back.
    pub outcome: Outcome,
    /// The transaction.
    pub txn: Txn,
    /// Root warden, or user mode.
    pub mode: Mode,
    /// Each browser.
    pub browsers: Vec<BrowserFigures>,
    /// Items of the keyring that hold tokens.
    pub keyring: Before<usize>,
    /// Credential files that hold the planted token.
    pub files: Before<Vec<String>>,
    /// The cookie from before, sent again without any browser.
    pub old_session: OldSession,
    /// The lock.
    pub lock: Lock,
    /// The receipt.
    pub receipt: Receipt,
    /// Milliseconds from the press.
    pub times_ms: Times,
}

/// One browser.
#[derive(Clone, Debug, Serialize)]
pub struct BrowserFigures {
    /// Which.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// After a plain restart, before the press: the control.
    pub before: Replay,
    /// After a start with all tabs restored, after the press.
    pub after: Replay,
    /// What stayed.
    pub kept: Kept,
}

/// What a browser brought back to the site.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// The site took it for signed in.
    pub signed_in: bool,
    /// What it still had.
    pub replayed: Vec<&'static str>,
}

/// A figure before and after the press.
#[derive(Clone, Debug, Serialize)]
pub struct Before<T> {
    /// Before.
    pub before: T,
    /// After.
    pub after: T,
}

/// The cookie from before.
#[derive(Clone, Debug, Serialize)]
pub struct OldSession {
    /// The answer before the press.
    pub before: u16,
    /// The last answer after it.
    pub after: u16,
    /// When the first refusal came, from the press.
    pub first_refused_ms: Option<f64>,
}

/// The lock.
#[derive(Clone, Debug, Serialize)]
pub struct Lock {
    /// The warden's probe and ours agree that the screen is locked.
    pub proved: bool,
    /// What the warden looked at, or why it could not prove it.
    pub how: String,
}

/// The receipt.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// Where it was saved.
    pub path: String,
    /// `exeunt receipt verify` accepted it, with the key that the hub pinned.
    pub verified: bool,
}

/// Milliseconds from the press.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// The hub's commit.
    pub revoked: f64,
    /// Journalled, lock asked, holders dead or frozen, every store renamed away.
    pub fenced: f64,
    /// Everything planned was done.
    pub contained: f64,
    /// Looked at again, and known at the hub.
    pub verified: f64,
}

impl Figures {
    /// Makes the outcome no better than what was seen: anything that came back is a part that
    /// remains.
    pub fn judge(&mut self) {
        let browsers = self.browsers.iter().all(|browser| {
            let kept = browser.kept;
            let back = browser.after.signed_in || !browser.after.replayed.is_empty();
            !back && kept.bookmarks && kept.preferences && kept.extensions
        });
        let empty = self.keyring.after == 0 && self.files.after.is_empty();
        let refused = self.old_session.after == 401;
        if !(browsers && empty && refused && self.lock.proved && self.receipt.verified) {
            self.outcome = Outcome::worst([self.outcome, Outcome::Partial]);
        }
    }

    /// The exit code that belongs to the outcome.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Verified => 0,
            Outcome::Partial => 3,
            Outcome::Refused => 5,
            Outcome::Unreachable
            | Outcome::Requested
            | Outcome::Delivered
            | Outcome::Fenced
            | Outcome::Contained => 4,
        }
    }

    /// The result for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, before: &str, after: &str| {
            // Writing into a string cannot fail.
            let _written = writeln!(out, "  {name:<26} {before:<34} {after}");
        };
        row("", "before", "after");
        for browser in &self.browsers {
            let name = format!("{} {}", browser.name, browser.version);
            row(&name, &browser.before.sentence(), &browser.after.sentence());
            let kept = browser.kept;
            let word = |kept| if kept { "kept" } else { "LOST" };
            let [bookmarks, preferences, extensions] =
                [kept.bookmarks, kept.preferences, kept.extensions].map(word);
            let text = format!(
                "bookmarks {bookmarks}, preferences {preferences}, extensions {extensions}"
            );
            row("", "", &text);
        }
        let items = |count: usize| format!("{count} tokens");
        row("keyring", &items(self.keyring.before), &items(self.keyring.after));
        let files = |files: &[String]| format!("{} with a token", files.len());
        row("credential files", &files(&self.files.before), &files(&self.files.after));
        let Self { old_session, lock, receipt, times_ms: times, .. } = self;
        let first = old_session.first_refused_ms.map_or("never refused".to_owned(), |ms| {
            format!("{}, first refused {ms:.0} ms after the press", old_session.after)
        });
        row("old cookie, sent again", &old_session.before.to_string(), &first);
        row("screen", "", if lock.proved { "locked, proved" } else { "NOT proved to be locked" });
        let verified = if receipt.verified { "verified" } else { "NOT verified" };
        row("receipt", "", &format!("{verified}: {}", receipt.path));
        let text = format!(
            "revoked {:.0} · fenced {:.0} · contained {:.0} · verified {:.0}",
            times.revoked, times.fenced, times.contained, times.verified
        );
        row("ms from the press", "", &text);
        let mode = match self.mode {
            Mode::Installed => "a root warden and throwaway users",
            Mode::User => "user mode: one user, no isolation",
        };
        format!("\n{}: {} ({mode})\n{out}", self.outcome, self.txn)
    }
}

impl Replay {
    fn sentence(&self) -> String {
        let signed = if self.signed_in { "signed in" } else { "not signed in" };
        match self.replayed.len() {
            0 => format!("{signed}, replayed nothing"),
            count => format!("{signed}, replayed {count} of 7 stores"),
        }
    }
}
