//! The trap suite: homes in which a cleaner is easily fooled, closed for real, and then searched.
//!
//! It refuses to take a verdict on trust: what is left is found by a scanner that knows nothing of
//! what was done, in a home that it has searched before as well.

mod bleachbit;
mod contents;
mod disks;
mod holders;
mod judge;
mod leveldb;
mod nodes;
mod places;
pub mod profiles;
pub mod residue;
mod scene;
mod warden;

use anyhow::{Context as _, Result};
use serde::Serialize;

pub use bleachbit::clean as bleachbit;
pub use judge::{Row, Wrong};
pub use scene::{Scene, Secret};
pub use warden::program as warden_program;

use crate::people::{Ground, is_root};

/// A home prepared so that a cleaner is fooled.
#[derive(Clone, Copy)]
pub struct Trap {
    /// Its name in results.
    pub name: &'static str,
    /// Only root can prepare it.
    pub needs_root: bool,
    prepare: fn(&mut Scene<'_>) -> Result<()>,
}

/// What became of one trap.
#[derive(Clone, Debug, Serialize)]
pub struct Sprung {
    /// The trap.
    pub name: &'static str,
    /// The worst verdict that our receipt gives any store.
    pub verdict: String,
    /// `gone`, or `left`: whether any planted secret can still be read.
    pub truth: &'static str,
    /// The receipt's outcome.
    pub outcome: String,
    /// Where a secret can still be read, at most a few places.
    pub left: Vec<String>,
    /// What had to stay and did not.
    pub lost: Vec<String>,
    /// Rows of the receipt that claim too much or too little.
    pub wrong: Vec<Wrong>,
    /// The same home, prepared again, under BleachBit, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bleachbit: Option<Other>,
}

/// What another cleaner did.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    /// Its exit code.
    pub rc: i32,
    /// `gone` or `left`.
    pub truth: &'static str,
    /// Which stores' secrets can still be read.
    pub left: Vec<String>,
    /// What had to stay and did not.
    pub lost: Vec<String>,
}

const fn anyone(name: &'static str, prepare: fn(&mut Scene<'_>) -> Result<()>) -> Trap {
    Trap { name, needs_root: false, prepare }
}

const fn root(name: &'static str, prepare: fn(&mut Scene<'_>) -> Result<()>) -> Trap {
    Trap { name, needs_root: true, prepare }
}

/// The home without any trap: what every cleaner must manage.
pub const CONTROL: Trap = anyone("control", places::plain);

