//! The built programs.
//!
//! It refuses to build: `cargo xtask` does that before.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::people::Ground;

/// Copies of the programs that every user of the ground may execute and only its maker may change.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `exeunt-hub`.
    pub hub: PathBuf,
    /// `exeunt-agent`.
    pub agent: PathBuf,
    /// `exeunt-warden`.
    pub warden: PathBuf,
    /// `exeunt`.
    pub cli: PathBuf,
    /// `exeunt-tray`.
    pub tray: PathBuf,
    /// `exeunt-panel`, where trays announce themselves.
    pub panel: PathBuf,
}

impl Programs {
    /// Copies them from where this very program was built.
    ///
    /// # Errors
    /// One is missing.
    pub fn install(ground: &Ground) -> Result<Self> {
        let built = built()?;
        let dir = ground.dir("bin", 0o755)?;
        let copy = |name: &str| -> Result<PathBuf> {
            let from = built.join(name);
            ensure!(
                from.is_file(),
                "{} is missing: `cargo xtask test` and `cargo xtask demo` build it",
                from.display()
            );
            let to = dir.join(name);
            std::fs::copy(&from, &to)?;
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
            Ok(to)
        };
        Ok(Self {
            hub: copy("exeunt-hub")?,
            agent: copy("exeunt-agent")?,
            warden: copy("exeunt-warden")?,
            cli: copy("exeunt")?,
            tray: copy("exeunt-tray")?,
            panel: copy("exeunt-panel")?,
        })
    }
}

/// The directory of the profile: a test's own program is one level below it.
fn built() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("a program without a directory")?;
    let is_deps = dir.file_name().is_some_and(|name| name == "deps");
    let dir = if is_deps { dir.parent().context("no directory above deps")? } else { dir };
    Ok(Path::to_owned(dir))
}
