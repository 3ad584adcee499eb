//! An operator's calls to the hub.
//!
//! It refuses to know the store: it asks what an operator may ask, over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use exeunt_api::{
    AuditEntry, AuditVerdict, DeviceList, ReceiptRecord, ServiceResponse, SessionList,
    SignOutResponse, TxnState, path,
};
use exeunt_domain::Txn;
use reqwest::blocking::{Client, RequestBuilder};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::waiting;

/// An operator with a token.
#[derive(Debug)]
pub struct Admin {
    client: Client,
    url: String,
    token: String,
}

impl Admin {
    /// For the hub at `url`.
    ///
    /// # Errors
    /// No client could be made.
    pub fn new(url: &str, token: &str) -> Result<Self> {
        let client = crate::http::client(Duration::from_secs(60))?;
        Ok(Self { client, url: url.to_owned(), token: token.to_owned() })
    }

    /// Credentials for a relying service.
    ///
    /// # Errors
    /// The hub refused or did not answer; so for every other call.
    pub fn service(&self, name: &str, aud: &str) -> Result<ServiceResponse> {
        self.post(path::SERVICES, &json!({ "name": name, "aud": aud }))
    }

    /// The hub's public keys.
    ///
    /// # Errors
    /// As above.
    pub fn keys(&self) -> Result<Value> {
        self.get(path::JWKS)
    }

    /// Enrolled devices.
    ///
    /// # Errors
    /// As above.
    pub fn devices(&self) -> Result<DeviceList> {
        self.get(path::DEVICES)
    }

    /// The sessions of `subject`.
    ///
    /// # Errors
    /// As above.
    pub fn sessions(&self, subject: &str) -> Result<SessionList> {
        self.get(&format!("{}?subject={subject}", path::SESSIONS))
    }

    /// Signs `subject` out everywhere, as an operator.
    ///
    /// # Errors
    /// As above.
    pub fn sign_out(&self, subject: &str) -> Result<SignOutResponse> {
        self.post(path::SIGN_OUT, &json!({ "subject": subject, "reason": "a test" }))
    }

    /// How a transaction stands.
    ///
    /// # Errors
    /// As above.
    pub fn txn(&self, txn: &Txn) -> Result<TxnState> {
        self.get(&path::txn(txn))
    }

    /// Waits until every target of a transaction is as far as it can be.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub fn final_txn(&self, txn: &Txn, limit: Duration) -> Result<TxnState> {
        let mut last = None;
        waiting::until("the end of the transaction", limit, || {
            let state = self.txn(txn)?;
            last = Some(format!("{state:?}"));
            Ok(state.is_final().then_some(state))
        })
        .with_context(|| last.unwrap_or_default())
    }

    /// The receipts of a transaction.
    ///
    /// # Errors
    /// As above.
    pub fn receipts(&self, txn: &Txn) -> Result<Vec<ReceiptRecord>> {
        self.get(&path::receipts(txn))
    }

    /// The whole audit log.
    ///
    /// # Errors
    /// As above.
    pub fn audit(&self) -> Result<Vec<AuditEntry>> {
        let address = format!("{}{}?after=0&limit=1000", self.url, path::AUDIT);
        let text = self.send(self.client.get(address))?.text()?;
        text.lines().map(|line| serde_json::from_str(line).context("an audit line")).collect()
    }

    /// Whether the audit log is whole.
    ///
    /// # Errors
    /// As above.
    pub fn audit_verdict(&self) -> Result<AuditVerdict> {
        self.get(path::AUDIT_VERIFY)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.client.get(format!("{}{path}", self.url));
        self.send(request)?.json().with_context(|| format!("the answer of {path}"))
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        self.send(request)?.json().with_context(|| format!("the answer of {path}"))
    }

    fn send(&self, request: RequestBuilder) -> Result<reqwest::blocking::Response> {
        let answer = request.bearer_auth(&self.token).send()?;
        if !answer.status().is_success() {
            bail!("the hub answered {}: {}", answer.status(), answer.text()?);
        }
        Ok(answer)
    }
}
