//! Pushes to receivers (RFC 8935): in order, until each is answered by exactly 202.
//!
//! It refuses to take any other answer for delivery, and to give up before a final refusal.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use exeunt_ssf::ErrBody;
use exeunt_ssf::discovery::PUSH;
use exeunt_ssf::poll::SET_MEDIA_TYPE;
use exeunt_ssf::stream::Delivery;
use tokio::task::JoinSet;

use crate::Hub;
use crate::store::Command;
use crate::store::stream::{Stream, StreamCommand};

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Delivers what waits in pushed streams until the hub stops.
pub async fn run(hub: Arc<Hub>) {
    let mut stopping = hub.stopping.clone();
    let mut bell = hub.shared.streams.any();
    bell.mark_changed();
    let mut running: HashSet<String> = HashSet::new();
    let mut workers: JoinSet<String> = JoinSet::new();
    loop {
        tokio::select! {
            rung = bell.changed() => if rung.is_err() { return },
            Some(ended) = workers.join_next() => {
                // One that panicked keeps its name, and is not started again.
                if let Ok(stream) = ended { running.remove(&stream); }
            }
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        let streams = match hub.views.read(|view| view.streams(None)).await {
            Ok(streams) => streams,
            Err(error) => {
                tracing::error!(%error, "streams cannot be looked for");
                continue;
            }
        };
        for stream in streams.into_iter().filter(is_pushed) {
            if running.contains(&stream.id) || !has_waiting(&hub, &stream.id).await {
                continue;
            }
            running.insert(stream.id.clone());
            workers.spawn(deliver(Arc::clone(&hub), stream.id));
        }
    }
}

fn is_pushed(stream: &Stream) -> bool {
    stream.wishes.delivery.as_ref().is_some_and(|delivery| delivery.method == PUSH)
}

async fn has_waiting(hub: &Hub, stream: &str) -> bool {
    let name = stream.to_owned();
    let waiting = hub.views.read(move |view| view.stream_waiting(&name, 1)).await;
    waiting.is_ok_and(|waiting| !waiting.is_empty())
}

/// Delivers one stream until nothing waits. Gives its name back.
async fn deliver(hub: Arc<Hub>, name: String) -> String {
    let mut stopping = hub.stopping.clone();
    let mut wait = hub.limits.push_retry;
    loop {
        match next(&hub, &name).await {
            Step::Empty => return name,
            Step::Done => wait = hub.limits.push_retry,
            Step::Again => {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => return name,
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
        if *stopping.borrow() {
            return name;
        }
    }
}

enum Step {
    /// Nothing waits.
    Empty,
    /// One SET was settled.
    Done,
    /// It is to be tried again.
    Again,
}

async fn next(hub: &Arc<Hub>, name: &str) -> Step {
    let asked = name.to_owned();
    let read = hub.views.read(move |view| {
        let stream = view.streams(None)?.into_iter().find(|stream| stream.id == asked);
        Ok((stream, view.stream_waiting(&asked, 1)?))
    });
    let (stream, waiting) = match read.await {
        Ok((Some(stream), waiting)) if is_pushed(&stream) => (stream, waiting),
        Ok(_) => return Step::Empty,
        Err(error) => {
            tracing::error!(%error, "a stream cannot be read");
            return Step::Again;
        }
    };
    let Ok(signed) = super::sign(hub, waiting).await else { return Step::Again };
    let Some((set, compact)) = signed.into_iter().next() else { return Step::Empty };
    let delivery = stream.wishes.delivery.unwrap_or_default();
    let (acked, refused) = match push(hub, &delivery, compact).await {
        Pushed::Delivered => (vec![set.jti.clone()], vec![]),
        Pushed::Refused(err) => {
            tracing::warn!(stream = name, jti = %set.jti, %err, "a receiver refused a SET");
            (vec![], vec![(set.jti.clone(), err)])
        }
        Pushed::Again(why) => {
            tracing::warn!(stream = name, jti = %set.jti, why, "a push is tried again");
            return Step::Again;
        }
    };
    let taken = StreamCommand::Taken { stream: name.to_owned(), acked, refused };
    match hub.sequencer.submit(Command::Stream(taken)).await {
        Ok(_) => Step::Done,
        Err(_) => Step::Again,
    }
}

enum Pushed {
    /// Answered by 202.
    Delivered,
    /// Refused for good, with the code of RFC 8935 §2.4.
    Refused(String),
    /// Anything else.
    Again(String),
}

async fn push(hub: &Hub, delivery: &Delivery, compact: String) -> Pushed {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SET_MEDIA_TYPE));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(header) = &delivery.authorization_header {
        let Ok(mut value) = HeaderValue::from_str(header) else {
            return Pushed::Again("the authorization header is no header value".into());
        };
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let url = delivery.endpoint_url.as_deref().unwrap_or_default();
    let answered = match hub.ssf.reach.send(Method::POST, url, headers, compact).await {
        Ok(answered) => answered,
        Err(error) => return Pushed::Again(error.to_string()),
    };
    if answered.status == StatusCode::ACCEPTED {
        return Pushed::Delivered;
    }
    // Only the RFC's own shape is a final refusal of the SET; the rest is about the request.
    if answered.status == StatusCode::BAD_REQUEST
        && let Ok(error) = serde_json::from_slice::<ErrBody>(&answered.body)
        && !matches!(error.err.as_str(), "authentication_failed" | "access_denied")
    {
        return Pushed::Refused(error.err.chars().take(64).collect());
    }
    Pushed::Again(format!("answered {}", answered.status.as_u16()))
}
