//! The lockers of whole desktops, each in a container of its own: real programs of Cinnamon, Plasma and
//! GNOME, locked by an order while somebody types, and killed. They take minutes and hundreds of
//! megabytes: `cargo xtask test --desktops`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use exeunt_tests::container::{Container, Fitting};
use exeunt_tests::desk::{Desk, LIMIT, Opened, Served, proof, word};
use exeunt_tests::{process, waiting};

#[test]
#[ignore = "installs Cinnamon; see the first lines of this file"]
fn cinnamon_locks_and_is_replaced_when_it_dies() {
    tour(&Desktop {
        packages: &["cinnamon", "cinnamon-screensaver", "gir1.2-cvc-1.0"],
        session: None,
        setup: Some("exec cinnamon-screensaver"),
        service: "org.cinnamon.ScreenSaver",
        how: "cinnamon",
        locker: "cinnamon-screen",
        opened: Opened::ByPassword,
    });
}

#[test]
#[ignore = "installs Plasma; see the first lines of this file"]
fn plasma_locks_and_is_replaced_when_it_dies() {
    tour(&Desktop {
        packages: &["kwin-x11", "plasma-workspace", "breeze"],
        session: None,
        // It locks by itself where nobody typed for minutes, and a slow machine is such a place.
        setup: Some(
            "export QT_QPA_PLATFORM=xcb XDG_CURRENT_DESKTOP=KDE; \
             printf '[Daemon]\\nAutolock=false\\n' > ~/.config/kscreenlockerrc; \
             kglobalaccel5 & sleep 1; exec ksmserver",
        ),
        service: "org.freedesktop.ScreenSaver",
        how: "plasma",
        locker: "ksmserver",
        opened: Opened::ByPassword,
    });
}

#[test]
#[ignore = "installs GNOME; see the first lines of this file"]
fn gnome_locks_and_its_end_is_the_sessions() {
    tour(&Desktop {
        packages: &["gnome-shell", "gdm3"],
        // GNOME Shell locks only where GDM runs: its greeter unlocks.
        session: Some("env XDG_CURRENT_DESKTOP=GNOME gnome-shell --x11"),
        setup: None,
        service: "org.gnome.Shell.ScreenShield",
        how: "gnome",
        locker: "gnome-shell",
        opened: Opened::ByPassword,
    });
}

/// One desktop's locker.
struct Desktop {
    packages: &'static [&'static str],
    session: Option<&'static str>,
    /// What starts it in the session; None where it is the session.
    setup: Option<&'static str>,
    /// The name that it owns on the session's bus once it takes orders.
    service: &'static str,
    how: &'static str,
    /// Without this program, as the kernel cuts its name, the screen is open.
    locker: &'static str,
    opened: Opened,
}

fn tour(desktop: &Desktop) {
    if let Some(why) = Container::unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    if let Err(error) = desktop.tour() {
        panic!("{error:#}");
    }
}

impl Desktop {
    fn tour(&self) -> Result<()> {
        let programs = ["exeunt-warden", "exeunt"].into_iter().map(built);
        let programs = programs.collect::<Result<Vec<_>>>()?;
        let fitting =
            Fitting { programs: &programs, packages: self.packages, session: self.session };
        let container = Container::boot(&fitting)?;
        let desk = Desk::new(&container);
        if self.session.is_some() {
            let mut gdm = container.command("systemd-run");
            process::output(gdm.args(["--quiet", "--unit=rig-gdm", "/usr/sbin/gdm3"]))?;
            // GNOME Shell looks for it as it starts.
            process::output(container.command("systemctl").args(["restart", "lightdm"]))?;
        }
        // A session that is just ending would take an errand and not run it.
        if let Some(setup) = self.setup {
            container.errand(setup)?;
        }
        self.await_service(&container)?;
        desk.open_terminal()?;
        self.locks(&desk).with_context(|| container.read(&format!("{}/log", container.desk.home())))
    }

    fn locks(&self, desk: &Desk<'_>) -> Result<()> {
        let (container, who) = (desk.container, &desk.container.desk);
        let served = Served::start(container, "")?;
        let (before, during, after) = (word("before"), word("during"), word("after"));
        desk.type_until_seen(&before)?;
        eprintln!("  {}", self.order(&served, who)?);
        desk.type_line(&during)?;
        match self.opened {
            Opened::ByPassword => desk.unlock(&after)?,
            Opened::ByEnding(program) => {
                container.end(who, program)?;
                desk.type_until_seen(&after)?;
            }
        }
        desk.kept_out(&during)?;
        // And now it dies under its lock.
        eprintln!("  {}", self.order(&served, who)?);
        let first = *container.pids(who, self.locker).first().context("no locker")?;
        container.kill_as(who, first)?;
        waiting::until("the guard", LIMIT * 2, || {
            let log = served.log();
            let noticed = ["the screen is locked again", "the session is over"];
            Ok(noticed.iter().any(|words| log.contains(words)).then_some(()))
        })
        .with_context(|| served.log())?;
        eprintln!("{}", served.log());
        Ok(())
    }

    fn order(&self, served: &Served<'_>, who: &exeunt_tests::container::Inmate) -> Result<String> {
        let receipt = served.order(who)?;
        let said = proof(&receipt).with_context(|| served.log())?.to_owned();
        ensure!(said.contains(self.how), "locked by another: {said}");
        Ok(said)
    }

    /// Until its name is on the bus there is nobody to ask.
    fn await_service(&self, container: &Container) -> Result<()> {
        let bus = format!("unix:path=/run/user/{}/bus", container.desk.uid);
        waiting::until(self.service, LIMIT * 4, || {
            let mut list = container.command_as(&container.desk, "busctl");
            list.args(["--user", &format!("--address={bus}"), "--no-legend", "list", "--acquired"]);
            let names = process::output(&mut list).unwrap_or_default();
            let named = |line: &str| line.split_whitespace().next() == Some(self.service);
            Ok(names.lines().any(named).then_some(()))
        })
    }
}

fn built(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(|deps| deps.parent()).context("no directory above deps")?;
    let path = built.join(program);
    ensure!(path.is_file(), "{} is missing: `cargo xtask test` builds it", path.display());
    Ok(path)
}
