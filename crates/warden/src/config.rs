//! The warden's settings: flags over `EXEUNT_*` over a TOML file.
//!
//! It refuses unknown keys, so that a misspelt setting is never silently ignored.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use exeunt_domain::receipt::Mode;
use exeunt_domain::{Proof, Subject};
use exeunt_host::locker::{Way, Wishes};
use exeunt_host::users::Account;
use exeunt_policy::{LockFallback as Fallback, Policy, Rule};
use serde::Deserialize;

/// The settings file of an installed machine.
pub(crate) const INSTALLED_FILE: &str = "/etc/exeunt/warden.toml";

/// The policy of an installed machine.
pub(crate) const INSTALLED_POLICY: &str = "/etc/exeunt/policy.toml";

/// What the settings file may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The subject of a console session, from the account: `{user}` stands for its name. Wins over
    /// the policy's.
    pub(crate) subject: Option<String>,
    /// One subject for every console session of this machine, whatever the account.
    pub(crate) subject_fixed: Option<String>,
    /// The account that the agent runs as, on an installed machine.
    pub(crate) agent_user: String,
    /// The only way to lock. None: whatever fits the session.
    pub(crate) locker: Option<LockerWay>,
    /// What happens when no lock can be proved. None: an installed warden ends the session, one in
    /// user mode reports.
    pub(crate) lock_fallback: Option<LockFallback>,
    /// What happens when a store comes back after a close, while nobody is signed in.
    pub(crate) on_return: OnReturn,
    /// The file of this machine's own policy. Default: /etc/exeunt/policy.toml when it is there.
    pub(crate) policy_file: Option<PathBuf>,
    /// The policy that holds until the hub sends one.
    #[serde(skip)]
    pub(crate) policy: Policy,
}

/// A way to lock that the settings name: `gnome`, `gnome-screensaver`, `plasma`, `xfce`, `cinnamon`,
/// `mate`, `xscreensaver`, `logind`, `swaylock`, `xsecurelock`, `i3lock` or `curtain`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LockerWay(Way);

impl TryFrom<String> for LockerWay {
    type Error = anyhow::Error;

    fn try_from(name: String) -> anyhow::Result<Self> {
        Way::named(&name).map(Self).with_context(|| format!("no locker is called {name:?}"))
    }
}

/// What happens when no lock can be proved.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LockFallback {
    /// The receipt says so.
    Report,
    /// The login session is ended.
    EndSession,
}

/// What happens when a store comes back after a close, while nobody is signed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnReturn {
    /// It is told: to the hub, and to whoever asks for the status.
    #[default]
    Report,
    /// The account is contained again, a few times an hour at most.
    Contain,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            subject: None,
            subject_fixed: None,
            agent_user: "exeunt-agent".into(),
            locker: None,
            lock_fallback: None,
            on_return: OnReturn::Report,
            policy_file: None,
            policy: Policy::default(),
        }
    }
}

