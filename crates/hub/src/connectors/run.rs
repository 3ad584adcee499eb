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

use super::call::{Again, Failed, Http};
use super::{Connector, Person, Probe, residue};
use crate::store::Command;
use crate::store::command::{Provided, ProviderTarget, Remains};
use crate::{Hub, ssf};

/// The first pause between two tries; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(250);

type Key = (Txn, String);

/// Runs until the hub stops.
pub async fn run(hub: Arc<Hub>) {
    let mut changes = hub.shared.txns();
    let mut stopping = hub.stopping.clone();
    let (mut running, mut busy) = (JoinSet::<Key>::new(), HashSet::<Key>::new());
    let mut look = true;
    loop {
        if look && !hub.connectors.all().is_empty() {
            for target in open(&hub).await {
                let key = (target.txn.clone(), target.name.clone());
                if busy.insert(key.clone()) {
                    let hub = Arc::clone(&hub);
                    running.spawn(async move {
                        reach(&hub, target).await;
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

/// What each registered provider keeps alive, as this program knows it, into the record: an earlier
/// version may have known less.
pub async fn declare(hub: &Hub) {
    for (name, one) in hub.connectors.all() {
        let remains = remains(one.settings.connector());
        if let Err(error) = hub.sequencer.submit(Command::Declare { name, remains }).await {
            tracing::error!(%error, "what providers keep alive was not written");
            return;
        }
    }
}

/// What a connector leaves alive, for the record.
pub(super) fn remains(connector: &dyn Connector) -> Vec<Remains> {
    let all = connector.does_not_cover().iter().map(|gap| Remains {
        what: gap.what.to_owned(),
        until: gap.how_long.to_owned(),
        lapses_after_s: gap.lapses_after_s,
        lapses: None,
    });
    all.collect()
}

/// The client for a connector: one that signs, where that is needed.
///
/// # Errors
/// [`Failed::Later`] when no key can be made.
pub(super) async fn client(hub: &Arc<Hub>, connector: &dyn Connector) -> Result<Http, Failed> {
    if !connector.signs() {
        return Ok(hub.providers.clone());
    }
    let key = ssf::signer(hub).await;
    let key = key.map_err(|error| Failed::Later(error.message().to_owned(), None))?;
    Ok(hub.providers.signing(&hub.issuer, key))
}

async fn reach(hub: &Arc<Hub>, target: ProviderTarget) {
    let Some(one) = hub.connectors.get(&target.name) else {
        let say = "this provider's settings are gone; nothing was ended there".to_owned();
        return note(hub, &target, Outcome::Unreachable, say, None).await;
    };
    let connector = one.settings.connector();
    let gaps = residue(connector);
    let http = match client(hub, connector).await {
        Ok(http) => http,
        Err(failed) => {
            let say = format!("{failed}; {gaps}");
            return note(hub, &target, Outcome::Unreachable, say, None).await;
        }
    };
    let began = Instant::now();
    let (person, revoked) = revoke(hub, &http, connector, &target).await;
    let answered = match revoked {
        Ok(answered) => answered,
        Err(failed) => {
            let (outcome, say) = given_up(connector, &failed, began);
            return note(hub, &target, outcome, format!("{say}; {gaps}"), None).await;
        }
    };
    let say = format!("{answered}; not looked at again yet");
    note(hub, &target, Outcome::Contained, say, None).await;
    let (outcome, found) = looked_at(hub, connector, &http, &person).await;
    let took = began.elapsed().as_millis();
    let detail = format!("{answered}; {found}; {took} ms after the first call; {gaps}");
    let rejected = (outcome == Outcome::Verified).then(|| u64::try_from(took).unwrap_or(u64::MAX));
    if rejected.is_some() {
        for name in std::iter::once(&target.subject).chain(&target.aliases) {
            forget(hub, &target.name, name, person.tokens.clone()).await;
        }
    }
    note(hub, &target, outcome, detail, rejected).await;
}

/// How a target ends that could not be revoked, and what a person reads.
fn given_up(connector: &dyn Connector, failed: &Failed, began: Instant) -> (Outcome, String) {
    let after = format!("given up after {} s", began.elapsed().as_secs());
    match failed {
        Failed::Later(why, _) => (Outcome::Unreachable, format!("{why}; {after}")),
        Failed::Partly(why, Again::After(_)) => (Outcome::Partial, format!("{why}; {after}")),
        Failed::Partly(why, Again::Not) | Failed::Never(why) => (Outcome::Partial, why.clone()),
        Failed::Denied(why) => {
            (Outcome::Partial, format!("{why}; renew the credentials: {}", connector.renewal()))
        }
    }
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
        match connector.probe(http, person).await {
            Ok(Probe::Rejected(how)) => Ok(how),
            Ok(Probe::Accepted(what)) => {
                Err(Failed::Later(format!("still accepted: {what}"), None))
            }
            Err(failed) => Err(unseen(failed)),
        }
    };
    match retried(hub.limits.provider_settle, look).await {
        Ok(how) => (Outcome::Verified, how),
        Err(failed) => (Outcome::Partial, failed.to_string()),
    }
}

/// A failure to look, as people read it.
fn unseen(failed: Failed) -> Failed {
    let say = format!("not verified: {failed}");
    match failed {
        Failed::Later(_, after) => Failed::Later(say, after),
        Failed::Never(_) | Failed::Denied(_) | Failed::Partly(..) => Failed::Never(say),
    }
}

/// Tries until it works, fails for good, or `limit` has passed. A part that was ended by an earlier
/// try is not forgotten.
async fn retried<T, F>(limit: Duration, mut attempt: impl FnMut() -> F) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let began = Instant::now();
    let (mut pause, mut partly) = (PAUSE, None);
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let failed = match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(failed)) => failed,
            Err(_) => {
                let silent = Failed::Later("the provider does not answer".into(), None);
                return Err(in_all(partly, silent));
            }
        };
        let Again::After(after) = failed.again() else { return Err(in_all(partly, failed)) };
        let wait = after.unwrap_or(pause).max(pause);
        if began.elapsed() + wait > limit {
            return Err(in_all(partly, failed));
        }
        if let Failed::Partly(say, _) = failed {
            partly = partly.or(Some(say));
        }
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
}

/// The last failure, and what an earlier try had ended.
fn in_all(partly: Option<String>, last: Failed) -> Failed {
    match partly {
        Some(before) => last.having(&before),
        None => last,
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

async fn note(
    hub: &Hub,
    target: &ProviderTarget,
    outcome: Outcome,
    detail: String,
    rejected_after_ms: Option<u64>,
) {
    let ProviderTarget { txn, name, .. } = target;
    tracing::info!(%txn, provider = %name, %outcome, "an identity provider");
    let provided =
        Provided { txn: txn.clone(), name: name.clone(), outcome, detail, rejected_after_ms };
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
