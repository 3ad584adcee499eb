//! Two approvers, and the orders to everyone that they agree to.
//!
//! It refuses a way around the hub: proposal, signatures and order go through the operators' doors.

use anyhow::{Context, Result, ensure};
use exeunt_api::ProposalInfo;
use exeunt_ssf::SigningKey;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use super::hub::Hub;

/// Who approves.
const NAMES: [&str; 2] = ["ann", "bea"];

/// The approvers, with their tokens and keys.
pub(super) struct Quorum {
    http: Client,
    operator: String,
    approvers: Vec<(String, SigningKey)>,
}

/// An order that lacks one approval.
pub(super) struct Almost {
    path: String,
    token: String,
    body: Value,
}

impl Quorum {
    /// Puts two approvers in force at the hub, which serves at `base`.
    pub(super) fn found(hub: &Hub, base: &str) -> Result<Self> {
        let (http, operator) = (hub.http.clone(), hub.operator()?);
        let mut this = Self { http, operator, approvers: Vec::new() };
        let mut add = Vec::new();
        for name in NAMES {
            let body = json!({ "name": name, "roles": ["approver"] });
            let made = this.post(base, "/v1/admin-tokens", &this.operator, &body)?;
            let token = made["token"].as_str().context("no token")?.to_owned();
            let key = SigningKey::generate()?;
            add.push(json!({ "name": name, "x": key.jwk().x() }));
            this.approvers.push((token, key));
        }
        let body = json!({ "add": add, "needed": NAMES.len() });
        this.post(base, "/v1/approvers", &this.operator, &body)?;
        Ok(this)
    }

    /// Proposes that every device locks, and has it approved but for one signature.
    pub(super) fn almost(&self, base: &str) -> Result<Almost> {
        let body = json!({ "tier": "lock", "everyone": true });
        let proposed = self.post(base, "/v1/proposals", &self.operator, &body)?;
        let info: ProposalInfo = serde_json::from_value(proposed)?;
        let path = exeunt_api::path::approve(&info.proposal.txn);
        let mut signed = Vec::new();
        for (token, key) in &self.approvers {
            let approval = exeunt_ssf::approve(key, &info.proposal)?;
            signed.push((token.clone(), json!({ "approval": approval })));
        }
        let (token, body) = signed.pop().context("nobody approves")?;
        for (token, body) in &signed {
            self.post(base, &path, token, body)?;
        }
        Ok(Almost { path, token, body })
    }

    /// Gives the last approval; when this returns, the order is durable.
    pub(super) fn last(&self, base: &str, order: &Almost) -> Result<()> {
        let done = self.post(base, &order.path, &order.token, &order.body)?;
        ensure!(done["status"] == "committed", "the order was not carried out: {done}");
        Ok(())
    }

    fn post(&self, base: &str, path: &str, token: &str, body: &Value) -> Result<Value> {
        let answer =
            self.http.post(format!("{base}{path}")).bearer_auth(token).json(body).send()?;
        let (status, text) = (answer.status(), answer.text()?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
