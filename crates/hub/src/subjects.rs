//! The doors of subjects' names: an operator looks, joins and splits; and what an identity
//! provider's ID token says of them.
//!
//! It refuses a guess: names become one subject's by an operator, a rule of theirs, or a provider's
//! signature.

use std::sync::Arc;

use axum::extract::State;
use exeunt_api::{JoinRequest, SplitRequest, SubjectInfo};
use exeunt_domain::{Subject, Timestamp};
use exeunt_ssf::PeerKeys;
use exeunt_ssf::peer::{claimed_audience, verify_peer_jwt};
use serde::Deserialize;
use serde_json::Value;

use crate::Hub;
use crate::http::{ApiError, Json, Query};
use crate::oauth::Admin;
use crate::registry::{OfSubject, subject};
use crate::sequencer::now;
use crate::ssf::signals::{claimed, verified};
use crate::store::Command;
use crate::store::command::{Join, Split};

/// Longest reason, in characters.
const LONGEST: usize = 1024;
/// How much later than the provider says a person may be said to have authenticated, in ms.
const LATER_MS: u64 = 60_000;

/// `GET /v1/subject?subject=`: everything by which a subject is known.
///
/// # Errors
/// [`ApiError`].
pub async fn show(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Query(ask): Query<OfSubject>,
) -> Result<Json<SubjectInfo>, ApiError> {
    Ok(Json(info(&hub, subject(ask.as_str())?).await?))
}

/// `POST /v1/subject/join`: two names are one subject's.
///
/// # Errors
/// [`ApiError`]; 409 for more names than a subject can have.
pub async fn join(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<JoinRequest>,
) -> Result<Json<SubjectInfo>, ApiError> {
    let (one, alias) = (subject(&ask.subject)?, subject(&ask.alias)?);
    let reason = reasoned(ask.reason)?;
    let join = Join { actor: admin.actor, subject: one.clone(), alias, reason };
    hub.sequencer.submit(Command::Join(join)).await?.reply?;
    Ok(Json(info(&hub, one).await?))
}

/// `POST /v1/subject/split`: a name is not the subject's that it was joined to.
///
/// # Errors
/// [`ApiError`]; 404 for a name that stands alone.
pub async fn split(
    State(hub): State<Arc<Hub>>,
    admin: Admin,
    Json(ask): Json<SplitRequest>,
) -> Result<Json<SubjectInfo>, ApiError> {
    let alias = subject(&ask.alias)?;
    let reason = reasoned(ask.reason)?;
    let split = Split { actor: admin.actor, alias: alias.clone(), reason };
    hub.sequencer.submit(Command::Split(split)).await?.reply?;
    Ok(Json(info(&hub, alias).await?))
}

async fn info(hub: &Hub, subject: Subject) -> Result<SubjectInfo, ApiError> {
    Ok(hub.views.read(move |view| view.subject(&subject)).await??)
}

/// A reason that says something.
///
/// # Errors
/// [`ApiError`] 400.
pub fn reasoned(text: String) -> Result<String, ApiError> {
    let text = text.trim().to_owned();
    if text.is_empty() || text.chars().count() > LONGEST || text.chars().any(char::is_control) {
        let say = "a reason has 1 to 1,024 characters, and no control characters";
        return Err(ApiError::invalid(say));
    }
    Ok(text)
}

/// Words for the record, of any kind.
///
/// # Errors
/// [`ApiError`] 400 when they are too long.
pub fn worded(text: String) -> Result<String, ApiError> {
    if text.chars().count() > LONGEST {
        return Err(ApiError::invalid("words for the record have at most 1,024 characters"));
    }
    Ok(text)
}

/// What an ID token says of a person (OpenID Connect Core 1.0 §2, §5.1).
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    email: Option<String>,
    /// True, or by some providers' habit its text.
    #[serde(default)]
    email_verified: Value,
    auth_time: Option<u64>,
}

/// Every name that an ID token gives a person, as far as its issuer may speak about it. Whom the
/// token was issued to does not matter for that.
///
/// # Errors
/// [`ApiError`] 400 when no registered transmitter signed it, when it is not good now, when it is
/// not about `subject`, or when it says that the person authenticated earlier than `auth_time`.
pub async fn names_in(
    hub: &Hub,
    token: &str,
    subject: &Subject,
    auth_time: Timestamp,
) -> Result<Vec<Subject>, ApiError> {
    let invalid = |why: String| ApiError::invalid(format!("the id_token: {why}"));
    let it = claimed(hub, token).await?.ok_or_else(|| {
        let say = "no registered transmitter has its issuer";
        invalid(say.into()).hint("an administrator registers the provider as a transmitter")
    })?;
    let aud = claimed_audience(token).ok_or_else(|| invalid("it is for nobody".into()))?;
    let verify = |keys: &PeerKeys| verify_peer_jwt(token, keys, &["JWT"], &it.issuer, &aud, now());
    let claims: Claims =
        verified(hub, &it, verify).await?.map_err(|error| invalid(error.to_string()))?;
    if let Some(at) = claims.auth_time
        && auth_time > Timestamp::from_secs(at).plus_ms(LATER_MS)
    {
        let say = "the person authenticated earlier than auth_time, by the provider's word";
        return Err(invalid(say.into()));
    }
    let is_verified = claims.email_verified == true || claims.email_verified == "true";
    let names = [
        Some(Subject::IssSub { iss: claims.iss, sub: claims.sub }),
        claims.email.filter(|_| is_verified).map(|email| Subject::Email { email }),
    ];
    let names = names.into_iter().flatten().filter_map(|name| Subject::parse(&name.key()).ok());
    let names: Vec<_> = names.filter(|name| it.may_speak_about(name)).collect();
    if !names.contains(subject) {
        let say = "it is not about the subject, by a name that its issuer may speak about";
        return Err(invalid(say.into()));
    }
    Ok(names)
}
