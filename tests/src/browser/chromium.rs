//! Chromium's profile.
//!
//! It refuses `--load-extension`, which lasts for one start only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{BOOKMARK, HOME_PAGE, extension};
use crate::desktop::Desktop;
use crate::process;
use crate::waiting;

pub(super) const ARGUMENTS: [&str; 7] = [
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
];

const ROOT: &str = ".config/chromium";
const PROFILE: &str = ".config/chromium/Default";

pub(super) fn prepare(desktop: &Desktop) -> Result<PathBuf> {
    let person = &desktop.person;
    let bookmarks = json!({
        "version": 1,
        "roots": {
            "bookmark_bar": {
                "type": "folder", "id": "1", "name": "Bookmarks bar",
                "children": [{ "type": "url", "id": "4", "name": "Handbook", "url": BOOKMARK }],
            },
            "other": { "type": "folder", "id": "2", "name": "Other bookmarks", "children": [] },
            "synced": { "type": "folder", "id": "3", "name": "Mobile bookmarks", "children": [] },
        },
    });
    let preferences = json!({
        "homepage": HOME_PAGE,
        "homepage_is_newtabpage": false,
        "browser": { "show_home_button": true, "has_seen_welcome_page": true },
        "session": { "restore_on_startup": 1 },
    });
    person.write(&format!("{PROFILE}/Bookmarks"), bookmarks.to_string())?;
    person.write(&format!("{PROFILE}/Preferences"), preferences.to_string())?;
    let packed = pack_extension(desktop)?;
    let id = id_of(&std::fs::read(&packed)?)?;
    let offer = json!({ "external_crx": packed, "external_version": "1.0" });
    person.write(&format!("{ROOT}/External Extensions/{id}.json"), offer.to_string())?;
    Ok(person.home.join(PROFILE))
}

/// Waits until the extension is installed.
pub(super) fn settle(profile: &Path) -> Result<()> {
    waiting::until("the extension's installation", Duration::from_secs(30), || {
        let installed = std::fs::read_dir(profile.join("Extensions"))
            .is_ok_and(|mut all| all.any(|one| one.is_ok_and(|one| one.file_name().len() == 32)));
        Ok(installed.then_some(()))
    })
}

pub(super) fn kept(profile: &Path) -> Result<(bool, bool)> {
    let read = |name: &str| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(profile.join(name)).ok()?).ok()
    };
    let bookmarks = read("Bookmarks").is_some_and(|all| {
        let bar = &all["roots"]["bookmark_bar"]["children"];
        bar.as_array().is_some_and(|bar| bar.iter().any(|mark| mark["url"] == BOOKMARK))
    });
    let preferences = read("Preferences").is_some_and(|all| all["homepage"] == HOME_PAGE);
    Ok((bookmarks, preferences))
}

/// Chromium itself packs it, beside the home: the id comes from the key that it makes.
fn pack_extension(desktop: &Desktop) -> Result<PathBuf> {
    let person = &desktop.person;
    for (name, content) in extension::files(3) {
        person.write(&format!(".local/share/rig/extension/{name}"), content)?;
    }
    let sources = person.home.join(".local/share/rig/extension");
    let mut pack = desktop.command("chromium");
    pack.args(ARGUMENTS).arg("--no-message-box");
    pack.arg(format!("--user-data-dir={}", person.home.join(".cache/rig-pack").display()));
    pack.arg(format!("--pack-extension={}", sources.display()));
    process::output(&mut pack)?;
    let packed = sources.with_extension("crx");
    ensure!(packed.is_file(), "Chromium did not pack the extension");
    Ok(packed)
}

/// The id in a CRX3 file: the header ends with the hash of the key, sixteen bytes.
fn id_of(packed: &[u8]) -> Result<String> {
    let word = |at: usize| -> Option<usize> {
        let bytes = packed.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    ensure!(packed.starts_with(b"Cr24") && word(4) == Some(3), "not a CRX3 file");
    let end = 12 + word(8).context("a CRX3 file without a header")?;
    let header = packed.get(..end).context("a CRX3 file with a short header")?;
    let (rest, hash) = header.split_last_chunk::<16>().context("a CRX3 header without an id")?;
    ensure!(rest.ends_with(&[0x0a, 0x10]), "a CRX3 header that does not end with its id");
    let letters = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(letters.map(|nibble| char::from(b'a' + nibble)).collect())
}
