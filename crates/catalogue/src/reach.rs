//! Which paths a rule reaches, by names alone, and whether it could reach a protected place.
//! It refuses to say what is really there: whether a directory is a profile is seen on the disk.

use crate::entry::{Action, App, Layout, StoreRule, Within};
use crate::glob::{Glob, RelGlob};
use crate::ids::StoreId;
use crate::place::{Place, Platform};
use crate::protected::Protected;

impl App {
    /// The store rules that reach a path: by naming it, or by removing a directory above it.
    ///
    /// This is the shape of names alone: whether a directory really is a profile, and whether the
    /// root holds what [`App::requires`] asks for, is seen on the disk.
    pub fn rules_for<'a>(
        &'a self,
        platform: Platform,
        path_from_home: &[&[u8]],
    ) -> impl Iterator<Item = &'a StoreRule> + use<'a> {
        let profile = Start::all(self, platform, Within::Profile, Profiles::Any);
        let root = Start::all(self, platform, Within::Root, Profiles::Any);
        let cache = Start::all(self, platform, Within::Cache, Profiles::Any);
        let reaches = |rule: &&StoreRule| {
            let starts = match rule.within {
                Within::Profile => &profile,
                Within::Root => &root,
                Within::Cache => &cache,
            };
            let at = rule.at(platform).iter();
            let placed = at
                .into_iter()
                .any(|place| rest(&from_home(place, platform), path_from_home).is_some());
            placed
                || starts.iter().filter_map(|start| rest(&start.0, path_from_home)).any(|below| {
                    rule.paths.iter().any(|path| rest(path.components(), below).is_some())
                })
        };
        self.stores.iter().filter(reaches).collect::<Vec<_>>().into_iter()
    }

    /// Each removal that could reach a protected place.
    pub(crate) fn trespasses(&self, protected: &Protected) -> Vec<Trespass> {
        let mut found = Vec::new();
        for (rule, path) in self.removals() {
            if let Some(reason) = protected.named(path.components()) {
                found.push(Trespass::new(rule, path.to_string(), reason));
            }
        }
        for platform in Platform::ALL {
            for within in [Within::Profile, Within::Root, Within::Cache] {
                for start in Start::all(self, platform, within, Profiles::Usual) {
                    let near = protected.near(platform, &start.0);
                    for (rule, path) in self.removals().filter(|(rule, _)| rule.within == within) {
                        if let Some(reason) = near.forbids(path.components()) {
                            let path = format!("{}/{path}", start.text());
                            found.push(Trespass::new(rule, path, reason));
                        }
                    }
                }
            }
            let near = protected.near(platform, &[]);
            for rule in self.stores.iter().filter(|rule| rule.action == Action::Remove) {
                for place in rule.at(platform) {
                    let path = from_home(place, platform);
                    if let Some(reason) = protected.named(&path).or_else(|| near.forbids(&path)) {
                        found.push(Trespass::new(rule, place.to_string(), reason));
                    }
                }
            }
        }
        found
    }

    fn removals(&self) -> impl Iterator<Item = (&StoreRule, &RelGlob)> {
        let rules = self.stores.iter().filter(|rule| rule.action == Action::Remove);
        rules.flat_map(|rule| rule.paths.iter().map(move |path| (rule, path)))
    }
}

/// A removal that could reach a protected place.
pub(crate) struct Trespass {
    pub(crate) rule: StoreId,
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Trespass {
    fn new(rule: &StoreRule, path: String, reason: &str) -> Self {
        Self { rule: rule.id.clone(), path, reason: reason.to_owned() }
    }
}

/// A place from the home downwards; the runtime directory is given the name `{runtime}`.
pub(crate) fn from_home(place: &Place, platform: Platform) -> Vec<Glob> {
    place.from_home(platform).unwrap_or_else(|| {
        let outside = Glob::parse("{runtime}").ok();
        outside.into_iter().chain(place.path.components().iter().cloned()).collect()
    })
}

/// Where a rule's paths begin: a root or cache place, and a profile in it.
struct Start(Vec<Glob>);

impl Start {
    fn all(app: &App, platform: Platform, within: Within, profiles: Profiles) -> Vec<Self> {
        let mut starts = Vec::new();
        for root in app.roots(platform) {
            let place = match within {
                Within::Root | Within::Profile => Some(root),
                Within::Cache => app.cache_of(platform, root),
            };
            let Some(place) = place else { continue };
            let profiles = match within {
                Within::Root => &[&[] as &[&str]] as &[&[&str]],
                Within::Profile | Within::Cache => profiles.of(app.layout),
            };
            let place = from_home(place, platform);
            for profile in profiles {
                let profile = profile.iter().filter_map(|name| Glob::parse(name).ok());
                starts.push(Self(place.iter().cloned().chain(profile).collect()));
            }
        }
        starts
    }

    fn text(&self) -> String {
        let parts: Vec<&str> = self.0.iter().map(Glob::as_str).collect();
        parts.join("/")
    }
}

/// Which profile directories a start stands for.
#[derive(Debug, Clone, Copy)]
enum Profiles {
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

/// What of `path` lies below `pattern`, when the pattern matches its first parts.
fn rest<'p, 'n>(pattern: &[Glob], path: &'p [&'n [u8]]) -> Option<&'p [&'n [u8]]> {
    let (head, tail) = path.split_at_checked(pattern.len())?;
    pattern.iter().zip(head).all(|(glob, name)| glob.matches(name)).then_some(tail)
}