/// Every trap.
pub const TRAPS: [Trap; 80] = [
    anyone("write_ahead_log_alone_holds_the_cookie", contents::log_alone),
    anyone("write_ahead_log_without_its_database", contents::log_without_database),
    anyone("restored_tabs_alone_hold_the_cookie", contents::restored_tabs_alone),
    anyone("tabs_in_both_generations", contents::encrypted_tabs),
    anyone("cached_answer_holds_the_cookie", contents::cached_answer),
    anyone("token_rows_beside_form_entries", contents::token_rows),
    anyone("account_keys_beside_preferences", contents::account_keys),
    anyone("broken_preferences", contents::broken_settings),
    anyone("corrupt_database_with_token_rows", contents::corrupt_rows),
    anyone("truncated_database_with_token_rows", contents::truncated_rows),
    anyone("secret_rows_beside_editor_state", contents::secret_rows),
    anyone("old_file_of_an_interrupted_edit", contents::interrupted_edit),
    anyone("sync_would_bring_it_back", contents::sync),
    root("token_in_the_address_of_a_visited_page", contents::visited),
    anyone("no_keyring_on_the_bus", contents::no_keyring),
    anyone("live_browser", holders::live),
    anyone("renamed_browser", holders::renamed),
    anyone("stopped_holder", holders::stopped),
    anyone("holder_in_its_own_session", holders::setsid),
    anyone("holder_in_a_user_namespace_of_its_own", holders::apart),
    root("holder_that_hides_what_it_holds", holders::hiding),
    anyone("holder_that_is_let_go_on_when_it_is_stopped", holders::continued),
    anyone("store_mapped_into_memory", holders::mapped),
    anyone("store_is_a_working_directory", holders::working_directory),
    anyone("store_without_a_name_held_open", holders::nameless),
    anyone("respawning_holder", holders::respawning),
    anyone("store_rewritten_after_deletion", holders::rewritten),
    anyone("second_profile", places::second_profile),
    anyone("guest_profile", places::guest_profile),
    anyone("profile_named_by_local_state_alone", places::profile_in_local_state),
    anyone("profile_in_the_root", places::profile_in_root),
    anyone("firefox_in_the_xdg_place", places::firefox_in_xdg),
    anyone("absolute_profile_in_profiles_ini", places::profiles_ini_absolute),
    anyone("profile_outside_the_home_in_profiles_ini", places::profiles_ini_outside),
    anyone("live_profile_directory_in_the_home", places::live_directory_in_home),
    anyone("live_profile_directory_outside_the_home", places::live_directory_outside),
    anyone("flatpak", places::flatpak),
    anyone("snap", places::snap),
    anyone("electron_partition", places::partition),
    anyone("unknown_electron_app", places::unknown_electron),
    anyone("machine_identities", places::machine_identities),
    anyone("symbolic_link_for_a_store", places::linked_store),
    anyone("symbolic_link_for_a_profile", places::linked_profile),
    anyone("name_that_is_not_utf8", places::not_utf8),
    anyone("home_full_of_hostile_names", places::hostile_names),
    anyone("hard_link_of_the_owner", nodes::hard_link),
    root("hard_link_of_another_user", nodes::hard_link_of_another),
    root("hard_link_of_another_user_below_a_store", nodes::hard_link_of_another_below),
    root("immutable_store", nodes::immutable),
    root("immutable_file_below_a_store", nodes::immutable_below),
    root("append_only_store", nodes::append_only),
    root("immutable_profile", nodes::immutable_profile),
    root("immutable_file_with_token_rows", nodes::immutable_edit),
    root("immutable_store_in_user_mode", nodes::immutable_in_user_mode),
    root("append_only_store_in_user_mode", nodes::append_only_in_user_mode),
    root("store_of_another_user", nodes::of_root),
    root("store_without_permissions", nodes::no_permission),
    root("profile_without_permissions", nodes::no_permission_above),
    root("bind_mount_for_a_profile", nodes::bind_mount),
    root("read_only_mount_for_a_profile", nodes::read_only_mount),
    root("file_system_for_a_store", nodes::memory_for_a_store),
    root("file_system_below_a_store", nodes::memory_below_a_store),
    root("full_disk", nodes::full_disk),
    root("quota_is_used_up", disks::over_quota),
    root("overlay_for_a_home", disks::overlay),
    root("btrfs_snapshot_of_the_home", disks::snapshot),
    root("snapper_snapshot_of_the_home", disks::snapper),
    root("btrfs_subvolume_for_a_profile", disks::subvolume_profile),
    root("btrfs_subvolume_for_a_store", disks::subvolume_store),
    root("read_only_subvolume_for_a_profile", disks::read_only_subvolume),
    root("timeshift_copy_of_the_home", disks::timeshift),
    root("unlinked_blocks_on_the_disk", disks::blocks),
    anyone("silly_name_that_a_process_holds", holders::silly_name),
    anyone("names_of_255_bytes", nodes::long_names),
    anyone("very_many_files", nodes::many_files),
    anyone("deeper_than_any_path", nodes::deep_tree),
    anyone("fifo_for_a_store", nodes::fifo),
    anyone("socket_for_a_store", nodes::socket),
    root("device_for_a_store", nodes::device),
    anyone("directory_for_a_file", nodes::directory_for_a_file),
];

