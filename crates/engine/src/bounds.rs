//! Where deletion may reach: the only maker of a [`Target`].
//!
//! It refuses what is protected, what lies on another mount, and what lies too deep.

use exeunt_catalogue::{Platform, Protected};

use crate::ports::{Entry, FileKind, Files, Name};

/// Deepest place below the home that is ever a target, in components.
const MAX_DEPTH: usize = 32;

/// What may be touched: beneath one home, and not protected.
pub struct Bounds<'a> {
    protected: &'a Protected,
    platform: Platform,
}

/// One entry that may be contained: an open directory, one name in it, and which file it was.
/// Only [`Bounds::admit`] makes one.
#[derive(Clone)]
pub struct Target<D> {
    dir: D,
    entry: Entry,
    place: Vec<Name>,
}

impl<D> Target<D> {
    /// The directory that holds it.
    pub fn dir(&self) -> &D {
        &self.dir
    }

    /// The entry as it was surveyed.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where it is, relative to the home, for people.
    #[must_use]
    pub fn place(&self) -> String {
        show(&self.place)
    }

    /// Whether it is a symbolic link, whose far end is not ours to touch.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.entry.kind == FileKind::Symlink
    }
}

/// Why an entry is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    /// The compiled-in list of places never to be touched holds it, or something beneath it.
    #[error("protected: {0}")]
    Protected(String),
    /// Another file system or a bind mount begins there.
    #[error("another file system begins here")]
    OtherMount,
    /// Deeper than anything the catalogue means.
    #[error("over {MAX_DEPTH} directories deep")]
    TooDeep,
}

impl<'a> Bounds<'a> {
    /// The bounds of a home.
    #[must_use]
    pub fn new(protected: &'a Protected, platform: Platform) -> Self {
        Self { protected, platform }
    }

    /// Admits one entry of `dir` as a target for removal.
    ///
    /// # Errors
    /// [`OutOfBounds`].
    pub fn admit<F: Files>(
        &self,
        files: &F,
        dir: &F::Dir,
        entry: Entry,
    ) -> Result<Target<F::Dir>, OutOfBounds> {
        let target = self.admit_edit(files, dir, entry)?;
        let components: Vec<&[u8]> = target.place.iter().map(Name::as_bytes).collect();
        match self.protected.forbids(self.platform, &components) {
            Some(reason) => Err(OutOfBounds::Protected(reason.to_owned())),
            None => Ok(target),
        }
    }

    /// Admits one entry of `dir` for an edit that keeps the file: what is protected from removal
    /// may still have a secret cut out of it.
    ///
    /// # Errors
    /// [`OutOfBounds`].
    pub fn admit_edit<F: Files>(
        &self,
        files: &F,
        dir: &F::Dir,
        entry: Entry,
    ) -> Result<Target<F::Dir>, OutOfBounds> {
        if entry.mount_point {
            return Err(OutOfBounds::OtherMount);
        }
        let mut place = files.place(dir);
        place.push(entry.name.clone());
        if place.len() > MAX_DEPTH {
            return Err(OutOfBounds::TooDeep);
        }
        Ok(Target { dir: dir.clone(), entry, place })
    }
}

/// Components as one text for people.
pub(crate) fn show(place: &[Name]) -> String {
    place.iter().map(Name::to_shown).collect::<Vec<_>>().join("/")
}