impl Config {
    /// Reads `file`, or the installed machine's file when none is named; defaults when that one is
    /// not there.
    ///
    /// # Errors
    /// A file that cannot be read or holds an unknown key.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let (path, required) = match file {
            Some(file) => (file, true),
            None => (Path::new(INSTALLED_FILE), false),
        };
        let config = match std::fs::read_to_string(path) {
            Ok(text) => toml_of(&text).with_context(|| format!("in {}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                Self::default()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        let policy = config.policy_text(file.is_none())?;
        config.with_policy(policy)
    }

    /// The policy's file and text, if there is one.
    fn policy_text(&self, installed: bool) -> anyhow::Result<Option<(String, String)>> {
        let (path, required) = match &self.policy_file {
            Some(file) => (file.as_path(), true),
            None if installed => (Path::new(INSTALLED_POLICY), false),
            None => return Ok(None),
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some((path.display().to_string(), text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// The settings with their policy, in which what they say themselves wins.
    fn with_policy(self, text: Option<(String, String)>) -> anyhow::Result<Self> {
        let mut policy = match text {
            Some((file, text)) => Policy::parse(&file, &text)?,
            None => Policy::default(),
        };
        if let Some(fixed) = &self.subject_fixed {
            let subject = Subject::parse(fixed).context("subject_fixed")?;
            policy.subjects.rule = Rule::Fixed(subject);
        } else if let Some(template) = &self.subject {
            policy.subjects.rule = Rule::Template(template.clone());
        }
        match self.lock_fallback {
            Some(LockFallback::Report) => policy.lock_fallback = Some(Fallback::Report),
            Some(LockFallback::EndSession) => policy.lock_fallback = Some(Fallback::EndSession),
            None => {}
        }
        Ok(Self { policy, ..self })
    }

    /// How sessions are locked under a policy by a warden of that mode.
    pub(crate) fn wishes(&self, policy: &Policy, mode: Mode) -> Wishes {
        use exeunt_host::locker::Fallback as Wish;
        let fallback = match (policy.lock_fallback, mode) {
            (Some(Fallback::Report), _) | (None, Mode::User) => Wish::Report,
            (Some(Fallback::EndSession), _) | (None, Mode::Installed) => Wish::EndSession,
        };
        Wishes { way: self.locker.map(|LockerWay(way)| way), fallback, ..Wishes::default() }
    }
}

/// The subject that a policy gives an account's console session, and how well it is proved.
///
/// # Errors
/// A template that yields no subject.
pub(crate) fn subject_of(policy: &Policy, account: &Account) -> anyhow::Result<(Subject, Proof)> {
    let subject =
        Subject::parse(&policy.subjects.of(&account.name)).context("the policy's subject")?;
    Ok((subject, Proof::Account))
}

fn toml_of(text: &str) -> anyhow::Result<Config> {
    let config: Config = toml::from_str(text)?;
    if let (None, Some(subject)) = (&config.subject_fixed, &config.subject)
        && !subject.contains("{user}")
    {
        bail!("subject = {subject:?} names one person for every account: use subject_fixed");
    }
    Ok(config)
}

/// Where a serving warden keeps things and whom it is for.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Whole machine, or one home.
    pub(crate) mode: Mode,
    /// Sockets and the agent's public key.
    pub(crate) runtime: PathBuf,
    /// Journal, key and receipts.
    pub(crate) state: PathBuf,
    /// In user mode, the one home; None: the account's own.
    pub(crate) home: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { uid: 1000, gid: 1000, name: "alice".into(), home: "/home/alice".into() }
    }

    fn policy(settings: &str) -> Policy {
        toml_of(settings).unwrap().with_policy(None).unwrap().policy
    }

    #[test]
    fn makes_a_subject_from_the_account_by_template() {
        let policy = policy("subject = \"{user}@corp.example\"");
        let (subject, proof) = subject_of(&policy, &account()).unwrap();
        assert_eq!(subject.key(), "alice@corp.example");
        assert_eq!(proof, Proof::Account);
    }

    #[test]
    fn refuses_unknown_keys_and_a_template_without_a_user() {
        assert!(toml_of("subjct = \"x\"").is_err());
        assert!(toml_of("subject = \"boss\"").is_err());
    }

    #[test]
    fn names_a_way_to_lock_and_what_happens_without_one() {
        use exeunt_host::locker::Fallback;
        let wishes = |text: &str, mode| toml_of(text).unwrap().wishes(&policy(text), mode);
        let named = wishes("locker = \"i3lock\"\nlock_fallback = \"end-session\"", Mode::User);
        assert_eq!(named.way.map(Way::name), Some("i3lock"));
        assert_eq!(named.fallback, Fallback::EndSession);
        assert_eq!(wishes("", Mode::User).fallback, Fallback::Report);
        assert_eq!(wishes("", Mode::Installed).fallback, Fallback::EndSession);
        let spared = wishes("lock_fallback = \"report\"", Mode::Installed);
        assert_eq!(spared.fallback, Fallback::Report);
        assert!(toml_of("locker = \"nonesuch\"").is_err());
        assert!(toml_of("lock_fallback = \"hope\"").is_err());
        assert!(toml_of("on_return = \"ignore\"").is_err());
    }

    #[test]
    fn a_fixed_subject_wins_over_the_template() {
        let policy = policy("subject_fixed = \"alice\"");
        assert_eq!(subject_of(&policy, &account()).unwrap().0.key(), "alice");
    }

    #[test]
    fn the_settings_own_words_win_over_the_policys() {
        let text = "[subjects]\ntemplate = \"{user}@corp.example\"\n".to_owned();
        let under = |settings: &str| {
            let file = ("policy.toml".to_owned(), text.clone());
            toml_of(settings).unwrap().with_policy(Some(file)).unwrap().policy
        };
        let key = |policy: &Policy| subject_of(policy, &account()).unwrap().0.key();
        assert_eq!(key(&under("")), "alice@corp.example");
        assert_eq!(key(&under("subject = \"{user}\"")), "alice");
    }
}
