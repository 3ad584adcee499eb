//! [`Files`] over the tree in memory.
//!
//! It refuses what the real adapter refuses, with the same errors.

use std::collections::{BTreeMap, VecDeque};

use exeunt_catalogue::{Base, Edit, Platform};
use exeunt_engine::ports::{Entry, Files, FilesError, Identity, Name};

use super::tree::{Body, EPERM, Node, Quarantines, ROOT, State, os};
use super::{FakeDir, FakeFiles, FakeQuarantine, one_name};

/// Where the fake home is said to lie.
const HOME: &[u8] = b"/home/fake";

impl Files for FakeFiles {
    type Dir = FakeDir;
    type Quarantine = FakeQuarantine;

    fn base(&self, base: Base) -> Result<Option<FakeDir>, FilesError> {
        let Some(path) = base.from_home(Platform::Linux) else { return Ok(None) };
        let path: Vec<Name> = path.iter().map(|name| one_name(name)).collect();
        self.walk(&path)
    }

    fn beneath_home(&self, absolute: &[u8]) -> Result<Option<FakeDir>, FilesError> {
        let Some(rest) = absolute.strip_prefix(HOME) else { return Ok(None) };
        let steps = rest.split(|&b| b == b'/').filter(|step| !step.is_empty());
        let Some(path) = steps.map(Name::new).collect::<Option<Vec<_>>>() else { return Ok(None) };
        self.walk(&path)
    }

    fn place(&self, dir: &FakeDir) -> Vec<Name> {
        dir.place.clone()
    }

    fn enter(&self, dir: &FakeDir, name: &Name) -> Result<FakeDir, FilesError> {
        let state = self.state();
        let node = *state.children(dir.node)?.get(name).ok_or(FilesError::NotFound)?;
        match state.node(node).body {
            Body::Dir(_) => {
                let place = [dir.place.as_slice(), std::slice::from_ref(name)].concat();
                Ok(FakeDir { node, place })
            }
            Body::Symlink => Err(FilesError::OutOfBounds),
            Body::File(_) | Body::Special => Err(FilesError::NotFound),
        }
    }

    fn list(&self, dir: &FakeDir) -> Result<Vec<Entry>, FilesError> {
        let state = self.state();
        let names: Vec<Name> = state.children(dir.node)?.keys().cloned().collect();
        names.iter().filter_map(|name| state.look(dir.node, name).transpose()).collect()
    }

    fn look(&self, dir: &FakeDir, name: &Name) -> Result<Option<Entry>, FilesError> {
        self.state().look(dir.node, name)
    }

    fn read(&self, dir: &FakeDir, name: &Name, limit: usize) -> Result<Vec<u8>, FilesError> {
        let state = self.state();
        let node = *state.children(dir.node)?.get(name).ok_or(FilesError::NotFound)?;
        match &state.node(node).body {
            Body::File(content) => Ok(content.iter().take(limit).copied().collect()),
            Body::Dir(_) | Body::Symlink | Body::Special => Err(FilesError::NotFound),
        }
    }

