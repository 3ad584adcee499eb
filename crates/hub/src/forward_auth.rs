//! The revocation check for gateways: nginx `auth_request`, Envoy `ext_authz` over HTTP, Traefik
//! and Caddy forward-auth.
//!
//! It refuses to let the visitor choose what is checked: the service's credential and the place of
//! the session id come from headers that the gateway sets, and two different ids are none.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, COOKIE, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use exeunt_api::SessionInfo;
use exeunt_check::{SessionKey, SubjectHash};
use exeunt_domain::session::SessionHash;
use exeunt_domain::{SessionId, SessionStatus};

use crate::http::ApiError;
use crate::oauth::{Client, client_by_secret};
use crate::{Hub, check_api};

/// Where gateways ask. Envoy appends the path of the request that it asks about.
pub const PATH: &str = "/v1/forward-auth";
/// `CLIENT_ID:CLIENT_SECRET` of the relying service, set by the gateway.
const GATEWAY: HeaderName = HeaderName::from_static("x-exeunt-gateway");
/// `cookie NAME` or `header NAME`, set by the gateway.
const SESSION_IN: HeaderName = HeaderName::from_static("x-exeunt-session-in");
/// Whose session it is, in the answer.
const SUBJECT: HeaderName = HeaderName::from_static("x-exeunt-subject");

/// `GET /v1/forward-auth?aud=`, and below it any method: 204 with `X-Exeunt-Subject`, 401 when the
/// session is unknown or ended, 403 when the gateway's own settings are wrong. `aud` may be left
/// out; it is the service's one audience.
///
/// # Errors
/// [`ApiError`]; 503 when the record cannot be read, on which every gateway denies.
pub async fn forward_auth(State(hub): State<Arc<Hub>>, parts: Parts) -> Result<Response, ApiError> {
    let client = gateway(&hub, &parts.headers)?;
    if parts.uri.path() == PATH && audience(&parts).is_some_and(|aud| aud != client.aud) {
        return Err(ApiError::forbidden("this service speaks for another audience"));
    }
    let Some(id) = session_id(&parts.headers)? else { return Ok(refused()) };
    let live = live(&hub, &client, &id).await?;
    let Some(subject) = live.map(|info| info.subject.key()) else { return Ok(refused()) };
    let subject = HeaderValue::from_bytes(subject.as_bytes())
        .map_err(|_| ApiError::internal("a subject that no header carries"))?;
    let headers = [(SUBJECT, subject), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// A session of the service by its id alone, if it is accepted now.
///
/// # Errors
/// [`ApiError`].
pub async fn live(
    hub: &Hub,
    client: &Client,
    id: &SessionId,
) -> Result<Option<SessionInfo>, ApiError> {
    let hash = SessionHash::of(&client.aud, id);
    let found = hub.views.read(move |view| view.session(&hash)).await?;
    let (refused, held) = hub.shared.revocations(|state| {
        let refused = found.as_ref().is_none_or(|info| {
            let subject = SubjectHash::of(&info.subject);
            info.status != SessionStatus::Active
                || state.is_refused(subject, SessionKey::from(&hash), info.seq).is_some()
        });
        (refused, state.seq())
    });
    check_api::asked_here(hub, client, held).await?;
    Ok(found.filter(|_| !refused))
}

fn refused() -> Response {
    (StatusCode::UNAUTHORIZED, [(CACHE_CONTROL, "no-store")]).into_response()
}

fn gateway(hub: &Hub, headers: &HeaderMap) -> Result<Client, ApiError> {
    let given = only(headers, &GATEWAY).and_then(|text| text.split_once(':'));
    given
        .and_then(|(id, secret)| client_by_secret(hub, id, secret))
        .ok_or_else(|| ApiError::forbidden("the gateway did not prove which service it serves"))
}

fn audience(parts: &Parts) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Asked {
        aud: Option<String>,
    }
    let asked = axum::extract::Query::<Asked>::try_from_uri(&parts.uri);
    // A query that cannot be read names no audience of this service.
    asked.map_or_else(|_| Some(String::new()), |asked| asked.0.aud)
}

/// The session id, from where the gateway says that it is; None when there is none, or no one.
fn session_id(headers: &HeaderMap) -> Result<Option<SessionId>, ApiError> {
    let place = only(headers, &SESSION_IN).and_then(|text| text.split_once(' '));
    let found = match place {
        Some(("cookie", name)) if !name.is_empty() => cookie(headers, name),
        Some(("header", name)) => HeaderName::from_bytes(name.as_bytes())
            .ok()
            .and_then(|name| only(headers, &name).map(str::to_owned)),
        Some(_) | None => {
            let say = "x-exeunt-session-in is `cookie NAME` or `header NAME`, set by the gateway";
            return Err(ApiError::forbidden(say));
        }
    };
    Ok(found.and_then(|text| SessionId::parse(text).ok()))
}

/// A header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// A cookie's value (RFC 6265 §5.4), if every cookie of that name has the same one: what the
/// service reads must be what was checked.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        for pair in header.to_str().ok()?.split(';') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if key.trim() != name {
                continue;
            }
            let value = value.trim().trim_matches('"');
            if found.is_some_and(|earlier| earlier != value) {
                return None;
            }
            found = Some(value);
        }
    }
    found.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn reads_one_cookie_and_refuses_two_that_differ() {
        let one = headers(&[("cookie", "a=1; sid=\"s1\"; sidx=2")]);
        assert_eq!(cookie(&one, "sid").as_deref(), Some("s1"));
        let same = headers(&[("cookie", "sid=s1"), ("cookie", "sid=s1")]);
        assert_eq!(cookie(&same, "sid").as_deref(), Some("s1"));
        assert_eq!(cookie(&headers(&[("cookie", "sid=s1; sid=s2")]), "sid"), None);
        assert_eq!(cookie(&headers(&[("cookie", "sid=s1"), ("cookie", "sid=s2")]), "sid"), None);
        assert_eq!(cookie(&HeaderMap::new(), "sid"), None);
    }

    #[test]
    fn a_visitor_who_adds_a_second_setting_is_refused() {
        let twice = headers(&[
            ("x-exeunt-session-in", "cookie sid"),
            ("x-exeunt-session-in", "header x-mine"),
        ]);
        assert!(session_id(&twice).is_err());
        let header = headers(&[("x-exeunt-session-in", "header x-session"), ("x-session", "s1")]);
        assert_eq!(session_id(&header).unwrap().unwrap().as_str(), "s1");
    }
}
