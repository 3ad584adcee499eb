//! Real lockers in a real login session: systemd, logind, lightdm and openbox in a container, and a
//! sway without a screen. Somebody types before, during and after each lock.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use exeunt_tests::container::{Container, Inmate, PASSWORD};
use exeunt_tests::{process, waiting};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const UNLOCKED_WITHIN: Duration = Duration::from_secs(30);
/// How long a locker takes over a wrong password.
const LINGERS: Duration = Duration::from_millis(2500);
/// Writes down every line that is typed into it; its first line says that it listens.
const LISTEN: &str =
    r#"echo listening > ~/typed; while IFS= read -r l; do echo "$l" >> ~/typed; done"#;

#[test]
fn real_sessions_are_locked_and_proved_and_ended() {
    if let Some(why) = Container::unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    if let Err(error) = tour() {
        panic!("{error:#}");
    }
}

fn tour() -> Result<()> {
    let container = Container::boot(&warden()?)?;
    let desk = Desk { container: &container, settings: Cell::new("") };
    desk.open_terminal()?;
    desk.keeps_typing_out("exec xss-lock -l -- i3lock -n", "i3lock", Opened::ByPassword)?;
    container.end(&container.desk, "xss-lock")?;
    desk.keeps_typing_out("exec xss-lock -l -- xsecurelock", "xsecurelock", Opened::ByPassword)?;
    container.end(&container.desk, "xss-lock")?;
    desk.blank_is_not_locked().context("a blank xscreensaver")?;
    let opened = Opened::ByEnding("xscreensaver");
    desk.keeps_typing_out("exec xscreensaver --no-splash", "xscreensaver", opened)?;
    // What draws for xscreensaver lives on without it, and must count for nothing.
    let opened = Opened::ByEnding("mate-screensave");
    desk.keeps_typing_out("exec mate-screensaver --no-daemon", "mate", opened)?;
    container.end(&container.desk, "xscreensaver-gf")?;
    desk.settings.set("locker = \"i3lock\"\n");
    desk.keeps_typing_out(":", "i3lock", Opened::ByPassword)?;
    Sway { container: &container }.keeps_typing_out().with_context(|| {
        let log = container.read(&format!("{}/log", container.lodger.home()));
        format!("sway with swaylock; its log: {log}")
    })?;
    desk.ends_without_a_lock().context("no lock: the session ends")
}

fn warden() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(|deps| deps.parent()).context("no directory above deps")?;
    let warden = built.join("exeunt-warden");
    ensure!(warden.is_file(), "{} is missing: `cargo xtask test` builds it", warden.display());
    Ok(warden)
}

/// The lock of somebody's screen by the warden, as its receipt tells.
fn lock(container: &Container, who: &Inmate, screen: &str, settings: &str) -> Result<Value> {
    container.write("/run/warden.toml", settings)?;
    let mut once = container.command("timeout");
    once.args(["60", "exeunt-warden", "once", "--json", "--tier", "lock", "--home", &who.home()]);
    once.args(["--session", screen, "--config", "/run/warden.toml"]);
    let ended = once.output()?;
    let heard = String::from_utf8_lossy(&ended.stderr).into_owned();
    serde_json::from_slice(&ended.stdout).with_context(|| heard)
}

fn proof(receipt: &Value) -> Result<&str> {
    ensure!(receipt["lock"]["state"] == "proved", "not proved: {}", receipt["lock"]);
    ensure!(receipt["outcome"] == "verified", "{}", receipt["outcome"]);
    receipt["lock"]["how"].as_str().context("no proof in words")
}

fn run(command: &mut Command) -> Result<()> {
    process::output(command).map(drop)
}

/// How a lock is opened again.
#[derive(Clone, Copy)]
enum Opened {
    /// As people do.
    ByPassword,
    /// By ending the program of that name (as the kernel cuts it): it was this that kept typing out.
    ByEnding(&'static str),
}

/// The session at the X display.
struct Desk<'a> {
    container: &'a Container,
    settings: Cell<&'static str>,
}

