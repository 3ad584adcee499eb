//! Real agents in throwaway homes.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use exeunt_catalogue::{AgentKind, AgentRule, Catalogue};
use exeunt_engine::ports::{AgentError, Agents, LiveAgent, Processes};
use exeunt_host::agents::LinuxAgents;
use exeunt_host::process::{KeepList, LinuxProcesses};
use exeunt_host::users::{Account, as_account};
use exeunt_testkit::contract::agents::{AgentsRig, all};
use tempfile::TempDir;

use crate::homes::{STRANGER, is_root};
use crate::programs::{Started, command_as, desktop_account, need};

const LIMIT: Duration = Duration::from_secs(10);

/// A throwaway home with agents in it.
struct Home {
    account: Account,
    agents: LinuxAgents,
    kind: AgentKind,
    daemons: std::cell::RefCell<Vec<Started>>,
    outside: std::cell::RefCell<Vec<TempDir>>,
    dir: TempDir,
}

impl Home {
    fn of(kind: AgentKind) -> Self {
        // Paths of sockets are short.
        let dir = tempfile::Builder::new().prefix("x").tempdir_in("/tmp").unwrap();
        let account = desktop_account(dir.path());
        let home = Self::over(kind, dir, account);
        for place in ["run", ".ssh", ".gnupg"] {
            home.own_dir(place);
        }
        // The runtime directory is pinned when it is there.
        let agents = LinuxAgents::open(&home.account, None, LIMIT).unwrap();
        Self { agents, ..home }
    }

