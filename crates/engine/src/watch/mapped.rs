//! Files, with a note of every directory that was asked about and of what was asked.
//!
//! It refuses to answer by itself: each question goes to the files that it stands before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use exeunt_catalogue::{Base, Edit};

use crate::ports::{Entry, Files, FilesError, Identity, Name, Spot};

/// At most so many directories are kept, since each is an open handle.
const MAX_SPOTS: usize = 512;

/// The files of a home, and the map of what was asked of them.
pub(super) struct Mapped<'f, F: Files> {
    files: &'f F,
    map: Mutex<Map<F::Dir>>,
}

struct Map<D> {
    spots: BTreeMap<Vec<Name>, Spot<D>>,
    beyond: usize,
}

impl<'f, F: Files> Mapped<'f, F> {
    pub(super) fn over(files: &'f F) -> Self {
        Self { files, map: Mutex::new(Map { spots: BTreeMap::new(), beyond: 0 }) }
    }

    /// Every directory that was asked about, and how many more there were.
    pub(super) fn into_spots(self) -> (Vec<Spot<F::Dir>>, usize) {
        let map = self.map.into_inner().unwrap_or_else(PoisonError::into_inner);
        (map.spots.into_values().collect(), map.beyond)
    }

    fn note(&self, dir: &F::Dir, note: impl FnOnce(&mut Spot<F::Dir>)) {
        let place = self.files.place(dir);
        let mut map = self.lock();
        if let Some(spot) = map.spots.get_mut(&place) {
            note(spot);
        } else if map.spots.len() < MAX_SPOTS {
            let mut spot = Spot::new(dir.clone());
            note(&mut spot);
            map.spots.insert(place, spot);
        } else {
            map.beyond += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Map<F::Dir>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A base that is missing depends on the home, and on the steps towards it that are there.
    fn note_way_to(&self, base: Base) {
        let Ok(Some(mut dir)) = self.files.base(Base::Home) else { return };
        let steps = base.from_home(exeunt_catalogue::Platform::Linux).unwrap_or_default();
        for name in steps.iter().filter_map(|step| Name::new(step.as_bytes())) {
            self.note(&dir, |spot| {
                spot.names.insert(name.clone());
            });
            match self.files.enter(&dir, &name) {
                Ok(next) => dir = next,
                Err(_) => return,
            }
        }
    }
}

impl<F: Files> Files for Mapped<'_, F> {
    type Dir = F::Dir;
    type Quarantine = F::Quarantine;

    fn base(&self, base: Base) -> Result<Option<F::Dir>, FilesError> {
        self.note_way_to(base);
        self.files.base(base)
    }

    fn beneath_home(&self, absolute: &[u8]) -> Result<Option<F::Dir>, FilesError> {
        self.files.beneath_home(absolute)
    }

    fn place(&self, dir: &F::Dir) -> Vec<Name> {
        self.files.place(dir)
    }

    fn enter(&self, dir: &F::Dir, name: &Name) -> Result<F::Dir, FilesError> {
        self.note(dir, |spot| {
            spot.names.insert(name.clone());
        });
        self.files.enter(dir, name)
    }

    fn list(&self, dir: &F::Dir) -> Result<Vec<Entry>, FilesError> {
        self.note(dir, |spot| spot.listed = true);
        self.files.list(dir)
    }

    fn look(&self, dir: &F::Dir, name: &Name) -> Result<Option<Entry>, FilesError> {
        self.note(dir, |spot| {
            spot.names.insert(name.clone());
        });
        self.files.look(dir, name)
    }

    fn read(&self, dir: &F::Dir, name: &Name, limit: usize) -> Result<Vec<u8>, FilesError> {
        self.note(dir, |spot| {
            spot.contents.insert(name.clone());
        });
        self.files.read(dir, name, limit)
    }

    fn count_matches(&self, dir: &F::Dir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
        // A database's newest rows may be in the log beside it.
        let files = ["", "-wal", "-journal"].map(|tail| [entry.name.as_bytes(), tail.as_bytes()]);
        self.note(dir, |spot| {
            spot.contents.extend(files.iter().filter_map(|parts| Name::new(&parts.concat())));
        });
        self.files.count_matches(dir, entry, edit)
    }

    fn identities(
        &self,
        dir: &F::Dir,
        entry: &Entry,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError> {
        self.files.identities(dir, entry, limit)
    }

    fn open_quarantine(&self, near: &F::Dir, order: &str) -> Result<F::Quarantine, FilesError> {
        self.files.open_quarantine(near, order)
    }

    fn quarantine(
        &self,
        dir: &F::Dir,
        entry: &Entry,
        into: &F::Quarantine,
        as_name: &Name,
    ) -> Result<(), FilesError> {
        self.files.quarantine(dir, entry, into, as_name)
    }

    fn in_quarantine(&self, quarantine: &F::Quarantine, name: &Name) -> Result<bool, FilesError> {
        self.files.in_quarantine(quarantine, name)
    }

    fn quarantined(
        &self,
        quarantine: &F::Quarantine,
        name: &Name,
        limit: usize,
    ) -> Result<Vec<Identity>, FilesError> {
        self.files.quarantined(quarantine, name, limit)
    }

    fn empty_quarantine(&self, quarantine: &F::Quarantine) -> Result<u64, FilesError> {
        self.files.empty_quarantine(quarantine)
    }

    fn erase(&self, dir: &F::Dir, entry: &Entry) -> Result<u64, FilesError> {
        self.files.erase(dir, entry)
    }

    fn edit(&self, dir: &F::Dir, entry: &Entry, edit: &Edit) -> Result<u64, FilesError> {
        self.files.edit(dir, entry, edit)
    }
}
