//! Carries sign-outs on to identity providers: after the commit, side by side, with retries and a
//! deadline, and takes up after a restart what was left open.
//!
//! It refuses to end in silence: each target gets a final outcome, with what was not covered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exeunt_domain::{Outcome, Subject, Txn};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use super::call::{Failed, Http};
use super::{Connector, Person, Probe, residue};
use crate::Hub;
use crate::store::Command;
use crate::store::command::{Provided, ProviderTarget};

/// The first pause between two tries; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(250);

type Key = (Txn, String);

/// Runs until the hub stops.
pub async fn run(hub: Arc<Hub>) {
    let mut changes = hub.shared.txns();
    let mut stopping = hub.stopping.clone();
    let http = match Http::new(&hub.ssf.reach) {
        Ok(http) => http,
        Err(error) => {
            tracing::error!(%error, "no client for identity providers");
            return;
        }
    };
    let (mut running, mut busy) = (JoinSet::<Key>::new(), HashSet::<Key>::new());
    let mut look = true;
    loop {
        if look && !hub.connectors.all().is_empty() {
            for target in open(&hub).await {
                let key = (target.txn.clone(), target.name.clone());
                if busy.insert(key.clone()) {
                    let (hub, http) = (Arc::clone(&hub), http.clone());
                    running.spawn(async move {
                        reach(&hub, &http, target).await;
                        key
                    });
                }
            }
        }
        look = false;
        tokio::select! {
            change = changes.recv() => match change {
                Ok(_) | Err(RecvError::Lagged(_)) => look = true,
                Err(RecvError::Closed) => return,
            },
            Some(done) = running.join_next() => if let Ok(key) = done {
                busy.remove(&key);
            },
            // What is under way is dropped, and taken up at the next start.
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

async fn open(hub: &Hub) -> Vec<ProviderTarget> {
    hub.views.read(|view| view.open_providers()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "open identity providers cannot be looked for");
        Vec::new()
    })
}

async fn reach(hub: &Arc<Hub>, http: &Http, target: ProviderTarget) {
    let Some(one) = hub.connectors.get(&target.name) else {
        let say = "this provider's settings are gone; nothing was ended there".to_owned();
        return note(hub, &target, Outcome::Unreachable, say).await;
    };
    let connector = one.settings.connector();
    let gaps = residue(connector);
    let began = Instant::now();
    let (person, revoked) = revoke(hub, http, connector, &target).await;
    let answered = match revoked {
        Ok(answered) => answered,
        Err(Failed::Later(why, _)) => {
            let say = format!("{why}; given up after {} s; {gaps}", began.elapsed().as_secs());
            return note(hub, &target, Outcome::Unreachable, say).await;
        }
        Err(Failed::Never(why)) => {
            return note(hub, &target, Outcome::Partial, format!("{why}; {gaps}")).await;
        }
    };
    note(hub, &target, Outcome::Contained, format!("{answered}; not looked at again yet")).await;
    let (outcome, found) = looked_at(hub, connector, http, &person).await;
    let took = began.elapsed().as_millis();
    let detail = format!("{answered}; {found}; {took} ms after the first call; {gaps}");
    if outcome == Outcome::Verified {
        for name in std::iter::once(&target.subject).chain(&target.aliases) {
            forget(hub, &target.name, name, person.tokens.clone()).await;
        }
    }
    note(hub, &target, outcome, detail).await;
}

/// Asks under the name that was asked for; under the subject's other names, as long as the provider
/// cannot go by one. What services handed over counts under all of them.
async fn revoke(
    hub: &Hub,
    http: &Http,
    connector: &dyn Connector,
    target: &ProviderTarget,
) -> (Person, Result<String, Failed>) {
    let names = || std::iter::once(&target.subject).chain(&target.aliases);
    let tokens: Vec<_> =
        names().flat_map(|name| hub.connectors.tokens(&target.name, name)).collect();
    let mut first = None;
    for name in names() {
        let person = Person { subject: name.clone(), tokens: tokens.clone() };
        let tried = retried(hub.limits.provider_deadline, || connector.revoke(http, &person)).await;
        match tried {
            Err(Failed::Never(why)) => {
                first.get_or_insert((person, Err(Failed::Never(why))));
            }
            answered => return (person, answered),
        }
    }
    first.unwrap_or_else(|| {
        let person = Person { subject: target.subject.clone(), tokens };
        (person, Err(Failed::Never("there was no name to ask for".into())))
    })
}

/// Looks until what was revoked is rejected, as long as a provider may take to settle.
async fn looked_at(
    hub: &Hub,
    connector: &dyn Connector,
    http: &Http,
    person: &Person,
) -> (Outcome, String) {
    let look = || async {
        match connector.probe(http, person).await? {
            Probe::Rejected(how) => Ok(how),
            Probe::Accepted(what) => Err(Failed::Later(what, None)),
        }
    };
    match retried(hub.limits.provider_settle, look).await {
        Ok(how) => (Outcome::Verified, how),
        Err(Failed::Later(what, _)) => (Outcome::Partial, format!("still accepted: {what}")),
        Err(Failed::Never(why)) => (Outcome::Partial, format!("not verified: {why}")),
    }
}

/// Tries until it works, fails for good, or `limit` has passed.
async fn retried<T, F>(limit: Duration, mut attempt: impl FnMut() -> F) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let failed = match attempt().await {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
        let Failed::Later(_, after) = &failed else { return Err(failed) };
        let wait = after.unwrap_or(pause).max(pause);
        if began.elapsed() + wait > limit {
            return Err(failed);
        }
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
}

async fn forget(hub: &Arc<Hub>, name: &str, subject: &Subject, dead: Vec<String>) {
    if dead.is_empty() {
        return;
    }
    let (hub, name, subject) = (Arc::clone(hub), name.to_owned(), subject.clone());
    let write = move || hub.connectors.forget(&hub.data, &name, &subject, &dead);
    // Where it fails they stay in the file, dead all the same.
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "revoked tokens stay in the connectors' file"),
        Err(error) => tracing::error!(%error, "revoked tokens stay in the connectors' file"),
    }
}

async fn note(hub: &Hub, target: &ProviderTarget, outcome: Outcome, detail: String) {
    let ProviderTarget { txn, name, .. } = target;
    tracing::info!(%txn, provider = %name, %outcome, "an identity provider");
    let provided = Provided { txn: txn.clone(), name: name.clone(), outcome, detail };
    match hub.sequencer.submit(Command::Provided(provided)).await {
        Ok(answer) => {
            if let Err(refused) = answer.reply {
                tracing::warn!(%txn, provider = %name, %refused, "its outcome was not taken");
            }
        }
        Err(error) => {
            tracing::error!(%txn, provider = %name, %error, "its outcome was not written")
        }
    }
}
