//! A machine in a container: systemd, logind, a display manager and a real login session, on an
//! overlay of the machine that runs the tests.
//!
//! It refuses to change that machine: whatever is installed or written lands in memory, and everything
//! ends with the container's first process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{self, Started};
use crate::waiting;

/// What is installed in the container, and not outside.
const PACKAGES: [&str; 22] = [
    "dbus-user-session",
    "foot",
    "i3lock",
    "libpam-systemd",
    "light-locker",
    "lightdm",
    "lightdm-gtk-greeter",
    "mate-screensaver",
    "openbox",
    "procps",
    "sway",
    "swaylock",
    "systemd-sysv",
    "util-linux",
    "wtype",
    "xdotool",
    "xscreensaver",
    "xsecurelock",
    "xss-lock",
    "xterm",
    "xvfb",
    "x11-utils",
];
/// Units of the machine below that start by themselves and have no place here.
const MASKED: [&str; 8] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "e2scrub_all.timer",
    "nginx.service",
    "postgresql.service",
    "redis-server.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
];
/// lightdm names the display and the cookie's file, and a terminal that there is none of.
const X_SERVER: &str = r#"#!/bin/sh
authority= display=
while [ $# -gt 0 ]; do
    case $1 in :*) display=$1 ;; -auth) authority=$2; shift ;; esac
    shift
done
exec /usr/bin/Xvfb "$display" -screen 0 1024x768x24 -nolisten tcp -noreset -auth "$authority"
"#;
/// Runs lines in the login session itself: what it starts belongs to the session.
const ERRANDS: &str = r#"(
    rm -f "$HOME/errands"; mkfifo "$HOME/errands"
    while :; do
        while IFS= read -r line; do sh -c "$line" >>"$HOME/log" 2>&1 & done <"$HOME/errands"
    done
) &
"#;
/// The password of everybody in the container.
pub const PASSWORD: &str = "righthorse";
const INSTALL_WITHIN: Duration = Duration::from_secs(180);
/// The same for a whole desktop.
const INSTALL_DESKTOP_WITHIN: Duration = Duration::from_secs(1200);
const BOOT_WITHIN: Duration = Duration::from_secs(40);

/// What a container has beside the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fitting<'a> {
    /// Programs of the machine that runs the tests, put into `/usr/local/bin`.
    pub programs: &'a [PathBuf],
    /// Debian packages.
    pub packages: &'a [&'a str],
    /// A line of shell that is the login session, in place of openbox.
    pub session: Option<&'a str>,
}

/// Somebody of the container, by a user id that no other rig gives out.
#[derive(Clone, Debug)]
pub struct Inmate {
    /// The login name.
    pub name: &'static str,
    /// The user id.
    pub uid: u32,
}

impl Inmate {
    /// The home, as it is called inside.
    #[must_use]
    pub fn home(&self) -> String {
        format!("/home/{}", self.name)
    }
}

/// A machine that is up.
#[derive(Debug)]
pub struct Container {
    /// Who is signed in at the X display `:0`.
    pub desk: Inmate,
    /// Who has a runtime directory and a bus, and no session.
    pub lodger: Inmate,
    leader: u32,
    nspawn: Started,
    // Dropped last: the mounts are in it.
    ground: Ground,
}

/// Where the container's files are.
#[derive(Debug)]
struct Ground {
    dir: TempDir,
    mounted: Vec<PathBuf>,
}

