//! Traps in where a session is: profiles, directories and apps that a list from memory leaves out.
//!
//! It refuses to point a live process at anything but this scene's own directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::holders::{BROWSER, SLEEP};
use super::profiles;
use super::scene::Scene;

pub(super) const CHROMIUM: &str = ".config/chromium";
pub(super) const FIREFOX: &str = ".mozilla/firefox";
pub(super) const PROFILE: &str = "abcd.default-release";

/// Both browsers, each with one ordinary profile.
pub(super) fn plain(scene: &mut Scene<'_>) -> Result<()> {
    scene.chromium("chromium", CHROMIUM, "Default")?;
    scene.firefox(FIREFOX, PROFILE)
}

pub(super) fn second_profile(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.chromium("chromium", CHROMIUM, "Profile 1")?;
    let state = profiles::local_state(&["Default", "Profile 1"]);
    scene.write(format!("{CHROMIUM}/Local State"), state).map(drop)
}

pub(super) fn guest_profile(scene: &mut Scene<'_>) -> Result<()> {
    scene.chromium("chromium", CHROMIUM, "Guest Profile")
}

/// A profile that only `Local State` still names: its own `Preferences` are not there.
pub(super) fn profile_in_local_state(scene: &mut Scene<'_>) -> Result<()> {
    scene.chromium("chromium", CHROMIUM, "Default")?;
    let state = profiles::local_state(&["Default", "Work"]);
    scene.write(format!("{CHROMIUM}/Local State"), state)?;
    let canary = scene.secret("chromium", "Work", "cookies");
    scene.write(format!("{CHROMIUM}/Work/Cookies"), profiles::chromium_cookies(&canary)?).map(drop)
}

/// A fresh Firefox of today keeps its profiles here.
pub(super) fn firefox_in_xdg(scene: &mut Scene<'_>) -> Result<()> {
    scene.firefox(".config/mozilla/firefox", PROFILE)
}

pub(super) fn profiles_ini_absolute(scene: &mut Scene<'_>) -> Result<()> {
    let path = scene.at("browsing/work");
    let ini = profiles::profiles_ini(&path.to_string_lossy(), false);
    scene.write(format!("{FIREFOX}/profiles.ini"), ini)?;
    scene.firefox_profile("browsing/work")
}

/// An index names a profile elsewhere: it is out of bounds, and must be named.
pub(super) fn profiles_ini_outside(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let outside = scene.outside("profile")?;
    let ini = profiles::profiles_ini(&outside.to_string_lossy(), false);
    scene.write(format!("{FIREFOX}/profiles.ini"), ini)?;
    let canary = scene.secret("firefox", "", "cookies");
    foreign(scene, &outside.join("cookies.sqlite"), &profiles::firefox_cookies(&canary)?)?;
    foreign(scene, &outside.join("prefs.js"), profiles::prefs_js().as_bytes())
}

/// A process that looks like Chromium says on its command line where its profile is.
pub(super) fn live_directory_in_home(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.chromium("chromium", "work/browser", "Default")?;
    let dir = scene.at("work/browser");
    live_chromium(scene, &dir)
}

pub(super) fn live_directory_outside(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let outside = scene.outside("browser")?;
    let profile = outside.join("Default");
    std::fs::create_dir(&profile)?;
    scene.own(&profile, 0o700)?;
    let canary = scene.secret("chromium", "", "cookies");
    foreign(scene, &profile.join("Cookies"), &profiles::chromium_cookies(&canary)?)?;
    foreign(scene, &profile.join("Preferences"), profiles::preferences().as_bytes())?;
    live_chromium(scene, &outside)
}

pub(super) fn flatpak(scene: &mut Scene<'_>) -> Result<()> {
    let app = ".var/app/org.chromium.Chromium/config/chromium";
    scene.chromium("chromium", app, "Default")
}

pub(super) fn snap(scene: &mut Scene<'_>) -> Result<()> {
    scene.chromium("chromium", "snap/chromium/common/chromium", "Default")
}

/// A browser whose settings are somewhere else: Opera keeps its first profile in the root.
pub(super) fn profile_in_root(scene: &mut Scene<'_>) -> Result<()> {
    let root = ".config/opera";
    scene.write(format!("{root}/Preferences"), profiles::preferences())?;
    scene.write(format!("{root}/Local State"), profiles::local_state(&["Default"]))?;
    let canary = scene.secret("opera", "", "cookies");
    scene.write(format!("{root}/Cookies"), profiles::chromium_cookies(&canary)?)?;
    scene.keep(&format!("{root}/Bookmarks"), profiles::bookmarks(), "kept-bookmark")
}

/// An Electron app keeps a second account in a partition.
pub(super) fn partition(scene: &mut Scene<'_>) -> Result<()> {
    let root = ".config/Slack";
    let canary = scene.secret("slack", "", "cookies");
    scene.write(format!("{root}/Cookies"), profiles::chromium_cookies(&canary)?)?;
    scene.write(format!("{root}/Local State"), "{}")?;
    let canary = scene.secret("slack", "Partitions/work", "cookies");
    let cookies = profiles::chromium_cookies(&canary)?;
    scene.write(format!("{root}/Partitions/work/Cookies"), cookies).map(drop)
}

