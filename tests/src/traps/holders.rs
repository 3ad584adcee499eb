//! Traps in who holds a store: processes that are hidden, stopped, or bring it back.
//!
//! It refuses to hold anything outside its own scene's home.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::places::{CHROMIUM, FIREFOX, PROFILE, plain};
use super::scene::Scene;

/// What a process may take for its first argument when it looks like a browser.
pub(super) const BROWSER: &str = "--no-first-run";

/// Says that it is ready, and waits.
pub(super) const SLEEP: &str = "
import signal
print('ready', flush=True)
while True: signal.pause()
";

/// Holds the files that it is given.
const HOLD: &str = "
import signal, sys
held = [open(path, 'r+b') for path in sys.argv[1:]]
print('ready', flush=True)
while True: signal.pause()
";

/// Maps the file that it is given, and closes it.
const MAP: &str = "
import mmap, signal, sys
with open(sys.argv[1], 'r+b') as file: held = mmap.mmap(file.fileno(), 0)
print('ready', flush=True)
while True: signal.pause()
";

/// Holds from a session and a process tree of its own.
const SETSID: &str = "
import os, signal, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
held = [open(path, 'r+b') for path in sys.argv[1:]]
print('ready', flush=True)
while True: signal.pause()
";

/// Restores the file, starts a process that holds it, and does both again whenever that one ends.
const RESPAWN: &str = "
import os, subprocess, sys
path, content = sys.argv[1], bytes.fromhex(sys.argv[2])
hold = 'import signal, sys; f = open(sys.argv[1]); print(1, flush=True); signal.pause()'
while True:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file: file.write(content)
    child = subprocess.Popen([sys.executable, '-c', hold, path], stdout=subprocess.PIPE)
    child.stdout.readline()
    try: print('ready', flush=True)
    except BrokenPipeError: sys.stdout = open(os.devnull, 'w')
    child.wait()
";

/// Holds nothing, and writes the file again as soon as it is gone.
const REWRITE: &str = "
import os, sys, time
path, content = sys.argv[1], bytes.fromhex(sys.argv[2])
print('ready', flush=True)
while True:
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file: file.write(content)
    time.sleep(0.002)
";

/// Holds from a user namespace of its own.
const APART: &str = "
import ctypes, signal, sys
if ctypes.CDLL(None).unshare(0x10000000): raise OSError('unshare')
held = [open(path, 'r+b') for path in sys.argv[1:]]
print('ready', flush=True)
while True: signal.pause()
";

/// Holds, and hides that from everybody but root.
const HIDE: &str = "
import ctypes, signal, sys
ctypes.CDLL(None).prctl(4, 0)
held = [open(path, 'r+b') for path in sys.argv[1:]]
print('ready', flush=True)
while True: signal.pause()
";

/// Holds, and lets itself go on whenever it is stopped.
const CONTINUE: &str = "
import os, signal, sys, time
held = [open(path, 'r+b') for path in sys.argv[1:]]
holder = os.getpid()
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    while os.path.exists(f'/proc/{holder}'):
        os.kill(holder, signal.SIGCONT)
        time.sleep(0.0005)
    os._exit(0)
print('ready', flush=True)
while True: signal.pause()
";

/// Holds a file that has no name any more.
const NAMELESS: &str = "
import os, signal, sys
held = open(sys.argv[1], 'r+b')
os.unlink(sys.argv[1])
print('ready', flush=True)
while True: signal.pause()
";

/// A browser under its own name, with its stores open.
pub(super) fn live(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let program = copied(scene, "browser-bin/chromium")?;
    hold(scene, &program, HOLD).map(drop)
}

pub(super) fn renamed(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let program = copied(scene, "bin/notes")?;
    hold(scene, &program, HOLD).map(drop)
}

pub(super) fn stopped(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let id = hold(scene, Path::new(PYTHON), HOLD)?;
    let pid = Pid::from_raw(i32::try_from(id)?).context("a process id is zero")?;
    Ok(kill_process(pid, Signal::STOP)?)
}

pub(super) fn setsid(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    hold(scene, Path::new(PYTHON), SETSID).map(drop)
}

pub(super) fn apart(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    hold(scene, Path::new(PYTHON), APART).map(drop)
}

pub(super) fn hiding(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    hold(scene, Path::new(PYTHON), HIDE).map(drop)
}

pub(super) fn continued(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    hold(scene, Path::new(PYTHON), CONTINUE).map(drop)
}

pub(super) fn mapped(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let mut command = python(scene, Path::new(PYTHON), MAP);
    command.arg(scene.at(format!("{FIREFOX}/{PROFILE}/cookies.sqlite")));
    scene.start(&mut command).map(drop)
}

pub(super) fn working_directory(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let mut command = python(scene, Path::new(PYTHON), SLEEP);
    command.current_dir(scene.at(format!("{CHROMIUM}/Default/Local Storage/leveldb")));
    scene.start(&mut command).map(drop)
}

/// The store was removed under a live process, which still has it.
pub(super) fn nameless(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let program = copied(scene, "browser-bin/chromium")?;
    let mut command = python(scene, &program, NAMELESS);
    command.arg(scene.at(format!("{CHROMIUM}/Default/Cookies")));
    scene.start(&mut command).map(drop)
}

/// What a file server makes of a file that is unlinked while somebody has it open.
pub(super) fn silly_name(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "local-storage");
    let dir = format!("{CHROMIUM}/Default/Local Storage/leveldb");
    let silly = scene.write(format!("{dir}/.nfs000000000a1b2c3d00000001"), canary)?;
    let mut command = python(scene, Path::new(PYTHON), HOLD);
    scene.start(command.arg(silly)).map(drop)
}

pub(super) fn respawning(scene: &mut Scene<'_>) -> Result<()> {
    returning(scene, RESPAWN)
}

pub(super) fn rewritten(scene: &mut Scene<'_>) -> Result<()> {
    returning(scene, REWRITE)
}

fn returning(scene: &mut Scene<'_>, script: &str) -> Result<()> {
    plain(scene)?;
    let store = scene.at(format!("{CHROMIUM}/Default/Cookies"));
    let content = std::fs::read(&store)?.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    });
    let mut command = python(scene, Path::new(PYTHON), script);
    scene.start(command.arg(&store).arg(content))?;
    scene.expect_back(store);
    Ok(())
}

/// The system's own Python, which every user may execute.
pub(super) const PYTHON: &str = "/usr/bin/python3";

/// A copy of it under another name, below the home.
pub(super) fn copied(scene: &Scene<'_>, place: &str) -> Result<PathBuf> {
    let path = scene.write(place, std::fs::read(PYTHON)?)?;
    scene.own(&path, 0o755)?;
    Ok(path)
}

pub(super) fn python(scene: &Scene<'_>, program: &Path, script: &str) -> Command {
    let mut command = scene.person.command(program);
    command.env("PYTHONHOME", "/usr").args(["-S", "-c", script]);
    command
}

fn hold(scene: &mut Scene<'_>, program: &Path, script: &str) -> Result<u32> {
    let mut command = python(scene, program, script);
    command.arg(scene.at(format!("{CHROMIUM}/Default/Cookies")));
    command.arg(scene.at(format!("{FIREFOX}/{PROFILE}/cookies.sqlite")));
    scene.start(&mut command)
}
