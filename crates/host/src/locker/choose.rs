//! Which ways to lock fit a session, best first, from what the session really has.
//!
//! It refuses to guess from a desktop's name: programs that run, names that are owned and programs
//! that are installed decide.

use std::collections::BTreeSet;

use exeunt_engine::ports::Processes as _;

use super::screensaver::{ALL, ScreenSaver};
use super::{DesktopSession, LockProgram, logind, wayland, xscreensaver};
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};

/// Programs that lock when logind tells them to.
const LISTENERS: [&str; 4] = ["xss-lock", "light-locker", "swayidle", "hypridle"];
/// Every program whose running matters.
const WATCHED: [&str; 5] = ["xss-lock", "light-locker", "swayidle", "hypridle", "xscreensaver"];

/// A way to lock a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The desktop's own, over the account's bus.
    Desktop(&'static ScreenSaver),
    /// `xscreensaver`, whose daemon is started when it does not run.
    Xscreensaver,
    /// logind tells whoever listens: xss-lock, light-locker, swayidle.
    Logind,
    /// `swaylock`, for sway and other wlroots compositors.
    Swaylock,
    /// A locker for X11 that is started for this. The curtain, which no password opens, is never
    /// chosen: the settings name it.
    Program(LockProgram),
}

impl Way {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Desktop(saver) => saver.name,
            Self::Xscreensaver => "xscreensaver",
            Self::Logind => "logind",
            Self::Swaylock => "swaylock",
            Self::Program(program) => program.name(),
        }
    }

    /// Takes a name as the settings give it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let programs = [LockProgram::Xsecurelock, LockProgram::I3lock, LockProgram::Curtain];
        let programs = programs.map(Self::Program);
        let others = [Self::Xscreensaver, Self::Logind, Self::Swaylock];
        let desktops = ALL.into_iter().map(Self::Desktop);
        desktops.chain(others).chain(programs).find(|way| way.name() == name)
    }
}

/// What a session has.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// A Wayland compositor draws the screen.
    wayland: bool,
    /// An X server does.
    x11: bool,
    /// Screen savers that own their name on its bus.
    savers: Vec<&'static ScreenSaver>,
    /// Those of [`WATCHED`] that run.
    running: BTreeSet<&'static str>,
    /// logind knows the session.
    login: bool,
    /// Lockers that are installed and could be started.
    installed: Vec<Way>,
}

impl Facts {
    /// Looks; changes nothing.
    pub(super) fn of(session: &DesktopSession) -> Self {
        let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
        let listed = processes.list().unwrap_or_default();
        let runs = |name: &str| {
            listed.iter().any(|process| {
                !process.zombie
                    && process.exe_root_owned
                    && is_trusted_program(&process.exe, &[name])
            })
        };
        let programs = [LockProgram::Xsecurelock, LockProgram::I3lock];
        let programs = programs.into_iter().filter(|program| program.find().is_some());
        let mut installed: Vec<Way> = programs.map(Way::Program).collect();
        installed.extend(xscreensaver::daemon().map(|_| Way::Xscreensaver));
        installed.extend(wayland::program().map(|_| Way::Swaylock));
        Self {
            wayland: session.wayland_display.is_some(),
            x11: session.display.is_some() && session.wayland_display.is_none(),
            savers: ALL.into_iter().filter(|saver| saver.owner(session).is_ok()).collect(),
            running: WATCHED.into_iter().filter(|name| runs(name)).collect(),
            login: matches!(logind::find(session), Ok(Some(_))),
            installed,
        }
    }
}

/// The ways that fit, best first: the session's own locker, then one that we start. `only` is the
/// settings' word, and the last.
pub(super) fn choose(facts: &Facts, only: Option<Way>) -> Vec<Way> {
    if let Some(only) = only {
        return vec![only];
    }
    let mut ways: Vec<Way> = facts.savers.iter().copied().map(Way::Desktop).collect();
    let listens = LISTENERS.iter().any(|name| facts.running.contains(name));
    if facts.x11 && facts.running.contains("xscreensaver") {
        ways.push(Way::Xscreensaver);
    }
    if facts.login && listens {
        ways.push(Way::Logind);
    }
    let fits = |way: &Way| match way {
        Way::Swaylock => facts.wayland && facts.savers.is_empty(),
        Way::Program(_) | Way::Xscreensaver => facts.x11,
        Way::Desktop(_) | Way::Logind => false,
    };
    ways.extend(facts.installed.iter().copied().filter(fits));
    if facts.login {
        ways.push(Way::Logind);
    }
    let mut seen = Vec::new();
    ways.retain(|way| {
        let fresh = !seen.contains(way);
        seen.push(*way);
        fresh
    });
    ways
}

#[cfg(test)]
mod tests {
    use super::super::screensaver::{GNOME, MATE};
    use super::*;

    const I3LOCK: Way = Way::Program(LockProgram::I3lock);
    const XSECURELOCK: Way = Way::Program(LockProgram::Xsecurelock);

    fn installed() -> Vec<Way> {
        vec![XSECURELOCK, I3LOCK, Way::Xscreensaver, Way::Swaylock]
    }

    #[test]
    fn takes_what_the_session_itself_locks_with_and_then_a_locker_of_ours() {
        let facts = Facts { x11: true, savers: vec![&MATE], login: true, ..Facts::default() };
        let facts = Facts { installed: vec![I3LOCK], ..facts };
        assert_eq!(choose(&facts, None), [Way::Desktop(&MATE), I3LOCK, Way::Logind]);
        let running = BTreeSet::from(["xss-lock"]);
        let facts = Facts { x11: true, login: true, running, ..Facts::default() };
        let facts = Facts { installed: vec![XSECURELOCK], ..facts };
        assert_eq!(choose(&facts, None), [Way::Logind, XSECURELOCK]);
    }

    #[test]
    fn starts_nothing_for_x11_in_a_wayland_session_and_no_swaylock_beside_a_desktop() {
        let facts = Facts { wayland: true, installed: installed(), ..Facts::default() };
        assert_eq!(choose(&facts, None), [Way::Swaylock]);
        let facts = Facts { savers: vec![&GNOME], ..facts };
        assert_eq!(choose(&facts, None), [Way::Desktop(&GNOME)]);
        let facts = Facts { x11: true, installed: installed(), ..Facts::default() };
        assert_eq!(choose(&facts, None), [XSECURELOCK, I3LOCK, Way::Xscreensaver]);
    }

    #[test]
    fn the_settings_have_the_last_word_and_every_way_a_name_of_its_own() {
        let facts = Facts { x11: true, installed: installed(), ..Facts::default() };
        assert_eq!(choose(&facts, Some(Way::Logind)), [Way::Logind]);
        for name in [
            "gnome", "plasma", "xfce", "cinnamon", "mate", "logind", "swaylock", "i3lock",
            "curtain",
        ] {
            assert_eq!(Way::named(name).map(Way::name), Some(name));
        }
        assert_eq!(Way::named("nonesuch"), None);
    }
}
