//! Finds where apps live in a home: known places, every profile, and the directories that live
//! processes name.
//!
//! It refuses to list from memory: a profile is what the disk or a process shows.

use std::collections::BTreeSet;

use exeunt_catalogue::{App, Glob, Layout, Place, Platform, RelGlob};

use crate::ports::{Entry, FileKind, Files, FilesError, Name, Process};
use crate::survey::Refusal;

/// Largest `profiles.ini` read, in bytes.
const MAX_INI_BYTES: usize = 256 << 10;
/// Largest `Local State` read, in bytes.
const MAX_STATE_BYTES: usize = 16 << 20;
/// A directory that holds one of these is a Chromium profile, whatever names it.
const CHROMIUM_MARKS: [&str; 4] = ["Preferences", "Cookies", "Local Storage", "Network"];
/// A directory that holds one of these is a Gecko profile, whatever names it.
const GECKO_MARKS: [&str; 4] =
    ["prefs.js", "cookies.sqlite", "cookies.sqlite-wal", "sessionstore-backups"];

/// One profile of one app, by its open directories.
pub(crate) struct Instance<'c, D> {
    pub(crate) app: &'c App,
    pub(crate) profile: String,
    pub(crate) profile_dir: D,
    /// The app's root, when this is the root's first profile: root stores are surveyed once.
    pub(crate) root_dir: Option<D>,
    pub(crate) cache_dir: Option<D>,
}

/// Everything found so far, and every place that could not be entered.
pub(crate) struct Finder<'h, 'c, F: Files> {
    files: &'h F,
    platform: Platform,
    seen: BTreeSet<(String, Vec<Name>)>,
    pub(crate) instances: Vec<Instance<'c, F::Dir>>,
    pub(crate) refusals: Vec<Refusal>,
}

impl<'h, 'c, F: Files> Finder<'h, 'c, F> {
    pub(crate) fn new(files: &'h F, platform: Platform) -> Self {
        let (seen, instances, refusals) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { files, platform, seen, instances, refusals }
    }

    /// Looks for `app` in the places that the catalogue names.
    pub(crate) fn known_places(&mut self, app: &'c App) {
        for place in app.roots(self.platform) {
            let Some(base) = self.base(app, place) else { continue };
            let cache = app.cache_of(self.platform, place);
            for root in self.walk(app, &base, place.path.components()) {
                let cache = cache.and_then(|cache| self.cache_root(app, cache, place, &root));
                self.root(app, root, cache);
            }
        }
    }

    /// Looks for `app` in the directories that its live processes name.
    pub(crate) fn live_places(&mut self, app: &'c App, processes: &[Process]) {
        for rule in &app.env_dirs {
            // A command-line tool is seldom running: any process of the account may carry it.
            let named = processes.iter().filter_map(|process| process.env.get(&rule.variable));
            let paths: BTreeSet<&Vec<u8>> = named.collect();
            for path in paths {
                // One outside the home is as often the machine's own as the account's: left alone.
                if matches!(self.files.beneath_home(path), Ok(Some(_))) {
                    self.live_dir(app, path);
                }
            }
        }
        for process in processes.iter().filter(|process| belongs(app, process)) {
            for path in named_profiles(app, &process.args) {
                self.live_dir(app, &path);
            }
            for readings in retitled_profiles(app, &process.args) {
                let here = |path: &&Vec<u8>| matches!(self.files.beneath_home(path), Ok(Some(_)));
                let chosen = readings.iter().find(here).or(readings.last()).cloned();
                chosen.into_iter().for_each(|path| self.live_dir(app, &path));
            }
            if let Some(home) = process.env.get("HOME") {
                self.other_home(app, home);
            }
        }
    }

    fn live_dir(&mut self, app: &'c App, path: &[u8]) {
        match self.files.beneath_home(path) {
            Ok(Some(dir)) if app.layout == Layout::Gecko => {
                let profile = last_name(&self.files.place(&dir));
                self.instance(app, profile, dir, None, None);
            }
            Ok(Some(dir)) => self.root(app, dir, None),
            Ok(None) => self.refuse(app, shown(path), "outside the home, so not touched"),
            Err(error) => self.refuse(app, shown(path), &error.to_string()),
        }
    }

    /// A process whose `HOME` is a directory of this home keeps its apps' data there.
    fn other_home(&mut self, app: &'c App, home: &[u8]) {
        let Ok(Some(dir)) = self.files.beneath_home(home) else { return };
        if self.files.place(&dir).is_empty() {
            return;
        }
        for place in app.roots(self.platform) {
            let Some(components) = place.from_home(self.platform) else { continue };
            for root in self.walk(app, &dir, &components) {
                self.root(app, root, None);
            }
        }
    }

