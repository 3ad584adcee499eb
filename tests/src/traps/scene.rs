//! One throwaway home with planted sessions, and what a trap did to it.
//!
//! It refuses to leave a mount, a flag or a process behind: whatever was done to the home is undone
//! when the scene ends.

use std::fs::Permissions;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use super::profiles;
use super::residue::{self, Found};
use crate::people::{Ground, Person};
use crate::process::{self, Started};
use crate::waiting;

/// How long a program gets to bring back what was taken from it, before the truth is looked for.
const COMEBACK: Duration = Duration::from_millis(400);

/// One planted secret, and the row of a receipt that must speak of it.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The catalogue's id of the app.
    pub app: &'static str,
    /// The profile, as a receipt names it; empty when it has none.
    pub profile: String,
    /// The catalogue's id of the store.
    pub store: &'static str,
    /// What to look for.
    pub canary: String,
}

/// A file that must still hold `marker` when all is done.
#[derive(Clone, Debug)]
struct Keepsake {
    path: PathBuf,
    marker: Vec<u8>,
}

/// A home under test.
#[derive(Debug)]
pub struct Scene<'g> {
    /// Whose home it is; everything of theirs lies beneath it.
    pub person: Person,
    /// Fewer files where a trap needs very many.
    pub quick: bool,
    /// More arguments for the warden.
    pub arguments: Vec<String>,
    /// The warden runs as the person, and not as root.
    pub user_mode: bool,
    pub(super) sayings: Vec<&'static str>,
    elsewhere: Vec<PathBuf>,
    hidden: Option<&'static str>,
    disk: Option<PathBuf>,
    pub(super) secrets: Vec<Secret>,
    ground: &'g Ground,
    keepsakes: Vec<Keepsake>,
    outside: Vec<PathBuf>,
    comes_back: Option<PathBuf>,
    has_mounts: bool,
    has_flags: bool,
    running: Vec<Started>,
}

impl<'g> Scene<'g> {
    /// A fresh empty home called `name` for the user of `owner`.
    ///
    /// # Errors
    /// It could not be made.
    pub fn new(ground: &'g Ground, owner: &Person, name: &str, quick: bool) -> Result<Self> {
        let home = ground.dir("home", 0o755)?.join(name);
        std::fs::create_dir(&home)?;
        let mut person = owner.clone();
        person.home = home;
        let scene = Self {
            person,
            quick,
            arguments: Vec::new(),
            user_mode: false,
            sayings: Vec::new(),
            elsewhere: Vec::new(),
            hidden: None,
            disk: None,
            secrets: Vec::new(),
            ground,
            keepsakes: Vec::new(),
            outside: Vec::new(),
            comes_back: None,
            has_mounts: false,
            has_flags: false,
            running: Vec::new(),
        };
        scene.own(&scene.person.home, 0o700)?;
        Ok(scene)
    }

    /// A path below the home.
    pub fn at(&self, place: impl AsRef<Path>) -> PathBuf {
        self.person.home.join(place)
    }

    /// Makes a new secret that the row of `app`, `profile` and `store` must answer for.
    pub fn secret(
        &mut self,
        app: &'static str,
        profile: impl Into<String>,
        store: &'static str,
    ) -> String {
        let number = self.secrets.len();
        let random = RandomState::new().hash_one((number, app, store));
        let canary = format!("exc{random:016x}n{number}z");
        let secret = Secret { app, profile: profile.into(), store, canary: canary.clone() };
        self.secrets.push(secret);
        canary
    }

