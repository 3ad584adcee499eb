//! Throwaway users and homes.
//!
//! It refuses a user that is there already, and removes only what it made.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{self, MARK};

/// What every throwaway user's name starts with.
pub const PREFIX: &str = "exeunt-demo-";

/// The list of users has one writer at a time.
static USERS: Mutex<()> = Mutex::new(());

/// A directory that goes away with everything in it, and the processes that carry its mark.
#[derive(Debug)]
pub struct Ground {
    dir: Option<TempDir>,
    path: PathBuf,
    mark: String,
    suffix: String,
    people: Mutex<Vec<Created>>,
}

#[derive(Debug)]
struct Created {
    name: String,
    uid: u32,
}

/// Somebody with a home of their own.
#[derive(Clone, Debug)]
pub struct Person {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The home.
    pub home: PathBuf,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: PathBuf,
    /// Where the output of their programs goes.
    pub logs: PathBuf,
    mark: String,
}

/// Whether this process may make users.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Ground {
    /// Makes a fresh directory that everybody may pass through and only its maker may write. The
    /// names of its users end with its own tag, so that many can be there at once.
    ///
    /// # Errors
    /// It could not be made.
    pub fn new() -> Result<Self> {
        let mut ground = Self::named()?;
        let name = ground.path.file_name().unwrap_or_default().to_string_lossy();
        let tag = name.trim_start_matches("exeunt-").to_lowercase();
        ground.suffix = format!("-{tag}");
        Ok(ground)
    }

    /// The same with users whose names a person can know beforehand: one at a time on a machine.
    ///
    /// # Errors
    /// It could not be made.
    pub fn named() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("exeunt-").tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let path = dir.path().to_owned();
        let mark = path.display().to_string();
        let suffix = String::new();
        Ok(Self { dir: Some(dir), path, mark, suffix, people: Mutex::default() })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mark that each process of this rig has in its environment.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// It could not be made.
    pub fn dir(&self, name: &str, mode: u32) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// Somebody new: as root a throwaway user named [`PREFIX`] and `tag`, else the caller's own
    /// user with another home in here.
    ///
    /// # Errors
    /// The user is there already, or could not be made.
    pub fn person(&self, tag: &str) -> Result<Person> {
        let home = self.dir("home", 0o755)?.join(tag);
        let (name, uid, gid) = if is_root() { self.create(tag, &home)? } else { caller()? };
        let person = Person {
            runtime: self.dir("run", 0o755)?.join(tag),
            logs: self.dir("log", 0o755)?.join(tag),
            mark: self.mark.clone(),
            name,
            uid,
            gid,
            home,
        };
        for dir in [&person.home, &person.runtime, &person.logs] {
            std::fs::create_dir(dir)?;
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
            chown(dir, Some(uid), Some(gid))?;
        }
        Ok(person)
    }

    /// Leaves the directory where it is. Its users and processes still go.
    pub fn keep(&mut self) {
        if let Some(dir) = self.dir.take() {
            self.path = dir.keep();
        }
    }

    fn create(&self, tag: &str, home: &Path) -> Result<(String, u32, u32)> {
        let name = format!("{PREFIX}{tag}{}", self.suffix);
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(_there) = account(&name)? {
            bail!(
                "the user {name} is there already: another demonstration runs, or one was cut \
                 short; if none runs, remove it with `userdel {name}`"
            );
        }
        let mut useradd = Command::new("useradd");
        useradd.args(["--no-create-home", "--shell", "/bin/sh", "--home-dir"]).arg(home);
        {
            let _writer = USERS.lock().unwrap_or_else(PoisonError::into_inner);
            process::output(useradd.arg(&name))?;
        }
        let (uid, gid) = account(&name)?.with_context(|| format!("{name} was not made"))?;
        people.push(Created { name: name.clone(), uid });
        Ok((name, uid, gid))
    }

    fn clear(&self) -> Result<()> {
        let people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        process::sweep(&self.mark, None)?;
        for person in people.iter() {
            process::sweep(&self.mark, Some(person.uid))?;
            let _writer = USERS.lock().unwrap_or_else(PoisonError::into_inner);
            process::output(Command::new("userdel").arg(&person.name))?;
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("clearing up after {}: {error:#}", self.path.display());
        }
    }
}

impl Person {
    /// A command that this person gives: their user, their home, a clean environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(&self.home)
            .stdin(std::process::Stdio::null());
        if self.uid != rustix::process::geteuid().as_raw() {
            // Dropping from root this way also drops root's supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// The environment of a fresh login, and the rig's mark.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", path(&self.home)),
            ("USER", self.name.clone()),
            ("LOGNAME", self.name.clone()),
            ("XDG_RUNTIME_DIR", path(&self.runtime)),
            (MARK, self.mark.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The mark that each process of this rig has in its environment.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// A log file for one of their programs.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Writes a file of theirs below their home.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self, place: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.home.join(place);
        let mut dir = self.home.clone();
        for part in Path::new(place).parent().into_iter().flat_map(Path::components) {
            dir.push(part);
            if !dir.is_dir() {
                std::fs::create_dir(&dir)?;
                std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
                chown(&dir, Some(self.uid), Some(self.gid))?;
            }
        }
        std::fs::write(&path, content)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        chown(&path, Some(self.uid), Some(self.gid))?;
        Ok(path)
    }
}

fn caller() -> Result<(String, u32, u32)> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let name = process::output(Command::new("id").arg("-un"))?.trim().to_owned();
    Ok((name, uid, gid))
}

fn account(name: &str) -> Result<Option<(u32, u32)>> {
    let users = std::fs::read_to_string("/etc/passwd").context("reading the list of users")?;
    let Some(line) = users.lines().find(|line| line.split(':').next() == Some(name)) else {
        return Ok(None);
    };
    let mut ids = line.split(':').skip(2).map(str::parse::<u32>);
    let (Some(Ok(uid)), Some(Ok(gid))) = (ids.next(), ids.next()) else {
        bail!("the entry of {name} in the list of users cannot be read");
    };
    Ok(Some((uid, gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_user_that_is_there_already() {
        if !is_root() {
            eprintln!("skipped: only root can make users");
            return;
        }
        let ground = Ground::new().unwrap();
        let first = ground.person("twice").unwrap();
        let refusal = ground.person("twice").unwrap_err().to_string();
        assert!(refusal.contains("is there already"), "{refusal}");
        drop(ground);
        assert_eq!(account(&first.name).unwrap(), None);
        assert!(!first.home.exists());
    }

    #[test]
    fn ends_what_a_rig_left_running() {
        let ground = Ground::new().unwrap();
        let person = ground.person("sleeper").unwrap();
        let mut sleeper = person.command("sleep").arg("1000").spawn().unwrap();
        drop(ground);
        assert!(!sleeper.wait().unwrap().success());
    }
}
