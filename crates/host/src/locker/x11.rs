//! Locking an X11 screen with `xsecurelock` or `i3lock`, and proving it.
//!
//! It refuses to trust any one sign: a proof is a living locker, its window over the whole screen,
//! and the keyboard in a grab.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use exeunt_engine::ports::{LockError, LockState, Locker, Process, ProcessId, Processes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection;
use x11rb::errors::{ConnectionError, ReplyError};
use x11rb::protocol::res::{ClientIdMask, ClientIdSpec, ConnectionExt as _};
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, EventMask, GrabMode, GrabStatus,
    MapState, Window,
};
use x11rb::rust_connection::RustConnection;

use super::display::{self, DisplayError};
use super::proof::{Kind, Proof, Seen, told};
use super::{DesktopSession, LockProgram, start};
use crate::bounded;
use crate::process::{KeepList, LinuxProcesses, is_trusted_program};

/// Lockers that are recognised whoever started them, as long as root owns the program.
const LOCKERS: &[&str] = &[
    "xsecurelock",
    "i3lock",
    "xscreensaver",
    "xscreensaver-gfx",
    "light-locker",
    "slock",
    "xtrlock",
];
/// The curtain is the tray's program, called so.
const CURTAIN: (&str, &[u8]) = ("exeunt-tray", b"curtain");
/// How many pixels at the edges may stay free. `xsecurelock` leaves one, so that compositors do not
/// take its window for a full-screen program; what shows is in the overlay above it.
const BORDER: i32 = 1;
/// How long one look at the screen may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// A grab raises no event that others see: how long to wait for events before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The screen lock of one X11 session.
#[derive(Debug)]
pub struct X11Locker {
    session: DesktopSession,
    program: Option<LockProgram>,
    started: Mutex<Option<ProcessId>>,
}

impl X11Locker {
    /// The lock of `session`, with `program`, or else `xsecurelock`, or else `i3lock`.
    #[must_use]
    pub fn new(session: DesktopSession, program: Option<LockProgram>) -> Self {
        Self { session, program, started: Mutex::new(None) }
    }

    /// The locker that [`Locker::lock`] last started.
    #[must_use]
    pub fn started(&self) -> Option<ProcessId> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a locker, whether the screen is locked or not, and reads nothing from the screen.
    ///
    /// # Errors
    /// As [`Locker::lock`].
    pub fn start(&self) -> Result<(), LockError> {
        let usual = [LockProgram::Xsecurelock, LockProgram::I3lock];
        let chosen = self.program.or_else(|| usual.into_iter().find(|p| p.find().is_some()));
        let Some(program) = chosen.filter(|program| program.find().is_some()) else {
            return Err(LockError::NoLocker("xsecurelock or i3lock"));
        };
        let process = start::start(&self.session, program)
            .map_err(|source| LockError::Start { locker: program.name(), source })?;
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Lockers that run for the account now, whoever started them. One that is stopped is none.
    #[must_use]
    pub fn detect(&self) -> Vec<ProcessId> {
        detect(&self.session).into_values().map(|found| found.id).collect()
    }
}

impl Locker for X11Locker {
    fn lock(&self) -> Result<(), LockError> {
        if matches!(self.is_locked(), LockState::Locked { .. }) {
            return Ok(());
        }
        self.start()
    }

    fn is_locked(&self) -> LockState {
        told(self.look())
    }

    fn wait_locked(&self, deadline: Duration) -> LockState {
        told(self.wait(deadline))
    }
}

impl X11Locker {
    /// One look.
    pub(super) fn look(&self) -> Seen {
        let session = self.session.clone();
        let seen = bounded::run(LOOK_LIMIT, move |hangup| {
            let (connection, screen) = match display::connect(&session, hangup) {
                Ok(connected) => connected,
                Err(error) => return not_proved(error),
            };
            look(&session, &connection, screen).unwrap_or_else(not_proved)
        });
        seen.unwrap_or_else(|| not_proved("the X server did not answer in time"))
    }

    /// Looks until the screen is locked or `deadline` has passed.
    pub(super) fn wait(&self, deadline: Duration) -> Seen {
        let session = self.session.clone();
        let seen = bounded::run(deadline.saturating_add(LOOK_LIMIT), move |hangup| {
            let until = Instant::now() + deadline;
            loop {
                let lost = match display::connect(&session, hangup) {
                    Ok((connection, screen)) => match watch(&session, &connection, screen, until) {
                        Ok(state) => return state,
                        Err(error) => error.to_string(),
                    },
                    Err(DisplayError::Server(error)) => error.to_string(),
                    Err(error @ (DisplayError::NoDisplay | DisplayError::Io(_))) => {
                        return not_proved(error);
                    }
                };
                // A server that starts over ends its connections. Nothing tells when it is back.
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return not_proved(lost);
                }
                std::thread::sleep(left.min(LOOK_AGAIN));
            }
        });
        seen.unwrap_or_else(|| not_proved("the X server did not answer in time"))
    }
}