    fn over(kind: AgentKind, dir: TempDir, account: Account) -> Self {
        let agents = LinuxAgents::open(&account, None, LIMIT).unwrap();
        let (daemons, outside) = (Vec::new().into(), Vec::new().into());
        Self { account, agents, kind, daemons, outside, dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn own_dir(&self, path: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        self.give(&path);
    }

    fn give(&self, path: &Path) {
        chown(path, Some(self.account.uid), Some(self.account.gid)).unwrap();
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command_as(&self.account, program);
        command.env("GNUPGHOME", self.path(".gnupg")).stdout(Stdio::null());
        command
    }

    fn run(&self, program: &str, args: &[&str]) {
        let output = self.command(program).args(args).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts a daemon in the foreground and waits until something listens at `socket`.
    fn start(&self, command: &mut Command, socket: &str) {
        let mut started = Started::spawn(command);
        let until = Instant::now() + LIMIT;
        while std::os::unix::net::UnixStream::connect(self.path(socket)).is_err() {
            assert!(Instant::now() < until, "nobody listens at {socket}");
            assert!(started.0.try_wait().unwrap().is_none(), "the daemon of {socket} ended");
            std::thread::yield_now();
        }
        self.daemons.borrow_mut().push(started);
    }

    fn rule(&self) -> AgentRule {
        rule(self.kind)
    }

    fn found(&self) -> Vec<LiveAgent> {
        self.agents.find(&[&self.rule()]).unwrap()
    }

    fn ssh_agent() -> Self {
        need("ssh-agent", "openssh-client");
        let home = Self::of(AgentKind::SshAgent);
        let socket = home.path("run/ssh-agent.socket");
        home.start(
            home.command("ssh-agent").arg("-D").arg("-a").arg(socket),
            "run/ssh-agent.socket",
        );
        home.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &home.key()]);
        home
    }

    fn key(&self) -> String {
        self.path("key").display().to_string()
    }

    fn ssh_add(&self, args: &[&str]) {
        let socket = self.path("run/ssh-agent.socket");
        let mut add = self.command("ssh-add");
        // ssh-add -x asks for its password where there is no terminal to ask at.
        add.args(args).env("SSH_AUTH_SOCK", socket).env("SSH_ASKPASS_REQUIRE", "force");
        let ask = self.path("ask");
        std::fs::write(&ask, "#!/bin/sh\necho password\n").unwrap();
        std::fs::set_permissions(&ask, PermissionsExt::from_mode(0o755)).unwrap();
        let output = add.env("SSH_ASKPASS", ask).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn gpg_agent() -> Self {
        need("gpg-agent", "gpg-agent");
        need("gpg", "gpg");
        need("gpg-connect-agent", "gpgconf");
        let home = Self::of(AgentKind::GpgAgent);
        let mut agent = home.command("gpg-agent");
        let allow = ["--allow-loopback-pinentry", "--allow-preset-passphrase"];
        agent.args(["--daemon", "--no-detach"]).args(allow);
        home.start(&mut agent, ".gnupg/S.gpg-agent");
        home
    }

    fn cache_daemon() -> Self {
        need("git", "git");
        let home = Self::of(AgentKind::GitCredentialCache);
        home.own_dir(".git-credential-cache");
        home
    }
}

fn rule(kind: AgentKind) -> AgentRule {
    let catalogue = Catalogue::builtin().unwrap();
    let mut rules = catalogue.apps().iter().flat_map(|app| &app.agents);
    rules.find(|rule| rule.kind == kind).unwrap().clone()
}

impl AgentsRig for Home {
    fn agents(&self) -> &dyn Agents {
        &self.agents
    }

    fn rule(&self) -> AgentRule {
        self.rule()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have tests of their own")]
    fn keep(&self) {
        match self.kind {
            AgentKind::SshAgent => self.ssh_add(&["-q", &self.key()]),
            AgentKind::GpgAgent => {
                let args = ["--batch", "--pinentry-mode", "loopback", "--passphrase", "pw"];
                let make = ["--quick-gen-key", "t@example.org", "ed25519", "sign", "never"];
                self.run("gpg", &[&args[..], &make[..]].concat());
                let keys = std::fs::read_dir(self.path(".gnupg/private-keys-v1.d")).unwrap();
                let key = keys.map(|key| key.unwrap().path()).next().unwrap();
                let grip = key.file_stem().unwrap().to_str().unwrap().to_owned();
                // "pw", for as long as the agent runs.
                let preset = format!("PRESET_PASSPHRASE {grip} -1 7077");
                self.run("gpg-connect-agent", &[&preset, "/bye"]);
            }
            AgentKind::GitCredentialCache => {
                let words = b"protocol=https\nhost=example.org\nusername=a\npassword=s3cret\n\n";
                let mut git = self.command("git");
                git.args(["credential-cache", "store"]).stdin(Stdio::piped());
                let mut git = git.spawn().unwrap();
                git.stdin.take().unwrap().write_all(words).unwrap();
                assert!(git.wait().unwrap().success());
            }
            other => panic!("no rig for {other:?}"),
        }
    }

    fn stop(&self) {
        self.daemons.borrow_mut().clear();
        // The cache's daemon is nobody's child.
        let processes = LinuxProcesses::of_account(&self.account, KeepList::default());
        for agent in self.found() {
            let ids: Vec<_> = agent.listeners.into_iter().map(|l| l.process).collect();
            ids.iter().for_each(|id| processes.end(id).unwrap());
            assert_eq!(processes.wait_gone(&ids, LIMIT).unwrap(), []);
        }
    }
}

#[test]
fn a_real_ssh_agent_keeps_the_contract() {
    all(Home::ssh_agent);
}

#[test]
fn a_real_gpg_agent_keeps_the_contract() {
    all(Home::gpg_agent);
}

#[test]
fn gits_real_cache_daemon_keeps_the_contract() {
    all(Home::cache_daemon);
}

#[test]
fn a_locked_ssh_agent_shows_no_key_and_refuses_to_forget() {
    let home = Home::ssh_agent();
    home.keep();
    home.ssh_add(&["-x"]);
    let live = home.found().remove(0);
    assert_eq!(home.agents.count(&live).unwrap(), 0);
    assert!(matches!(home.agents.flush(&live), Err(AgentError::Refused(_))));
    home.ssh_add(&["-X"]);
    assert_eq!(home.agents.count(&live).unwrap(), 1);
}

#[test]
fn names_the_process_that_holds_the_socket_also_when_it_forked_after_listening() {
    need("ssh-agent", "openssh-client");
    let home = Home::of(AgentKind::SshAgent);
    let socket = home.path("run/ssh-agent.socket");
    home.run("ssh-agent", &["-a", &socket.display().to_string()]);
    let live = home.found().remove(0);
    assert_eq!(live.place, "runtime:ssh-agent.socket");
    assert_eq!(live.listeners.len(), 1, "{live:?}");
    assert!(live.listeners[0].is_agent);
    let id = live.listeners[0].process.clone();
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", id.pid)).unwrap();
    assert_eq!(comm.trim(), "ssh-agent");
    home.stop();
    assert_eq!(home.found(), []);
}

#[test]
fn finds_an_agent_that_a_process_names_and_not_one_of_another_account() {
    need("ssh-agent", "openssh-client");
    let home = Home::of(AgentKind::SshAgent);
    home.own_dir("elsewhere");
    let socket = home.path("elsewhere/agent");
    home.start(home.command("ssh-agent").arg("-D").arg("-a").arg(&socket), "elsewhere/agent");
    assert_eq!(home.found(), []);
    let sleep = Started::spawn(home.command("sleep").arg("60").env("SSH_AUTH_SOCK", &socket));
    let named = home.found();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].place, "home:elsewhere/agent");
    drop(sleep);
    // The same through a symbolic link of a stranger: not followed.
    if is_root("a stranger's link") {
        let link = home.path("run/link");
        symlink(&socket, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(STRANGER), None).unwrap();
        let _sleep = Started::spawn(home.command("sleep").arg("60").env("SSH_AUTH_SOCK", &link));
        assert_eq!(home.found(), []);
        home.give_link(&link);
        assert_eq!(home.found().len(), 1);
        std::os::unix::fs::chown(&socket, Some(STRANGER), None).unwrap();
        assert_eq!(home.found(), []);
    }
}

impl Home {
    fn give_link(&self, link: &Path) {
        std::os::unix::fs::lchown(link, Some(self.account.uid), None).unwrap();
    }
}

#[test]
fn an_agent_that_never_answers_costs_no_more_than_the_deadline() {
    let home = Home::of(AgentKind::SshAgent);
    let socket = home.path("run/ssh-agent.socket");
    let _listens_and_says_nothing = UnixListener::bind(&socket).unwrap();
    home.give(&socket);
    let limit = Duration::from_millis(200);
    let agents = LinuxAgents::open(&home.account, None, limit).unwrap();
    let live = agents.find(&[&home.rule()]).unwrap().remove(0);
    let before = Instant::now();
    assert!(matches!(agents.count(&live), Err(AgentError::Timeout(after)) if after == limit));
    assert!(matches!(agents.flush(&live), Err(AgentError::Timeout(_))));
    assert!(before.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_socket_in_a_connections_place_that_no_ssh_holds_is_left_alone() {
    let home = Home::of(AgentKind::ControlMaster);
    let _listener = UnixListener::bind(home.path(".ssh/cm-host")).unwrap();
    home.give(&home.path(".ssh/cm-host"));
    assert_eq!(home.found(), []);
}

/// Two bytes as a ticket cache begins, and more.
const CACHE: &[u8] = &[5, 4, 0, 12, 0, 1];

#[test]
fn ticket_caches_in_the_shared_directory_go_and_nothing_else_does() {
    if !is_root("another account's ticket cache") {
        return;
    }
    // An account that no database knows: everything of its user id is its own.
    let uid = 2_000_000_000 + std::process::id() % 100_000;
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(uid), Some(uid)).unwrap();
    let account = Account { uid, gid: uid, name: "t".into(), home: dir.path().to_owned() };
    let home = Home::over(AgentKind::KerberosCache, dir, account);
    let place = |name: &str| PathBuf::from(format!("/tmp/krb5cc_{name}"));
    let put = |path: &Path, words: &[u8], owner: u32| {
        std::fs::write(path, words).unwrap();
        chown(path, Some(owner), Some(owner)).unwrap();
    };
    let (own, more) = (place(&uid.to_string()), place(&format!("{uid}_Ab12")));
    let longer = place(&format!("{uid}0"));
    let (alien, text) = (place(&format!("{uid}_alien")), place(&format!("{uid}_text")));
    let link = place(&format!("{uid}_link"));
    put(&own, CACHE, uid);
    put(&more, CACHE, uid);
    put(&longer, CACHE, uid);
    put(&alien, CACHE, STRANGER);
    put(&text, b"my novel", uid);
    let precious = home.path("precious");
    put(&precious, CACHE, uid);
    symlink(&precious, &link).unwrap();
    home.give_link(&link);
    let found = home.found();
    let mut places: Vec<_> = found.iter().map(|live| live.place.clone()).collect();
    places.sort();
    assert_eq!(places, [own.display().to_string(), more.display().to_string()]);
    for live in &found {
        assert_eq!(home.agents.count(live).unwrap(), 1);
        home.agents.flush(live).unwrap();
        assert_eq!(home.agents.count(live).unwrap(), 0);
    }
    let left: Vec<bool> = [&own, &more, &longer, &alien, &text, &link, &precious]
        .iter()
        .map(|path| path.symlink_metadata().is_ok())
        .collect();
    for path in [&longer, &alien, &text, &link] {
        unlink(path);
    }
    assert_eq!(left, [false, false, true, true, true, true, true]);
}

#[test]
fn a_cache_that_a_process_names_outside_the_home_is_refused_and_named() {
    let home = Home::of(AgentKind::KerberosCache);
    let outside = tempfile::tempdir().unwrap();
    std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let cache = outside.path().join("cache");
    std::fs::write(&cache, CACHE).unwrap();
    home.give(&cache);
    let value = format!("FILE:{}", cache.display());
    let _sleep = Started::spawn(home.command("sleep").arg("60").env("KRB5CCNAME", value));
    let found = home.found();
    assert_eq!(found.len(), 1);
    assert!(found[0].refused.is_some());
    assert_eq!(cache.metadata().unwrap().len(), CACHE.len() as u64);
}

#[test]
fn a_directory_of_tickets_loses_its_tickets_only() {
    let home = Home::of(AgentKind::KerberosCache);
    home.own_dir("run/krb5cc");
    for (name, words) in [("tkt", CACHE), ("tktAb1", CACHE), ("primary", b"tkt"), ("notes", CACHE)]
    {
        let path = home.path("run/krb5cc").join(name);
        std::fs::write(&path, words).unwrap();
        home.give(&path);
    }
    let live = home.found().remove(0);
    assert_eq!(home.agents.count(&live).unwrap(), 2);
    home.agents.flush(&live).unwrap();
    assert_eq!(home.found(), []);
    assert!(home.path("run/krb5cc/notes").exists() && home.path("run/krb5cc/primary").exists());
}

/// A real daemon that keeps ticket caches, in a place of its own.
struct Kept {
    home: Home,
    socket: PathBuf,
}

impl Kept {
    fn start() -> Self {
        need("unshare", "util-linux");
        need("klist", "krb5-user");
        let daemon = "/usr/libexec/sssd/sssd_kcm";
        assert!(Path::new(daemon).exists(), "run `cargo xtask test`, or install sssd-kcm");
        // An account that no database knows: everything of its user id is its own.
        let uid = 2_000_100_000 + std::process::id() % 100_000;
        let dir = tempfile::Builder::new().prefix("x").tempdir_in("/tmp").unwrap();
        chown(dir.path(), Some(uid), Some(uid)).unwrap();
        let account = Account { uid, gid: uid, name: "t".into(), home: dir.path().to_owned() };
        let home = Home::over(AgentKind::KerberosCache, dir, account);
        let outside = tempfile::Builder::new().prefix("x").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(outside.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for below in ["run", "sss", "sss/db", "sss/secrets", "sss/pipes"] {
            std::fs::create_dir(outside.path().join(below)).unwrap();
        }
        let mut private = Command::new("unshare");
        private.args(["--mount", "sh", "-c"]).arg(format!(
            "mount --bind {0}/run /run && mount --bind {0}/sss /var/lib/sss && \
             exec {daemon} --uid 0 --gid 0 --logger=stderr",
            outside.path().display()
        ));
        let socket = outside.path().join("run/.heim_org.h5l.kcm-socket");
        home.daemons.borrow_mut().push(Started::spawn(private.stderr(Stdio::null())));
        let until = Instant::now() + LIMIT;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < until, "the daemon never listened");
            std::thread::yield_now();
        }
        let agents = LinuxAgents::open(&home.account, None, LIMIT).unwrap();
        let home = Home { agents: agents.with_kcm(socket.clone()), ..home };
        // What the tests leave behind is the daemon's own state, gone with the directory.
        home.outside.borrow_mut().push(outside);
        Self { home, socket }
    }

    /// Asks the daemon as `uid`, in its own protocol; the answer without its codes.
    fn ask(&self, uid: u32, operation: u16, argument: &[u8]) -> Vec<u8> {
        let connect = || UnixStream::connect(&self.socket);
        let mut stream = as_account(uid, uid, connect).unwrap().unwrap();
        let request = [&[2, 0], operation.to_be_bytes().as_slice(), argument].concat();
        let length = u32::try_from(request.len()).unwrap();
        stream.write_all(&[length.to_be_bytes().as_slice(), &request].concat()).unwrap();
        let mut codes = [0; 12];
        stream.read_exact(&mut codes).unwrap();
        assert_eq!(codes[4..], [0; 8], "operation {operation}");
        let length = u32::from_be_bytes(codes[..4].try_into().unwrap()) - 4;
        let mut answer = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut answer).unwrap();
        answer
    }