impl Container {
    /// Why there can be none here; None when there can.
    #[must_use]
    pub fn unavailable() -> Option<&'static str> {
        (!rustix::process::geteuid().is_root()).then_some("a container of one's own needs root")
    }

    /// Installs, boots, and waits for the login session.
    ///
    /// # Errors
    /// What is missing on this machine, or did not come up.
    pub fn boot(fitting: &Fitting<'_>) -> Result<Self> {
        let nspawn = Path::new("/usr/bin/systemd-nspawn");
        ensure!(nspawn.is_file(), "systemd-nspawn is missing: install systemd-container");
        let ground = Ground::mount()?;
        ground.install(fitting.packages)?;
        let first = 58_000 + (std::process::id() % 400) * 4;
        let desk = Inmate { name: "desk", uid: first };
        let lodger = Inmate { name: "lodger", uid: first + 1 };
        ground.settle(&[&desk, &lodger], fitting)?;
        let log = ground.dir.path().join("boot.log");
        let mut command = ground.nspawn();
        command.args(["--boot", "--private-network", "--hostname=rig", "--console=pipe"]);
        // Lockers lock their memory; keyrings are the lodger's.
        command.arg("--system-call-filter=@memlock @keyring");
        let nspawn = Started::start("systemd-nspawn", &mut command, &log)?;
        let leader = waiting::until("the container's first process", BOOT_WITHIN, || {
            let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
            let children = std::fs::read_to_string(children).unwrap_or_default();
            Ok(children.split_whitespace().find_map(|pid| pid.parse().ok().filter(is_first)))
        });
        let leader = leader.with_context(|| nspawn.log())?;
        let container = Self { desk, lodger, leader, nspawn, ground };
        container.await_session()?;
        Ok(container)
    }

    /// A command inside, as root.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader.to_string(), "--all", "--"]);
        command.args(["env", "--chdir=/", program]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LANG", "C.UTF-8");
        command
    }

    /// A command inside, as somebody, outside every login session.
    #[must_use]
    pub fn command_as(&self, who: &Inmate, program: &str) -> Command {
        let uid = who.uid.to_string();
        let runtime = format!("XDG_RUNTIME_DIR=/run/user/{uid}");
        let mut command = self.command("setpriv");
        command.args(["--reuid", &uid, "--regid", &uid, "--init-groups", "--", "env"]);
        command.args([&format!("HOME={}", who.home()), &runtime, "DISPLAY=:0", program]);
        command.env("XAUTHORITY", format!("{}/.Xauthority", who.home()));
        command
    }

    /// Starts a line of shell in the login session of [`Container::desk`].
    ///
    /// # Errors
    /// The session takes none.
    pub fn errand(&self, line: &str) -> Result<()> {
        let fifo = format!("{}/errands", self.desk.home());
        let mut write = self.command("timeout");
        write.args(["5", "sh", "-c", r#"printf '%s\n' "$1" > "$2""#, "sh", line, &fifo]);
        process::output(&mut write).map(drop)
    }

    /// What somebody's errands and programs wrote.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        process::output(self.command("cat").arg(path)).unwrap_or_default()
    }

    /// Writes a file inside.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let script = r#"printf '%s' "$1" > "$2""#;
        process::output(self.command("sh").args(["-c", script, "sh", text, path])).map(drop)
    }

    /// The processes of somebody that have exactly this name, by their pids inside.
    #[must_use]
    pub fn pids(&self, who: &Inmate, name: &str) -> Vec<u32> {
        let mut list = self.command("pgrep");
        // A zombie has ended, whenever its parent may look.
        list.args(["-r", "D,R,S,T", "-x", "-u", &who.uid.to_string(), name]);
        let found = process::output(&mut list).unwrap_or_default();
        found.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Kills a process of somebody by its pid, as they could themselves.
    ///
    /// # Errors
    /// It is not theirs, or gone.
    pub fn kill_as(&self, who: &Inmate, pid: u32) -> Result<()> {
        let mut kill = self.command_as(who, "kill");
        process::output(kill.args(["-KILL", &pid.to_string()])).map(drop)
    }

    /// Ends every process of somebody that has exactly this name, and waits for that.
    ///
    /// # Errors
    /// Some are still there.
    pub fn end(&self, who: &Inmate, name: &str) -> Result<()> {
        waiting::until(&format!("the end of {name}"), Duration::from_secs(5), || {
            let pids = self.pids(who, name);
            for pid in &pids {
                let mut end = self.command("kill");
                // It may be gone already, which is what is wanted.
                let _gone = end.args(["-KILL", &pid.to_string()]).output()?;
            }
            Ok(pids.is_empty().then_some(()))
        })
    }

    /// The ids of the login sessions of somebody.
    ///
    /// # Errors
    /// logind does not answer.
    pub fn sessions(&self, who: &Inmate) -> Result<Vec<String>> {
        let listed = process::output(self.command("loginctl").arg("--no-legend"))?;
        let rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let own = rows.filter(|row| row.get(2) == Some(&who.name));
        Ok(own.filter_map(|row| row.first().map(|id| (*id).to_owned())).collect())
    }

    fn await_session(&self) -> Result<()> {
        let fifo = format!("{}/errands", self.desk.home());
        let up = waiting::until("the login session", BOOT_WITHIN, || {
            let there = self.command("test").args(["-p", &fifo]).status()?.success();
            Ok((there && !self.sessions(&self.desk)?.is_empty()).then_some(()))
        });
        up.with_context(|| self.nspawn.log())?;
        let linger = ["enable-linger", self.lodger.name];
        process::output(self.command("loginctl").args(linger))?;
        let bus = format!("/run/user/{}/bus", self.lodger.uid);
        waiting::until("the lodger's bus", BOOT_WITHIN, || {
            Ok(self.command("test").args(["-S", &bus]).status()?.success().then_some(()))
        })
    }
}

/// Whether a process is the first one of a namespace of its own (proc_pid_status(5), `NSpid`).
fn is_first(pid: &u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("1"))
}

impl Drop for Container {
    fn drop(&mut self) {
        let leader = i32::try_from(self.leader).ok().and_then(Pid::from_raw);
        // With it the kernel ends everything inside; nspawn then cleans up and ends too.
        let _already_gone = leader.map(|leader| kill_process(leader, Signal::KILL));
        let _already_gone = self.nspawn.wait(Duration::from_secs(10));
        self.ground.unmount();
    }
}