    fn root(&mut self, app: &'c App, root: F::Dir, cache: Option<F::Dir>) {
        if !app.requires.iter().all(|wanted| self.exists(app, &root, wanted)) {
            return;
        }
        match app.layout {
            Layout::Flat => self.instance(app, String::new(), root.clone(), Some(root), cache),
            Layout::Electron => self.electron(app, root, cache),
            Layout::Chromium => self.chromium(app, root, cache),
            Layout::Gecko => self.gecko(app, root, cache),
        }
    }

    fn electron(&mut self, app: &'c App, root: F::Dir, cache: Option<F::Dir>) {
        let partitions = Name::new(b"Partitions").and_then(|name| self.enter(app, &root, &name));
        self.instance(app, String::new(), root.clone(), Some(root), cache);
        let Some(partitions) = partitions else { return };
        for name in self.directories(app, &partitions) {
            if let Some(dir) = self.enter(app, &partitions, &name) {
                self.instance(app, format!("Partitions/{}", name.to_shown()), dir, None, None);
            }
        }
    }

    fn chromium(&mut self, app: &'c App, root: F::Dir, cache: Option<F::Dir>) {
        let mut owner = Some(root.clone());
        if self.holds(&root, "Preferences") {
            self.instance(app, String::new(), root.clone(), owner.take(), cache.clone());
        }
        let named = self.named_in_local_state(&root);
        for name in self.profile_names(app, &root) {
            let Some(dir) = self.enter(app, &root, &name) else { continue };
            if named.contains(&name) || self.holds_any(&dir, &CHROMIUM_MARKS) {
                let cache = cache.as_ref().and_then(|cache| self.enter(app, cache, &name));
                self.instance(app, name.to_shown(), dir, owner.take(), cache);
            }
        }
    }

    fn gecko(&mut self, app: &'c App, root: F::Dir, cache: Option<F::Dir>) {
        let mut owner = Some(root.clone());
        for path in self.named_in_ini(&root) {
            if path.starts_with(b"/") {
                self.live_dir(app, &path);
                continue;
            }
            let dir = self.descend(app, &root, &path);
            let cache = cache.as_ref().and_then(|cache| self.descend(app, cache, &path));
            if let Some(dir) = dir {
                let profile = last_name(&self.files.place(&dir));
                self.instance(app, profile, dir, owner.take(), cache);
            }
        }
        let profiles = Name::new(b"Profiles").and_then(|name| self.enter(app, &root, &name));
        for parent in [Some(root), profiles].into_iter().flatten() {
            for name in self.profile_names(app, &parent) {
                let Some(dir) = self.enter(app, &parent, &name) else { continue };
                if self.holds_any(&dir, &GECKO_MARKS) {
                    let cache = cache.as_ref().and_then(|cache| self.enter(app, cache, &name));
                    self.instance(app, name.to_shown(), dir, owner.take(), cache);
                }
            }
        }
    }

    /// The `Path=` values of `profiles.ini`.
    fn named_in_ini(&self, root: &F::Dir) -> Vec<Vec<u8>> {
        let Some(name) = Name::new(b"profiles.ini") else { return Vec::new() };
        let Ok(text) = self.files.read(root, &name, MAX_INI_BYTES) else { return Vec::new() };
        profile_paths(&text)
    }

    /// The profiles that `Local State` lists.
    fn named_in_local_state(&self, root: &F::Dir) -> Vec<Name> {
        let Some(name) = Name::new(b"Local State") else { return Vec::new() };
        let Ok(text) = self.files.read(root, &name, MAX_STATE_BYTES) else { return Vec::new() };
        listed_profiles(&text)
    }

    fn instance(
        &mut self,
        app: &'c App,
        profile: String,
        profile_dir: F::Dir,
        root_dir: Option<F::Dir>,
        cache_dir: Option<F::Dir>,
    ) {
        let key = (app.id.as_str().to_owned(), self.files.place(&profile_dir));
        if self.seen.insert(key) {
            self.instances.push(Instance { app, profile, profile_dir, root_dir, cache_dir });
        }
    }

    /// The cache place of the very root that was found, when the place has wildcards.
    fn cache_root(
        &mut self,
        app: &App,
        cache: &Place,
        place: &Place,
        root: &F::Dir,
    ) -> Option<F::Dir> {
        let base = self.base(app, cache)?;
        if cache.path.is_literal() || !place.path.is_literal() && cache.path != place.path {
            return self.walk(app, &base, cache.path.components()).into_iter().next();
        }
        let names = self.files.place(root);
        let depth = cache.path.components().len();
        let tail = names.get(names.len().saturating_sub(depth)..)?;
        tail.iter().try_fold(base, |dir, name| self.enter(app, &dir, name))
    }

