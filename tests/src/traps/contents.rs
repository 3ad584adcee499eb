//! Traps in what a file holds: logs, restored tabs, rows and keys beside what must stay.
//!
//! It refuses a format that no program writes.

use anyhow::Result;

use super::places::{CHROMIUM, FIREFOX, PROFILE, plain};
use super::profiles;
use super::scene::Scene;

pub(super) fn log_alone(scene: &mut Scene<'_>) -> Result<()> {
    firefox_without_stores(scene)?;
    let canary = scene.secret("firefox", PROFILE, "cookies");
    let (main, log) = profiles::firefox_cookies_in_log(&canary)?;
    scene.write(format!("{FIREFOX}/{PROFILE}/cookies.sqlite"), main)?;
    scene.write(format!("{FIREFOX}/{PROFILE}/cookies.sqlite-wal"), log).map(drop)
}

/// The log is there and its database is not: what some cleaners leave.
pub(super) fn log_without_database(scene: &mut Scene<'_>) -> Result<()> {
    firefox_without_stores(scene)?;
    let canary = scene.secret("firefox", PROFILE, "cookies");
    let (_, log) = profiles::firefox_cookies_in_log(&canary)?;
    scene.write(format!("{FIREFOX}/{PROFILE}/cookies.sqlite-wal"), log).map(drop)
}

pub(super) fn restored_tabs_alone(scene: &mut Scene<'_>) -> Result<()> {
    firefox_without_stores(scene)?;
    for name in ["recovery.jsonlz4", "previous.jsonlz4", "upgrade.jsonlz4-20260101000000"] {
        let canary = scene.secret("firefox", PROFILE, "open-tabs");
        let place = format!("{FIREFOX}/{PROFILE}/sessionstore-backups/{name}");
        scene.write(place, profiles::session_store(&canary))?;
    }
    Ok(())
}

pub(super) fn token_rows(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-tokens");
    let place = format!("{CHROMIUM}/Default/Web Data");
    scene.keep(&place, profiles::web_data(&canary, "kept-city")?, "kept-city")
}

/// A database that nothing can open any more, with its rows still in it.
pub(super) fn corrupt_rows(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-tokens");
    let mut bytes = profiles::web_data(&canary, "city")?;
    // The header and the schema are garbage; the rows are as they were.
    bytes.iter_mut().take(2000).for_each(|byte| *byte = 0x5a);
    scene.write(format!("{CHROMIUM}/Default/Web Data"), bytes).map(drop)
}

/// A database that was cut off in the middle, with its rows before the cut.
pub(super) fn truncated_rows(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-tokens");
    let mut bytes = profiles::web_data(&canary, "city")?;
    bytes.truncate(bytes.len() - 1000);
    scene.write(format!("{CHROMIUM}/Default/Web Data"), bytes).map(drop)
}

/// The file that an edit took out, which nobody unlinked any more: a power cut came between.
pub(super) fn interrupted_edit(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-settings");
    let old = profiles::preferences_with_account(&canary);
    scene.write(format!("{CHROMIUM}/Default/.exeunt-edit-0011223344556677"), old).map(drop)
}

/// What a browser's own account would sign in again from.
pub(super) fn sync(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-data");
    let log = profiles::leveldb_log(b"sync", canary.as_bytes());
    scene.write(format!("{CHROMIUM}/Default/Sync Data/LevelDB/000003.log"), log)?;
    let canary = scene.secret("firefox", PROFILE, "account");
    let account = format!("{{\"version\":1,\"accountData\":{{\"sessionToken\":\"{canary}\"}}}}");
    scene.write(format!("{FIREFOX}/{PROFILE}/signedInUser.json"), account).map(drop)
}

/// Browsing history is no session store, and goes at purge alone.
pub(super) fn visited(scene: &mut Scene<'_>) -> Result<()> {
    scene.arguments = vec!["--tier".into(), "purge".into()];
    scene.write(format!("{CHROMIUM}/Local State"), profiles::local_state(&["Default"]))?;
    let dir = format!("{CHROMIUM}/Default");
    scene.keep(&format!("{dir}/Preferences"), profiles::preferences(), "kept-preference")?;
    scene.keep(&format!("{dir}/Bookmarks"), profiles::bookmarks(), "kept-bookmark")?;
    let canary = scene.secret("chromium", "Default", "history");
    let url = format!("https://corp.example/callback?access_token={canary}");
    scene.write(format!("{dir}/History"), profiles::history(&url)?).map(drop)
}

pub(super) fn account_keys(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-settings");
    let place = format!("{CHROMIUM}/Default/Preferences");
    scene.keep(&place, profiles::preferences_with_account(&canary), "kept-preference")
}

/// Settings that are no JSON any more, with an account in them.
pub(super) fn broken_settings(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "account-settings");
    let mut text = profiles::preferences_with_account(&canary);
    text.truncate(text.len() - 2);
    scene.write(format!("{CHROMIUM}/Default/Preferences"), text).map(drop)
}

pub(super) fn secret_rows(scene: &mut Scene<'_>) -> Result<()> {
    let root = ".config/Code";
    let canary = scene.secret("vscode", "", "secrets");
    let place = format!("{root}/User/globalStorage/state.vscdb");
    scene.keep(&place, profiles::vscode_state(&canary, "kept-panel")?, "kept-panel")?;
    let settings = "{\"editor.fontFamily\": \"kept-font\"}";
    scene.keep(&format!("{root}/User/settings.json"), settings, "kept-font")
}

/// Both generations of saved tabs, as one version wrote both.
pub(super) fn encrypted_tabs(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "open-tabs");
    let place = format!("{CHROMIUM}/Default/Sessions_Encrypted/Session_13400000000000001");
    scene.write(place, profiles::snss(&canary)).map(drop)
}

/// The answer that set a cookie, kept by the cache.
pub(super) fn cached_answer(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("firefox", PROFILE, "cache");
    let answer = format!("HTTP/1.1 200 OK\r\nset-cookie: sid={canary}; HttpOnly\r\n\r\n");
    let cache = format!(".cache/mozilla/firefox/{PROFILE}/cache2/entries");
    scene.write(format!("{cache}/0A1B2C"), &answer)?;
    let canary = scene.secret("chromium", "Default", "cache");
    let answer = format!("HTTP/1.1 200 OK\r\nset-cookie: sid={canary}; HttpOnly\r\n\r\n");
    scene.write(".cache/chromium/Default/Cache/Cache_Data/f_000001", answer).map(drop)
}

/// No keyring answers on the person's bus.
pub(super) fn no_keyring(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let socket = scene.person.runtime.join("keyless-bus");
    let address = format!("unix:path={}", socket.display());
    let mut bus = scene.person.command("dbus-daemon");
    bus.args(["--session", "--nofork", "--print-address=1", "--address"]).arg(&address);
    scene.start(&mut bus)?;
    scene.arguments.extend(["--bus".to_owned(), address]);
    Ok(())
}

fn firefox_without_stores(scene: &mut Scene<'_>) -> Result<()> {
    scene.write(format!("{FIREFOX}/profiles.ini"), profiles::profiles_ini(PROFILE, true))?;
    let dir = format!("{FIREFOX}/{PROFILE}");
    scene.keep(&format!("{dir}/prefs.js"), profiles::prefs_js(), "kept-preference")?;
    scene.keep(&format!("{dir}/places.sqlite"), profiles::places()?, "kept-bookmark")
}
