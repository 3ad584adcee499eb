//! The warden's preview and the hub's sessions as one plan for people.
//!
//! It refuses to count what nobody named: a number that is not known stays none.

use exeunt_ipc::message::{self, HubSession};

use crate::view::{Cannot, Ends, Erases, Preview};

/// The plan. `sessions` are the hub's, none when it has not told or is not asked.
pub(crate) fn preview(
    preview: &message::Preview,
    sessions: Option<&[HubSession]>,
    device: String,
) -> Preview {
    Preview {
        sessions: None,
        stores: count(preview.stores.len()),
        ends: ends(preview, sessions, device),
        closes: preview.closes.clone(),
        erases: erases(preview),
        stays: preview.stays.clone(),
        cannot: preview
            .cannot
            .iter()
            .map(|open| Cannot { what: open.what.clone(), until_ms: open.until.map(|at| at.0) })
            .collect(),
    }
}

/// A length as the page counts.
pub(crate) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// This device first, then every other place.
fn ends(preview: &message::Preview, sessions: Option<&[HubSession]>, device: String) -> Vec<Ends> {
    let mut here = Ends {
        name: device,
        here: true,
        sessions: sessions.map(|_| 0),
        labels: preview.ends.iter().map(|ends| ends.name.clone()).collect(),
    };
    let mut elsewhere: Vec<Ends> = Vec::new();
    for session in sessions.unwrap_or_default() {
        if session.here {
            here.sessions = here.sessions.map(|n| n + 1);
            continue;
        }
        match elsewhere.iter_mut().find(|ends| ends.name == session.place) {
            Some(ends) => {
                ends.sessions = ends.sessions.map(|n| n + 1);
                if !ends.labels.contains(&session.label) {
                    ends.labels.push(session.label.clone());
                }
            }
            None => elsewhere.push(Ends {
                name: session.place.clone(),
                here: false,
                sessions: Some(1),
                labels: vec![session.label.clone()],
            }),
        }
    }
    elsewhere.insert(0, here);
    elsewhere
}

/// Stores by app, in the order of the preview.
fn erases(preview: &message::Preview) -> Vec<Erases> {
    preview
        .ends
        .iter()
        .map(|app| {
            let mut kinds: Vec<String> = Vec::new();
            for store in preview.stores.iter().filter(|store| store.app == app.app) {
                if !kinds.contains(&store.store) {
                    kinds.push(store.store.clone());
                }
            }
            let stores = u32::try_from(app.stores).unwrap_or(u32::MAX);
            Erases { app: app.name.clone(), kinds, stores }
        })
        .collect()
}
