//! Places that no removal may reach, whatever an entry, an order or a site says.
//! It refuses to be widened or narrowed from outside: its data is compiled in.

use crate::entry::{App, Layout, PerPlatform};
use crate::error::CatalogueError;
use crate::glob::Glob;
use crate::place::{Base, Place, Platform};
use crate::schema::RawProtected;

/// The protected places and names of every platform.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    guards: PerPlatform<Vec<Guard>>,
    names: Vec<(Glob, String)>,
}

#[derive(Debug, Clone)]
struct Guard {
    pattern: Vec<Glob>,
    reach: Reach,
    reason: String,
}

/// How far below itself a guard reaches. Every guard also covers what it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Entry,
    Tree,
}

impl Protected {
    /// Why the file or directory at `path_from_home` must not be removed, or `None` if it may be.
    ///
    /// It must not be if it is a protected place, lies in a protected tree, holds a protected
    /// place, has a protected name among its components, is the home, or is no plain path.
    #[must_use]
    pub fn forbids(&self, platform: Platform, path_from_home: &[&[u8]]) -> Option<&str> {
        if path_from_home.is_empty() {
            return Some("the home directory");
        }
        let plain = |part: &&[u8]| {
            !matches!(*part, b"" | b"." | b"..") && !part.iter().any(|b| matches!(b, b'/' | 0))
        };
        if !path_from_home.iter().all(plain) {
            return Some("not a plain path below the home");
        }
        let same: fn(&Glob, &[u8]) -> bool = match platform {
            Platform::Linux => Glob::matches,
            Platform::Macos | Platform::Windows => Glob::matches_any_case,
        };
        let named =
            |(name, _): &&(Glob, String)| path_from_home.iter().any(|part| same(name, part));
        if let Some((_, reason)) = self.names.iter().find(named) {
            return Some(reason);
        }
        let hit = |guard: &&Guard| {
            guard.covers(path_from_home.len())
                && guard.pattern.iter().zip(path_from_home).all(|(glob, part)| same(glob, part))
        };
        self.guards.on(platform).iter().find(hit).map(|guard| guard.reason.as_str())
    }