/// The traps whose name contains `only`, that this user can prepare.
pub fn chosen(only: Option<&str>) -> Vec<Trap> {
    let wanted = |trap: &Trap| only.is_none_or(|part| trap.name.contains(part));
    let possible = |trap: &Trap| {
        let possible = is_root() || !trap.needs_root;
        if !possible {
            eprintln!("   {}: left out, only root can prepare it", trap.name);
        }
        possible
    };
    TRAPS.into_iter().filter(wanted).filter(possible).collect()
}

/// Springs `traps`, one after the other, each in homes of its own; BleachBit gets the same when
/// `compare` says so.
///
/// # Errors
/// A trap could not be prepared, or a cleaner not be started.
pub fn spring(traps: &[Trap], quick: bool, compare: bool) -> Result<Vec<Sprung>> {
    let ground = Ground::new()?;
    let owner = ground.person("trapped")?;
    let warden = warden::program()?;
    let mut all = Vec::new();
    for trap in traps {
        let scene = |side: &str| -> Result<Scene<'_>> {
            let mut scene = Scene::new(&ground, &owner, &format!("{}-{side}", trap.name), quick)?;
            (trap.prepare)(&mut scene)?;
            scene.control()?;
            Ok(scene)
        };
        let ours = scene("ours").and_then(|scene| ours(trap, &warden, scene));
        let mut sprung = ours.with_context(|| trap.name)?;
        if compare {
            let theirs = scene("theirs").and_then(theirs).with_context(|| trap.name)?;
            sprung.bleachbit = Some(theirs);
        }
        eprintln!("   {}", sprung.line());
        all.push(sprung);
    }
    Ok(all)
}

fn ours(trap: &Trap, warden: &std::path::Path, scene: Scene<'_>) -> Result<Sprung> {
    let said = warden::close(warden, &scene)?;
    let found = scene.truth()?;
    let mut wrong = judge::wrong(&scene.secrets, &said.stores, &found);
    let unsaid = scene.sayings.iter().filter(|words| !said.mentions(words));
    wrong.extend(unsaid.map(|words| Wrong::Unsaid { what: (*words).to_owned() }));
    let sprung = Sprung {
        name: trap.name,
        verdict: judge::worst(&said.stores),
        truth: truth(found.len()),
        outcome: said.outcome,
        wrong,
        left: found.into_iter().map(|found| found.place).take(4).collect(),
        lost: scene.lost(),
        bleachbit: None,
    };
    scene.end()?;
    Ok(sprung)
}

/// What of a receipt, as the warden printed it, is wrong of a scene that it closed.
///
/// # Errors
/// It is no receipt, or the home could not be searched.
pub fn judged(scene: &Scene<'_>, said: &[u8]) -> Result<Vec<Wrong>> {
    let said: warden::Said = serde_json::from_slice(said)?;
    Ok(judge::wrong(&scene.secrets, &said.stores, &scene.truth()?))
}

fn theirs(scene: Scene<'_>) -> Result<Other> {
    let rc = bleachbit::clean(&scene)?;
    let found = scene.truth()?;
    let is_left = |(index, _): &(usize, &Secret)| found.iter().any(|it| it.secret == *index);
    let left: Vec<String> = scene
        .secrets
        .iter()
        .enumerate()
        .filter(is_left)
        .map(|(_, secret)| format!("{} {}", secret.app, secret.store))
        .collect();
    let other = Other { rc, truth: truth(left.len()), left, lost: scene.lost() };
    scene.end()?;
    Ok(other)
}

fn truth(left: usize) -> &'static str {
    if left == 0 { "gone" } else { "left" }
}

impl Sprung {
    fn line(&self) -> String {
        let wrong: String = self.wrong.iter().map(|wrong| format!("\n      {wrong}")).collect();
        let lost =
            if self.lost.is_empty() { String::new() } else { format!(", lost {:?}", self.lost) };
        let other = self.bleachbit.as_ref().map_or_else(String::new, |other| {
            format!("; BleachBit: rc {} (truth: {})", other.rc, other.truth)
        });
        format!("{}: {} (truth: {}){lost}{other}{wrong}", self.name, self.verdict, self.truth)
    }
}