impl Desk<'_> {
    fn open_terminal(&self) -> Result<()> {
        self.container.write("/run/listen", LISTEN)?;
        self.container.errand("exec xterm -title typist -e sh /run/listen")?;
        waiting::until("the terminal", LIMIT, || Ok((!self.typed().is_empty()).then_some(())))?;
        let mut focus = self.xdotool(&["search", "--sync", "--onlyvisible", "--name", "typist"]);
        run(focus.args(["windowactivate", "--sync"]))
    }

    /// The whole of one locker: typing before, during and after, and the proof in between.
    fn keeps_typing_out(&self, setup: &str, how: &str, opened: Opened) -> Result<()> {
        eprintln!("{setup}");
        self.container.errand(setup)?;
        self.types_around(how, opened).with_context(|| {
            let log = self.container.read(&format!("{}/log", self.container.desk.home()));
            format!("{setup}; its log: {log}")
        })
    }

    fn types_around(&self, how: &str, opened: Opened) -> Result<()> {
        let (before, during, after) = (word("before"), word("during"), word("after"));
        self.type_until_seen(&before)?;
        let receipt = self.lock_when_it_listens(how)?;
        eprintln!("  {}", proof(&receipt)?);
        self.type_line(&during)?;
        match opened {
            Opened::ByPassword => self.unlock(&after)?,
            Opened::ByEnding(program) => {
                self.container.end(&self.container.desk, program)?;
                self.type_until_seen(&after)?;
            }
        }
        let typed = self.typed();
        ensure!(typed.contains(&before) && typed.contains(&after), "{typed:?}");
        ensure!(
            !typed.iter().any(|line| line.contains(&during)),
            "typed under the lock: {typed:?}"
        );
        Ok(())
    }

    /// A listener says nothing when it is ready: it is there, and then gets a moment.
    fn lock_when_it_listens(&self, how: &str) -> Result<Value> {
        let container = self.container;
        if self.settings.get().is_empty() {
            let programs = ["xss-lock", "xscreensaver", "mate-screensave"];
            waiting::until("the listener", LIMIT, || {
                let running = |name: &&str| !container.pids(&container.desk, name).is_empty();
                Ok(programs.iter().find(|name| running(name)).map(drop))
            })?;
            run(container.command("sleep").arg("1"))?;
        }
        let receipt = lock(container, &container.desk, ":0", self.settings.get())?;
        let said = proof(&receipt)?;
        ensure!(said.contains(how), "locked by another: {said}");
        Ok(receipt)
    }

    /// Types the password until typing arrives again. A locker takes seconds over a wrong one, and
    /// may lose what is typed meanwhile: `during` was one, and so is `after` as long as it is locked.
    fn unlock(&self, after: &str) -> Result<()> {
        let arrives = || {
            waiting::until("a line", LINGERS, || {
                Ok(self.typed().iter().any(|line| line == after).then_some(()))
            })
        };
        waiting::until("the unlocking", UNLOCKED_WITHIN, || {
            let _not_yet = arrives();
            self.type_line(PASSWORD)?;
            let _not_yet = arrives();
            self.type_line(after)?;
            Ok(arrives().ok())
        })
    }

    fn blank_is_not_locked(&self) -> Result<()> {
        let container = self.container;
        container.errand("exec xscreensaver --no-splash")?;
        waiting::until("a blank screen", LIMIT, || {
            let mut blank = self.command("xscreensaver-command");
            Ok(blank.arg("-activate").output()?.status.success().then_some(()))
        })?;
        let says = |word: &str| {
            waiting::until(&format!("a screen that is {word}"), LIMIT, || {
                let said = self.command("xscreensaver-command").arg("-time").output()?.stdout;
                Ok(String::from_utf8_lossy(&said).contains(word).then_some(()))
            })
        };
        says("screen blanked")?;
        // Blank, it covers the screen and holds the keyboard. The warden asks for the lock anyway.
        proof(&lock(container, &container.desk, ":0", "")?)?;
        says("screen locked")?;
        container.end(&container.desk, "xscreensaver")
    }

    /// Nothing can lock: policy ends the session, and the greeter is back.
    fn ends_without_a_lock(&self) -> Result<()> {
        let container = self.container;
        let who = &container.desk;
        let before = container.sessions(who)?;
        let receipt = lock(container, who, ":0", "locker = \"swaylock\"\n")?;
        ensure!(receipt["lock"]["state"] == "not_proved", "{}", receipt["lock"]);
        ensure!(container.sessions(who)? == before, "a report ends nothing");
        let settings = "locker = \"swaylock\"\nlock_fallback = \"end-session\"\n";
        let receipt = lock(container, who, ":0", settings)?;
        let said = proof(&receipt)?;
        eprintln!("  {said}");
        ensure!(said.starts_with("session ended: logind"), "{said}");
        ensure!(container.sessions(who)?.is_empty(), "{:?}", container.sessions(who)?);
        for program in ["openbox", "xterm", "sh"] {
            ensure!(container.pids(who, program).is_empty(), "{program} lives on");
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        self.container.command_as(&self.container.desk, program)
    }

    fn xdotool(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("timeout");
        command.args(["10", "xdotool"]).args(arguments);
        command
    }

    fn type_line(&self, word: &str) -> Result<()> {
        run(&mut self.xdotool(&["type", "--delay", "12", word]))?;
        run(&mut self.xdotool(&["key", "Return"]))
    }

    fn type_until_seen(&self, word: &str) -> Result<()> {
        let arrived = waiting::until(&format!("the arrival of {word:?}"), LIMIT, || {
            self.type_line(word)?;
            Ok(self.typed().iter().any(|line| line == word).then_some(()))
        });
        arrived.with_context(|| format!("so far: {:?}", self.typed()))
    }

    fn typed(&self) -> Vec<String> {
        let text = self.container.read(&format!("{}/typed", self.container.desk.home()));
        text.lines().map(str::to_owned).collect()
    }
}

