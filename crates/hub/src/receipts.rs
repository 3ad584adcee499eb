//! The receipts of a transaction, each with the hub's countersignature.
//!
//! It refuses to summarise: whoever doubts one gets the signed bytes and the key.

use std::sync::Arc;

use axum::extract::State;
use exeunt_api::ReceiptRecord;
use exeunt_domain::Txn;

use crate::Hub;
use crate::http::{ApiError, Json, Named};
use crate::oauth::Admin;

/// `GET /v1/receipts/{txn}`: oldest first; empty when none has come.
///
/// # Errors
/// [`ApiError`].
pub async fn list(
    State(hub): State<Arc<Hub>>,
    _admin: Admin,
    Named(txn): Named<Txn>,
) -> Result<Json<Vec<ReceiptRecord>>, ApiError> {
    Ok(Json(hub.views.read(move |view| view.receipts(&txn)).await?))
}
