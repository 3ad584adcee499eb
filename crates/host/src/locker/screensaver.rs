//! Desktops that lock through a screen saver on the account's bus: GNOME, KDE Plasma, Xfce,
//! Cinnamon and MATE.
//!
//! It refuses the word of a service alone: the program behind the name must be root's, awake, and
//! one that is known to draw a lock.

use exeunt_engine::ports::{ProcessId, Processes as _};
use zbus::Message;
use zbus::blocking::Connection;
use zbus::message::Flags;

use super::DesktopSession;
use super::bus::{Bus, BusError};
use crate::keychain::SessionBus;
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};

/// One desktop's screen saver.
#[derive(Debug, PartialEq, Eq)]
pub struct ScreenSaver {
    /// What people call it.
    pub(crate) name: &'static str,
    service: &'static str,
    path: &'static str,
    interface: &'static str,
    /// Programs that may own the name.
    owners: &'static [&'static str],
    /// A script that an interpreter among the owners must run, and the name that it may take for
    /// itself in place of its arguments.
    script: Option<(&'static str, &'static str)>,
    /// Programs of which one must live while the screen is locked.
    drawers: &'static [&'static str],
    /// On X11, a window of the owner itself covers the screen.
    covers: bool,
    /// `Lock` takes a message for people.
    takes_message: bool,
}

/// All that are known.
pub(crate) const ALL: [&ScreenSaver; 6] =
    [&GNOME, &GNOME_SCREENSAVER, &PLASMA, &XFCE, &CINNAMON, &MATE];

/// GNOME Shell itself. Its older name on the bus belongs to a script that passes on.
pub(crate) const GNOME: ScreenSaver = ScreenSaver {
    name: "gnome",
    service: "org.gnome.Shell.ScreenShield",
    path: "/org/gnome/ScreenSaver",
    interface: "org.gnome.ScreenSaver",
    owners: &["gnome-shell"],
    script: None,
    drawers: &["gnome-shell"],
    covers: false,
    takes_message: false,
};
/// `gnome-screensaver`, from before GNOME Shell, and Budgie's.
pub(crate) const GNOME_SCREENSAVER: ScreenSaver = ScreenSaver {
    name: "gnome-screensaver",
    service: "org.gnome.ScreenSaver",
    path: "/org/gnome/ScreenSaver",
    interface: "org.gnome.ScreenSaver",
    owners: &["gnome-screensaver", "budgie-screensaver"],
    script: None,
    drawers: &["gnome-screensaver", "budgie-screensaver"],
    covers: true,
    takes_message: false,
};
/// KDE Plasma: the window manager or session manager locks, a greeter of its own draws.
pub(crate) const PLASMA: ScreenSaver = ScreenSaver {
    name: "plasma",
    service: "org.freedesktop.ScreenSaver",
    path: "/ScreenSaver",
    interface: "org.freedesktop.ScreenSaver",
    owners: &["kwin_wayland", "kwin_x11", "ksmserver"],
    script: None,
    drawers: &["kscreenlocker_greet"],
    covers: false,
    takes_message: false,
};
/// `xfce4-screensaver`.
pub(crate) const XFCE: ScreenSaver = ScreenSaver {
    name: "xfce",
    service: "org.xfce.ScreenSaver",
    path: "/org/xfce/ScreenSaver",
    interface: "org.xfce.ScreenSaver",
    owners: &["xfce4-screensaver"],
    script: None,
    drawers: &["xfce4-screensaver"],
    covers: true,
    takes_message: false,
};
/// `cinnamon-screensaver`, a Python program.
pub(crate) const CINNAMON: ScreenSaver = ScreenSaver {
    name: "cinnamon",
    service: "org.cinnamon.ScreenSaver",
    path: "/org/cinnamon/ScreenSaver",
    interface: "org.cinnamon.ScreenSaver",
    owners: &["cinnamon-screensaver", "cinnamon", "python3*"],
    script: Some(("/usr/share/cinnamon-screensaver/", "cinnamon-screensaver")),
    drawers: &["cinnamon-screensaver", "cinnamon", "python3*"],
    covers: true,
    takes_message: true,
};
/// `mate-screensaver`.
pub(crate) const MATE: ScreenSaver = ScreenSaver {
    name: "mate",
    service: "org.mate.ScreenSaver",
    path: "/org/mate/ScreenSaver",
    interface: "org.mate.ScreenSaver",
    owners: &["mate-screensaver"],
    script: None,
    drawers: &["mate-screensaver"],
    covers: true,
    takes_message: false,
};

