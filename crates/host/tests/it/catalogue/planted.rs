//! A home in which everything is planted that an app's entry speaks of.
//!
//! It refuses to plant one thing over another: what was there first stays.

use std::collections::BTreeSet;

use exeunt_catalogue::{Action, App, Layout, Platform, StoreRule};
use exeunt_domain::Tier;
use exeunt_testkit::contract::files::FilesRig;

use super::fixture;
use crate::homes::Home;

/// What was planted for one app.
pub(crate) struct Planted<'c> {
    app: &'c App,
    /// By rule: the paths of its examples.
    rows: Vec<(&'c StoreRule, Vec<String>)>,
    /// Paths that no rule of the app may reach, by the tier that they are kept at.
    keeps: Vec<(Tier, String)>,
}

impl<'c> Planted<'c> {
    /// Plants every example of every rule at every root of the app.
    pub(crate) fn all_of(app: &'c App, home: &Home) -> Self {
        let spelt = |texts: &[String]| {
            let here = texts.iter().filter(|text| !text.contains("{runtime}"));
            here.flat_map(|text| app.spelt_out(text)).collect::<Vec<_>>()
        };
        let rows: Vec<_> =
            app.stores.iter().map(|rule| (rule, spelt(&rule.examples.removes))).collect();
        let keeps: Vec<(Tier, String)> = app
            .stores
            .iter()
            .flat_map(|rule| spelt(&rule.examples.keeps).into_iter().map(|path| (rule.tier, path)))
            .collect();
        let planted = Self { app, rows, keeps };
        planted.plant(home);
        planted
    }

    /// The app's id.
    pub(crate) fn id(&self) -> &str {
        self.app.id.as_str()
    }

    /// The stores of exactly that tier of which something was planted where nothing else stood.
    pub(crate) fn rows_of(&self, tier: Tier) -> impl Iterator<Item = &str> {
        let rows = self.rows.iter().filter(move |(rule, paths)| {
            let generic = self.id() == "electron-generic";
            rule.tier == tier && !paths.is_empty() && !generic
        });
        rows.map(|(rule, _)| rule.id.as_str())
    }

    fn plant(&self, home: &Home) {
        for (rule, paths) in &self.rows {
            if let Action::Edit(edit) = &rule.action {
                paths.iter().for_each(|path| put(home, path, &fixture::of_edit(edit)));
            }
        }
        for mark in self.marks() {
            put(home, &mark, b"{}");
        }
        for (rule, paths) in &self.rows {
            if rule.action == Action::Remove {
                paths.iter().for_each(|path| put(home, path, &content(path)));
            }
        }
        for (_, path) in &self.keeps {
            put(home, path, format!("{{\"a\": \"{}\"}}", fixture::KEPT).as_bytes());
        }
    }

    /// What makes a directory a root or a profile of this app.
    fn marks(&self) -> Vec<String> {
        let mut marks = BTreeSet::new();
        let all = self.rows.iter().flat_map(|(_, paths)| paths);
        let all: Vec<&String> = all.chain(self.keeps.iter().map(|(_, path)| path)).collect();
        for root in self.app.spelt_out("{root}") {
            for wanted in &self.app.requires {
                let name = wanted.to_string();
                let leaf = if name == "Local Storage" { "/leveldb/CURRENT" } else { "" };
                marks.insert(format!("{root}/{name}{leaf}"));
            }
            let (mark, of_root) = match self.app.layout {
                Layout::Chromium => ("Preferences", Some("Preferences")),
                Layout::Gecko => ("prefs.js", None),
                Layout::Electron | Layout::Flat => continue,
            };
            marks.extend(of_root.map(|mark| format!("{root}/{mark}")));
            let below = all.iter().filter_map(|path| path.strip_prefix(&format!("{root}/")));
            let cached = self.app.spelt_out("{cache}");
            let below_cache = all.iter().filter_map(|path| {
                cached.iter().find_map(|cache| path.strip_prefix(&format!("{cache}/")))
            });
            for rest in below.chain(below_cache) {
                let (parent, rest) = match rest.strip_prefix("Profiles/") {
                    Some(rest) => ("Profiles/", rest),
                    None => ("", rest),
                };
                let profile = rest.split('/').next().unwrap_or_default();
                let named = ["Default", "Profile ", "Guest ", "abcd.", "x."];
                if rest.contains('/') && named.iter().any(|start| profile.starts_with(start)) {
                    marks.insert(format!("{root}/{parent}{profile}/{mark}"));
                }
            }
        }
        marks.into_iter().collect()
    }

    /// Which examples are not as they should be after a close at `tier`.
    pub(crate) fn faults(&self, home: &Home, tier: Tier) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |path: &str, what: &str| {
            faults.push(format!("{}: {tier}: {path}: {what}", self.app.id));
        };
        for (rule, paths) in self.rows.iter().filter(|(rule, _)| rule.tier <= tier) {
            for path in paths {
                match (&rule.action, home.content(path)) {
                    (Action::Remove | Action::Edit(_), None) => {}
                    (Action::Remove, Some(_)) => fault(path, "is still there"),
                    (Action::Edit(_), Some(bytes)) => {
                        if fixture::holds(&bytes, fixture::SECRET) {
                            fault(path, "still holds its secret");
                        }
                        if !fixture::holds(&bytes, fixture::KEPT) {
                            fault(path, "lost what was to stay");
                        }
                    }
                }
            }
        }
        for (kept_at, path) in self.keeps.iter().filter(|(kept_at, _)| *kept_at >= tier) {
            if !home.path(path).exists() {
                fault(path, &format!("is kept at {kept_at} and is gone"));
            }
        }
        faults
    }

    fn is_edited(&self, path: &str) -> bool {
        let edits = self.rows.iter().filter(|(rule, _)| rule.action != Action::Remove);
        edits.into_iter().any(|(_, paths)| paths.iter().any(|edited| edited == path))
    }

    /// Whether a rule of the app, by its own words, reaches the path at that tier.
    pub(crate) fn may_change(&self, path: &str, tier: Tier) -> bool {
        let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
        let ruled = self.app.rules_for(Platform::Linux, &parts).any(|rule| rule.tier <= tier);
        // What lies beside a database that is edited is its own.
        let beside = ["-wal", "-shm", "-journal"].iter().filter_map(|tail| path.strip_suffix(tail));
        ruled || beside.into_iter().any(|database| self.is_edited(database))
    }
}

/// Plants a file, unless something stands there or in the way.
fn put(home: &Home, path: &str, bytes: &[u8]) {
    let place = home.path(path);
    let blocked = place.ancestors().skip(1).take_while(|up| *up != home.root());
    let file_in_the_way = blocked.into_iter().any(|up| up.is_file());
    if !place.exists() && !file_in_the_way {
        home.put(path, bytes);
    }
}

/// What a file of that name would hold, as far as the format is anybody's business.
fn content(path: &str) -> Vec<u8> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let group = ["-wal", "-shm", "-journal"].iter().any(|tail| name.ends_with(tail));
    let sqlite = name.ends_with(".sqlite") || name.ends_with(".db") || !name.contains('.');
    match name {
        _ if group => fixture::SECRET.as_bytes().repeat(64),
        "CURRENT" => b"MANIFEST-000001\n".to_vec(),
        _ if name.ends_with(".json") => {
            format!("{{\"access_token\":\"{}\"}}", fixture::SECRET).into_bytes()
        }
        _ if sqlite => fixture::whole_database(name),
        _ => fixture::SECRET.as_bytes().to_vec(),
    }
}
