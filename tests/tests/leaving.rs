//! Leaving a machine to the next person, in a container with systemd and real login sessions: services
//! that come back, control groups, other users, and nothing left after a hand-over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use exeunt_tests::container::{Container, Fitting, Inmate};
use exeunt_tests::process::{self, Started};
use exeunt_tests::waiting;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
/// How long a service that would come back gets for that.
const COMEBACK: Duration = Duration::from_millis(1500);
const STORE: &str = ".aws/sso/cache/a.json";
/// Signs itself in whenever it starts, and holds what it wrote.
const SYNC: &str = "mkdir -p ~/.aws/sso/cache; echo token > ~/.aws/sso/cache/a.json; \
                    exec sleep 1000 < ~/.aws/sso/cache/a.json";

#[test]
fn nothing_of_the_last_person_is_left_and_everybody_else_goes_on() {
    if let Some(why) = Container::unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    if let Err(error) = tour() {
        panic!("{error:#}");
    }
}

fn tour() -> Result<()> {
    let programs = [built("exeunt-warden")?];
    let container = Container::boot(&Fitting { programs: &programs, ..Fitting::default() })?;
    let rig = Rig { container: &container };
    rig.a_service_that_would_come_back_stays_away().context("services")?;
    rig.a_purge_ends_every_service().context("purge")?;
    let warden = rig.installed()?;
    rig.one_user_closes_alone().with_context(|| warden.log()).context("one user")?;
    rig.all_users_close().with_context(|| warden.log()).context("all users")?;
    rig.a_desktop_is_handed_over().with_context(|| warden.log()).context("hand-over")?;
    rig.a_lingering_user_is_handed_over().context("hand-over of one who lingers")
}

fn built(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(|deps| deps.parent()).context("no directory above deps")?;
    let path = built.join(program);
    ensure!(path.is_file(), "{} is missing: `cargo xtask test` builds it", path.display());
    Ok(path)
}

struct Rig<'a> {
    container: &'a Container,
}

