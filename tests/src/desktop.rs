//! A desktop of one's own: an X server, a session bus and a window manager.
//!
//! It refuses to touch the display, the bus or the lock of whoever runs it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use x11rb::CURRENT_TIME;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, GrabMode, GrabStatus};
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::people::Person;
use crate::process::{self, MARK, Started};
use crate::waiting;

/// The kind of proof that an X server wants of its clients.
const COOKIE: &[u8] = b"MIT-MAGIC-COOKIE-1";

/// Where the X server shows what it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Nowhere: Xvfb.
    Headless,
    /// In a window on the caller's own display: Xephyr.
    Window,
}

/// A running desktop. Everything in it ends when this is dropped.
#[derive(Debug)]
pub struct Desktop {
    /// Whose.
    pub person: Person,
    /// `DISPLAY`.
    pub display: String,
    /// `XAUTHORITY`.
    pub authority: PathBuf,
    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub bus: String,
    cookie: [u8; 16],
    // Ended in this order.
    _windows: Started,
    _bus: Started,
    _server: Started,
}

impl Desktop {
    /// Starts one for `person`.
    ///
    /// # Errors
    /// A program is missing or ended early; the message has its log.
    pub fn start(person: &Person, screen: Screen) -> Result<Self> {
        let authority = person.runtime.join("Xauthority");
        let cookie = write_authority(person, &authority)?;
        let (server, display) = start_server(person, screen, &authority)?;
        let (bus_process, bus) = start_bus(person)?;
        let mut windows = person.command("openbox");
        windows.arg("--sm-disable").env("DISPLAY", &display).env("XAUTHORITY", &authority);
        // Its own chatter stays out of the home, which tests compare before and after.
        windows.env("XDG_CACHE_HOME", &person.runtime).env("XDG_CONFIG_HOME", &person.runtime);
        let windows = Started::start("openbox", &mut windows, &person.log("openbox"))?;
        let desktop = Self {
            person: person.clone(),
            display,
            authority,
            bus,
            cookie,
            _windows: windows,
            _bus: bus_process,
            _server: server,
        };
        desktop.wait_for_windows()?;
        Ok(desktop)
    }

    /// A command given in this desktop.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.person.command(program);
        command
            .env("DISPLAY", &self.display)
            .env("XAUTHORITY", &self.authority)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus);
        command
    }

    /// Starts a program in this desktop.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_program(&self, name: &str, command: &mut Command) -> Result<Started> {
        Started::start(name, command, &self.person.log(name))
    }

    /// Starts a program that says one line once it is ready.
    ///
    /// # Errors
    /// It could not be started, or ended without a line.
    pub fn start_announced(&self, name: &str, command: &mut Command) -> Result<Started> {
        Ok(Started::announce(name, command, &self.person.log(name))?.0)
    }

    /// Whether somebody on the session bus answers to `name`.
    ///
    /// # Errors
    /// The bus could not be asked.
    pub fn bus_has(&self, name: &str) -> Result<bool> {
        let mut ask = self.command("dbus-send");
        ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/"])
            .arg("org.freedesktop.DBus.NameHasOwner")
            .arg(format!("string:{name}"));
        Ok(process::output(&mut ask)?.contains("boolean true"))
    }

    /// Waits until somebody holds the keyboard of this display.
    ///
    /// # Errors
    /// The display could not be asked, or nobody took it.
    pub fn wait_for_grab(&self) -> Result<()> {
        let screen = self.connect()?;
        waiting::until("the grab of the keyboard", Duration::from_secs(15), || {
            Ok(is_grabbed(&screen)?.then_some(()))
        })
    }

    /// Whether somebody holds the keyboard of this display.
    ///
    /// # Errors
    /// The display could not be asked.
    pub fn is_grabbed(&self) -> Result<bool> {
        is_grabbed(&self.connect()?)
    }

    fn connect(&self) -> Result<RustConnection> {
        let number = self.display.trim_start_matches(':');
        let socket = UnixStream::connect(format!("/tmp/.X11-unix/X{number}"))?;
        let (stream, _peer) = DefaultStream::from_unix_stream(socket)?;
        let (name, cookie) = (COOKIE.to_vec(), self.cookie.to_vec());
        Ok(RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie)?)
    }

    fn wait_for_windows(&self) -> Result<()> {
        waiting::until("the window manager's start", Duration::from_secs(20), || {
            let mut ask = self.command("xprop");
            let root = process::output(ask.args(["-root", "_NET_SUPPORTING_WM_CHECK"]))?;
            Ok(root.contains("window id").then_some(()))
        })
    }
}

fn start_server(person: &Person, screen: Screen, authority: &Path) -> Result<(Started, String)> {
    let sockets = Path::new("/tmp/.X11-unix");
    if !sockets.is_dir() && crate::people::is_root() {
        std::fs::create_dir_all(sockets)?;
        std::fs::set_permissions(sockets, std::fs::Permissions::from_mode(0o1777))?;
    }
    let (name, mut server) = match screen {
        Screen::Headless => {
            let mut server = person.command("Xvfb");
            server.args(["-screen", "0", "1280x800x24"]);
            ("Xvfb", server)
        }
        Screen::Window => {
            // The caller's own program, on the caller's own display: nobody in the new desktop
            // can reach that one.
            let mut server = Command::new("Xephyr");
            server.args(["-screen", "1280x800", "-title", "alice's desktop"]);
            server.env(MARK, person.mark()).stdin(std::process::Stdio::null());
            ("Xephyr", server)
        }
    };
    server.args(["-displayfd", "1", "-nolisten", "tcp", "-noreset", "-auth"]).arg(authority);
    let (server, number) = Started::announce(name, &mut server, &person.log(name))?;
    let number: u32 = number.parse().with_context(|| format!("{name} said {number:?}"))?;
    Ok((server, format!(":{number}")))
}

fn start_bus(person: &Person) -> Result<(Started, String)> {
    let mut bus = person.command("dbus-daemon");
    bus.args(["--session", "--nofork", "--print-address=1"])
        .arg(format!("--address=unix:path={}", person.runtime.join("bus").display()));
    let (bus, address) = Started::announce("dbus-daemon", &mut bus, &person.log("dbus-daemon"))?;
    if !address.starts_with("unix:") {
        bail!("dbus-daemon said {address:?}");
    }
    Ok((bus, address))
}

fn is_grabbed(screen: &RustConnection) -> Result<bool> {
    let root = screen.setup().roots.first().context("a display without a screen")?.root;
    let tried = screen
        .grab_keyboard(true, root, CURRENT_TIME, GrabMode::ASYNC, GrabMode::ASYNC)?
        .reply()?;
    if tried.status == GrabStatus::SUCCESS {
        screen.ungrab_keyboard(CURRENT_TIME)?.check()?;
    }
    Ok(tried.status == GrabStatus::ALREADY_GRABBED)
}

/// Writes one cookie that is good for any display of this machine: its number is not known yet.
fn write_authority(person: &Person, path: &Path) -> Result<[u8; 16]> {
    const FAMILY_WILD: u16 = 0xFFFF;
    let mut cookie = [0_u8; 16];
    rustix::rand::getrandom(&mut cookie, rustix::rand::GetRandomFlags::empty())?;
    let mut entry = FAMILY_WILD.to_be_bytes().to_vec();
    let fields: [&[u8]; 4] = [b"", b"", COOKIE, &cookie];
    for field in fields {
        entry.extend(u16::try_from(field.len())?.to_be_bytes());
        entry.extend(field);
    }
    std::fs::write(path, entry)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    chown(path, Some(person.uid), Some(person.gid))?;
    Ok(cookie)
}
