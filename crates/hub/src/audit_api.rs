//! The audit log's doors: export as JSON Lines, alarms, and verification.
//!
//! It refuses to edit: there is no door that writes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use exeunt_api::number::LARGEST;
use exeunt_api::{AlarmList, AuditVerdict};
use serde::Deserialize;

use crate::Hub;
use crate::audit::{head, judge};
use crate::http::{ApiError, Json, Query};
use crate::oauth::Admin;

/// Most rows in one answer.
const MOST: u32 = 10_000;
/// Rows when the caller names no number.
const USUAL: u32 = 1000;

/// Which rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// `GET /v1/audit?after=SEQ&limit=N`: JSON Lines, oldest first.
///
/// # Errors
/// [`ApiError`].
pub async fn export(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Query(rows): Query<Rows>,
) -> Result<Response, ApiError> {
    if rows.after > LARGEST {
        return Err(ApiError::invalid("after is beyond every sequence number"));
    }
    let limit = rows.limit.unwrap_or(USUAL).min(MOST) as usize;
    let entries = hub.views.read(move |view| view.audit(rows.after, limit)).await?;
    let mut lines = String::new();
    for entry in entries {
        let line = serde_json::to_string(&entry)
            .map_err(|_| ApiError::internal("an audit row is no JSON"))?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(([(CONTENT_TYPE, "application/jsonl")], lines).into_response())
}

/// Which alarms.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /v1/alarms?before=SEQ&limit=N`: what an operator has to look at, newest first.
///
/// # Errors
/// [`ApiError`].
pub async fn alarms(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Query(asked): Query<Before>,
) -> Result<Json<AlarmList>, ApiError> {
    let before = asked.before.unwrap_or(LARGEST);
    if before > LARGEST {
        return Err(ApiError::invalid("before is beyond every sequence number"));
    }
    let limit = asked.limit.unwrap_or(USUAL).min(MOST) as usize;
    let alarms = hub.views.read(move |view| view.alarms(before, limit)).await?;
    Ok(Json(AlarmList { v: exeunt_api::VERSION, alarms }))
}

/// `GET /v1/audit/verify`: looks at every row and at the signed head beside them.
///
/// # Errors
/// [`ApiError`].
pub async fn verify(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
) -> Result<Json<AuditVerdict>, ApiError> {
    let (data, keys) = (hub.data.path().to_owned(), hub.keys.own());
    let verdict = hub
        .views
        .read(move |view| {
            // The head first: the log may grow after it, never end before it.
            let signed = head::read(&data, &keys);
            let at = signed.as_ref().ok().copied().flatten().map_or(0, |head| head.seq);
            Ok(judge(&view.audit_chain(at)?, signed))
        })
        .await?;
    if let Some(reason) = &verdict.reason {
        tracing::error!(reason, "the audit log does not verify");
    }
    Ok(Json(verdict))
}