    fn identities(
        &self,
        _dir: &FakeDir,
        entry: &Entry,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError> {
        Ok(below(&self.state(), entry.identity.ino, limit))
    }

    fn open_quarantine(&self, _near: &FakeDir, _order: &str) -> Result<FakeQuarantine, FilesError> {
        let mut state = self.state();
        if state.quarantines == Quarantines::CannotBeMade {
            return Err(os("mkdirat", EPERM));
        }
        let node = state.new_node(Node::new(Body::Dir(BTreeMap::new())));
        state.made.push(node);
        Ok(FakeQuarantine { node })
    }

    fn quarantine(
        &self,
        dir: &FakeDir,
        entry: &Entry,
        into: &FakeQuarantine,
        as_name: &Name,
    ) -> Result<(), FilesError> {
        let mut state = self.state();
        swap(&mut state, dir, &entry.name);
        state.check(dir.node, entry, "renameat2")?;
        if state.quarantines == Quarantines::OnAnotherMount {
            return Err(FilesError::OtherMount);
        }
        if state.children(into.node)?.contains_key(as_name) {
            return Err(os("renameat2", EEXIST));
        }
        let moved = state.children_mut(dir.node).remove(&entry.name);
        let moved = moved.ok_or(FilesError::NotFound)?;
        state.tell(dir.node, &entry.name);
        state.children_mut(into.node).insert(as_name.clone(), moved);
        Ok(())
    }

    fn in_quarantine(&self, quarantine: &FakeQuarantine, name: &Name) -> Result<bool, FilesError> {
        Ok(self.state().children(quarantine.node).is_ok_and(|found| found.contains_key(name)))
    }

    fn quarantined(
        &self,
        quarantine: &FakeQuarantine,
        name: &Name,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError> {
        let state = self.state();
        let node = state.children(quarantine.node)?.get(name).copied();
        Ok(below(&state, node.ok_or(FilesError::NotFound)?, limit))
    }

    fn empty_quarantine(&self, quarantine: &FakeQuarantine) -> Result<u64, FilesError> {
        let mut state = self.state();
        let names: Vec<Name> = state.children(quarantine.node)?.keys().cloned().collect();
        let (mut went, mut first_error) = (0, None);
        for name in names {
            let (more, error) = state.remove(quarantine.node, &name);
            went += more;
            first_error = first_error.or(error);
        }
        if first_error.is_none() {
            state.nodes.remove(&quarantine.node);
            state.made.retain(|&made| made != quarantine.node);
        }
        first_error.map_or(Ok(went), Err)
    }

    fn erase(&self, dir: &FakeDir, entry: &Entry) -> Result<u64, FilesError> {
        let mut state = self.state();
        swap(&mut state, dir, &entry.name);
        state.check(dir.node, entry, "unlinkat")?;
        let (went, error) = state.remove(dir.node, &entry.name);
        error.map_or(Ok(went), Err)
    }

    fn edit(&self, dir: &FakeDir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
        let mut state = self.state();
        swap(&mut state, dir, &entry.name);
        state.check(dir.node, entry, "renameat2")?;
        let (rest, matches) = cut(state.node(entry.identity.ino), edit)?;
        if matches > 0 {
            // The edited file takes the old one's place: a new inode under the same name.
            let mut fresh = state.node(entry.identity.ino).clone();
            fresh.body = Body::File(rest);
            fresh.rows = 0;
            state.remove(dir.node, &entry.name);
            state.insert_new(dir.node, &entry.name, fresh);
        }
        Ok(matches)
    }

    fn count_matches(&self, dir: &FakeDir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
        let state = self.state();
        let now = state.look(dir.node, &entry.name)?.ok_or(FilesError::NotFound)?;
        cut(state.node(now.identity.ino), edit).map(|(_, matches)| matches)
    }
}

const EEXIST: i32 = 17;

impl FakeFiles {
    fn walk(&self, path: &[Name]) -> Result<Option<FakeDir>, FilesError> {
        let mut dir = FakeDir { node: ROOT, place: Vec::new() };
        for name in path {
            dir = match self.enter(&dir, name) {
                Ok(dir) => dir,
                Err(FilesError::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        Ok(Some(dir))
    }
}

/// Lets the swap that a test ordered happen now.
/// Every file and directory from a node on, at most `limit` of them.
fn below(state: &State, node: u64, limit: usize) -> Vec<Identity> {
    let mut found = Vec::new();
    let mut queue = VecDeque::from([node]);
    while let Some(number) = queue.pop_front() {
        let Some(node) = state.nodes.get(&number) else { continue };
        let children = match &node.body {
            Body::Dir(children) => Some(children),
            Body::File(_) => None,
            Body::Symlink | Body::Special => continue,
        };
        if found.len() >= limit {
            break;
        }
        found.push(super::tree::identity(number));
        let below = children.into_iter().flat_map(BTreeMap::values);
        queue.extend(below.filter(|&&child| !state.node(child).mount_point));
    }
    found
}

fn swap(state: &mut State, dir: &FakeDir, name: &Name) {
    let path = [dir.place.as_slice(), std::slice::from_ref(name)].concat();
    if let Some(content) = state.swaps.remove(&path) {
        state.insert_new(dir.node, name, Node::new(Body::File(content)));
    }
}

fn cut(node: &Node, edit: &Edit) -> Result<(Vec<u8>, u64), FilesError> {
    let Body::File(content) = &node.body else { return Err(FilesError::NotFound) };
    let Edit::Lines { starts, contains } = edit else { return Ok((content.clone(), node.rows)) };
    let goes = |line: &&[u8]| {
        let text = String::from_utf8_lossy(line);
        starts.iter().any(|start| text.trim_start().starts_with(start))
            || contains.iter().any(|part| text.contains(part.as_str()))
    };
    let (gone, kept): (Vec<&[u8]>, Vec<&[u8]>) =
        content.split_inclusive(|&b| b == b'\n').partition(goes);
    Ok((kept.concat(), u64::try_from(gone.len()).unwrap_or(u64::MAX)))
}
