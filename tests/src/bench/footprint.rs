//! How much memory the idle programs hold.
//!
//! It refuses to measure on the way up: a figure is taken once it no longer changes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Measured;
use crate::desktop::{Desktop, Screen};
use crate::house::{House, Subjects};
use crate::people::Ground;
use crate::process;
use crate::waiting;

const LIMIT: Duration = Duration::from_secs(30);
/// A figure counts when it stayed within [`JITTER`] for so long.
const STEADY: Duration = Duration::from_secs(2);
/// Kilobytes that come and go in an idle program.
const JITTER: u32 = 512;
const ITEM: &str = "org.kde.StatusNotifierItem";

pub(super) fn run() -> Result<Measured> {
    let house = House::open(Ground::new()?, Subjects::Alice)?;
    house.enrol("bench")?;
    let desktop = Desktop::start(&house.alice, Screen::Headless)?;
    let mut panel = desktop.command(&house.programs.panel);
    let _panel = desktop.start_announced("exeunt-panel", &mut panel)?;
    let mut tray = desktop.command(&house.programs.tray);
    tray.env("EXEUNT_RUNTIME_DIR", &house.runtime);
    let tray = desktop.start_program("exeunt-tray", &mut tray)?;
    let icon = waiting::until("the tray's icon", LIMIT, || icon(&desktop))?;

    let (warden, agent) = house.ids();
    let warden = steady_megabytes(warden.context("no warden")?)?;
    let agent = steady_megabytes(agent.context("no agent")?)?;
    let before = steady_megabytes(tray.id())?;
    let window = open_window(&desktop, &icon, tray.id())?;
    let open = steady_megabytes(window)?;
    close_window(&desktop, window)?;
    let after = steady_megabytes(tray.id())?;

    let mut measured = Measured::of("footprint");
    measured.figure("warden_rss_mb", warden);
    measured.figure("agent_rss_mb", agent);
    measured.figure("window_rss_mb", open);
    measured.aim("warden_agent_rss_mb", warden + agent, 20.0);
    measured.aim("tray_rss_mb", before, 65.0);
    measured.aim("tray_after_window_rss_mb", after, 65.0);
    Ok(measured)
}

/// The bus name behind the tray's icon.
fn icon(desktop: &Desktop) -> Result<Option<String>> {
    let mut ask = desktop.command("dbus-send");
    ask.args(["--session", "--print-reply", "--dest=org.kde.StatusNotifierWatcher"]);
    ask.args(["/StatusNotifierWatcher", "org.freedesktop.DBus.Properties.Get"]);
    ask.args(["string:org.kde.StatusNotifierWatcher", "string:RegisteredStatusNotifierItems"]);
    let said = process::output(&mut ask)?;
    Ok(said.split('"').find(|word| word.starts_with(':') || word.contains(ITEM)).map(str::to_owned))
}

/// Clicks the icon; returns the window's process.
fn open_window(desktop: &Desktop, icon: &str, tray: u32) -> Result<u32> {
    let mut click = desktop.command("dbus-send");
    click.args(["--session", "--print-reply"]).arg(format!("--dest={icon}"));
    click.args([
        "/StatusNotifierItem",
        "org.kde.StatusNotifierItem.Activate",
        "int32:0",
        "int32:0",
    ]);
    process::output(&mut click)?;
    let child = waiting::until("the window's process", LIMIT, || Ok(children(tray)?.pop()))?;
    waiting::until("the window", LIMIT, || {
        let mut search = desktop.command("xdotool");
        let found = search.args(["search", "--onlyvisible", "--name", "^Exeunt$"]).output()?;
        Ok((!found.stdout.is_empty()).then_some(()))
    })?;
    Ok(child)
}

/// Closes the window by the keyboard, as a person would.
fn close_window(desktop: &Desktop, window: u32) -> Result<()> {
    let mut front = desktop.command("xdotool");
    front.args(["search", "--onlyvisible", "--name", "^Exeunt$", "windowactivate", "--sync"]);
    process::output(&mut front)?;
    process::output(desktop.command("xdotool").args(["key", "alt+F4"]))?;
    ensure!(process::wait_gone(window, LIMIT)?, "the window's process stayed");
    Ok(())
}

fn children(of: u32) -> Result<Vec<u32>> {
    let tasks = Path::new("/proc").join(of.to_string()).join("task");
    let mut found = Vec::new();
    for task in std::fs::read_dir(tasks)? {
        let list = std::fs::read_to_string(task?.path().join("children"))?;
        found.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(found)
}

/// Resident memory once it is steady, in megabytes of a million bytes.
pub(super) fn steady_megabytes(id: u32) -> Result<f64> {
    let mut last = (resident(id)?, Instant::now());
    waiting::until("a steady figure", LIMIT, || {
        let now = resident(id)?;
        if now.abs_diff(last.0) > JITTER {
            last = (now, Instant::now());
        }
        Ok((last.1.elapsed() >= STEADY).then_some(now))
    })
    .map(|kilobytes| f64::from(kilobytes) * 1024.0 / 1_000_000.0)
}

fn resident(id: u32) -> Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")) else {
        bail!("process {id} has no resident memory");
    };
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
