//! A watch over a home in memory.
//!
//! It refuses to ring for what a real one would not hear.

use exeunt_engine::ports::{Bell, Coverage, Spot, Watcher};

use crate::files::{FakeDir, FakeFiles};

/// A watch over a [`FakeFiles`]; changes ring its bell before they return.
#[derive(Debug)]
pub struct FakeWatcher<'f> {
    files: &'f FakeFiles,
    bell: Bell,
    most: usize,
    told: Option<Vec<Spot<FakeDir>>>,
}

impl<'f> FakeWatcher<'f> {
    /// A watch that rings `bell`, over at most `most` directories.
    #[must_use]
    pub fn new(files: &'f FakeFiles, bell: Bell, most: usize) -> Self {
        Self { files, bell, most, told: None }
    }
}

impl Watcher for FakeWatcher<'_> {
    type Dir = FakeDir;

    fn watch(&mut self, spots: &[Spot<FakeDir>]) -> Coverage {
        self.told = Some(spots.to_vec());
        let watched = spots.len().min(self.most);
        let left_out = spots.len() - watched;
        self.files.watch(&self.bell, spots.get(..watched).unwrap_or_default());
        let why = (left_out > 0).then(|| format!("the limit is {}", self.most));
        Coverage { watched, left_out, why }
    }

    fn covers(&self, spots: &[Spot<FakeDir>]) -> bool {
        self.told.as_deref() == Some(spots)
    }
}