    /// What could be in the way of removals below `start`.
    pub(crate) fn near<'a>(&'a self, platform: Platform, start: &[Glob]) -> Near<'a> {
        let meets = |guard: &&Guard| {
            guard.pattern.iter().zip(start).all(|(glob, part)| glob.overlaps(part))
        };
        let guards = self.guards.on(platform).iter().filter(meets).collect();
        let literal = start.iter().take_while(|part| part.is_literal()).count();
        Near { named: self.named(start), guards, depth: start.len(), literal }
    }

    /// Why a removal of whatever `pattern` matches could meet a protected name.
    pub(crate) fn named(&self, pattern: &[Glob]) -> Option<&str> {
        let plain = |name: &Glob, glob: &Glob| {
            !glob.as_str().starts_with('*')
                && (name.is_literal() || glob.is_literal())
                && name.overlaps(glob)
        };
        let hit = |(name, _): &&(Glob, String)| pattern.iter().any(|glob| plain(name, glob));
        self.names.iter().find(hit).map(|(_, reason)| reason.as_str())
    }

    /// Builds from the compiled-in file, with every base itself.
    pub(crate) fn load(
        raw: &RawProtected,
        place: impl Fn(&crate::schema::Text) -> Result<Place, CatalogueError>,
        name: impl Fn(&crate::schema::Text) -> Result<Glob, CatalogueError>,
    ) -> Result<Self, CatalogueError> {
        let mut protected = Self::default();
        for group in &raw.name {
            for text in &group.names {
                protected.names.push((name(text)?, group.reason.clone()));
            }
        }
        for group in &raw.place {
            for text in &group.trees {
                protected.guard(&place(text)?, Reach::Tree, &group.reason);
            }
            for text in &group.entries {
                protected.guard(&place(text)?, Reach::Entry, &group.reason);
            }
        }
        for platform in Platform::ALL {
            for base in [Base::Config, Base::Cache, Base::Data, Base::State] {
                let names = base.from_home(platform).unwrap_or_default();
                let pattern = names.iter().filter_map(|name| Glob::parse(name).ok()).collect();
                let reason = "a whole base directory".to_owned();
                protected.push(platform, Guard { pattern, reach: Reach::Entry, reason });
            }
        }
        Ok(protected)
    }

    /// Adds the directories of an app that hold profiles: only what is in them may go.
    pub(crate) fn add_profiles_of(&mut self, app: &App) {
        let profiles: &[&[&str]] = match app.layout {
            Layout::Chromium => &[&["Default"], &["Profile *"], &["Guest Profile"]],
            Layout::Gecko => &[&["*.default*"], &["Profiles", "*.default*"]],
            Layout::Electron => &[&["Partitions", "persist*"]],
            Layout::Flat => return,
        };
        for platform in Platform::ALL {
            for root in app.roots(platform).iter().filter(|root| root.path.is_literal()) {
                let Some(root) = root.from_home(platform) else { continue };
                for below in profiles {
                    let below = below.iter().filter_map(|name| Glob::parse(name).ok());
                    let pattern = root.iter().cloned().chain(below).collect();
                    let reason = format!("a profile of {}", app.name);
                    self.push(platform, Guard { pattern, reach: Reach::Entry, reason });
                }
            }
        }
    }

    fn guard(&mut self, place: &Place, reach: Reach, reason: &str) {
        for platform in Platform::ALL {
            if let Some(pattern) = place.from_home(platform) {
                self.push(platform, Guard { pattern, reach, reason: reason.to_owned() });
            }
        }
    }

    fn push(&mut self, platform: Platform, guard: Guard) {
        self.guards.on_mut(platform).push(guard);
    }

    /// Every guard and name as text, for the coverage hash.
    pub(crate) fn canonical(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.names.iter().map(|(name, _)| format!("name {name}")).collect();
        for platform in Platform::ALL {
            for guard in self.guards.on(platform) {
                let parts: Vec<&str> = guard.pattern.iter().map(Glob::as_str).collect();
                lines.push(format!("{platform:?} {:?} {}", guard.reach, parts.join("/")));
            }
        }
        lines.sort();
        lines
    }
}

/// The guards that a removal below one directory could meet.
///
/// A starred component counts as every name it could match, except that a star above the last
/// component is not taken to lead into a protected tree, nor a name that begins with a star, or
/// two starred names, to meet in a protected name: [`Protected::forbids`] settles those on the real path.
pub(crate) struct Near<'a> {
    named: Option<&'a str>,
    guards: Vec<&'a Guard>,
    depth: usize,
    literal: usize,
}

impl<'a> Near<'a> {
    /// Why a removal of whatever `path` matches below the directory could reach a guarded place;
    /// names are judged by [`Protected::named`].
    pub(crate) fn forbids(&self, path: &[Glob]) -> Option<&'a str> {
        let depth = self.depth + path.len();
        let hit = |guard: &&&Guard| {
            let literal = |(index, part): (usize, &Glob)| {
                self.depth + index >= guard.pattern.len() || part.is_literal()
            };
            let below = depth > guard.pattern.len();
            let led = self.literal >= self.depth.min(guard.pattern.len())
                && path.iter().enumerate().all(literal);
            guard.covers(depth)
                && (!below || led)
                && guard.pattern.iter().skip(self.depth).zip(path).all(|(g, p)| g.overlaps(p))
        };
        let guard = self.guards.iter().find(hit).map(|guard| guard.reason.as_str());
        self.named.or(guard)
    }
}

impl Guard {
    fn covers(&self, depth: usize) -> bool {
        depth <= self.pattern.len() || self.reach == Reach::Tree
    }
}