    /// Writes a file of the person's, with the directories above it.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self, place: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.at(place);
        self.make_dirs(path.parent().context("a file without a directory")?)?;
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
        self.own(&path, 0o600)?;
        Ok(path)
    }

    /// Makes a directory of the person's, with those above it.
    ///
    /// # Errors
    /// It could not be made.
    pub fn make_dir(&self, place: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.at(place);
        self.make_dirs(&path)?;
        Ok(path)
    }

    /// Writes a file that must stay, and still hold `marker`.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&mut self, place: &str, content: impl AsRef<[u8]>, marker: &str) -> Result<()> {
        let path = self.write(place, content)?;
        self.must_keep(path, marker);
        Ok(())
    }

    /// `path` must stay, and still hold `marker`.
    pub fn must_keep(&mut self, path: PathBuf, marker: &str) {
        self.keepsakes.push(Keepsake { path, marker: marker.into() });
    }

    /// A directory of the person's that is outside the home, and is searched for secrets too.
    ///
    /// # Errors
    /// It could not be made.
    pub fn outside(&mut self, name: &str) -> Result<PathBuf> {
        let home = self.person.home.file_name().unwrap_or_default().to_string_lossy();
        let path = self.ground.dir(&format!("{home}-{name}"), 0o755)?;
        self.own(&path, 0o755)?;
        self.outside.push(path.clone());
        Ok(path)
    }

    /// Makes the person own `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn own(&self, path: &Path, mode: u32) -> Result<()> {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        chown(path, Some(self.person.uid), Some(self.person.gid))?;
        Ok(())
    }

    /// A Chromium profile of `app` below `root`, signed in, with things to be kept.
    ///
    /// # Errors
    /// It could not be written.
    pub fn chromium(&mut self, app: &'static str, root: &str, profile: &str) -> Result<()> {
        let dir = format!("{root}/{profile}");
        self.write(format!("{root}/Local State"), profiles::local_state(&[profile]))?;
        let canary = self.secret(app, profile, "cookies");
        self.write(format!("{dir}/Cookies"), profiles::chromium_cookies(&canary)?)?;
        let canary = self.secret(app, profile, "local-storage");
        let log = profiles::leveldb_log(b"_https://corp.example\0\x01token", canary.as_bytes());
        self.write(format!("{dir}/Local Storage/leveldb/000003.log"), log)?;
        self.write(format!("{dir}/Local Storage/leveldb/CURRENT"), "MANIFEST-000001\n")?;
        let canary = self.secret(app, profile, "open-tabs");
        self.write(format!("{dir}/Sessions/Session_13400000000000000"), profiles::snss(&canary))?;
        self.keep(&format!("{dir}/Preferences"), profiles::preferences(), "kept-preference")?;
        self.keep(&format!("{dir}/Bookmarks"), profiles::bookmarks(), "kept-bookmark")
    }

    /// A Firefox profile below `root`, signed in, with things to be kept.
    ///
    /// # Errors
    /// It could not be written.
    pub fn firefox(&mut self, root: &str, profile: &str) -> Result<()> {
        self.write(format!("{root}/profiles.ini"), profiles::profiles_ini(profile, true))?;
        self.firefox_profile(&format!("{root}/{profile}"))
    }

    /// The directory of a Firefox profile alone.
    ///
    /// # Errors
    /// It could not be written.
    pub fn firefox_profile(&mut self, dir: &str) -> Result<()> {
        let profile = dir.rsplit('/').next().unwrap_or_default().to_owned();
        let canary = self.secret("firefox", profile.clone(), "cookies");
        self.write(format!("{dir}/cookies.sqlite"), profiles::firefox_cookies(&canary)?)?;
        let canary = self.secret("firefox", profile.clone(), "open-tabs");
        self.write(format!("{dir}/sessionstore.jsonlz4"), profiles::session_store(&canary))?;
        let canary = self.secret("firefox", profile, "site-storage");
        let site = format!("{dir}/storage/default/https+++corp.example");
        self.write(format!("{site}/ls/data.sqlite"), profiles::firefox_storage(&canary)?)?;
        self.write(format!("{site}/.metadata-v2"), [0; 16])?;
        self.keep(&format!("{dir}/prefs.js"), profiles::prefs_js(), "kept-preference")?;
        self.keep(&format!("{dir}/places.sqlite"), profiles::places()?, "kept-bookmark")
    }

    /// The receipt must have these words, beside its rows.
    pub fn must_say(&mut self, words: &'static str) {
        self.sayings.push(words);
    }

    /// Secrets lie in `path` too, where no close reaches: the receipt must have these words for it.
    pub fn kept_elsewhere(&mut self, path: PathBuf, words: &'static str) {
        self.elsewhere.push(path);
        self.must_say(words);
    }

    /// A file system of `mkfs` in a file, mounted on `path` with these options. Returns the file.
    ///
    /// # Errors
    /// It could not be made or mounted.
    pub fn mount_image(
        &mut self,
        mkfs: &[&str],
        megabytes: u64,
        options: &str,
        path: &Path,
    ) -> Result<PathBuf> {
        let (program, arguments) = mkfs.split_first().context("no program")?;
        let home = self.person.home.file_name().unwrap_or_default().to_string_lossy();
        let image = self.ground.path().join(format!("{home}.image"));
        std::fs::File::create(&image)?.set_len(megabytes << 20)?;
        process::output(Command::new(program).args(arguments).arg(&image))?;
        let mut mount = Command::new("mount");
        process::output(mount.args(["-o", &format!("loop,{options}")]).arg(&image).arg(path))?;
        self.has_mounts = true;
        Ok(image)
    }

    /// Mounts an overlay of `lower` on `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn mount_overlay(&mut self, lower: &Path, path: &Path) -> Result<()> {
        // The upper layer must not be on an overlay itself.
        let memory = self.ground.dir("overlay", 0o755)?;
        mount("tmpfs", &memory, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)?;
        self.has_mounts = true;
        let (upper, work) = (memory.join("upper"), memory.join("work"));
        std::fs::create_dir(&upper)?;
        std::fs::create_dir(&work)?;
        self.own(&upper, 0o700)?;
        let options = [("lowerdir=", lower), ("upperdir=", &upper), ("workdir=", &work)];
        let options = options.map(|(key, dir)| format!("{key}{}", dir.display())).join(",");
        let options = std::ffi::CString::new(options)?;
        Ok(mount("overlay", path, "overlay", MountFlags::empty(), options.as_c_str())?)
    }

    /// What lies outside the home is searched no more: it is the home itself by another way, or is
    /// to keep what it has.
    pub fn forget_outside(&mut self) {
        self.outside.clear();
    }

    /// A directory in the home that is not searched.
    pub fn look_not_into(&mut self, name: &'static str) {
        self.hidden = Some(name);
    }

    /// The raw disk in this file must hold no secret in the end.
    pub fn must_not_be_on(&mut self, image: PathBuf) {
        self.disk = Some(image);
    }

    /// Starts a program of the person's and waits for the line by which it says that it is ready.
    ///
    /// # Errors
    /// It ended before.
    pub fn start(&mut self, command: &mut Command) -> Result<u32> {
        let name = format!("trap-{}", self.running.len());
        let (started, _ready) = Started::announce(&name, command, &self.person.log(&name))?;
        let id = started.id();
        self.running.push(started);
        Ok(id)
    }

    /// Something brings `path` back: the truth is looked for after it had time to.
    pub fn expect_back(&mut self, path: PathBuf) {
        self.comes_back = Some(path);
    }

    /// Mounts a fresh file system in memory on `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn mount_memory(&mut self, path: &Path, bytes: u64) -> Result<()> {
        let options = std::ffi::CString::new(format!("size={bytes},mode=700"))?;
        mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
        self.has_mounts = true;
        self.own(path, 0o700)
    }

    /// Binds `from` onto `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(&mut self, from: &Path, path: &Path, read_only: bool) -> Result<()> {
        mount_bind(from, path)?;
        self.has_mounts = true;
        if read_only {
            mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, c"")?;
        }
        Ok(())
    }

    /// Sets a file's immutable (`i`) or append-only (`a`) flag.
    ///
    /// # Errors
    /// The file system has none.
    pub fn flag(&mut self, path: &Path, flag: char) -> Result<()> {
        process::output(Command::new("chattr").arg(format!("+{flag}")).arg(path))?;
        self.has_flags = true;
        Ok(())
    }

    /// Where which secret can be read, by anyone but root in its own quarantine.
    ///
    /// # Errors
    /// The home could not be searched.
    pub fn truth(&self) -> Result<Vec<Found>> {
        if let Some(path) = &self.comes_back {
            let back = || Ok(path.symlink_metadata().is_ok().then_some(()));
            if waiting::until("the return of a store", COMEBACK, back).is_err() {
                eprintln!("   nothing came back within {} ms", COMEBACK.as_millis());
            }
        }
        let canaries: Vec<&str> = self.secrets.iter().map(|it| it.canary.as_str()).collect();
        let mut found = residue::in_tree(&self.person.home, &canaries)?;
        if let Some(hidden) = self.hidden.map(|name| self.at(name).display().to_string()) {
            found.retain(|found| !found.place.starts_with(&hidden));
        }
        if let Some(disk) = &self.disk {
            found.extend(residue::in_file(disk, &canaries)?);
        }
        for place in &self.outside {
            found.extend(residue::in_tree(place, &canaries)?);
        }
        found.extend(residue::in_open_files(self.person.uid, self.ground.mark(), &canaries)?);
        Ok(found)
    }

    /// What had to stay and did not, relative to the home.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        let is_lost = |kept: &&Keepsake| {
            let bytes = std::fs::read(&kept.path).unwrap_or_default();
            !bytes.windows(kept.marker.len()).any(|part| part == kept.marker)
        };
        let shown = |path: &Path| {
            let place = path.strip_prefix(&self.person.home).unwrap_or(path);
            String::from_utf8_lossy(place.as_os_str().as_bytes()).into_owned()
        };
        self.keepsakes.iter().filter(is_lost).map(|kept| shown(&kept.path)).collect()
    }

    /// Every secret must be there before anything is done, or a trap proves nothing.
    ///
    /// # Errors
    /// One cannot be found, or something that is to be kept is not there.
    pub fn control(&self) -> Result<()> {
        let found = self.truth()?;
        for (index, secret) in self.secrets.iter().enumerate() {
            let there = found.iter().any(|found| found.secret == index);
            ensure!(there, "the secret of {} {} was never there", secret.app, secret.store);
        }
        let lost = self.lost();
        ensure!(!self.secrets.is_empty() && lost.is_empty(), "not prepared: {lost:?}");
        let canaries: Vec<&str> = self.secrets.iter().map(|it| it.canary.as_str()).collect();
        for place in &self.elsewhere {
            let found = residue::in_tree(place, &canaries)?;
            ensure!(!found.is_empty(), "nothing is kept in {}", place.display());
        }
        Ok(())
    }

    /// Ends what the trap started and undoes what it did to the home.
    ///
    /// # Errors
    /// Something could not be undone.
    pub fn end(mut self) -> Result<()> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<()> {
        self.running.clear();
        process::sweep(self.ground.mark(), None)?;
        if std::mem::take(&mut self.has_mounts) {
            // Where they are now, not where they were: a mount moves with the directory it is in.
            for path in mounts_below(self.ground.path())? {
                unmount(&path, UnmountFlags::DETACH)
                    .with_context(|| format!("unmounting {}", path.display()))?;
            }
        }
        if std::mem::take(&mut self.has_flags) {
            let mut unflag = Command::new("chattr");
            unflag.args(["-R", "-f", "-i", "-a"]).arg(self.ground.path());
            // It complains of links and special files, which have no flags.
            let _complaints = unflag.output()?;
        }
        Ok(())
    }

    fn make_dirs(&self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.make_dirs(path.parent().context("no directory above")?)?;
        std::fs::create_dir(path).with_context(|| path.display().to_string())?;
        self.own(path, 0o700)
    }
}

/// What is mounted below `dir`, innermost first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let path = |line: &str| line.split(' ').nth(4).map(|path| path.replace("\\040", " "));
    let below = table.lines().filter_map(path).map(PathBuf::from);
    let mut below: Vec<PathBuf> = below.filter(|path| path.starts_with(dir)).collect();
    below.reverse();
    Ok(below)
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("clearing up after {}: {error:#}", self.person.home.display());
        }
    }
}