/// An Electron app that no list names.
pub(super) fn unknown_electron(scene: &mut Scene<'_>) -> Result<()> {
    let root = ".config/Some Corporate Chat";
    scene.write(format!("{root}/Local State"), "{}")?;
    let canary = scene.secret("electron-generic", "", "local-storage");
    let log = profiles::leveldb_log(b"_file://\0\x01token", canary.as_bytes());
    scene.write(format!("{root}/Local Storage/leveldb/000003.log"), log)?;
    scene.keep(&format!("{root}/settings.json"), r#"{"theme":"kept-setting"}"#, "kept-setting")
}

/// What command-line tools keep, which cleaners of browsers leave or even protect.
pub(super) fn machine_identities(scene: &mut Scene<'_>) -> Result<()> {
    let canary = scene.secret("aws", "", "sso-cache");
    let token = format!(r#"{{"startUrl":"https://corp.example","accessToken":"{canary}"}}"#);
    scene.write(".aws/sso/cache/0a1b.json", token)?;
    scene.keep(".aws/config", "[profile kept-profile]\nregion = eu-central-1\n", "kept-profile")?;
    let canary = scene.secret("gh", "", "hosts");
    let hosts = format!(
        "github.com:\n    users:\n        alice:\n            oauth_token: {canary}\n    \
         git_protocol: kept-protocol\n    oauth_token: {canary}\n    user: alice\n"
    );
    scene.keep(".config/gh/hosts.yml", hosts, "kept-protocol")?;
    let canary = scene.secret("claude-code", "", "credentials");
    let oauth = format!(r#"{{"claudeAiOauth":{{"accessToken":"{canary}"}}}}"#);
    scene.write(".claude/.credentials.json", oauth)?;
    scene.keep(".claude/settings.json", r#"{"theme":"kept-theme"}"#, "kept-theme")
}

/// A whole profile behind a link: it leads out of bounds.
pub(super) fn linked_profile(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.chromium("chromium", "real", "Profile 2")?;
    // What lies behind the link is told of under the link's own name, as a whole.
    let (from, to) = (scene.at("real/Profile 2"), scene.at(format!("{CHROMIUM}/Profile 2")));
    link(scene, &from, &to)
}

pub(super) fn linked_store(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let store = scene.at(format!("{CHROMIUM}/Default/Cookies"));
    let (bytes, elsewhere) = (std::fs::read(&store)?, scene.at("data/cookies-of-mine"));
    scene.write("data/cookies-of-mine", bytes)?;
    replace(&store, |path| link(scene, &elsewhere, path))
}

/// A profile whose name is no text.
pub(super) fn not_utf8(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let dir = PathBuf::from(OsStr::from_bytes(b".config/chromium/Profile \xff\xfe"));
    let canary = scene.secret("chromium", "Profile \\xff\\xfe", "cookies");
    scene.write(dir.join("Cookies"), profiles::chromium_cookies(&canary)?)?;
    scene.write(dir.join("Preferences"), profiles::preferences())?;
    let canary = scene.secret("chromium", "Profile \\xff\\xfe", "local-storage");
    let name = OsStr::from_bytes(b"Local Storage/leveldb/\xf0\x28\x8c\x28.log");
    scene.write(dir.join(name), profiles::leveldb_log(b"k", canary.as_bytes())).map(drop)
}

/// Writes a file of the person's that is not in the home.
fn foreign(scene: &Scene<'_>, path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)?;
    scene.own(path, 0o600)
}

fn live_chromium(scene: &mut Scene<'_>, dir: &Path) -> Result<()> {
    let program = super::holders::copied(scene, "browser-bin/chromium")?;
    let mut command = super::holders::python(scene, &program, SLEEP);
    command.arg(BROWSER).arg(format!("--user-data-dir={}", dir.display()));
    scene.start(&mut command).map(drop)
}

pub(super) fn link(scene: &Scene<'_>, to: &Path, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, path)?;
    let (uid, gid) = (scene.person.uid, scene.person.gid);
    Ok(std::os::unix::fs::lchown(path, Some(uid), Some(gid))?)
}

/// Takes the planted file away and puts something else in its place.
#[expect(clippy::disallowed_methods, reason = "a file that this very scene planted")]
pub(super) fn replace(path: &Path, put: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    std::fs::remove_file(path)?;
    put(path)
}

/// Profiles whose names are everything that a name may be.
pub(super) fn hostile_names(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let names = [
        "Profile\n1",
        "-rf",
        "; touch owned; #",
        "$(touch owned)",
        "..\u{202e}exe",
        " ",
        "*",
        "...",
        "%s%n",
        "\u{1b}[2J",
    ];
    for name in names {
        let dir = format!("{CHROMIUM}/{name}");
        let canary = scene.secret("chromium", "", "cookies");
        scene.write(format!("{dir}/Cookies"), profiles::chromium_cookies(&canary)?)?;
        scene.keep(&format!("{dir}/Bookmarks"), profiles::bookmarks(), "kept-bookmark")?;
    }
    for number in 0..300 {
        scene.make_dir(format!("{CHROMIUM}/{}{number}", "x".repeat(240)))?;
    }
    Ok(())
}
