//! A home whose databases have very many rows, closed for real: how long, and how much memory.
//!
//! It refuses a time without a verdict for every store.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bench::contain::timed;
use crate::people::Ground;
use crate::traps::{self, Scene, profiles};

/// What one close took, and what was wrong with its receipt.
#[derive(Debug)]
pub struct Closed {
    /// Rows of each database.
    pub rows: u64,
    /// Size of all of them together, in bytes.
    pub bytes: u64,
    /// From start to end.
    pub took: Duration,
    /// Most memory that the warden held, in megabytes of a million bytes.
    pub megabytes: f64,
    /// Rows of the receipt that claim too much or too little.
    pub wrong: Vec<String>,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, megabytes) = (self.rows, self.bytes / 1_000_000);
        let (took, memory) = (self.took, self.megabytes);
        write!(f, "{rows} rows a database, {megabytes} MB: {took:.1?}, at most {memory:.0} MB held")
    }
}

/// Closes a home with `rows` cookies, as many form entries beside tokens, and an editor's state of as
/// many rows.
///
/// # Errors
/// It could not be prepared, or there was no receipt.
pub fn close(rows: u64) -> Result<Closed> {
    let ground = Ground::new()?;
    let owner = ground.person("large")?;
    let mut scene = Scene::new(&ground, &owner, "large-home", false)?;
    let root = ".config/chromium";
    scene.chromium("chromium", root, "Default")?;
    let canary = scene.secret("chromium", "Default", "account-tokens");
    let web_data = profiles::web_data(&canary, "kept-city")?;
    scene.keep(&format!("{root}/Default/Web Data"), web_data, "kept-city")?;
    let canary = scene.secret("vscode", "", "secrets");
    let state = profiles::vscode_state(&canary, "kept-panel")?;
    let editor = ".config/Code/User/globalStorage/state.vscdb";
    scene.keep(editor, state, "kept-panel")?;
    let mut bytes = 0;
    for database in
        [&format!("{root}/Default/Cookies"), &format!("{root}/Default/Web Data"), editor]
    {
        let path = scene.at(database);
        profiles::fill(&path, rows)?;
        bytes += path.metadata()?.len();
    }
    let mut once = Command::new(traps::warden_program()?);
    let done = timed(once.args(["once", "--json", "--home"]).arg(&scene.person.home))?;
    let mut wrong: Vec<String> =
        traps::judged(&scene, &done.said)?.iter().map(ToString::to_string).collect();
    wrong.extend(scene.lost().into_iter().map(|place| format!("lost {place}")));
    scene.end()?;
    let took = Duration::from_secs_f64(done.milliseconds / 1e3);
    Ok(Closed { rows, bytes, took, megabytes: done.megabytes, wrong })
}
