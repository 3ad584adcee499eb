//! What a window shows, whole, as one value: the source of `ui/src/bindings.ts`.
//!
//! It refuses words: sentences are the page's, facts are here.

use exeunt_domain as domain;
use serde::Serialize;
use ts_rs::TS;

/// Everything the window knows at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub(crate) struct View {
    /// This device's wall clock, milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
    /// Which screen the window was opened for.
    pub(crate) start: Start,
    /// How often the window has been asked for, this time included.
    pub(crate) summons: u32,
    /// Length of the countdown, in seconds.
    pub(crate) countdown_s: u32,
    /// Whether the warden answers.
    pub(crate) warden: Warden,
    /// What is known of the hub.
    pub(crate) hub: Hub,
    /// Root warden or user mode; none until the warden has answered.
    pub(crate) mode: Option<Mode>,
    /// This device's name.
    pub(crate) device: Option<String>,
    /// Who is signed in here.
    pub(crate) who: Option<Who>,
    /// How far a sign-out from here can reach.
    pub(crate) scope: Scope,
    /// Sessions by place, this device first; none while the hub has not told.
    pub(crate) places: Option<Vec<Place>>,
    /// The screen lock, as last asked for from this window.
    pub(crate) lock: Lock,
    /// The plan, once asked for.
    pub(crate) preview: PreviewState,
    /// A containment under way or ended.
    pub(crate) run: Option<Run>,
    /// This device's last receipt from before this window, if the warden keeps one.
    pub(crate) last: Option<Last>,
}

/// A receipt from before this window.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub(crate) struct Last {
    /// How it ended on this device.
    pub(crate) outcome: Outcome,
    /// When it was issued.
    pub(crate) at_ms: u64,
    /// The receipt.
    pub(crate) receipt: Receipt,
}

/// Which screen the window was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Start {
    /// Who is signed in.
    Status,
    /// What would end.
    Preview,
}

/// Whether the warden answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Warden {
    /// Not known yet.
    Asking,
    /// It answered the last question.
    Ready,
    /// It did not.
    Unreachable {
        /// What is known of the reason.
        why: Unreachable,
    },
}

/// Why the warden does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unreachable {
    /// Nothing listens on its socket.
    NotRunning,
    /// It does not speak to this account.
    NotAllowed,
    /// It answered with something else than an answer.
    Broken,
}

/// What is known of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Hub {
    /// Nobody has been asked yet.
    Unknown,
    /// This device has none.
    Unenrolled,
    /// It answered the agent's last attempt.
    Answered {
        /// When.
        at_ms: u64,
    },
    /// It did not answer the last attempt, or the agent is not there to try.
    Silent {
        /// When it last answered, if ever.
        since_ms: Option<u64>,
    },
}

/// Whether the warden is isolated from the account that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// A root warden for the whole machine.
    Installed,
    /// The account's own processes, for one home.
    User,
}

/// Who is signed in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct Who {
    /// The subject, as a person writes it.
    pub(crate) name: String,
    /// Since when.
    pub(crate) since_ms: u64,
}

/// How far a sign-out from here can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    /// Every session of the subject.
    Everywhere,
    /// This device: it has no hub.
    NoHub,
    /// This device: only the local user says who the subject is.
    NotProved,
    /// This device: nobody's session is registered here.
    Nobody,
}

/// One place where the subject is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct Place {
    /// Its name.
    pub(crate) name: String,
    /// It is this device.
    pub(crate) here: bool,
    /// How many sessions.
    pub(crate) sessions: u32,
    /// They cannot be ended; they lapse then.
    pub(crate) until_ms: Option<u64>,
}

/// The screen lock, as last asked for from this window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Lock {
    /// Not asked for.
    Idle,
    /// Asked for; no answer yet.
    Asking,
    /// A probe saw the screen locked.
    Proved {
        /// When.
        at_ms: u64,
    },
    /// Asked for, and not proved.
    NotProved {
        /// What was missing.
        why: String,
    },
    /// The request was refused.
    Refused {
        /// Why.
        why: String,
    },
}

/// The plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum PreviewState {
    /// Not asked for.
    Idle,
    /// Asked for; no answer yet.
    Asking,
    /// It came.
    Ready {
        /// The plan itself.
        preview: Preview,
    },
    /// It did not come.
    Failed {
        /// Why.
        why: String,
    },
}

