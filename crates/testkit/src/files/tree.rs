//! The tree behind [`super::FakeFiles`].
//!
//! It refuses to follow links and keeps an inode as long as a name leads to it.

use std::collections::{BTreeMap, BTreeSet};

use exeunt_engine::ports::{Bell, Entry, FileKind, FilesError, Identity, Name, Spot};

pub(super) const DEV: u64 = 1;
pub(super) const ROOT: u64 = 1;
pub(super) const OWNER: u32 = 1000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) refused: BTreeSet<Name>,
    pub(super) quarantines: Quarantines,
    pub(super) made: Vec<u64>,
    pub(super) holds: Vec<(u32, Identity)>,
    pub(super) swaps: BTreeMap<Vec<Name>, Vec<u8>>,
    /// Who is told of changes, and of which.
    pub(super) watches: Vec<(Bell, Vec<Spot<u64>>)>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quarantines {
    Work,
    CannotBeMade,
    OnAnotherMount,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) owner: u32,
    pub(super) mount_point: bool,
    pub(super) immutable: bool,
    /// What an edit of any format but lines would still cut out.
    pub(super) rows: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(Vec<u8>),
    Dir(BTreeMap<Name, u64>),
    Symlink,
    Special,
}

pub(super) fn identity(node: u64) -> Identity {
    Identity { dev: DEV, ino: node }
}

pub(super) fn os(op: &'static str, errno: i32) -> FilesError {
    FilesError::Os { op, source: std::io::Error::from_raw_os_error(errno) }
}

impl Node {
    pub(super) fn new(body: Body) -> Self {
        Self { body, owner: OWNER, mount_point: false, immutable: false, rows: 0 }
    }

    fn kind(&self) -> FileKind {
        match &self.body {
            Body::File(_) => FileKind::File,
            Body::Dir(_) => FileKind::Dir,
            Body::Symlink => FileKind::Symlink,
            Body::Special => FileKind::Special,
        }
    }
}

