//! Real lockers in a real login session: systemd, logind, lightdm and openbox in a container, and a
//! sway without a screen. Somebody types before, during and after each lock, and kills lockers as the
//! user that they run as.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use exeunt_tests::container::{Container, Fitting, PASSWORD};
use exeunt_tests::desk::{Desk, LIMIT, LISTEN, Opened, Served, lock_once, proof, word};
use exeunt_tests::{process, waiting};

/// Since this release the kernel tells how a process ended to others than its parent.
const TELLS: (u32, u32) = (6, 15);

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
    let programs = ["exeunt-warden", "exeunt", "exeunt-tray"];
    let programs = programs.into_iter().map(built).collect::<Result<Vec<_>>>()?;
    let container = Container::boot(&Fitting { programs: &programs, ..Fitting::default() })?;
    let desk = Desk::new(&container);
    desk.open_terminal()?;
    desk.keeps_typing_out("exec xss-lock -l -- i3lock -n", "i3lock", Opened::ByPassword)?;
    container.end(&container.desk, "xss-lock")?;
    desk.keeps_typing_out("exec xss-lock -l -- xsecurelock", "xsecurelock", Opened::ByPassword)?;
    container.end(&container.desk, "xss-lock")?;
    let opened = Opened::ByEnding("light-locker");
    desk.keeps_typing_out("exec light-locker", "light-locker", opened)?;
    blank_is_not_locked(&desk).context("a blank xscreensaver")?;
    let opened = Opened::ByEnding("xscreensaver");
    desk.keeps_typing_out("exec xscreensaver --no-splash", "xscreensaver", opened)?;
    // What draws for xscreensaver lives on without it, and must count for nothing.
    let opened = Opened::ByEnding("mate-screensave");
    desk.keeps_typing_out("exec mate-screensaver --no-daemon", "mate", opened)?;
    container.end(&container.desk, "xscreensaver-gf")?;
    desk.settings.set("locker = \"i3lock\"\n");
    desk.keeps_typing_out(":", "i3lock", Opened::ByPassword)?;
    a_hint_is_no_lock(&desk).context("LockedHint")?;
    guarded(&desk)?;
    let sway = Sway { container: &container };
    sway.keeps_typing_out().and_then(|()| sway.is_guarded()).with_context(|| {
        let log = container.read(&format!("{}/log", container.lodger.home()));
        format!("sway with swaylock; its log: {log}")
    })?;
    ends_without_a_lock(&container).context("no lock: the session ends")
}

fn built(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(|deps| deps.parent()).context("no directory above deps")?;
    let path = built.join(program);
    ensure!(path.is_file(), "{} is missing: `cargo xtask test` builds it", path.display());
    Ok(path)
}

fn blank_is_not_locked(desk: &Desk<'_>) -> Result<()> {
    let container = desk.container;
    container.errand("exec xscreensaver --no-splash")?;
    waiting::until("a blank screen", LIMIT, || {
        let mut blank = desk.command("xscreensaver-command");
        Ok(blank.arg("-activate").output()?.status.success().then_some(()))
    })?;
    let says = |word: &str| {
        waiting::until(&format!("a screen that is {word}"), LIMIT, || {
            let said = desk.command("xscreensaver-command").arg("-time").output()?.stdout;
            Ok(String::from_utf8_lossy(&said).contains(word).then_some(()))
        })
    };
    says("screen blanked")?;
    // Blank, it covers the screen and holds the keyboard. The warden asks for the lock anyway.
    proof(&lock_once(container, &container.desk, ":0", "")?)?;
    says("screen locked")?;
    container.end(&container.desk, "xscreensaver")
}