impl Rig<'_> {
    /// Two services of the lodger's that come back whenever they end, one by an autostart entry; and
    /// one that holds nothing. Those are in control groups of the lodger's own.
    fn a_service_that_would_come_back_stays_away(&self) -> Result<()> {
        let lodger = &self.container.lodger;
        let unit = |line: &str| {
            format!("[Service]\nExecStart=/bin/sh -c '{line}'\nRestart=always\nRestartSec=0\n")
        };
        let home = lodger.home();
        self.write_as(lodger, &format!("{home}/.config/systemd/user/sync.service"), &unit(SYNC))?;
        let idle = unit("exec sleep 1000");
        self.write_as(lodger, &format!("{home}/.config/systemd/user/idle.service"), &idle)?;
        let entry = "[Desktop Entry]\nType=Application\nName=notes\nExec=/bin/sh notes.sh\n";
        let entry = entry.replace("notes.sh", &format!("{home}/notes.sh"));
        self.write_as(lodger, &format!("{home}/notes.sh"), &SYNC.replace("a.json", "b.json"))?;
        self.write_as(lodger, &format!("{home}/.config/autostart/notes.desktop"), &entry)?;
        self.systemctl(&["daemon-reload"])?;
        let units = ["sync.service", "idle.service", "app-notes@autostart.service"];
        self.systemctl(&["start", units[0], units[1], units[2]])?;
        self.await_there(lodger, STORE)?;
        let idle = self.main_pid("idle.service")?;

        let receipt = self.once(lodger, &[])?;
        ensure!(receipt["outcome"] == "verified", "{receipt:#}");
        let freeze = step(&receipt, "freeze")?;
        let detail = freeze["detail"].as_str().unwrap_or_default();
        eprintln!("  frozen: {detail}");
        ensure!(freeze["error"].is_null(), "{freeze}");
        ensure!(detail.contains("control groups") && !detail.starts_with('0'), "{freeze}");
        step(&receipt, "stop-services")?;
        let back = || Ok(self.is_there(lodger, STORE)?.then_some(()));
        ensure!(waiting::until("a store's return", COMEBACK, back).is_err(), "it came back");
        ensure!(self.main_pid("sync.service")? == "0", "sync.service runs");
        // Who holds nothing lives on, and runs.
        ensure!(self.main_pid("idle.service")? == idle, "idle.service was ended");
        let state = self.container.read(&format!("/proc/{idle}/cgroup"));
        let group = state.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        let events = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(|root| self.container.read(&format!("{root}{group}/cgroup.events")));
        ensure!(events.iter().any(|it| it.contains("frozen 0")), "{group}: {events:?}");
        Ok(())
    }

    fn a_purge_ends_every_service(&self) -> Result<()> {
        let lodger = &self.container.lodger;
        self.systemctl(&["start", "sync.service"])?;
        let receipt = self.once(lodger, &["--tier", "purge"])?;
        ensure!(account_row(&receipt, "processes")?["verdict"] == "gone", "{receipt:#}");
        ensure!(receipt["outcome"] == "verified", "{receipt:#}");
        for unit in ["sync.service", "idle.service"] {
            ensure!(self.main_pid(unit)? == "0", "{unit} runs");
        }
        Ok(())
    }

    /// A warden for the whole machine, and the command that asks it.
    fn installed(&self) -> Result<Started> {
        let command = std::fs::File::open(built("exeunt")?)?;
        let mut install = self.container.command("sh");
        let script = "cat > /usr/local/bin/exeunt && chmod 755 /usr/local/bin/exeunt";
        install.args(["-c", script]).stdin(command);
        process::output(&mut install)?;
        self.container.write("/run/warden.toml", "agent_user = \"games\"\n")?;
        let mut serve = self.container.command("exeunt-warden");
        serve.args(["serve", "--config", "/run/warden.toml"]);
        let log = std::env::temp_dir().join(format!("exeunt-leaving-{}.log", std::process::id()));
        let warden = Started::start("exeunt-warden", &mut serve, &log)?;
        waiting::until("the warden", LIMIT, || {
            let there = self.container.command("exeunt").arg("status").output()?;
            Ok(there.status.success().then_some(()))
        })?;
        Ok(warden)
    }

    /// Without being told otherwise one close is one user's.
    fn one_user_closes_alone(&self) -> Result<()> {
        let (desk, lodger) = (&self.container.desk, &self.container.lodger);
        let watcher = self.plant_and_hold(desk)?;
        self.plant_and_hold(lodger)?;
        let mut close = self.container.command_as(lodger, "exeunt");
        let close = close.args(["close", "--yes", "--json"]).output()?;
        ensure!(!self.is_there(lodger, STORE)?, "{}", String::from_utf8_lossy(&close.stdout));
        ensure!(self.is_there(desk, STORE)?, "another user's store went along");
        ensure!(self.is_alive(&watcher)?, "another user's process was ended");
        ensure!(!self.container.sessions(desk)?.is_empty(), "another user's session was ended");
        let mut others = self.container.command_as(lodger, "exeunt");
        let others = others.args(["close", "--all-users", "--yes", "--json"]).output()?;
        let said = String::from_utf8_lossy(&others.stdout);
        ensure!(said.contains("not_allowed"), "{said}");
        Ok(())
    }

    fn all_users_close(&self) -> Result<()> {
        let (desk, lodger) = (&self.container.desk, &self.container.lodger);
        self.plant_and_hold(lodger)?;
        let surveyed = self.exeunt(&["survey", "--all-users"])?;
        for who in [desk, lodger] {
            let user = self.of(&surveyed, who)?;
            let stores = user["stores"].as_array().context("no stores")?;
            ensure!(stores.iter().any(|row| row["app"] == "aws"), "{user}");
        }
        let closed = self.exeunt(&["close", "--all-users", "--yes"])?;
        for who in [desk, lodger] {
            ensure!(!self.is_there(who, STORE)?, "{} keeps its store", who.name);
            let user = self.of(&closed, who)?;
            let rows = user["stores"].as_array().context("no stores")?;
            let aws = rows.iter().find(|row| row["app"] == "aws").context("no row")?;
            ensure!(aws["verdict"] == "gone", "{user:#}");
        }
        let numbers: Vec<&Value> = [desk, lodger]
            .into_iter()
            .map(|who| Ok(&self.of(&closed, who)?["txn"]))
            .collect::<Result<_>>()?;
        ensure!(numbers[0] != numbers[1], "one transaction for two users");
        Ok(())
    }

    /// By the person at the desk, from within the session that ends.
    fn a_desktop_is_handed_over(&self) -> Result<()> {
        let (container, desk) = (self.container, &self.container.desk);
        self.plant_and_hold(desk)?;
        let beside = self.plant_and_hold(&container.lodger)?;
        container.errand("exec xterm")?;
        container.errand("exec exeunt close --hand-over --yes --reason 'end of shift'")?;
        let receipt = waiting::until("the receipt", LIMIT * 2, || {
            let list = self.exeunt(&["receipt", "list"])?;
            let newest = list["receipts"][0]["seq"].to_string();
            let body = self.exeunt(&["receipt", "show", &newest])?["body"].take();
            Ok(account_row(&body, "processes").is_ok().then_some(body))
        })?;
        for what in ["processes", "login-sessions", "runtime-directory"] {
            let row = account_row(&receipt, what)?;
            ensure!(row["verdict"] == "gone", "{receipt:#}");
        }
        eprintln!("  {}", account_row(&receipt, "login-sessions")?["detail"]);
        eprintln!("  lock: {}", receipt["lock"]);
        ensure!(receipt["outcome"] == "verified", "{receipt:#}");
        self.nothing_is_left_of(desk)?;
        waiting::until("the greeter", LIMIT, || {
            let listed = process::output(container.command("loginctl").arg("--no-legend"))?;
            Ok(listed.contains("lightdm").then_some(()))
        })?;
        ensure!(self.is_alive(&beside)?, "another user's process was ended");
        Ok(())
    }

    /// Whose services go on without any login session.
    fn a_lingering_user_is_handed_over(&self) -> Result<()> {
        let lodger = &self.container.lodger;
        let receipt = self.once(lodger, &["--hand-over"])?;
        ensure!(receipt["outcome"] == "verified", "{receipt:#}");
        self.nothing_is_left_of(lodger)
    }

    /// As the machine itself tells.
    fn nothing_is_left_of(&self, who: &Inmate) -> Result<()> {
        ensure!(self.container.sessions(who)?.is_empty(), "{:?}", self.container.sessions(who)?);
        let mut list = self.container.command("pgrep");
        let list = list.args(["-r", "D,R,S,T", "-l", "-u", &who.uid.to_string()]).output()?;
        ensure!(list.stdout.is_empty(), "{}", String::from_utf8_lossy(&list.stdout));
        let dir = format!("/run/user/{}", who.uid);
        ensure!(!self.container.command("test").args(["-e", &dir]).status()?.success(), "{dir}");
        Ok(())
    }

    /// Plants a store and holds it from outside every session; returns the holder's pid, inside.
    fn plant_and_hold(&self, who: &Inmate) -> Result<String> {
        let line = format!(
            "mkdir -p ~/.aws/sso/cache; echo token > ~/{STORE}; \
             sleep 1000 < ~/{STORE} > /dev/null 2>&1 & echo $!"
        );
        let mut shell = self.container.command_as(who, "setsid");
        Ok(process::output(shell.args(["sh", "-c", &line]))?.trim().to_owned())
    }

    fn once(&self, who: &Inmate, arguments: &[&str]) -> Result<Value> {
        let mut once = self.container.command("timeout");
        once.args(["90", "exeunt-warden", "once", "--json", "--home", &who.home()]);
        let ended = once.args(arguments).output()?;
        serde_json::from_slice(&ended.stdout)
            .with_context(|| String::from_utf8_lossy(&ended.stderr).into_owned())
    }

    fn exeunt(&self, arguments: &[&str]) -> Result<Value> {
        let ended = self.container.command("exeunt").args(arguments).arg("--json").output()?;
        let said =
            || String::from_utf8_lossy(&[ended.stdout.clone(), ended.stderr].concat()).into();
        serde_json::from_slice(&ended.stdout).with_context(|| -> String { said() })
    }

    fn of<'v>(&self, all: &'v Value, who: &Inmate) -> Result<&'v Value> {
        let users = all["users"].as_array().with_context(|| all.to_string())?;
        users.iter().find(|user| user["uid"] == who.uid).with_context(|| all.to_string())
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<String> {
        let mut systemctl = self.container.command_as(&self.container.lodger, "systemctl");
        process::output(systemctl.arg("--user").args(arguments))
    }

    fn main_pid(&self, unit: &str) -> Result<String> {
        let shown = self.systemctl(&["show", "-p", "MainPID", "--value", unit])?;
        Ok(shown.trim().to_owned())
    }

    fn write_as(&self, who: &Inmate, path: &str, text: &str) -> Result<()> {
        let dir = Path::new(path).parent().context("no directory")?;
        let mut make = self.container.command_as(who, "mkdir");
        process::output(make.arg("-p").arg(dir))?;
        let mut write = self.container.command_as(who, "sh");
        let script = r#"printf '%s' "$1" > "$2""#;
        process::output(write.args(["-c", script, "sh", text, path])).map(drop)
    }

    fn is_there(&self, who: &Inmate, place: &str) -> Result<bool> {
        let path = format!("{}/{place}", who.home());
        Ok(self.container.command("test").args(["-e", &path]).status()?.success())
    }

    fn await_there(&self, who: &Inmate, place: &str) -> Result<()> {
        waiting::until(place, LIMIT, || Ok(self.is_there(who, place)?.then_some(())))
    }

    fn is_alive(&self, pid: &str) -> Result<bool> {
        let mut look = self.container.command("sh");
        let script = "grep -q '^State:.[^ZX]' /proc/$1/status";
        Ok(look.args(["-c", script, "sh", pid]).status()?.success())
    }
}

fn step<'v>(receipt: &'v Value, name: &str) -> Result<&'v Value> {
    let steps = receipt["steps"].as_array().context("no steps")?;
    let found = steps.iter().find(|step| step["step"] == name);
    found.with_context(|| format!("no step {name}: {receipt:#}"))
}

fn account_row<'v>(receipt: &'v Value, what: &str) -> Result<&'v Value> {
    let rows = receipt["stores"].as_array().context("no stores")?;
    let found = rows.iter().find(|row| row["app"] == "account" && row["store"] == what);
    found.with_context(|| format!("no row {what}: {receipt:#}"))
}