    fn base(&mut self, app: &App, place: &Place) -> Option<F::Dir> {
        match self.files.base(place.base) {
            Ok(base) => base,
            Err(error) => {
                self.refuse(app, place.to_string(), &error.to_string());
                None
            }
        }
    }

    /// Every directory that `components` reach from `start`.
    pub(crate) fn walk(&mut self, app: &App, start: &F::Dir, components: &[Glob]) -> Vec<F::Dir> {
        let mut reached = vec![start.clone()];
        for glob in components {
            let mut next = Vec::new();
            for dir in reached {
                for name in self.names(app, &dir, glob) {
                    next.extend(self.enter(app, &dir, &name));
                }
            }
            reached = next;
        }
        reached
    }

    fn names(&mut self, app: &App, dir: &F::Dir, glob: &Glob) -> Vec<Name> {
        if glob.is_literal() {
            return Name::new(glob.as_str().as_bytes()).into_iter().collect();
        }
        self.directories(app, dir)
            .into_iter()
            .filter(|name| glob.matches(name.as_bytes()))
            .collect()
    }

    fn descend(&mut self, app: &App, start: &F::Dir, path: &[u8]) -> Option<F::Dir> {
        path.split(|byte| *byte == b'/')
            .map(Name::new)
            .try_fold(start.clone(), |dir, name| self.enter(app, &dir, &name?))
    }

    fn enter(&mut self, app: &App, dir: &F::Dir, name: &Name) -> Option<F::Dir> {
        match self.files.enter(dir, name) {
            Ok(dir) => Some(dir),
            Err(FilesError::NotFound) => None,
            Err(error) => {
                let mut place = self.files.place(dir);
                place.push(name.clone());
                self.refuse(app, crate::bounds::show(&place), &error.to_string());
                None
            }
        }
    }

    /// Subdirectories of a browser's root, and symbolic links in their place: entering one of
    /// those is refused and said. The browsers' own lock links are no profiles.
    fn profile_names(&mut self, app: &App, root: &F::Dir) -> Vec<Name> {
        let lock = |name: &Name| name.as_bytes().starts_with(b"Singleton");
        self.listed(app, root, |entry: &Entry| match entry.kind {
            FileKind::Dir => true,
            FileKind::Symlink => !lock(&entry.name),
            FileKind::File | FileKind::Special => false,
        })
    }

    fn directories(&mut self, app: &App, dir: &F::Dir) -> Vec<Name> {
        self.listed(app, dir, |entry| entry.kind == FileKind::Dir)
    }

    fn listed(&mut self, app: &App, dir: &F::Dir, keep: impl Fn(&Entry) -> bool) -> Vec<Name> {
        match self.files.list(dir) {
            Ok(entries) => entries.into_iter().filter(keep).map(|entry| entry.name).collect(),
            Err(error) => {
                let place = crate::bounds::show(&self.files.place(dir));
                self.refuse(app, place, &error.to_string());
                Vec::new()
            }
        }
    }

    fn exists(&mut self, app: &App, root: &F::Dir, wanted: &RelGlob) -> bool {
        let Some((last, parents)) = wanted.components().split_last() else { return true };
        self.walk(app, root, parents).iter().any(|dir| {
            Name::new(last.as_str().as_bytes())
                .is_some_and(|name| matches!(self.files.look(dir, &name), Ok(Some(_))))
        })
    }

    fn holds(&self, dir: &F::Dir, file: &str) -> bool {
        Name::new(file.as_bytes())
            .is_some_and(|name| matches!(self.files.look(dir, &name), Ok(Some(_))))
    }

    fn holds_any(&self, dir: &F::Dir, files: &[&str]) -> bool {
        files.iter().any(|file| self.holds(dir, file))
    }

    pub(crate) fn refuse(&mut self, app: &App, place: String, why: &str) {
        let refusal = Refusal { app: app.id.clone(), place, why: why.to_owned() };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }
}

/// Whether a process is one of the app's, by its executable's or its command's name.
fn belongs(app: &App, process: &Process) -> bool {
    let exe = process.exe.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    app.processes.iter().any(|name| {
        name.as_bytes() == exe || *name == process.comm || {
            let cut = name.len().min(15);
            name.is_char_boundary(cut) && name.get(..cut) == Some(process.comm.as_str())
        }
    })
}

