//! What a home is watched for: every directory that a survey depends on, and stores that come back.
//!
//! It refuses to believe an event: each is only a reason to look again.

mod mapped;

use std::collections::BTreeSet;

use exeunt_catalogue::Catalogue;
use exeunt_domain::{StoreReport, Tier};

use crate::ports::{Coverage, Files, Processes, Watcher};
use crate::survey;
use mapped::Mapped;

/// How often a look is repeated until it depends only on what is watched.
const ROUNDS: usize = 3;

/// One look of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Every store of the tier that is there, as a survey shows it.
    pub rows: Vec<StoreReport>,
    /// How much of what the look depended on is watched.
    pub coverage: Coverage,
    /// Nothing that is watched changed its place between arming and looking: the next event is
    /// enough. Otherwise the look is to be repeated soon.
    pub settled: bool,
}

/// Looks at the files of a home, and sees to it that whatever could change the answer is watched.
/// Touches nothing.
pub fn look<F: Files, W: Watcher<Dir = F::Dir>>(
    catalogue: &Catalogue,
    files: &F,
    processes: &dyn Processes,
    tier: Tier,
    watcher: &mut W,
) -> Sight {
    let mut sight = Sight { rows: Vec::new(), coverage: Coverage::default(), settled: false };
    for _ in 0..ROUNDS {
        let mapped = Mapped::over(files);
        sight.rows = survey::present(catalogue, &mapped, processes, tier);
        let (spots, beyond) = mapped.into_spots();
        if watcher.covers(&spots) {
            sight.settled = true;
            break;
        }
        sight.coverage = watcher.watch(&spots);
        sight.coverage.left_out += beyond;
        if beyond > 0 {
            sight.coverage.why.get_or_insert_with(|| "too many directories".into());
        }
    }
    sight
}

/// Which stores have come back since a close.
#[derive(Clone, Debug, Default)]
pub struct Returns {
    known: BTreeSet<(String, String, String)>,
}

impl Returns {
    /// Nothing comes back that a close had left: `left` are the rows of its receipt that were not
    /// gone.
    #[must_use]
    pub fn after<'r>(left: impl IntoIterator<Item = &'r StoreReport>) -> Self {
        Self { known: left.into_iter().map(key).collect() }
    }

    /// The rows that are there now and were not at the last look. One that goes and comes again is
    /// told again.
    pub fn see(&mut self, now: &[StoreReport]) -> Vec<StoreReport> {
        let fresh = now.iter().filter(|row| !self.known.contains(&key(row))).cloned().collect();
        self.known = now.iter().map(key).collect();
        fresh
    }
}

fn key(row: &StoreReport) -> (String, String, String) {
    (row.app.clone(), row.profile.clone(), row.store.clone())
}