    /// Makes a cache of `uid` for `alice@EXAMPLE`.
    fn keep(&self, uid: u32) {
        let name = self.ask(uid, 3, &[]);
        let counted = |text: &[u8]| {
            [u32::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text].concat()
        };
        let principal = [[0, 0, 0, 1, 0, 0, 0, 1].to_vec(), counted(b"EXAMPLE"), counted(b"alice")];
        self.ask(uid, 4, &[name, principal.concat()].concat());
    }

    /// What the Kerberos tools list for `uid`.
    fn listed(&self, uid: u32) -> String {
        let settings = self.socket.with_file_name("krb5.conf");
        let text = format!("[libdefaults]\nkcm_socket = {}\n", self.socket.display());
        std::fs::write(&settings, text).unwrap();
        let mut tool = Command::new("klist");
        tool.arg("-l").env("KRB5_CONFIG", settings).env("KRB5CCNAME", "KCM:").uid(uid).gid(uid);
        String::from_utf8(tool.output().unwrap().stdout).unwrap()
    }
}

/// R10: the daemon's caches outlive a restart; they go, and another account's stay.
#[test]
fn ticket_caches_that_a_daemon_keeps_go_and_another_accounts_stay() {
    if !is_root("a daemon that keeps every account's tickets") {
        return;
    }
    let kept = Kept::start();
    let (uid, agents) = (kept.home.account.uid, &kept.home.agents);
    assert_eq!(kept.home.found(), []);
    kept.keep(uid);
    kept.keep(uid);
    kept.keep(STRANGER);
    assert_eq!(kept.listed(uid).matches("alice@EXAMPLE").count(), 2);
    let found = kept.home.found();
    let [live] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(live.place, format!("KCM:{uid}"));
    assert_eq!(agents.count(live).unwrap(), 2);
    agents.flush(live).unwrap();
    assert_eq!(agents.count(live).unwrap(), 0);
    assert_eq!(kept.home.found(), []);
    assert!(!kept.listed(uid).contains("alice@EXAMPLE"));
    assert!(kept.listed(STRANGER).contains("alice@EXAMPLE"));
}

#[test]
fn a_throwaway_home_is_not_the_whole_account() {
    if !is_root("a home beside the account's own") {
        return;
    }
    // Root's own agents and tickets are none of a throwaway home's that root happens to own.
    let dir = tempfile::tempdir().unwrap();
    let account = Account { home: dir.path().to_owned(), ..Account::of_uid(0).unwrap() };
    let cache = PathBuf::from(format!("/tmp/krb5cc_0_exeunt{}", std::process::id()));
    std::fs::write(&cache, CACHE).unwrap();
    let home = Home::over(AgentKind::KerberosCache, dir, account);
    let found = home.found();
    assert_eq!(cache.metadata().unwrap().uid(), 0);
    unlink(&cache);
    assert_eq!(found, []);
}

#[expect(clippy::disallowed_methods, reason = "a test clears away what it made")]
fn unlink(path: &Path) {
    std::fs::remove_file(path).unwrap();
}