impl State {
    pub(super) fn new() -> Self {
        let root = Node::new(Body::Dir(BTreeMap::new()));
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            refused: BTreeSet::new(),
            quarantines: Quarantines::Work,
            made: Vec::new(),
            holds: Vec::new(),
            swaps: BTreeMap::new(),
            watches: Vec::new(),
            next: ROOT + 1,
        }
    }

    pub(super) fn node_mut(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&node).expect("an inode with a name exists")
    }

    pub(super) fn node(&self, node: u64) -> &Node {
        self.nodes.get(&node).expect("an inode with a name exists")
    }

    pub(super) fn children(&self, dir: u64) -> Result<&BTreeMap<Name, u64>, FilesError> {
        match self.nodes.get(&dir).map(|node| &node.body) {
            Some(Body::Dir(children)) => Ok(children),
            Some(Body::File(_) | Body::Symlink | Body::Special) | None => Err(FilesError::NotFound),
        }
    }

    pub(super) fn children_mut(&mut self, dir: u64) -> &mut BTreeMap<Name, u64> {
        match &mut self.node_mut(dir).body {
            Body::Dir(children) => children,
            Body::File(_) | Body::Symlink | Body::Special => panic!("not a directory"),
        }
    }

    pub(super) fn find(&self, path: &[Name]) -> Option<u64> {
        path.iter().try_fold(ROOT, |dir, name| self.children(dir).ok()?.get(name).copied())
    }

    pub(super) fn make_dirs(&mut self, path: &[Name]) -> u64 {
        path.iter().fold(ROOT, |dir, name| match self.children_mut(dir).get(name) {
            Some(&node) => node,
            None => self.insert_new(dir, name, Node::new(Body::Dir(BTreeMap::new()))),
        })
    }

    /// Adds a node at `path`, in the place of what stood there.
    pub(super) fn add(&mut self, path: &[Name], node: Node) -> u64 {
        let (name, parents) = path.split_last().expect("a path has a last name");
        let dir = self.make_dirs(parents);
        self.insert_new(dir, name, node)
    }

    pub(super) fn insert_new(&mut self, dir: u64, name: &Name, node: Node) -> u64 {
        let number = self.new_node(node);
        self.children_mut(dir).insert(name.clone(), number);
        self.tell(dir, name);
        number
    }

    /// An entry came or went.
    pub(super) fn tell(&self, dir: u64, name: &Name) {
        for (bell, spots) in &self.watches {
            if spots.iter().any(|spot| spot.dir == dir && spot.minds_entry(name.as_bytes())) {
                bell.change();
            }
        }
    }

    pub(super) fn new_node(&mut self, node: Node) -> u64 {
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        number
    }

    pub(super) fn links(&self, node: u64) -> u64 {
        let names = self.nodes.values().filter_map(|node| match &node.body {
            Body::Dir(children) => Some(children.values()),
            Body::File(_) | Body::Symlink | Body::Special => None,
        });
        names.flatten().filter(|&&child| child == node).map(|_| 1).sum()
    }

    pub(super) fn look(&self, dir: u64, name: &Name) -> Result<Option<Entry>, FilesError> {
        let found = self.children(dir)?.get(name).copied();
        Ok(found.map(|number| {
            let node = self.node(number);
            let size = match &node.body {
                Body::File(content) => u64::try_from(content.len()).unwrap_or(u64::MAX),
                Body::Dir(_) | Body::Symlink | Body::Special => 0,
            };
            Entry {
                name: name.clone(),
                identity: identity(number),
                kind: node.kind(),
                size,
                links: self.links(number),
                owner: node.owner,
                immutable: node.immutable,
                mount_point: node.mount_point,
            }
        }))
    }

    /// Checks that `entry` may be moved or removed: it is the same, and nothing forbids it.
    pub(super) fn check(
        &self,
        dir: u64,
        entry: &Entry,
        op: &'static str,
    ) -> Result<(), FilesError> {
        let now = self.look(dir, &entry.name)?.ok_or(FilesError::NotFound)?;
        if now.identity != entry.identity {
            return Err(FilesError::IdentityChanged);
        }
        if now.mount_point {
            return Err(FilesError::OtherMount);
        }
        if now.immutable || self.refused.contains(&entry.name) {
            return Err(os(op, EPERM));
        }
        Ok(())
    }

    /// Removes `name` with everything beneath it. What is refused stays, and so do the directories
    /// that lead there. Returns how many files went.
    pub(super) fn remove(&mut self, dir: u64, name: &Name) -> (u64, Option<FilesError>) {
        let Ok(Some(entry)) = self.look(dir, name) else { return (0, Some(FilesError::NotFound)) };
        if let Err(error) = self.check(dir, &entry, "unlinkat") {
            return (0, Some(error));
        }
        let number = entry.identity.ino;
        let (mut went, mut first_error) = (0, None);
        if entry.kind == FileKind::Dir {
            let below: Vec<Name> = self.children_mut(number).keys().cloned().collect();
            for child in below {
                let (more, error) = self.remove(number, &child);
                went += more;
                first_error = first_error.or(error);
            }
            if !self.children_mut(number).is_empty() {
                return (went, first_error);
            }
        } else {
            went += 1;
            self.empty_shared(number);
        }
        self.children_mut(dir).remove(name);
        self.tell(dir, name);
        if self.links(number) == 0 {
            self.nodes.remove(&number);
        }
        (went, first_error)
    }

    /// A file with other names is emptied, so that they keep nothing.
    fn empty_shared(&mut self, number: u64) {
        if self.links(number) < 2 || self.node(number).owner != OWNER {
            return;
        }
        if let Body::File(content) = &mut self.node_mut(number).body {
            content.clear();
        }
    }

    pub(super) fn quarantined(&self) -> usize {
        self.made.iter().filter_map(|&dir| self.children(dir).ok()).map(BTreeMap::len).sum()
    }
}

/// `EPERM`, as Linux numbers it.
pub(super) const EPERM: i32 = 1;
