//! Traps in what lies below a home: subvolumes, snapshots, overlays, quotas, and blocks.
//!
//! It refuses the machine's own disks: each file system is in a file of the scene's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::places::{CHROMIUM, plain};
use super::profiles;
use super::scene::Scene;
use crate::process;

const BTRFS: [&str; 2] = ["mkfs.btrfs", "-q"];
const EXT4: [&str; 2] = ["mkfs.ext4", "-q"];

fn subvolume(words: &[&str], places: &[&Path]) -> Result<()> {
    let mut btrfs = Command::new("btrfs");
    process::output(btrfs.args(["-q", "subvolume"]).args(words).args(places)).map(drop)
}

/// The home as a subvolume of a fresh btrfs; returns where the top of that is.
fn on_btrfs(scene: &mut Scene<'_>) -> Result<PathBuf> {
    let top = scene.outside("top")?;
    scene.mount_image(&BTRFS, 128, "rw", &top)?;
    let home = scene.person.home.clone();
    subvolume(&["create"], &[&top.join("@home")])?;
    scene.bind(&top.join("@home"), &home, false)?;
    scene.own(&home, 0o700)?;
    // What the close leaves there is what it left in the home, and is found there.
    scene.forget_outside();
    Ok(top)
}

pub(super) fn snapshot(scene: &mut Scene<'_>) -> Result<()> {
    let top = on_btrfs(scene)?;
    plain(scene)?;
    subvolume(&["snapshot", "-r"], &[&scene.person.home, &top.join("before-the-update")])?;
    scene.kept_elsewhere(top.join("before-the-update"), "btrfs snapshot: before-the-update");
    Ok(())
}

pub(super) fn snapper(scene: &mut Scene<'_>) -> Result<()> {
    let top = on_btrfs(scene)?;
    plain(scene)?;
    let place = top.join("@home/.snapshots/1");
    subvolume(&["create"], &[place.parent().context("no parent")?])?;
    std::fs::create_dir(&place)?;
    subvolume(&["snapshot", "-r"], &[&scene.person.home, &place.join("snapshot")])?;
    // It is in the home, and nobody but root gets at it: no rig looks for secrets there.
    scene.look_not_into(".snapshots");
    scene.kept_elsewhere(place, "Snapper snapshot: @home/.snapshots/1/snapshot");
    Ok(())
}

pub(super) fn subvolume_profile(scene: &mut Scene<'_>) -> Result<()> {
    on_btrfs(scene)?;
    scene.make_dir(CHROMIUM)?;
    let profile = scene.at(format!("{CHROMIUM}/Default"));
    subvolume(&["create"], &[&profile])?;
    scene.own(&profile, 0o700)?;
    plain(scene)
}

pub(super) fn subvolume_store(scene: &mut Scene<'_>) -> Result<()> {
    on_btrfs(scene)?;
    scene.make_dir(format!("{CHROMIUM}/Default"))?;
    let store = scene.at(format!("{CHROMIUM}/Default/Local Storage"));
    subvolume(&["create"], &[&store])?;
    scene.own(&store, 0o700)?;
    plain(scene)
}

/// A profile that is a read-only snapshot of one: nothing in it can be removed.
pub(super) fn read_only_subvolume(scene: &mut Scene<'_>) -> Result<()> {
    on_btrfs(scene)?;
    plain(scene)?;
    let (profile, real) = (scene.at(format!("{CHROMIUM}/Default")), scene.at("real"));
    subvolume(&["create"], &[&real])?;
    scene.own(&real, 0o700)?;
    process::output(Command::new("cp").arg("-a").arg(profile.join(".")).arg(&real))?;
    process::output(Command::new("rm").arg("-rf").arg(&profile))?;
    subvolume(&["snapshot", "-r"], &[&real, &profile])?;
    subvolume(&["delete"], &[&real])
}

/// Copies that are plain files, on the disk of the home.
pub(super) fn timeshift(scene: &mut Scene<'_>) -> Result<()> {
    let disk = scene.outside("backup")?;
    scene.mount_image(&EXT4, 32, "rw", &disk)?;
    scene.forget_outside();
    plain(scene)?;
    let home = scene.person.home.clone();
    let copies = disk.join("timeshift/snapshots/2026-11-01_10-00-01/localhost");
    let copy = copies.join(home.strip_prefix("/")?);
    std::fs::create_dir_all(&copy)?;
    process::output(Command::new("cp").arg("-a").arg(home.join(".")).arg(&copy))?;
    scene.kept_elsewhere(copy, "Timeshift snapshot: ");
    Ok(())
}

/// A home whose files are all in a lower layer: unlinking only covers them.
pub(super) fn overlay(scene: &mut Scene<'_>) -> Result<()> {
    let lower = scene.outside("lower")?;
    plain(scene)?;
    let home = scene.person.home.clone();
    process::output(Command::new("cp").arg("-a").arg(home.join(".")).arg(&lower))?;
    scene.forget_outside();
    scene.mount_overlay(&lower, &home)?;
    scene.kept_elsewhere(lower, "overlay: ");
    Ok(())
}

/// The account may not write another byte, and an edit would have to.
pub(super) fn over_quota(scene: &mut Scene<'_>) -> Result<()> {
    let home = scene.person.home.clone();
    scene.mount_image(&BTRFS, 128, "rw", &home)?;
    scene.own(&home, 0o700)?;
    plain(scene)?;
    let place = format!("{CHROMIUM}/Default/Preferences");
    let canary = scene.secret("chromium", "Default", "account-settings");
    scene.write(place, profiles::preferences_with_account(&canary))?;
    let tool = |arguments: &[&str]| {
        process::output(Command::new("btrfs").args(arguments).arg(&home)).map(drop)
    };
    tool(&["quota", "enable"])?;
    tool(&["quota", "rescan", "-w"])?;
    // 5 is the file system's own subvolume.
    tool(&["qgroup", "limit", "4K", "0/5"])
}

/// What was unlinked lies on the disk until that is told that it may forget it.
pub(super) fn blocks(scene: &mut Scene<'_>) -> Result<()> {
    let home = scene.person.home.clone();
    // Blocks as large as what a disk forgets at once: smaller ones stay where they are.
    let mkfs = ["mkfs.ext4", "-q", "-b", "4096"];
    let image = scene.mount_image(&mkfs, 8, "rw", &home)?;
    scene.own(&home, 0o700)?;
    plain(scene)?;
    process::output(&mut Command::new("sync"))?;
    scene.must_not_be_on(image);
    Ok(())
}