/// The directories that follow one of the app's profile arguments.
fn named_profiles(app: &App, args: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        for option in &app.profile_args {
            let option = option.trim_end_matches('=').as_bytes();
            let Some(rest) = arg.strip_prefix(option) else { continue };
            match rest.split_first() {
                Some((b'=', value)) if !value.is_empty() => found.push(value.to_vec()),
                None => found.extend(args.get(at + 1).cloned()),
                Some(_) => {}
            }
        }
    }
    found
}

/// The same, from a command line that the process itself rewrote as one text: Chromium's main
/// process joins its arguments with spaces. A directory may hold spaces too, so each comes as every
/// reading, longest first.
fn retitled_profiles(app: &App, args: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let [title] = args else { return Vec::new() };
    let mut found = Vec::new();
    for option in &app.profile_args {
        let wanted = [b" ", option.trim_end_matches('=').as_bytes(), b"="].concat();
        for at in positions(title, &wanted) {
            let rest = title.get(at + wanted.len()..).unwrap_or_default();
            let end = positions(rest, b" -").first().copied().unwrap_or(rest.len());
            let longest = rest.get(..end).unwrap_or_default();
            let cuts = positions(longest, b" ").into_iter().rev();
            let shorter = cuts.filter_map(|cut| longest.get(..cut));
            let readings = std::iter::once(longest).chain(shorter).map(<[u8]>::to_vec);
            found.push(readings.filter(|path| path.starts_with(b"/")).collect());
        }
    }
    found
}

/// Where `wanted` begins in `text`, in order.
fn positions(text: &[u8], wanted: &[u8]) -> Vec<usize> {
    let windows = text.windows(wanted.len().max(1)).enumerate();
    windows.filter(|(_, window)| *window == wanted).map(|(at, _)| at).collect()
}

/// The `Path=` values of a `profiles.ini`, in order, without repeats. Any bytes have an answer.
#[must_use]
pub fn profile_paths(ini: &[u8]) -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = Vec::new();
    for line in ini.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let Some(path) = line.trim_ascii().strip_prefix(b"Path=") else { continue };
        let path = path.trim_ascii();
        if !path.is_empty() && !paths.iter().any(|seen| seen == path) {
            paths.push(path.to_vec());
        }
    }
    paths
}

/// The keys of `profile.info_cache` in a `Local State` that are names. Any bytes have an answer.
#[must_use]
pub fn listed_profiles(state: &[u8]) -> Vec<Name> {
    let state: serde_json::Value = serde_json::from_slice(state).unwrap_or_default();
    let listed = state.pointer("/profile/info_cache").and_then(serde_json::Value::as_object);
    let names = listed.into_iter().flatten().map(|(name, _)| Name::new(name.as_bytes()));
    names.flatten().collect()
}

fn last_name(place: &[Name]) -> String {
    place.last().map(Name::to_shown).unwrap_or_default()
}

pub(crate) fn shown(path: &[u8]) -> String {
    path.utf8_chunks().fold(String::new(), |mut out, chunk| {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_directory_from_a_command_line_that_the_browser_rewrote() {
        let catalogue = exeunt_catalogue::Catalogue::builtin().unwrap();
        let app = catalogue.apps().iter().find(|app| app.id.as_str() == "chromium").unwrap();
        let title = b"/usr/lib/chromium/chromium --first --user-data-dir=/a/my dir http://x --last";
        let found = retitled_profiles(app, &[title.to_vec()]);
        let shown: Vec<_> = found[0].iter().map(|path| shown(path)).collect();
        assert_eq!(shown, ["/a/my dir http://x", "/a/my dir", "/a/my"]);
        assert!(retitled_profiles(app, &[title.to_vec(), b"x".to_vec()]).is_empty());
    }

    #[test]
    fn reads_profiles_from_a_local_state_and_nothing_that_is_no_name() {
        let state = br#"{"profile":{"info_cache":{"Work":{},"../x":{},"":{},"Profile 1":{}}}}"#;
        let names: Vec<_> = listed_profiles(state).iter().map(Name::to_shown).collect();
        assert_eq!(names, ["Profile 1", "Work"]);
        assert!(listed_profiles(b"{\"profile\":[").is_empty());
    }

    #[test]
    fn reads_paths_from_a_profiles_ini_with_any_line_ends() {
        let ini = b"[Profile0]\r\nName=default\r\nPath=abc.default\r\n[Install]\nPath=/x\nPath=\n";
        assert_eq!(profile_paths(ini), [b"abc.default".to_vec(), b"/x".to_vec()]);
    }
}
