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
    let here = Ends { name: device, here: true, sessions: sessions.map(|_| 0), labels: Vec::new() };
    let mut places = vec![here];
    for session in sessions.unwrap_or_default() {
        let known = places
            .iter_mut()
            .find(|ends| if session.here { ends.here } else { ends.name == session.place });
        match known {
            Some(ends) => add(ends, session),
            None => {
                let name = session.place.clone();
                let mut ends = Ends { name, here: false, sessions: Some(0), labels: Vec::new() };
                add(&mut ends, session);
                places.push(ends);
            }
        }
    }
    // A hub that names no session here knows nothing of what is open: the stores tell instead.
    for here in places.iter_mut().filter(|ends| ends.here && ends.labels.is_empty()) {
        here.labels = preview.ends.iter().map(|ends| ends.name.clone()).collect();
    }
    places
}

fn add(ends: &mut Ends, session: &HubSession) {
    ends.sessions = ends.sessions.map(|n| n.saturating_add(1));
    // The place stands above already.
    let label = [" on ", " at "]
        .iter()
        .find_map(|word| session.label.strip_suffix(&format!("{word}{}", session.place)))
        .unwrap_or(&session.label);
    if !ends.labels.iter().any(|known| known == label) {
        ends.labels.push(label.to_owned());
    }
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
