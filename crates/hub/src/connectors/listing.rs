//! Lists a person's sessions at the providers that can, for a preview.
//!
//! It refuses to wait: a provider that is slow is said not to have been listed.

use std::sync::Arc;

use exeunt_api::{FederatedSession, NotListed};
use exeunt_domain::{SessionKind, Subject};
use tokio::task::JoinSet;

use super::{Failed, Listed, Person};
use crate::Hub;

/// Most sessions of one provider that are shown.
const SHOWN: usize = 200;
/// Longest phrase for people, in characters.
const LONGEST: usize = 256;

/// What the providers list of a subject, all asked side by side, and who did not list anything.
/// Providers that never list sessions are not among those.
pub async fn listed(hub: &Arc<Hub>, subject: &Subject) -> (Vec<FederatedSession>, Vec<NotListed>) {
    let mut asked = JoinSet::new();
    for (name, one) in hub.connectors.all() {
        let (hub, subject) = (Arc::clone(hub), subject.clone());
        asked.spawn(async move {
            let tokens = hub.connectors.tokens(&name, &subject);
            let person = Person { subject, tokens };
            let sessions = one.settings.connector().sessions(&hub.providers, &person)?;
            let within = hub.limits.provider_listing;
            let answer = match tokio::time::timeout(within, sessions).await {
                Ok(answer) => answer,
                Err(_) => {
                    let say = format!("no answer within {} ms", within.as_millis());
                    Err(Failed::Later(say, None))
                }
            };
            Some((name, answer))
        });
    }
    let (mut sessions, mut not_listed) = (Vec::new(), Vec::new());
    while let Some(done) = asked.join_next().await {
        match done {
            Ok(Some((name, Ok(list)))) => {
                if list.len() > SHOWN {
                    let why = format!("{} of {} sessions are shown", SHOWN, list.len());
                    not_listed.push(NotListed { place: name.clone(), why });
                }
                sessions.extend(list.into_iter().take(SHOWN).map(|one| shown(&name, one)));
            }
            Ok(Some((name, Err(failed)))) => {
                not_listed.push(NotListed { place: name, why: failed.to_string() });
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a provider's sessions were not listed"),
        }
    }
    sessions.sort_by(|a, b| (&a.place, b.last_seen).cmp(&(&b.place, a.last_seen)));
    not_listed.sort_by(|a, b| a.place.cmp(&b.place));
    (sessions, not_listed)
}

fn shown(place: &str, one: Listed) -> FederatedSession {
    let Listed { id, label, since, last_seen } = one;
    let fit = |text: String| -> String {
        text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
    };
    FederatedSession {
        kind: SessionKind::Federated,
        place: place.to_owned(),
        id: fit(id),
        label: fit(label),
        since,
        last_seen,
    }
}
