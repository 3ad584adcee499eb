//! Traps in what stands on disk: links, flags, mounts, modes, names, numbers and depth.
//!
//! It refuses to mount or to flag anything outside its own scene.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use super::places::{CHROMIUM, FIREFOX, PROFILE, plain, replace};
use super::profiles;
use super::scene::Scene;

/// A small home's worth of memory, in bytes.
const SMALL: u64 = 4 << 20;

fn cookies(scene: &Scene<'_>) -> PathBuf {
    scene.at(format!("{CHROMIUM}/Default/Cookies"))
}

pub(super) fn hard_link(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.make_dir("backup")?;
    Ok(std::fs::hard_link(cookies(scene), scene.at("backup/cookies-of-mine"))?)
}

/// The second name belongs to nobody but root, and so does the file.
pub(super) fn hard_link_of_another(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let outside = scene.outside("backup")?;
    chown(cookies(scene), Some(0), Some(0))?;
    Ok(std::fs::hard_link(cookies(scene), outside.join("cookies"))?)
}

/// The same, inside a directory that goes as a whole.
pub(super) fn hard_link_of_another_below(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let outside = scene.outside("backup")?;
    let log = scene.at(format!("{CHROMIUM}/Default/Local Storage/leveldb/000003.log"));
    chown(&log, Some(0), Some(0))?;
    Ok(std::fs::hard_link(log, outside.join("log"))?)
}

pub(super) fn immutable(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.must_say("flag was taken from");
    scene.flag(&cookies(scene), 'i')
}

pub(super) fn immutable_below(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.must_say("flag was taken from");
    let log = scene.at(format!("{CHROMIUM}/Default/Local Storage/leveldb/000003.log"));
    scene.flag(&log, 'i')
}

pub(super) fn append_only(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.must_say("flag was taken from");
    scene.flag(&cookies(scene), 'a')
}

/// Nothing in the profile may be moved; the profile itself stays, with its flag.
pub(super) fn immutable_profile(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.must_say("flag was taken from");
    scene.flag(&scene.at(format!("{CHROMIUM}/Default")), 'i')
}

pub(super) fn immutable_edit(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.must_say("flag was taken from");
    let canary = scene.secret("chromium", "Default", "account-tokens");
    let place = format!("{CHROMIUM}/Default/Web Data");
    scene.keep(&place, profiles::web_data(&canary, "kept-city")?, "kept-city")?;
    scene.flag(&scene.at(place), 'i')
}

pub(super) fn immutable_in_user_mode(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.user_mode = true;
    scene.flag(&cookies(scene), 'i')
}

pub(super) fn append_only_in_user_mode(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    scene.user_mode = true;
    scene.flag(&cookies(scene), 'a')
}

pub(super) fn of_root(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    Ok(chown(cookies(scene), Some(0), Some(0))?)
}

pub(super) fn no_permission(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let dir = scene.at(format!("{CHROMIUM}/Default/Local Storage"));
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o000))?)
}

/// The profile itself may not be entered by its own owner.
pub(super) fn no_permission_above(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let dir = scene.at(format!("{FIREFOX}/{PROFILE}"));
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o000))?)
}

pub(super) fn bind_mount(scene: &mut Scene<'_>) -> Result<()> {
    bound(scene, false)
}

pub(super) fn read_only_mount(scene: &mut Scene<'_>) -> Result<()> {
    bound(scene, true)
}

/// A profile that another directory is bound over.
fn bound(scene: &mut Scene<'_>, read_only: bool) -> Result<()> {
    let elsewhere = scene.outside("profile")?;
    let profile = scene.make_dir(format!("{CHROMIUM}/Default"))?;
    scene.bind(&elsewhere, &profile, false)?;
    plain(scene)?;
    if read_only {
        scene.bind(&elsewhere, &profile, true)?;
    }
    Ok(())
}

pub(super) fn memory_for_a_store(scene: &mut Scene<'_>) -> Result<()> {
    let store = scene.make_dir(format!("{CHROMIUM}/Default/Local Storage"))?;
    scene.mount_memory(&store, SMALL)?;
    plain(scene)
}

/// A store inside which another file system begins.
pub(super) fn memory_below_a_store(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let below = scene.make_dir(format!("{CHROMIUM}/Default/Service Worker/CacheStorage"))?;
    scene.mount_memory(&below, SMALL)?;
    let canary = scene.secret("chromium", "Default", "service-workers");
    let place = format!("{CHROMIUM}/Default/Service Worker/CacheStorage/a/index");
    scene.write(place, canary).map(drop)
}

