//! A home in memory: directories, files and links as inodes, with faults to order.
//!
//! It refuses nothing that a real file system allows, and follows no link.

mod port;
mod tree;

use std::sync::{Mutex, MutexGuard, PoisonError};

use exeunt_engine::ports::{Bell, Identity, Name, Spot};

use tree::{Body, Node, Quarantines, State};

/// A home in memory. Build it with [`FakeFiles::file`] and its like, in any order.
#[derive(Debug)]
pub struct FakeFiles {
    state: Mutex<State>,
}

/// A directory of a [`FakeFiles`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeDir {
    node: u64,
    place: Vec<Name>,
}

/// A quarantine of a [`FakeFiles`]: a directory outside the home.
#[derive(Debug)]
pub struct FakeQuarantine {
    node: u64,
}

impl Default for FakeFiles {
    fn default() -> Self {
        Self::new()
    }
}

/// Building, looking and breaking, for tests. Paths are relative to the home, with slashes.
impl FakeFiles {
    /// An empty home.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::new(State::new()) }
    }

    /// Adds a file, with the directories on the way.
    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.put(path, content);
        self
    }

    /// Adds a file in which an edit of any format finds `rows` matches once. Its content stays.
    #[must_use]
    pub fn file_with_rows(self, path: &str, rows: u64) -> Self {
        let node = self.put(path, b"kept");
        self.state().node_mut(node).rows = rows;
        self
    }

    /// Adds a directory, with those on the way.
    #[must_use]
    pub fn dir(self, path: &str) -> Self {
        self.state().make_dirs(&names(path));
        self
    }

    /// Adds a symbolic link; where it points does not matter, since nothing follows it.
    #[must_use]
    pub fn symlink(self, path: &str) -> Self {
        self.put_symlink(path);
        self
    }

    /// Adds a FIFO, socket or device.
    #[must_use]
    pub fn special(self, path: &str) -> Self {
        self.state().add(&names(path), Node::new(Body::Special));
        self
    }

    /// Gives the file at `path` another name.
    #[must_use]
    pub fn link(self, path: &str, other: &str) -> Self {
        self.put_link(path, other);
        self
    }

    /// Makes another file system begin at `path`, which must be there.
    #[must_use]
    pub fn mount(self, path: &str) -> Self {
        self.change(path, |node| node.mount_point = true);
        self
    }

    /// Sets the immutable flag of `path`: neither moving nor removing it works.
    #[must_use]
    pub fn immutable(self, path: &str) -> Self {
        self.change(path, |node| node.immutable = true);
        self
    }

    /// Makes `path` belong to another account.
    #[must_use]
    pub fn owned_by(self, path: &str, uid: u32) -> Self {
        self.change(path, |node| node.owner = uid);
        self
    }

    /// Makes every change to entries of this name fail with `EPERM`.
    #[must_use]
    pub fn refuse(self, name: &str) -> Self {
        self.state().refused.insert(one_name(name));
        self
    }

    /// Makes it impossible to create a quarantine.
    #[must_use]
    pub fn without_quarantine(self) -> Self {
        self.state().quarantines = Quarantines::CannotBeMade;
        self
    }

    /// Makes every move into a quarantine fail with `EXDEV`.
    #[must_use]
    pub fn quarantine_on_another_mount(self) -> Self {
        self.state().quarantines = Quarantines::OnAnotherMount;
        self
    }

    /// Puts another file at `path` between the engine's last look and its next change there.
    #[must_use]
    pub fn swap_before_change(self, path: &str, content: &[u8]) -> Self {
        self.state().swaps.insert(names(path), content.to_vec());
        self
    }

    /// Records that the process of that pid has the file or directory at `path` open; hand the
    /// whole to [`crate::FakeProcesses::holding`].
    #[must_use]
    pub fn hold(self, pid: u32, path: &str) -> Self {
        let mut state = self.state();
        let node = state.find(&names(path)).expect("what is held is there");
        state.holds.push((pid, tree::identity(node)));
        drop(state);
        self
    }

    /// What [`FakeFiles::hold`] recorded.
    #[must_use]
    pub fn holds(&self) -> Vec<(u32, Identity)> {
        self.state().holds.clone()
    }

    /// Puts a file in place, as a process of the account would at any time: an existing one gets
    /// a new identity. Returns its inode number.
    pub fn put(&self, path: &str, content: &[u8]) -> u64 {
        self.state().add(&names(path), Node::new(Body::File(content.to_vec())))
    }

    /// As [`FakeFiles::symlink`], at any time.
    pub fn put_symlink(&self, path: &str) {
        self.state().add(&names(path), Node::new(Body::Symlink));
    }

    /// As [`FakeFiles::link`], at any time.
    pub fn put_link(&self, path: &str, other: &str) {
        let mut state = self.state();
        let node = state.find(&names(path)).expect("the file is there");
        let other = names(other);
        let (name, parents) = other.split_last().expect("a path has a last name");
        let dir = state.make_dirs(parents);
        state.children_mut(dir).insert(name.clone(), node);
        state.tell(dir, name);
    }

    /// The content of the file at `path`; `None` when there is none.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        match &state.node(state.find(&names(path))?).body {
            Body::File(content) => Some(content.clone()),
            Body::Dir(_) | Body::Symlink | Body::Special => None,
        }
    }

    /// Which file stands at `path`; `None` when none does.
    #[must_use]
    pub fn file_identity(&self, path: &str) -> Option<Identity> {
        self.state().find(&names(path)).map(tree::identity)
    }

    /// Whether anything stands at `path`.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.state().find(&names(path)).is_some()
    }

    /// How many entries lie in quarantines that were not emptied.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.state().quarantined()
    }

    /// Rings `bell` from now on for changes of these directories, and for no others that it was
    /// told of before.
    pub(crate) fn watch(&self, bell: &Bell, spots: &[Spot<FakeDir>]) {
        let of_node = |spot: &Spot<FakeDir>| Spot {
            dir: spot.dir.node,
            listed: spot.listed,
            names: spot.names.clone(),
            contents: spot.contents.clone(),
        };
        let mut state = self.state();
        state.watches.retain(|(other, _)| !other.is(bell));
        state.watches.push((bell.clone(), spots.iter().map(of_node).collect()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Node)) {
        let mut state = self.state();
        let node = state.find(&names(path)).expect("what is changed is there");
        change(state.node_mut(node));
    }
}

/// A path of the home as names.
fn names(path: &str) -> Vec<Name> {
    path.split('/').map(one_name).collect()
}

fn one_name(name: &str) -> Name {
    Name::new(name.as_bytes()).expect("a test names a plain path")
}