impl ScreenSaver {
    /// Who owns the name on the session's bus, when that is one of its own programs.
    pub(crate) fn owner(&self, session: &DesktopSession) -> Result<ProcessId, ScreenSaverError> {
        let service = self.service;
        let pid = bus(session)?.ask(service, |bus| Bus::pid_of(bus, service))?;
        self.trusted(session, pid)
    }

    /// Asks it to lock.
    pub(crate) fn lock(&'static self, session: &DesktopSession) -> Result<(), ScreenSaverError> {
        self.owner(session)?;
        Ok(bus(session)?.ask(self.service, move |bus| {
            // Some never answer it: they declare so in their introspection data.
            let lock = Message::method_call(self.path, "Lock")?
                .destination(self.service)?
                .interface(self.interface)?
                .with_flags(Flags::NoReplyExpected)?;
            let lock = if self.takes_message { lock.build(&("",))? } else { lock.build(&())? };
            bus.send(&lock)?;
            // Messages keep their order: when this is answered, that was heard.
            self.call(bus, "GetActive")?;
            Ok(())
        })?)
    }

    /// What it says of itself, and whether the programs behind it bear that out.
    pub(crate) fn activity(
        &'static self,
        session: &DesktopSession,
    ) -> Result<Activity, ScreenSaverError> {
        let (active, pid) = bus(session)?.ask(self.service, move |bus| {
            let reply = self.call(bus, "GetActive")?;
            let active: bool = reply.body().deserialize()?;
            Ok((active, Bus::pid_of(bus, self.service)?))
        })?;
        let owner = self.trusted(session, pid)?;
        Ok(match active {
            false => Activity::Idle,
            true if self.draws(session) => Activity::Locks(owner),
            true => Activity::Undrawn,
        })
    }

    /// On X11, whether a window of the owner itself covers the screen.
    pub(crate) fn covers(&self) -> bool {
        self.covers
    }

    fn call(&self, bus: &Connection, method: &str) -> zbus::Result<Message> {
        bus.call_method(Some(self.service), self.path, Some(self.interface), method, &())
    }

    fn trusted(&self, session: &DesktopSession, pid: u32) -> Result<ProcessId, ScreenSaverError> {
        let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
        let listed = processes.list().unwrap_or_default();
        let owner = listed.into_iter().find(|process| {
            let argument = |at: usize| process.args.get(at).map(Vec::as_slice).unwrap_or_default();
            let runs_script = self.script.is_some_and(|(dir, title)| {
                argument(1).starts_with(dir.as_bytes()) || argument(0) == title.as_bytes()
            });
            let interpreter = is_trusted_program(&process.exe, &["python3*"]);
            process.id.pid == pid
                && !process.zombie
                && process.exe_root_owned
                && is_trusted_program(&process.exe, self.owners)
                && (runs_script || !interpreter)
        });
        let owner = owner.ok_or(ScreenSaverError::Stranger(self.service))?;
        match processes.is_frozen(&owner.id) {
            Ok(false) => Ok(owner.id),
            Ok(true) | Err(_) => Err(ScreenSaverError::Stranger(self.service)),
        }
    }

    /// Whether a program that draws the lock lives.
    fn draws(&self, session: &DesktopSession) -> bool {
        let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
        processes.list().unwrap_or_default().iter().any(|process| {
            !process.zombie
                && process.exe_root_owned
                && is_trusted_program(&process.exe, self.drawers)
        })
    }
}

/// What a screen saver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// This process locks the screen, by its own word.
    Locks(ProcessId),
    /// It says so, and nothing draws a lock.
    Undrawn,
    /// It says that it does not.
    Idle,
}

/// Why a screen saver is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenSaverError {
    /// The session names no bus.
    #[error("the session has no bus")]
    NoBus,
    /// The bus, or the service on it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The name belongs to a program that is no screen saver of root's.
    #[error("{0} belongs to an unknown program")]
    Stranger(&'static str),
}

fn bus(session: &DesktopSession) -> Result<Bus, ScreenSaverError> {
    let address = session.bus.as_deref().ok_or(ScreenSaverError::NoBus)?;
    let address = SessionBus::parse(address).map_err(|_| ScreenSaverError::NoBus)?;
    Ok(Bus::Session(address, session.account.clone()))
}