/// Looks until the screen is locked or the time is up, woken by windows that appear.
fn watch(
    session: &DesktopSession,
    connection: &RustConnection,
    screen: usize,
    until: Instant,
) -> Result<Seen, ReplyError> {
    let wanted = EventMask::SUBSTRUCTURE_NOTIFY | EventMask::FOCUS_CHANGE;
    let aux = ChangeWindowAttributesAux::new().event_mask(wanted);
    let Some(root) = root(connection, screen) else { return Ok(not_proved("no such screen")) };
    connection.change_window_attributes(root.window, &aux)?;
    loop {
        let state = look(session, connection, screen)?;
        let left = until.saturating_duration_since(Instant::now());
        if state.is_ok() || left.is_zero() {
            return Ok(state);
        }
        await_event(connection, left.min(LOOK_AGAIN))?;
    }
}

/// Waits for an event, at most `limit`, and takes all that have come.
fn await_event(connection: &RustConnection, limit: Duration) -> Result<(), ConnectionError> {
    let mut any = false;
    while connection.poll_for_event()?.is_some() {
        any = true;
    }
    let timeout = Timespec::try_from(limit).unwrap_or_default();
    if !any {
        let mut fds = [PollFd::new(connection.stream(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(ConnectionError::IoError(errno.into())),
        }
    }
    while connection.poll_for_event()?.is_some() {}
    Ok(())
}

/// One look: locker, window, grab.
fn look(
    session: &DesktopSession,
    connection: &RustConnection,
    screen: usize,
) -> Result<Seen, ReplyError> {
    let lockers = detect(session);
    if lockers.is_empty() {
        return Ok(not_proved("no locker is running"));
    }
    let Some(root) = root(connection, screen) else { return Ok(not_proved("no such screen")) };
    let Some((name, locker)) = cover(connection, &root, &lockers)? else {
        return Ok(not_proved("no window of the locker covers the screen"));
    };
    if !is_keyboard_grabbed(connection, root.window)? {
        return Ok(not_proved("nothing holds the keyboard"));
    }
    let mut locker = locker;
    if name.starts_with("xscreensaver") {
        // Its daemon holds the keyboard. What draws lives on without it, and so does the property.
        let daemon = lockers.iter().find(|(name, _)| name.starts_with("xscreensaver ("));
        let Some((_, daemon)) = daemon else {
            return Ok(not_proved("xscreensaver has ended and left its picture behind"));
        };
        if !is_xscreensaver_locked(connection, root.window)? {
            return Ok(not_proved("xscreensaver blanks the screen and does not lock it"));
        }
        locker = daemon;
    }
    let how = format!("{name} runs, covers the screen and holds the keyboard");
    Ok(Ok(Proof { how, locker: locker.id.clone(), kind: locker.kind }))
}

/// Whether a window of that process covers the screen, and a client holds the keyboard.
pub(super) fn is_held_by(session: &DesktopSession, locker: &ProcessId) -> bool {
    let (session, id) = (session.clone(), locker.clone());
    let held = bounded::run(LOOK_LIMIT, move |hangup| {
        let (connection, screen) = display::connect(&session, hangup).ok()?;
        let root = root(&connection, screen)?;
        let lockers = BTreeMap::from([(String::new(), Found { id, kind: Kind::Daemon })]);
        let covers = cover(&connection, &root, &lockers).ok()?.is_some();
        Some(covers && is_keyboard_grabbed(&connection, root.window).ok()?)
    });
    held.flatten() == Some(true)
}

/// Whether a client holds the keyboard of the session's X server.
pub(super) fn is_keyboard_held(session: &DesktopSession) -> bool {
    let session = session.clone();
    let held = bounded::run(LOOK_LIMIT, move |hangup| {
        let (connection, screen) = display::connect(&session, hangup).ok()?;
        let root = root(&connection, screen)?;
        is_keyboard_grabbed(&connection, root.window).ok()
    });
    held.flatten() == Some(true)
}

/// Whether the session's X server still takes its clients.
pub(super) fn answers(session: &DesktopSession) -> bool {
    let session = session.clone();
    bounded::run(LOOK_LIMIT, move |hangup| display::connect(&session, hangup).is_ok()) == Some(true)
}

/// Whether xscreensaver says `LOCK` rather than `BLANK` or nothing, in the first word of its
/// property on the root window (xscreensaver 5 and 6, `driver/atoms.h`).
fn is_xscreensaver_locked(connection: &RustConnection, root: Window) -> Result<bool, ReplyError> {
    let status = connection.intern_atom(true, b"_SCREENSAVER_STATUS")?;
    let lock = connection.intern_atom(true, b"LOCK")?;
    let (status, lock) = (status.reply()?.atom, lock.reply()?.atom);
    let none = u32::from(AtomEnum::NONE);
    if status == none || lock == none {
        return Ok(false);
    }
    let property = connection.get_property(false, root, status, AtomEnum::ANY, 0, 1)?.reply()?;
    let word = property.value32().and_then(|mut words| words.next());
    Ok(word == Some(lock))
}

/// A locker that runs.
struct Found {
    id: ProcessId,
    kind: Kind,
}

/// Lockers of the account that run, by name and pid.
fn detect(session: &DesktopSession) -> BTreeMap<String, Found> {
    let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
    let running = processes.list().unwrap_or_default().into_iter().filter_map(|process| {
        let kind = kind_of(&process).filter(|_| !process.zombie && process.exe_root_owned)?;
        Some((process, kind))
    });
    let awake = running.filter(|(process, _)| !processes.is_frozen(&process.id).unwrap_or(true));
    awake
        .map(|(process, kind)| {
            let name = format!("{} ({})", process.comm, process.id.pid);
            (name, Found { id: process.id, kind })
        })
        .collect()
}

/// Which locker a program is; None: none.
fn kind_of(process: &Process) -> Option<Kind> {
    let (tray, curtain) = CURTAIN;
    if is_trusted_program(&process.exe, &[tray]) {
        return (process.args.get(1).map(Vec::as_slice) == Some(curtain)).then_some(Kind::Curtain);
    }
    if is_trusted_program(&process.exe, &["xscreensaver", "xscreensaver-gfx", "light-locker"]) {
        return Some(Kind::Daemon);
    }
    is_trusted_program(&process.exe, LOCKERS).then_some(Kind::Password)
}

/// The curtains that hang before the session's screens, awake or not.
pub(super) fn curtains(session: &DesktopSession) -> Vec<ProcessId> {
    let processes = LinuxProcesses::of_uid(session.account.uid, KeepList::default());
    let listed = processes.list().unwrap_or_default().into_iter();
    let curtains = listed.filter(|process| {
        !process.zombie && process.exe_root_owned && kind_of(process) == Some(Kind::Curtain)
    });
    curtains.map(|process| process.id).collect()
}

struct Root {
    window: Window,
    width: i32,
    height: i32,
}

fn root(connection: &RustConnection, screen: usize) -> Option<Root> {
    let screen = connection.setup().roots.get(screen)?;
    Some(Root {
        window: screen.root,
        width: i32::from(screen.width_in_pixels),
        height: i32::from(screen.height_in_pixels),
    })
}

/// The name of a locker that owns a visible window over the whole screen. A compositor's overlay
/// may stand between it and the root, so its children are looked at too.
fn cover<'a>(
    connection: &RustConnection,
    root: &Root,
    lockers: &'a BTreeMap<String, Found>,
) -> Result<Option<(&'a str, &'a Found)>, ReplyError> {
    let tops = connection.query_tree(root.window)?.reply()?.children;
    for &top in tops.iter().rev() {
        let mut windows = vec![top];
        windows.extend(
            gone_is_none(connection.query_tree(top)?.reply())?.into_iter().flat_map(|t| t.children),
        );
        for window in windows {
            if !covers(connection, root, window)? {
                continue;
            }
            let pid = owner(connection, window)?;
            if let Some((name, found)) = lockers.iter().find(|(_, found)| Some(found.id.pid) == pid)
            {
                return Ok(Some((name, found)));
            }
        }
    }
    Ok(None)
}

fn covers(connection: &RustConnection, root: &Root, window: Window) -> Result<bool, ReplyError> {
    let attributes = connection.get_window_attributes(window)?;
    let geometry = connection.get_geometry(window)?;
    let (Some(attributes), Some(geometry)) =
        (gone_is_none(attributes.reply())?, gone_is_none(geometry.reply())?)
    else {
        return Ok(false);
    };
    let (x, y) = (i32::from(geometry.x), i32::from(geometry.y));
    let spans = x <= BORDER
        && y <= BORDER
        && x + i32::from(geometry.width) >= root.width - BORDER
        && y + i32::from(geometry.height) >= root.height - BORDER;
    Ok(spans && attributes.override_redirect && attributes.map_state == MapState::VIEWABLE)
}

/// The pid of the client that made a window, as the server itself knows it (X-Resource 1.2).
fn owner(connection: &RustConnection, window: Window) -> Result<Option<u32>, ReplyError> {
    let spec = ClientIdSpec { client: window, mask: ClientIdMask::LOCAL_CLIENT_PID };
    let ids = gone_is_none(connection.res_query_client_ids(&[spec])?.reply())?;
    Ok(ids.and_then(|ids| ids.ids.first()?.value.first().copied()))
}

/// Whether another client holds the keyboard: asking for it fails then, and only then.
fn is_keyboard_grabbed(connection: &RustConnection, root: Window) -> Result<bool, ReplyError> {
    let asked = connection.grab_keyboard(
        false,
        root,
        x11rb::CURRENT_TIME,
        GrabMode::ASYNC,
        GrabMode::ASYNC,
    )?;
    let status = asked.reply()?.status;
    if status == GrabStatus::SUCCESS {
        connection.ungrab_keyboard(x11rb::CURRENT_TIME)?.check()?;
    }
    Ok(status == GrabStatus::ALREADY_GRABBED)
}

/// A window that vanished meanwhile is no error.
fn gone_is_none<T>(reply: Result<T, ReplyError>) -> Result<Option<T>, ReplyError> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(ReplyError::X11Error(_)) => Ok(None),
        Err(error @ ReplyError::ConnectionError(_)) => Err(error),
    }
}

fn not_proved(why: impl std::fmt::Display) -> Seen {
    Err(why.to_string())
}