/// What a sign-out would do. Nothing has been touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct Preview {
    /// How many sessions end; none when only stores are known.
    pub(crate) sessions: Option<u32>,
    /// How many stores here are erased.
    pub(crate) stores: u32,
    /// Places whose sessions end, this device first.
    pub(crate) ends: Vec<Ends>,
    /// Apps that are closed.
    pub(crate) closes: Vec<String>,
    /// Stores here that are erased, by app.
    pub(crate) erases: Vec<Erases>,
    /// What stays.
    pub(crate) stays: Vec<String>,
    /// What cannot be ended.
    pub(crate) cannot: Vec<Cannot>,
}

/// A place whose sessions end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct Ends {
    /// Its name.
    pub(crate) name: String,
    /// It is this device.
    pub(crate) here: bool,
    /// How many sessions; none when the hub has not told.
    pub(crate) sessions: Option<u32>,
    /// What a person recognises them by.
    pub(crate) labels: Vec<String>,
}

/// An app and the stores that are erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct Erases {
    /// Its name.
    pub(crate) app: String,
    /// Which kinds of store.
    pub(crate) kinds: Vec<String>,
    /// How many.
    pub(crate) stores: u32,
}

/// Something that cannot be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct Cannot {
    /// What it is.
    pub(crate) what: String,
    /// When it lapses by itself, if anyone knows.
    pub(crate) until_ms: Option<u64>,
}

/// A containment under way or ended.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub(crate) struct Run {
    /// It reaches past this device.
    pub(crate) everywhere: bool,
    /// When it was asked for.
    pub(crate) started_ms: u64,
    /// When nothing further was awaited.
    pub(crate) ended_ms: Option<u64>,
    /// The worst part; none while it runs, and when the answer broke off.
    pub(crate) outcome: Option<Outcome>,
    /// What the hub said.
    pub(crate) commit: Commit,
    /// How many sessions the hub ends, if known.
    pub(crate) sessions: Option<u32>,
    /// Each target.
    pub(crate) targets: Vec<Target>,
    /// The receipt of this device, once it came.
    pub(crate) receipt: Option<Receipt>,
    /// What went wrong, in one sentence.
    pub(crate) problem: Option<String>,
}

/// What the hub said to the revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Commit {
    /// It was not asked.
    NotAsked,
    /// Its signed commit is awaited.
    Awaited,
    /// It committed: old sessions are refused from then on.
    Committed,
    /// It did not answer; the order waits in the outbox.
    Queued {
        /// When it last answered, if ever.
        since_ms: Option<u64>,
    },
    /// It refused.
    Refused {
        /// Why.
        why: String,
    },
}

/// One target of a containment.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: TargetKind,
    /// How far it is; none when it cannot be ended at all.
    pub(crate) outcome: Option<Outcome>,
    /// What is known.
    pub(crate) detail: Detail,
    /// When it lapses by itself, if anyone knows.
    pub(crate) until_ms: Option<u64>,
    /// How long after the press the outcome was reached, in milliseconds.
    pub(crate) took_ms: Option<f64>,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TargetKind {
    /// The hub itself: its sessions.
    Hub,
    /// This device.
    Here,
    /// Another device.
    Device,
    /// A relying service.
    Service,
    /// An identity provider.
    Provider,
    /// Something that nobody can end.
    Open,
}

/// What is known about a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Detail {
    /// Nothing more than its outcome.
    None,
    /// Its order waits for the hub.
    Queued,
    /// That many sessions are no longer accepted.
    Sessions {
        /// How many.
        sessions: u32,
    },
    /// The step that ended last.
    Step {
        /// Its name.
        step: String,
    },
    /// What the last look found.
    Stores {
        /// Gone or unusable.
        clear: u32,
        /// All that were looked at.
        of: u32,
        /// Whether the screen was seen locked; none when no lock was asked for.
        locked: Option<bool>,
    },
    /// A phrase of the target's own.
    Text {
        /// The phrase.
        text: String,
    },
}