impl Ground {
    fn mount() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let memory = dir.path().join("memory");
        std::fs::create_dir(&memory)?;
        let mut ground = Self { dir, mounted: Vec::new() };
        let run = |command: &mut Command| process::output(command).map(drop);
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&memory))?;
        ground.mounted.push(memory.clone());
        for name in ["upper", "work", "root"] {
            std::fs::create_dir(memory.join(name))?;
        }
        let options = format!(
            "lowerdir=/,upperdir={},workdir={}",
            memory.join("upper").display(),
            memory.join("work").display()
        );
        let root = ground.root();
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&root))?;
        ground.mounted.push(root);
        Ok(ground)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("memory/root")
    }

    fn nspawn(&self) -> Command {
        let machine = format!("--machine=exeunt-rig-{}", std::process::id());
        let mut command = Command::new("systemd-nspawn");
        command.args(["--quiet", "--register=no", "--keep-unit", &machine, "-D"]);
        command.arg(self.root());
        command
    }

    fn install(&self, more: &[&str]) -> Result<()> {
        let apt = |arguments: &[&str]| {
            let mut command = self.nspawn();
            let limit = if more.is_empty() { INSTALL_WITHIN } else { INSTALL_DESKTOP_WITHIN };
            let limit = limit.as_secs().to_string();
            command.args(["--resolv-conf=copy-host", "--pipe", "timeout", &limit]);
            command.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
            process::output(command.args(arguments)).map(drop)
        };
        let mut install = vec!["install", "-y", "--no-install-recommends"];
        install.extend(PACKAGES);
        install.extend(more);
        // The machine's lists may be older than what is offered now.
        apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
    }

    /// Everything that the machine needs before it boots.
    fn settle(&self, people: &[&Inmate], fitting: &Fitting<'_>) -> Result<()> {
        let root = self.root();
        let chroot = |arguments: &[&str]| {
            process::output(Command::new("chroot").arg(&root).args(arguments)).map(drop)
        };
        self.write("etc/machine-id", "", 0o644)?;
        for unit in MASKED {
            let link = root.join("etc/systemd/system").join(unit);
            process::output(Command::new("ln").args(["-sfn", "/dev/null"]).arg(link))?;
        }
        for who in people {
            let uid = who.uid.to_string();
            chroot(&["groupadd", "--gid", &uid, who.name])?;
            chroot(&["useradd", "-m", "-s", "/bin/bash", "-u", &uid, "-g", &uid, who.name])?;
            let line = format!("echo {}:{PASSWORD} | chpasswd", who.name);
            chroot(&["sh", "-c", &line])?;
        }
        let Some(desk) = people.first() else { bail!("nobody is to be signed in") };
        self.write("usr/local/bin/rig-x", X_SERVER, 0o755)?;
        let seat = format!(
            "[LightDM]\nlogind-check-graphical=false\n[Seat:*]\nautologin-user={}\n\
             user-session={}\nxserver-command=/usr/local/bin/rig-x\n",
            desk.name,
            if fitting.session.is_some() { "rig" } else { "openbox" }
        );
        self.write("etc/lightdm/lightdm.conf.d/50-rig.conf", &seat, 0o644)?;
        self.without_terminals()?;
        self.write(&format!("home/{}/.config/openbox/autostart", desk.name), ERRANDS, 0o644)?;
        chroot(&["chown", "-R", &format!("{0}:{0}", desk.name), &desk.home()])?;
        if let Some(line) = fitting.session {
            let script = format!("#!/bin/sh\n{ERRANDS}exec {line} >>\"$HOME/log\" 2>&1\n");
            self.write("usr/local/bin/rig-session", &script, 0o755)?;
            let entry =
                "[Desktop Entry]\nName=rig\nType=Application\nExec=/usr/local/bin/rig-session\n";
            self.write("usr/share/xsessions/rig.desktop", entry, 0o644)?;
        }
        for program in fitting.programs {
            let name = program.file_name().context("a program without a name")?;
            std::fs::copy(program, root.join("usr/local/bin").join(name))
                .with_context(|| format!("copying {}", program.display()))?;
        }
        Ok(())
    }

    /// Else logind refuses lightdm's session: there is no terminal, and lightdm names one.
    fn without_terminals(&self) -> Result<()> {
        let unset = "XDG_VTNR DEFAULT= OVERRIDE=\n";
        self.write("etc/security/rig.conf", unset, 0o644)?;
        for service in ["lightdm", "lightdm-autologin", "lightdm-greeter"] {
            let path = self.root().join("etc/pam.d").join(service);
            let text = std::fs::read_to_string(&path)?;
            let first = text.find("\nsession").context("no session line")?;
            let (before, after) = text.split_at(first);
            let line = "\nsession required pam_env.so conffile=/etc/security/rig.conf";
            std::fs::write(path, format!("{before}{line}{after}"))?;
        }
        Ok(())
    }

    fn write(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.root().join(path);
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        std::fs::write(&path, text)?;
        Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?)
    }

    fn unmount(&mut self) {
        for place in self.mounted.drain(..).rev() {
            // Lazily, too: a process that is just ending may still stand in it.
            let _unmounted = Command::new("umount").arg("-l").arg(place).status();
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.unmount();
    }
}