/// A word that was never typed before.
fn word(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}{number}")
}

/// A wlroots compositor without a screen.
struct Sway<'a> {
    container: &'a Container,
}

impl Sway<'_> {
    fn keeps_typing_out(&self) -> Result<()> {
        eprintln!("sway with swaylock");
        let who = &self.container.lodger;
        self.start("sway")?;
        let socket = format!("/run/user/{}/wayland-1", who.uid);
        waiting::until("the compositor", LIMIT, || {
            let there = self.container.command("test").args(["-S", &socket]).status()?;
            Ok(there.success().then_some(()))
        })?;
        self.container.write("/run/listen", LISTEN)?;
        self.start("foot -e sh /run/listen")?;
        let (before, during, after) = (word("before"), word("during"), word("after"));
        self.type_until_seen(&before)?;
        let receipt = lock(self.container, who, "wayland-1", "")?;
        let said = proof(&receipt)?;
        eprintln!("  {said}");
        ensure!(said.starts_with("swaylock"), "{said}");
        self.type_line(&during)?;
        waiting::until("the unlocking", LIMIT, || {
            self.type_line(PASSWORD)?;
            let gone = waiting::until("the end of swaylock", Duration::from_secs(4), || {
                Ok(self.container.pids(who, "swaylock").is_empty().then_some(()))
            });
            Ok(gone.ok())
        })?;
        self.type_until_seen(&after)?;
        let typed = self.typed();
        let inside = typed.iter().any(|line| line.contains(&during));
        if inside {
            bail!("typed under the lock: {typed:?}");
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.container.command_as(&self.container.lodger, "env");
        command.args(["-u", "DISPLAY", "-u", "XAUTHORITY", "WAYLAND_DISPLAY=wayland-1"]);
        command.args(["WLR_BACKENDS=headless", "WLR_RENDERER=pixman"]);
        command.args(["WLR_LIBINPUT_NO_DEVICES=1", "LIBSEAT_BACKEND=noop", program]);
        command
    }

    fn start(&self, line: &str) -> Result<()> {
        let line = format!("{line} >> ~/log 2>&1 </dev/null &");
        let mut shell = self.command("sh");
        // sway takes a display that is named for one to open a window in.
        let unset = if line.starts_with("sway") { "unset WAYLAND_DISPLAY; " } else { "" };
        run(shell.args(["-c", &format!("{unset}{line}")]))
    }

    fn type_line(&self, word: &str) -> Result<()> {
        let mut keys = self.command("timeout");
        // The first key of a new keyboard may be lost.
        run(keys.args(["10", "wtype", "-d", "12", "-k", "Shift_L", word, "-k", "Return"]))
    }

    fn type_until_seen(&self, word: &str) -> Result<()> {
        let arrived = waiting::until(&format!("the arrival of {word:?}"), LIMIT, || {
            self.type_line(word)?;
            let look = waiting::until("a line", Duration::from_millis(500), || {
                Ok(self.typed().iter().any(|line| line == word).then_some(()))
            });
            Ok(look.ok())
        });
        arrived.with_context(|| format!("so far: {:?}", self.typed()))
    }

    fn typed(&self) -> Vec<String> {
        let text = self.container.read(&format!("{}/typed", self.container.lodger.home()));
        text.lines().map(str::to_owned).collect()
    }
}