/// Not a byte is left for anything new.
pub(super) fn full_disk(scene: &mut Scene<'_>) -> Result<()> {
    let home = scene.person.home.clone();
    scene.mount_memory(&home, SMALL)?;
    plain(scene)?;
    let place = format!("{CHROMIUM}/Default/Preferences");
    let canary = scene.secret("chromium", "Default", "account-settings");
    scene.write(place, profiles::preferences_with_account(&canary))?;
    let filler = scene.write("filler", "")?;
    let mut filler = std::fs::File::options().append(true).open(filler)?;
    for size in [1 << 16, 1 << 12, 1 << 8, 1] {
        while std::io::Write::write_all(&mut filler, &vec![0; size]).is_ok() {}
    }
    Ok(())
}

pub(super) fn fifo(scene: &mut Scene<'_>) -> Result<()> {
    special(scene, FileType::Fifo)
}

pub(super) fn socket(scene: &mut Scene<'_>) -> Result<()> {
    special(scene, FileType::Socket)
}

/// What `/dev/null` is, in a store's place.
pub(super) fn device(scene: &mut Scene<'_>) -> Result<()> {
    special(scene, FileType::CharacterDevice)
}

fn special(scene: &mut Scene<'_>, kind: FileType) -> Result<()> {
    scene.firefox(FIREFOX, PROFILE)?;
    scene.write(format!("{CHROMIUM}/Local State"), profiles::local_state(&["Default"]))?;
    let dir = format!("{CHROMIUM}/Default");
    scene.keep(&format!("{dir}/Preferences"), profiles::preferences(), "kept-preference")?;
    for store in ["Cookies", "Web Data", "Login Data For Account"] {
        let path = scene.at(format!("{dir}/{store}"));
        mknodat(CWD, &path, kind, Mode::RUSR | Mode::WUSR, rustix::fs::makedev(1, 3))?;
        scene.own(&path, 0o600)?;
    }
    Ok(())
}

pub(super) fn directory_for_a_file(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let store = cookies(scene);
    let bytes = std::fs::read(&store)?;
    replace(&store, |_| Ok(()))?;
    scene.write(format!("{CHROMIUM}/Default/Cookies/inner"), bytes).map(drop)
}

pub(super) fn long_names(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let canary = scene.secret("chromium", "Default", "indexed-db");
    let name = format!("https_{}", "x".repeat(249));
    let below = "y".repeat(255);
    scene.write(format!("{CHROMIUM}/Default/IndexedDB/{name}/{below}"), canary)?;
    let canary = scene.secret("firefox", PROFILE, "site-storage");
    let name = format!("https+++{}", "é".repeat(123));
    let place = format!("{FIREFOX}/{PROFILE}/storage/default/{name}/ls/data.sqlite");
    scene.write(place, profiles::firefox_storage(&canary)?).map(drop)
}

pub(super) fn many_files(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let dir = scene.make_dir(format!("{CHROMIUM}/Default/Service Worker/CacheStorage"))?;
    let count = if scene.quick { 20_000 } else { 100_000 };
    let canary = scene.secret("chromium", "Default", "service-workers");
    for number in 0..count {
        let path = dir.join(format!("{number:08x}"));
        let content = if number == count - 1 { canary.as_str() } else { "" };
        std::fs::write(&path, content)?;
        chown(&path, Some(scene.person.uid), Some(scene.person.gid))?;
    }
    Ok(())
}

/// Deeper than any path that a system call takes.
pub(super) fn deep_tree(scene: &mut Scene<'_>) -> Result<()> {
    plain(scene)?;
    let store = scene.make_dir(format!("{CHROMIUM}/Default/File System"))?;
    let canary = scene.secret("chromium", "Default", "site-files");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, &store, flags, Mode::empty())?;
    let (uid, gid) = (scene.person.uid, scene.person.gid);
    for level in 0..600 {
        let name = format!("{level:016}");
        mkdirat(&dir, &name, Mode::RWXU)?;
        dir = openat(&dir, &name, flags, Mode::empty())?;
        std::os::unix::fs::fchown(&dir, Some(uid), Some(gid))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat(&dir, Path::new("00000000"), flags, Mode::RUSR | Mode::WUSR)?;
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    Ok(std::io::Write::write_all(&mut std::fs::File::from(file), canary.as_bytes())?)
}
