//! Firefox's profile.
//!
//! It refuses the places of old versions: a fresh home keeps its profiles in the XDG directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};

use super::{BOOKMARK, HOME_PAGE, extension};
use crate::desktop::Desktop;
use crate::process::{self, Started};
use crate::waiting;

pub(super) const ARGUMENTS: [&str; 2] = ["-P", "alice"];

const ROOT: &str = ".config/mozilla/firefox";
const PROFILE: &str = ".config/mozilla/firefox/rig.alice";

/// Settings that a person would make once, and those that keep first-run pages away.
const SETTINGS: [(&str, &str); 22] = [
    ("app.normandy.enabled", "false"),
    ("app.update.enabled", "false"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.places.importBookmarksHTML", "true"),
    ("browser.preonboarding.enabled", "false"),
    ("browser.sessionstore.interval", "500"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage_override.mstone", "\"ignore\""),
    ("browser.startup.page", "3"),
    ("browser.tabs.warnOnClose", "false"),
    ("browser.warnOnQuit", "false"),
    ("browser.warnOnQuitShortcut", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("datareporting.policy.dataSubmissionPolicyBypassNotification", "true"),
    ("extensions.autoDisableScopes", "0"),
    ("extensions.update.enabled", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("termsofuse.bypassNotification", "true"),
    ("toolkit.telemetry.reportingpolicy.firstRun", "false"),
    ("trailhead.firstrun.didSeeAboutWelcome", "true"),
    ("xpinstall.signatures.required", "false"),
];

pub(super) fn prepare(desktop: &Desktop) -> Result<PathBuf> {
    let person = &desktop.person;
    let index = "[General]\nStartWithLastProfile=1\nVersion=2\n\n\
                 [Profile0]\nName=alice\nIsRelative=1\nPath=rig.alice\nDefault=1\n";
    person.write(&format!("{ROOT}/profiles.ini"), index)?;
    let mut settings: String =
        SETTINGS.iter().map(|(name, value)| format!("user_pref(\"{name}\", {value});\n")).collect();
    settings.push_str(&format!("user_pref(\"browser.startup.homepage\", \"{HOME_PAGE}\");\n"));
    // In prefs.js, so that each later start finds what the one before left, and nothing else.
    person.write(&format!("{PROFILE}/prefs.js"), settings)?;
    let marks = format!(
        "<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<TITLE>Bookmarks</TITLE>\n<H1>Bookmarks Menu</H1>\n\
         <DL><p>\n<DT><A HREF=\"{BOOKMARK}\">Handbook</A>\n</DL><p>\n"
    );
    person.write(&format!("{PROFILE}/bookmarks.html"), marks)?;
    let place = format!("{PROFILE}/extensions/{}.xpi", extension::FIREFOX_ID);
    person.write(&place, extension::xpi()?)?;
    Ok(person.home.join(PROFILE))
}

/// Waits until the bookmark and the open tab's cookie are on disk.
pub(super) fn settle(profile: &Path) -> Result<()> {
    let limit = Duration::from_secs(30);
    waiting::until("the bookmark's import", limit, || Ok(has_bookmark(profile)?.then_some(())))?;
    waiting::until("the saving of open tabs", limit, || {
        Ok(profile.join("sessionstore-backups/recovery.jsonlz4").exists().then_some(()))
    })
}

pub(super) fn kept(profile: &Path) -> Result<(bool, bool)> {
    let preferences = std::fs::read_to_string(profile.join("prefs.js"))
        .is_ok_and(|all| all.contains(&format!("\"browser.startup.homepage\", \"{HOME_PAGE}\"")));
    Ok((has_bookmark(profile)?, preferences))
}

/// Quits by the keyboard, as a person would: signals make it forget its open tabs.
pub(super) fn close(desktop: &Desktop, running: &mut Started, limit: Duration) -> Result<()> {
    let id = running.id().to_string();
    waiting::until("Firefox's window", Duration::from_secs(20), || {
        let mut search = desktop.command("xdotool");
        search.args(["search", "--onlyvisible", "--pid", &id]);
        let found = search.output()?;
        let Some(window) = String::from_utf8(found.stdout)?.lines().last().map(str::to_owned)
        else {
            return Ok(None);
        };
        let mut quit = desktop.command("xdotool");
        quit.args(["windowactivate", "--sync", &window, "key", "--clearmodifiers", "ctrl+q"]);
        process::output(&mut quit)?;
        Ok(Some(()))
    })?;
    running.wait(limit).map(drop)
}

/// Reads a copy: the browser may be running.
fn has_bookmark(profile: &Path) -> Result<bool> {
    let copy = tempfile::tempdir()?;
    for name in ["places.sqlite", "places.sqlite-wal"] {
        let from = profile.join(name);
        if from.exists() {
            std::fs::copy(&from, copy.path().join(name))?;
        }
    }
    let path = copy.path().join("places.sqlite");
    if !path.exists() {
        return Ok(false);
    }
    let places = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found = places.query_row(
        "SELECT count(*) FROM moz_bookmarks b JOIN moz_places p ON p.id = b.fk WHERE p.url = ?1",
        [BOOKMARK],
        |row| row.get::<_, u32>(0),
    );
    match found {
        Ok(count) => Ok(count > 0),
        // It is being made right now.
        Err(rusqlite::Error::SqliteFailure(..)) => Ok(false),
        Err(error) => Err(error).context("reading the bookmarks"),
    }
}