/// This device's receipt, for reading. The signed form is `compact`.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub(crate) struct Receipt {
    /// Its place in the device's chain.
    pub(crate) seq: Option<u64>,
    /// The transaction it answers.
    pub(crate) txn: String,
    /// Which device signed.
    pub(crate) signer: String,
    /// A hub knows the key; none when the record could not be read.
    pub(crate) pinned: Option<bool>,
    /// Which warden signed: root's, or the account's own.
    pub(crate) mode: Option<Mode>,
    /// Version of the catalogue that was looked for.
    pub(crate) catalogue: Option<String>,
    /// When the last look was taken.
    pub(crate) checked_ms: Option<u64>,
    /// Each store.
    pub(crate) stores: Vec<StoreLine>,
    /// Each step.
    pub(crate) steps: Vec<StepLine>,
    /// What "everywhere" did not include.
    pub(crate) not_covered: Vec<Cannot>,
    /// What a reader must not miss.
    pub(crate) remarks: Vec<String>,
    /// The compact SET.
    pub(crate) compact: String,
}

/// One store and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
pub(crate) struct StoreLine {
    /// The app.
    pub(crate) app: String,
    /// Which profile; empty when the app has none.
    pub(crate) profile: String,
    /// The store.
    pub(crate) store: String,
    /// What the last look found.
    pub(crate) verdict: Verdict,
    /// Why, when it is not gone.
    pub(crate) why: Option<String>,
}

/// One step and its time.
#[derive(Clone, Debug, PartialEq, Serialize, TS)]
pub(crate) struct StepLine {
    /// The step.
    pub(crate) step: String,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: f64,
    /// What went wrong.
    pub(crate) problem: Option<String>,
}

/// How far an order came: [`domain::Outcome`] for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Requested,
    Delivered,
    Fenced,
    Contained,
    Verified,
    Partial,
    Unreachable,
    Refused,
}

impl From<domain::Outcome> for Outcome {
    fn from(outcome: domain::Outcome) -> Self {
        match outcome {
            domain::Outcome::Requested => Outcome::Requested,
            domain::Outcome::Delivered => Outcome::Delivered,
            domain::Outcome::Fenced => Outcome::Fenced,
            domain::Outcome::Contained => Outcome::Contained,
            domain::Outcome::Verified => Outcome::Verified,
            domain::Outcome::Partial => Outcome::Partial,
            domain::Outcome::Unreachable => Outcome::Unreachable,
            domain::Outcome::Refused => Outcome::Refused,
        }
    }
}

/// The verdict of one store: [`domain::Verdict`] for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Gone,
    Unusable,
    Residual,
    Refused,
    Unknown,
}

impl From<Option<domain::Verdict>> for Verdict {
    /// No verdict means that nobody looked, which is unknown.
    fn from(verdict: Option<domain::Verdict>) -> Self {
        match verdict {
            Some(domain::Verdict::Gone) => Verdict::Gone,
            Some(domain::Verdict::Unusable) => Verdict::Unusable,
            Some(domain::Verdict::Residual) => Verdict::Residual,
            Some(domain::Verdict::Refused) => Verdict::Refused,
            Some(domain::Verdict::Unknown) | None => Verdict::Unknown,
        }
    }
}

impl From<domain::receipt::Mode> for Mode {
    fn from(mode: domain::receipt::Mode) -> Self {
        match mode {
            domain::receipt::Mode::Installed => Mode::Installed,
            domain::receipt::Mode::User => Mode::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ui/src/bindings.ts");

    fn bindings() -> String {
        let config = ts_rs::Config::new().with_large_int("number");
        macro_rules! declarations {
            ($($type:ident),* $(,)?) => { [$(<$type as TS>::decl(&config)),*] };
        }
        let declarations = declarations![
            View,
            Last,
            Start,
            Warden,
            Unreachable,
            Hub,
            Mode,
            Who,
            Scope,
            Place,
            Lock,
            PreviewState,
            Preview,
            Ends,
            Erases,
            Cannot,
            Run,
            Commit,
            Target,
            TargetKind,
            Detail,
            Receipt,
            StoreLine,
            StepLine,
            Outcome,
            Verdict,
        ];
        let mut text = String::from(
            "// Generated from src-tauri/src/view.rs. Write it again with:\n\
             //   EXEUNT_BINDINGS=write cargo test -p exeunt-tray bindings\n",
        );
        for declaration in declarations {
            text.push_str("\nexport ");
            text.push_str(&declaration);
            text.push('\n');
        }
        text
    }

    #[test]
    fn bindings_of_the_page_are_those_of_this_file() {
        let generated = bindings();
        if std::env::var_os("EXEUNT_BINDINGS").is_some_and(|value| value == "write") {
            std::fs::write(PATH, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(PATH).unwrap();
        assert_eq!(committed, generated, "ui/src/bindings.ts is out of date");
    }
}
