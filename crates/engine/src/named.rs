//! Files that a variable of a live process names in place of the usual one, such as `KUBECONFIG`.
//!
//! It refuses to follow one out of the home, or to a protected place: that is said instead.

use std::collections::BTreeSet;

use exeunt_catalogue::{App, EnvFile};

use crate::bounds::Bounds;
use crate::discover::shown;
use crate::ports::{FileKind, Files, Name, Process};
use crate::survey::{Refusal, Store, admit_named, empty};

/// The stores at the places that processes name for one app, and the places that are out of bounds.
pub(crate) fn stores<F: Files>(
    files: &F,
    bounds: &Bounds<'_>,
    app: &App,
    processes: &[Process],
) -> (Vec<Store<F::Dir>>, Vec<Refusal>) {
    let (mut found, mut refusals) = (Vec::new(), Vec::new());
    for rule in &app.env_files {
        let Some(store_rule) = app.stores.iter().find(|store| store.id == rule.store) else {
            continue;
        };
        let mut store = empty(app, store_rule, format!("${}", rule.variable));
        for path in named(rule, processes) {
            match place_of(files, &path) {
                Place::Beneath(dir, name) => {
                    let entry = files.look(&dir, &name).ok().flatten();
                    let file = entry.filter(|entry| entry.kind == FileKind::File);
                    if let Some(entry) = file {
                        admit_named(files, bounds, &dir, entry, &mut store);
                    }
                }
                Place::NotThere => {}
                Place::Outside(why) => refusals.push(Refusal {
                    app: app.id.clone(),
                    place: shown(&path),
                    why: format!("named by {}: {why}", rule.variable),
                }),
            }
        }
        found.push(store);
    }
    (found, refusals)
}

/// Every absolute path that a process has in that variable, once.
fn named(rule: &EnvFile, processes: &[Process]) -> BTreeSet<Vec<u8>> {
    let values = processes.iter().filter_map(|process| process.env.get(&rule.variable));
    let paths = values.flat_map(|value| {
        value.split(move |&byte| rule.list && byte == b':').map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    paths.filter(|path| path.starts_with(b"/") && !path.starts_with(b"/dev/")).collect()
}

enum Place<D> {
    Beneath(D, Name),
    NotThere,
    Outside(String),
}

fn place_of<F: Files>(files: &F, path: &[u8]) -> Place<F::Dir> {
    let at = path.iter().rposition(|&byte| byte == b'/').unwrap_or_default();
    let (parent, name) = (path.get(..at).unwrap_or_default(), path.get(at + 1..));
    let Some(name) = name.and_then(Name::new) else { return Place::NotThere };
    match files.beneath_home(parent) {
        Ok(Some(dir)) => Place::Beneath(dir, name),
        Ok(None) if is_beneath(files, parent) => Place::NotThere,
        Ok(None) => Place::Outside("outside the home, so not touched".into()),
        Err(error) => Place::Outside(error.to_string()),
    }
}

/// Whether a directory that is not there would lie beneath the home: one above it does.
fn is_beneath<F: Files>(files: &F, dir: &[u8]) -> bool {
    let cuts = dir.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut above = cuts.filter_map(|at| dir.get(..at)).filter(|above| !above.is_empty());
    above.any(|above| matches!(files.beneath_home(above), Ok(Some(_))))
}
