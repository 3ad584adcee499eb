//! Every entry proves itself: its example paths are run against the matcher that names its files.
//! It refuses to look at a disk; an example is a path below a Linux home, written by hand.

use std::fmt;

use crate::entry::{App, Layout, StoreRule, Within};
use crate::glob::Glob;
use crate::ids::{AppId, StoreId};
use crate::place::{Place, Platform};
use crate::protected::Protected;

/// Example paths of one store, relative to a Linux home.
///
/// `{root}` stands for each root of the app, `{cache}` for each cache place, `{runtime}` for the
/// runtime directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// Paths that the store's rule reaches.
    pub removes: Vec<String>,
    /// Paths that no rule of the app reaches at the store's tier.
    pub keeps: Vec<String>,
}

/// An example that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The app.
    pub app: AppId,
    /// The store whose example it is.
    pub store: StoreId,
    /// The example path, placeholders resolved.
    pub path: String,
    /// What is wrong.
    pub fault: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}: {}", self.app, self.store, self.path, self.fault)
    }
}

impl App {
    /// The store rules that reach a path: by naming it, or by removing a directory above it.
    ///
    /// This is the shape of names alone: whether a directory really is a profile, and whether the
    /// root holds what [`App::requires`] asks for, is seen on the disk.
    pub fn rules_for<'a>(
        &'a self,
        platform: Platform,
        path_from_home: &'a [&'a [u8]],
    ) -> impl Iterator<Item = &'a StoreRule> {
        self.stores.iter().filter(move |rule| {
            self.patterns(platform, rule, Profiles::Any).iter().any(|pattern| {
                pattern.len() <= path_from_home.len()
                    && pattern.iter().zip(path_from_home).all(|(glob, name)| glob.matches(name))
            })
        })
    }

    /// Runs every example of the app and says which do not hold.
    #[must_use]
    pub fn failures(&self, protected: &Protected) -> Vec<Failure> {
        let mut failures = Vec::new();
        for rule in &self.stores {
            let mut fail = |path: &str, fault| {
                failures.push(Failure {
                    app: self.id.clone(),
                    store: rule.id.clone(),
                    path: path.to_owned(),
                    fault,
                });
            };
            for path in rule.examples.removes.iter().flat_map(|text| self.concrete(text)) {
                let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
                if !self.rules_for(Platform::Linux, &parts).any(|found| found.id == rule.id) {
                    fail(&path, "the rule does not reach it");
                }
                let removes = rule.action == crate::entry::Action::Remove;
                if removes && protected.forbids(Platform::Linux, &parts).is_some() {
                    fail(&path, "it is protected");
                }
            }
            for path in rule.examples.keeps.iter().flat_map(|text| self.concrete(text)) {
                let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
                if self.rules_for(Platform::Linux, &parts).any(|found| found.tier <= rule.tier) {
                    fail(&path, "a rule reaches it");
                }
            }
        }
        failures
    }

    /// Every full pattern of a rule from the home (or from `{runtime}`) downwards.
    pub(crate) fn patterns(
        &self,
        platform: Platform,
        rule: &StoreRule,
        profiles: Profiles,
    ) -> Vec<Vec<Glob>> {
        let mut patterns: Vec<Vec<Glob>> =
            rule.at(platform).iter().map(|place| from_home(place, platform)).collect();
        for root in self.roots(platform) {
            let below = match rule.within {
                Within::Root => Some((root, &[&[] as &[&str]] as &[&[&str]])),
                Within::Profile => Some((root, profiles.of(self.layout))),
                Within::Cache => {
                    self.cache_of(platform, root).map(|cache| (cache, profiles.of(self.layout)))
                }
            };
            let Some((start, profiles)) = below else { continue };
            let start = from_home(start, platform);
            for profile in profiles {
                let profile: Vec<Glob> =
                    profile.iter().filter_map(|name| Glob::parse(name).ok()).collect();
                for path in &rule.paths {
                    let parts = start.iter().chain(&profile).chain(path.components());
                    patterns.push(parts.cloned().collect());
                }
            }
        }
        patterns
    }

    /// An example with its placeholder resolved: one path for each root or cache place.
    fn concrete(&self, text: &str) -> Vec<String> {
        let spell = |place: &Place| {
            let parts = from_home(place, Platform::Linux);
            let parts: Vec<String> =
                parts.iter().map(|glob| glob.as_str().replace('*', "x")).collect();
            parts.join("/")
        };
        let roots = self.roots(Platform::Linux);
        if text.contains("{root}") {
            roots.iter().map(|root| text.replace("{root}", &spell(root))).collect()
        } else if text.contains("{cache}") {
            let caches = roots.iter().filter_map(|root| self.cache_of(Platform::Linux, root));
            caches.map(|cache| text.replace("{cache}", &spell(cache))).collect()
        } else {
            vec![text.to_owned()]
        }
    }
}

/// Which profile directories a pattern stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profiles {
    /// Any name, as the survey may find it.
    Any,
    /// Usual names: what a static judgement needs.
    Usual,
}

impl Profiles {
    fn of(self, layout: Layout) -> &'static [&'static [&'static str]] {
        match (self, layout) {
            (Profiles::Any, Layout::Chromium) => &[&[], &["*"]],
            (Profiles::Any, Layout::Gecko) => &[&["*"], &["Profiles", "*"]],
            (Profiles::Any, Layout::Electron) => &[&[], &["Partitions", "*"]],
            (Profiles::Usual, Layout::Chromium) => &[&[], &["Default"], &["Profile 1"]],
            (Profiles::Usual, Layout::Gecko) => &[&["a.default"], &["Profiles", "a.default"]],
            (Profiles::Usual, Layout::Electron) => &[&[], &["Partitions", "persist"]],
            (Profiles::Any | Profiles::Usual, Layout::Flat) => &[&[]],
        }
    }
}

fn from_home(place: &Place, platform: Platform) -> Vec<Glob> {
    place.from_home(platform).unwrap_or_else(|| {
        let outside = Glob::parse("{runtime}").ok();
        outside.into_iter().chain(place.path.components().iter().cloned()).collect()
    })
}