/// logind is told that the session is locked, and believes it. Nothing is.
fn a_hint_is_no_lock(desk: &Desk<'_>) -> Result<()> {
    let container = desk.container;
    let sessions = container.sessions(&container.desk)?;
    let id = sessions.first().context("no session")?;
    let session = "/org/freedesktop/login1/session/auto";
    container.errand(&format!(
        "XDG_SESSION_ID={id} busctl call org.freedesktop.login1 {session} \
         org.freedesktop.login1.Session SetLockedHint b true"
    ))?;
    let hint = || {
        let mut show = container.command("loginctl");
        process::output(show.args(["show-session", id, "--property=LockedHint"]))
    };
    waiting::until("the hint", LIMIT, || Ok((hint()?.trim() == "LockedHint=yes").then_some(())))?;
    let settings = "locker = \"logind\"\nlock_fallback = \"report\"\n";
    let receipt = lock_once(container, &container.desk, ":0", settings)?;
    ensure!(receipt["lock"]["state"] == "not_proved", "{}", receipt["lock"]);
    ensure!(receipt["outcome"] == "partial", "{}", receipt["outcome"]);
    Ok(())
}

/// Lockers that are killed by the user that they run as, under a warden that serves.
fn guarded(desk: &Desk<'_>) -> Result<()> {
    let container = desk.container;
    let setting = "locker = \"i3lock\"\n";
    comes_back(desk, setting, "i3lock", true).context("i3lock of the warden's")?;
    let setting = "locker = \"xsecurelock\"\n";
    comes_back(desk, setting, "xsecurelock", true).context("xsecurelock of the warden's")?;
    for helper in ["pgrp_placeholde", "saver_multiplex", "sleep"] {
        let left = container.pids(&container.desk, helper);
        ensure!(left.is_empty(), "{helper} of a locker that is gone: {left:?}");
    }
    if kernel()? >= TELLS {
        container.errand("exec xss-lock -l -- i3lock -n")?;
        desk.await_listener()?;
        comes_back(desk, "", "i3lock", true).context("i3lock of xss-lock's")?;
        container.end(&container.desk, "xss-lock")?;
    } else {
        eprintln!("skipped: this kernel tells the end of a process to its parent alone");
    }
    comes_back(desk, "locker = \"curtain\"\n", "exeunt-tray", false).context("the curtain")
}

/// One locker: locked by an order, killed, there again, and opened for good as it should be.
fn comes_back(desk: &Desk<'_>, settings: &str, program: &str, password: bool) -> Result<()> {
    eprintln!("guarded: {program} {settings:?}");
    let served = Served::start(desk.container, settings)?;
    comes_back_under(&served, desk, program, password).with_context(|| served.log())
}

fn comes_back_under(
    served: &Served<'_>,
    desk: &Desk<'_>,
    program: &str,
    password: bool,
) -> Result<()> {
    let (container, who) = (desk.container, &desk.container.desk);
    let (before, during, after) = (word("before"), word("during"), word("after"));
    desk.type_until_seen(&before)?;
    let receipt = served.order(who)?;
    let said = proof(&receipt)?;
    eprintln!("  {said}");
    let first = *container.pids(who, program).first().context("no locker")?;
    ensure!(said.contains(&format!("({first})")), "locked by another than {first}: {said}");
    container.kill_as(who, first)?;
    let again = waiting::until("another locker", LIMIT, || {
        Ok(container.pids(who, program).into_iter().find(|pid| *pid != first))
    })?;
    // The guard says so once it has looked.
    waiting::until("its lock", LIMIT, || {
        Ok(served.log().contains("the screen is locked again").then_some(()))
    })?;
    let stands = served.lock(who)?;
    ensure!(proof(&stands)?.contains(&format!("({again})")), "{stands}");
    desk.type_line(&during)?;
    if password {
        desk.unlock(&after)?;
    } else {
        desk.type_line(PASSWORD)?;
        let now = container.pids(who, program);
        ensure!(now == [again], "a password opened it: {again} was there, and {now:?} are");
        served.begin(who)?;
        desk.type_until_seen(&after)?;
    }
    desk.kept_out(&during)?;
    waiting::until("the guard's end", LIMIT, || {
        let log = served.log();
        let over = ["the screen was unlocked", "the curtain was lifted"];
        Ok(over.iter().any(|why| log.contains(why)).then_some(()))
    })?;
    ensure!(container.pids(who, program).is_empty(), "it was locked again");
    Ok(())
}

