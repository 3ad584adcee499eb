//! What is left elsewhere of what was unlinked, in words for a receipt.
//!
//! It refuses to call anything overwritten, and to let what it names worsen a verdict: the store
//! itself is gone.

use std::collections::BTreeMap;

use crate::ports::{Files, Host, Keeper, Trim};

/// At most so many of one sort are named one by one.
const NAMED: usize = 4;

/// A sentence for each sort of old state, and for each that could not be looked for.
pub(crate) fn survey<F: Files>(host: &Host<'_, F>) -> Vec<String> {
    let Some(disks) = host.disks else { return Vec::new() };
    let (snapshots, errors) = disks.snapshots();
    let mut by_keeper: BTreeMap<Keeper, Vec<String>> = BTreeMap::new();
    for snapshot in snapshots {
        by_keeper.entry(snapshot.keeper).or_default().push(snapshot.place);
    }
    let found = by_keeper.into_iter().map(|(keeper, places)| sentence(keeper, &places));
    let unknown = errors.into_iter().map(|error| format!("snapshots: {error}"));
    found.chain(unknown).collect()
}

fn sentence(keeper: Keeper, places: &[String]) -> String {
    let named = places.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match places.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let many = if places.len() > 1 { "s" } else { "" };
    format!("{}{many}: {named}{more} (may still hold what is erased here)", keeper.as_str())
}

/// What a receipt says of the free space, if anything.
pub(crate) fn trimmed(trim: &Trim) -> Option<String> {
    match trim {
        Trim::NotBegun | Trim::NotNeeded | Trim::NotAllowed => None,
        Trim::Running => {
            Some("trimming of free space began, and had not ended when this was signed".into())
        }
        Trim::Done { bytes } => Some(format!(
            "the disk was told that {bytes} bytes are free, what was unlinked among them; nothing \
             was overwritten"
        )),
        Trim::Failed { why } => Some(format!("free space could not be trimmed: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_snapshots_of_one_sort_are_one_sentence() {
        let places: Vec<String> = (1..=9).map(|n| format!("/.snapshots/{n}/snapshot")).collect();
        let said = sentence(Keeper::Snapper, &places);
        assert!(said.starts_with("Snapper snapshots: /.snapshots/1/snapshot, "), "{said}");
        assert!(said.contains("and 5 more (may still hold"), "{said}");
        assert!(sentence(Keeper::Zfs, &places[..1]).starts_with("ZFS snapshot: "));
    }

    #[test]
    fn nothing_is_called_overwritten() {
        let all = [Trim::NotBegun, Trim::NotNeeded, Trim::NotAllowed, Trim::Running];
        let done = Trim::Done { bytes: 7 };
        let said: Vec<String> = all.iter().chain([&done]).filter_map(trimmed).collect();
        assert_eq!(said.len(), 2);
        assert!(said[1].ends_with("nothing was overwritten"), "{said:?}");
    }
}
