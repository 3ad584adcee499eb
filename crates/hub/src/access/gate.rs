//! The gate before an operator's door: who they are, whether their role opens it, how often they
//! have come, and a line in the audit.
//!
//! It refuses in this order, and tells a stranger nothing of the roles.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use exeunt_api::Role;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Rule, Who};
use crate::Hub;
use crate::http::ApiError;
use crate::oauth::Admin;
use crate::publish::lock;
use crate::store::Command;

/// A look that is repeated within this time is not noted again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// Most callers and looks that are remembered at a time.
const MOST: usize = 65_536;

/// One door's gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Whose door.
    pub hub: Arc<Hub>,
    /// Its rule.
    pub rule: &'static Rule,
}

/// What is remembered of operators' calls, for as long as the process lives.
#[derive(Debug, Default)]
pub struct Calls {
    /// How many calls each caller has left, and since when that is so.
    left: Mutex<HashMap<String, (f64, Instant)>>,
    /// What was looked at, and when that was noted.
    looks: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Calls {
    /// Takes one of a caller's `per_minute` calls; else how long until there is one.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&self, caller: &str, per_minute: u32) -> Result<(), Duration> {
        let (most, now) = (f64::from(per_minute), Instant::now());
        let mut left = lock(&self.left);
        if left.len() >= MOST {
            left.retain(|_, (_, since)| since.elapsed() < Duration::from_secs(60));
        }
        let (have, since) = left.entry(caller.to_owned()).or_insert((most, now));
        let grown = now.duration_since(*since).as_secs_f64() * most / 60.0;
        (*have, *since) = ((*have + grown).min(most), now);
        if *have < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *have) * 60.0 / most.max(1.0)));
        }
        *have -= 1.0;
        Ok(())
    }

    /// Whether a look has not been noted within the last minutes.
    fn is_new(&self, actor: &str, what: &str) -> bool {
        let key: [u8; 32] = Sha256::digest(format!("{actor}\n{what}")).into();
        let mut looks = lock(&self.looks);
        if looks.len() >= MOST {
            looks.retain(|_, at| at.elapsed() < LOOK_AGAIN);
        }
        let now = Instant::now();
        let before = looks.insert(key, now);
        before.is_none_or(|at| now.duration_since(at) >= LOOK_AGAIN)
    }
}

/// Lets an operator through, or says why not.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&gate, &parts).await {
        Ok(admin) => {
            parts.extensions.insert(admin);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => *refused,
    }
}

async fn admit(gate: &Gate, request: &Parts) -> Result<Admin, Box<Response>> {
    let hub = &gate.hub;
    let refuse = |error: ApiError| Box::new(error.into_response());
    let admin = Admin::of(hub, &request.headers).map_err(refuse)?;
    let Rule(method, path, Who::Operator(roles)) = gate.rule else {
        return Err(refuse(ApiError::internal("a gate before a door that is not an operator's")));
    };
    if let Err(wait) = hub.calls.take(&admin.actor, hub.limits.calls_per_minute) {
        let error = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            format!("more than {} calls within a minute", hub.limits.calls_per_minute),
        );
        return Err(later(error, wait));
    }
    if !roles.iter().any(|role| admin.roles.contains(role)) {
        let what = format!("{method} {path}");
        note(hub, &admin, "access-refused", &what, &what).await;
        return Err(refuse(no_role(&admin.roles, roles)));
    }
    if request.method == Method::GET {
        // Who looks at themselves looks at nobody.
        if *path == exeunt_api::path::OPERATOR {
            return Ok(admin);
        }
        let asked = request.uri.path_and_query().map_or(*path, |asked| asked.as_str());
        // Whoever reads the audit page by page would otherwise write a row for each, and never come
        // to its end.
        let what = if *path == exeunt_api::path::AUDIT { *path } else { asked };
        note(hub, &admin, "looked", what, path).await;
    }
    Ok(admin)
}

fn later(error: ApiError, wait: Duration) -> Box<Response> {
    let mut response = error.into_response();
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    response.headers_mut().insert(RETRY_AFTER, seconds);
    Box::new(response)
}

fn no_role(have: &[Role], need: &[Role]) -> ApiError {
    let words = |roles: &[Role]| {
        let words: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    };
    let say = format!("this needs one of the roles {}; yours: {}", words(need), words(have));
    ApiError::forbidden(say)
}

/// Notes a look or a refusal, once within ten minutes for the same.
async fn note(hub: &Hub, admin: &Admin, action: &'static str, what: &str, door: &str) {
    if !hub.calls.is_new(&admin.actor, &format!("{action} {what}")) {
        return;
    }
    // A query may name a subject at any length.
    let what: String = what.chars().take(512).collect();
    let (actor, door) = (admin.actor.clone(), door.to_owned());
    let command = Command::NoteCall { actor, action, door, what };
    if let Err(error) = hub.sequencer.submit(command).await {
        // Whoever is to find out why must be able to look.
        tracing::error!(%error, "an operator's call is not in the audit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_used_a_minute_s_calls_waits_and_others_do_not() {
        let calls = Calls::default();
        for _ in 0..60 {
            assert!(calls.take("olive", 60).is_ok());
        }
        let wait = calls.take("olive", 60).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(calls.take("otto", 60).is_ok());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(calls.take("olive", 60).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_look_is_noted_once_in_ten_minutes() {
        let calls = Calls::default();
        assert!(calls.is_new("olive", "a") && calls.is_new("olive", "b"));
        assert!(calls.is_new("otto", "a") && !calls.is_new("olive", "a"));
        tokio::time::advance(LOOK_AGAIN).await;
        assert!(calls.is_new("olive", "a"));
    }
}
