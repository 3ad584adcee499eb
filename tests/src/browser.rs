//! Real browsers, used as a person uses them: started with an address, and closed.
//!
//! It refuses a throw-away profile and a remote control: what a page can see there is all that is
//! measured.

mod chromium;
mod extension;
mod firefox;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde::Serialize;

use crate::desktop::Desktop;
use crate::process::{self, Started};
use crate::site::{Report, Site};

/// How long a browser may take from its start to the page's report. A cold one on a busy machine is
/// slow.
const REPORT_LIMIT: Duration = Duration::from_secs(90);
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// The address that the rig bookmarks.
const BOOKMARK: &str = "https://handbook.corp.example/";
/// The home page that the rig sets as a preference.
const HOME_PAGE: &str = "https://start.corp.example/";

/// Which browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Debian's `chromium`.
    Chromium,
    /// Debian's `firefox-esr`.
    Firefox,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Chromium, Self::Firefox];

    /// Its name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox-esr",
        }
    }
}

/// What stayed in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The bookmark is there.
    pub bookmarks: bool,
    /// The preference has its value.
    pub preferences: bool,
    /// The extension runs and remembers what it stored before.
    pub extensions: bool,
}

/// One browser of one person, with a persistent profile.
#[derive(Debug)]
pub struct Browser {
    kind: Kind,
    profile: PathBuf,
    running: Option<Started>,
    runs: u32,
}

impl Browser {
    /// Makes the profile: a bookmark, a preference, an extension, and tabs restored at each start.
    ///
    /// # Errors
    /// The profile could not be written, or the extension not packed.
    pub fn prepare(kind: Kind, desktop: &Desktop) -> Result<Self> {
        let profile = match kind {
            Kind::Chromium => chromium::prepare(desktop)?,
            Kind::Firefox => firefox::prepare(desktop)?,
        };
        Ok(Self { kind, profile, running: None, runs: 0 })
    }

    /// Which browser it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its profile.
    #[must_use]
    pub fn profile(&self) -> &std::path::Path {
        &self.profile
    }

    /// Its version, as it tells it.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn version(&self, desktop: &Desktop) -> Result<String> {
        let said = process::output(desktop.command(self.kind.program()).arg("--version"))?;
        let version =
            said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        Ok(version.context("no version in what the browser said")?.to_owned())
    }

    /// Signs in on `site` and fills every kind of storage with `canary`; leaves the browser open.
    ///
    /// # Errors
    /// The page did not report, or something could not be stored.
    pub fn sign_in(&mut self, desktop: &Desktop, site: &Site, canary: &str) -> Result<Report> {
        let run = self.next_run("seed");
        let address = site.login_page(&run, self.kind.name(), canary);
        self.open(desktop, &address)?;
        let report = site.report(&run, REPORT_LIMIT)?;
        let missing: Vec<_> =
            Report::ALL.into_iter().filter(|name| !report.replayed().contains(name)).collect();
        ensure!(
            report.me_status == 200 && missing.is_empty() && report.errors.is_empty(),
            "{} could not be signed in: {report:?}",
            self.kind.name()
        );
        match self.kind {
            Kind::Chromium => chromium::settle(&self.profile)?,
            Kind::Firefox => firefox::settle(&self.profile)?,
        }
        Ok(report)
    }

    /// Starts the browser on `site` and returns what the page saw; leaves the browser open.
    ///
    /// # Errors
    /// The page did not report.
    pub fn visit(&mut self, desktop: &Desktop, site: &Site) -> Result<Report> {
        let run = self.next_run("visit");
        self.open(desktop, &site.page(&run))?;
        site.report(&run, REPORT_LIMIT).with_context(|| self.log())
    }

    /// Closes the browser so that it writes down what it should remember.
    ///
    /// # Errors
    /// It did not run, or does not end.
    pub fn close(&mut self, desktop: &Desktop) -> Result<()> {
        let mut running = self.running.take().context("the browser does not run")?;
        match self.kind {
            Kind::Chromium => running.end(Signal::INT, CLOSE_LIMIT).map(drop),
            Kind::Firefox => firefox::close(desktop, &mut running, CLOSE_LIMIT),
        }
    }

    /// Ends the browser behind a lock, where no key reaches it; its open tabs do not matter any more.
    ///
    /// # Errors
    /// It did not run, or does not end.
    pub fn end(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the browser does not run")?;
        let signal = match self.kind {
            Kind::Chromium => Signal::INT,
            Kind::Firefox => Signal::TERM,
        };
        running.end(signal, CLOSE_LIMIT).map(drop)
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// Its state could not be read.
    pub fn is_running(&mut self) -> Result<bool> {
        self.running.as_mut().map_or(Ok(false), Started::is_running)
    }

    /// Forgets a process that something else has ended.
    ///
    /// # Errors
    /// It still runs.
    pub fn was_ended(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.wait(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// What stayed, given the reports from before and after. The browser must be closed.
    ///
    /// # Errors
    /// It runs, or its profile cannot be read.
    pub fn kept(&mut self, before: &Report, after: &Report) -> Result<Kept> {
        if self.is_running()? {
            bail!("close {} first: it writes its profile while it runs", self.kind.name());
        }
        let (bookmarks, preferences) = match self.kind {
            Kind::Chromium => chromium::kept(&self.profile)?,
            Kind::Firefox => firefox::kept(&self.profile)?,
        };
        let extensions = before.extension.is_some() && before.extension == after.extension;
        Ok(Kept { bookmarks, preferences, extensions })
    }

    /// What it wrote to its standard error.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.as_ref().map(Started::log).unwrap_or_default()
    }

    fn open(&mut self, desktop: &Desktop, address: &str) -> Result<()> {
        if self.is_running()? {
            bail!("{} runs already", self.kind.name());
        }
        let mut command = desktop.command(self.kind.program());
        match self.kind {
            Kind::Chromium => command.args(chromium::ARGUMENTS),
            Kind::Firefox => command.args(firefox::ARGUMENTS),
        };
        command.arg(address);
        self.running = Some(desktop.start_program(self.kind.name(), &mut command)?);
        Ok(())
    }

    fn next_run(&mut self, step: &str) -> String {
        self.runs += 1;
        format!("{}-{step}-{}", self.kind.name(), self.runs)
    }
}