fn kernel() -> Result<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Ok((0, 0)),
    }
}

/// Nothing can lock: the session is ended, as is usual, and the greeter is back.
fn ends_without_a_lock(container: &Container) -> Result<()> {
    let who = &container.desk;
    let before = container.sessions(who)?;
    let server = servers(container)?;
    let spared = "locker = \"swaylock\"\nlock_fallback = \"report\"\n";
    let receipt = lock_once(container, who, ":0", spared)?;
    ensure!(receipt["lock"]["state"] == "not_proved", "{}", receipt["lock"]);
    ensure!(container.sessions(who)? == before, "a report ends nothing");
    let served = Served::start(container, "locker = \"swaylock\"\n")?;
    let receipt = served.order(who)?;
    let said = proof(&receipt)?;
    eprintln!("  {said}");
    ensure!(said.starts_with("session ended: logind"), "{said}");
    ensure!(container.sessions(who)?.is_empty(), "{:?}", container.sessions(who)?);
    for program in ["openbox", "xterm", "sh"] {
        ensure!(container.pids(who, program).is_empty(), "{program} lives on");
    }
    waiting::until("the greeter's own X server", LIMIT, || {
        let now = servers(container)?;
        Ok((!now.is_empty() && now.iter().all(|pid| !server.contains(pid))).then_some(()))
    })
}

/// The X servers.
fn servers(container: &Container) -> Result<Vec<String>> {
    let found = container.command("pgrep").args(["-x", "Xvfb"]).output()?;
    Ok(String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect())
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
        let receipt = lock_once(self.container, who, "wayland-1", "")?;
        let said = proof(&receipt)?;
        eprintln!("  {said}");
        ensure!(said.starts_with("swaylock"), "{said}");
        self.type_line(&during)?;
        self.unlock(&after)?;
        self.kept_out(&during)
    }

    /// Under a warden that serves, a swaylock that is killed is replaced.
    fn is_guarded(&self) -> Result<()> {
        eprintln!("sway with swaylock, guarded");
        let who = &self.container.lodger;
        let served = Served::start(self.container, "")?;
        let ordered = served.order(who)?;
        eprintln!("  {}", proof(&ordered)?);
        let first = self.container.pids(who, "swaylock");
        // The locker was forked after its password helper.
        self.container.kill_as(who, *first.iter().max().context("no swaylock")?)?;
        waiting::until("another swaylock", LIMIT, || {
            let now = self.container.pids(who, "swaylock");
            Ok((!now.is_empty() && !now.iter().any(|pid| first.contains(pid))).then_some(()))
        })
        .with_context(|| served.log())?;
        let (during, after) = (word("during"), word("after"));
        waiting::until("its lock", LIMIT, || {
            Ok(served.log().contains("the screen is locked again").then_some(()))
        })?;
        self.type_line(&during)?;
        self.unlock(&after)?;
        self.kept_out(&during)
    }

    fn unlock(&self, after: &str) -> Result<()> {
        waiting::until("the unlocking", LIMIT, || {
            self.type_line(PASSWORD)?;
            let gone = waiting::until("the end of swaylock", Duration::from_secs(4), || {
                let left = self.container.pids(&self.container.lodger, "swaylock");
                Ok(left.is_empty().then_some(()))
            });
            Ok(gone.ok())
        })?;
        self.type_until_seen(after)
    }

    fn kept_out(&self, during: &str) -> Result<()> {
        let typed = self.typed();
        ensure!(!typed.iter().any(|line| line.contains(during)), "typed under the lock: {typed:?}");
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
        process::output(shell.args(["-c", &format!("{unset}{line}")])).map(drop)
    }

    fn type_line(&self, word: &str) -> Result<()> {
        let mut keys = self.command("timeout");
        // The first key of a new keyboard may be lost.
        process::output(
            keys.args(["10", "wtype", "-d", "12", "-k", "Shift_L", word, "-k", "Return"]),
        )
        .map(drop)
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
