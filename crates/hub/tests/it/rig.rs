//! A hub in this process, and a device, a service and an operator that speak to it over loopback.
//!
//! It refuses to reach into the hub: everything goes over HTTP.

use std::collections::BTreeMap;
use std::path::Path;

use exeunt_api::{
    DeviceTokenResponse, Progress, ServiceResponse, SessionEstablished, SignOutRequested,
    SignOutResponse, StoresReturned, TokenResponse, TxnState, path,
};
use exeunt_check::wire::{self, SessionResponse};
use exeunt_domain::order::{
    Authority, ENROL_EVENT, ENROLLED_EVENT, ORDER_EVENT, PROGRESS_EVENT, RECEIPT_EVENT,
    SESSION_ESTABLISHED_EVENT, SIGN_OUT_REQUESTED_EVENT, STORES_RETURNED_EVENT,
};
use exeunt_domain::receipt::{Before, LockReport, Mode};
use exeunt_domain::session::hex;
use exeunt_domain::{
    DeviceId, Jti, Order, Outcome, Proof, ReceiptBody, SessionId, SessionKind, StoreReport,
    Subject, Tier, Timestamp, Txn, Verdict,
};
use exeunt_hub::sequencer::now;
use exeunt_hub::{Config, Running, start};
use exeunt_ssf::{
    EnrolEvent, EnrolToken, EnrolledEvent, Expected, Jwks, PollRequest, PollResponse, Set,
    SigningKey, new_id, verify,
};
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A hub and its operator.
pub(crate) struct Rig {
    pub(crate) hub: Running,
    pub(crate) data: tempfile::TempDir,
    pub(crate) keys: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
    pub(crate) admin: String,
}

/// A client that trusts what this system trusts.
pub(crate) fn client() -> reqwest::Client {
    exeunt_signal::http::client(&exeunt_signal::Trust::Platform).unwrap()
}

/// An answer: its status and its body as JSON, or null.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn read<T: DeserializeOwned>(self) -> T {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        serde_json::from_value(self.body).unwrap()
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

pub(crate) fn config(data: &Path) -> Config {
    let mut config = Config::new(data);
    config.listen = "127.0.0.1:0".parse().unwrap();
    config
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let (data, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = config(data.path());
        config.connectors_key = Some(keys.path().join("connectors-key"));
        adjust(&mut config);
        let hub = start(config).await.unwrap();
        let admin = std::fs::read_to_string(hub.admin_token.as_ref().unwrap()).unwrap();
        let (http, admin) = (client(), admin.trim().to_owned());
        Self { hub, data, keys, http, admin }
    }

    /// Stops the hub and starts it again over the same directory and address.
    pub(crate) async fn restart(self, adjust: impl FnOnce(&mut Config)) -> Self {
        let Self { hub, data, keys, http, admin } = self;
        let addr = hub.addr;
        hub.stop().await;
        let mut config = config(data.path());
        config.listen = addr;
        config.connectors_key = Some(keys.path().join("connectors-key"));
        adjust(&mut config);
        let hub = start(config).await.unwrap();
        assert!(hub.admin_token.is_none(), "a second start announces no token");
        Self { hub, data, keys, http, admin }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.hub.url)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        answer(self.http.get(self.url(path)).bearer_auth(token)).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &impl Serialize) -> Answer {
        answer(self.http.post(self.url(path)).bearer_auth(token).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        answer(self.http.delete(self.url(path)).bearer_auth(token)).await
    }

    pub(crate) async fn sign_out(&self, subject: &str) -> SignOutResponse {
        let body = json!({ "subject": subject });
        self.post(path::SIGN_OUT, &self.admin, &body).await.read()
    }

    pub(crate) async fn txn(&self, txn: &Txn) -> TxnState {
        self.get(&path::txn(txn), &self.admin).await.read()
    }

    pub(crate) async fn device_token(&self, body: Value) -> EnrolToken {
        let minted: DeviceTokenResponse =
            self.post(path::DEVICE_TOKENS, &self.admin, &body).await.read();
        EnrolToken::decode(&minted.token).unwrap()
    }

    /// Enrols a device of that name.
    pub(crate) async fn device(&self, name: &str) -> Device {
        let token = self.device_token(json!({ "name": name })).await;
        let mut device = Device::new(name);
        device.enrol(self, &token).await.read::<Value>();
        device.log_in(self).await;
        device
    }

    /// Registers a relying service for that audience.
    pub(crate) async fn service(&self, aud: &str) -> Service {
        let body = json!({ "name": aud, "aud": aud });
        let minted: ServiceResponse = self.post(path::SERVICES, &self.admin, &body).await.read();
        let ServiceResponse { client_id: id, client_secret: secret, .. } = minted;
        let mut service = Service { id, secret, token: String::new() };
        service.token = service.log_in(self).await;
        service
    }

    /// Rows of the audit whose action is `action`.
    pub(crate) async fn audited(&self, action: &str) -> Vec<Value> {
        let ask = self.http.get(self.url("/v1/audit?limit=10000")).bearer_auth(&self.admin);
        let text = ask.send().await.unwrap().text().await.unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.filter(|row| row["action"] == action).collect()
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// A relying service.
pub(crate) struct Service {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: String,
}

impl Service {
    pub(crate) async fn log_in(&self, rig: &Rig) -> String {
        let form = [("grant_type", "client_credentials")];
        let ask = rig.http.post(rig.url(path::TOKEN)).form(&form);
        let ask = ask.basic_auth(&self.id, Some(&self.secret));
        answer(ask).await.read::<TokenResponse>().access_token
    }

    pub(crate) async fn register(&self, rig: &Rig, subject: &str, session: &str) -> u64 {
        self.try_register(rig, subject, session, now()).await.read::<SessionResponse>().seq
    }

    pub(crate) async fn try_register(
        &self,
        rig: &Rig,
        subject: &str,
        session: &str,
        auth_time: Timestamp,
    ) -> Answer {
        let body = json!({
            "subject": Subject::parse(subject).unwrap(), "session_id": session, "kind": "web",
            "auth_time": auth_time,
        });
        rig.post(path::SESSIONS, &self.token, &body).await
    }

    pub(crate) async fn check(
        &self,
        rig: &Rig,
        subject: &str,
        session: &str,
        seq: u64,
    ) -> StatusCode {
        let path = format!("/v1/check?subject={subject}&session={session}&issued_seq={seq}");
        rig.get(&path, &self.token).await.status
    }

    pub(crate) async fn end(&self, rig: &Rig, session: &str) {
        let path = rig.url(&format!("{}/{session}", wire::SESSIONS));
        let ended = answer(rig.http.delete(path).bearer_auth(&self.token)).await;
        assert_eq!(ended.status, 204);
    }

    pub(crate) async fn deltas(&self, rig: &Rig, after: u64, wait: u64) -> Answer {
        rig.get(&format!("{}?after={after}&wait={wait}", wire::DELTAS), &self.token).await
    }
}

/// A device: a warden's key, an agent's key, and the agent's token.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) key: SigningKey,
    pub(crate) agent: SigningKey,
    pub(crate) token: String,
    pub(crate) epoch: u64,
    pub(crate) keys: Jwks,
    pub(crate) receipts: u64,
    pub(crate) last: String,
}

impl Device {
    pub(crate) fn new(name: &str) -> Self {
        let key = SigningKey::generate().unwrap();
        let agent = SigningKey::generate().unwrap();
        let (id, token, last) = (name.to_owned(), String::new(), String::new());
        Self { id, key, agent, token, epoch: 0, keys: Jwks::default(), receipts: 0, last }
    }

    pub(crate) async fn enrol(&mut self, rig: &Rig, token: &EnrolToken) -> Answer {
        let event = EnrolEvent {
            secret: token.secret.clone(),
            device_jwk: self.key.jwk().clone(),
            agent_jwk: self.agent.jwk().clone(),
            name: self.id.clone(),
            mode: Mode::Installed,
        };
        let set = self.set(&rig.hub.issuer, ENROL_EVENT, &event);
        let answer = push(rig, path::ENROL, "", self.key.sign(&set).unwrap()).await;
        if let (true, Value::String(compact)) = (answer.status.is_success(), &answer.body) {
            let (_, issuer) = (&token.thumbprints, &token.issuer);
            let expected = Expected { issuer: Some(issuer.clone()), audience: self.id.clone() };
            let jwks: Jwks = rig.get(path::JWKS, "").await.read();
            assert!(token.thumbprints.contains(jwks.keys[0].kid()));
            let set = verify(compact, &jwks, &expected).unwrap();
            let enrolled: EnrolledEvent = set.event_as(ENROLLED_EVENT).unwrap();
            self.epoch = enrolled.epoch;
            self.keys = enrolled.hub_jwks;
        }
        answer
    }

    pub(crate) fn assertion(&self, rig: &Rig) -> String {
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": rig.url(path::TOKEN),
            "exp": now().as_secs() + 60, "jti": new_id(now()).unwrap(),
        });
        self.agent.sign_jwt("JWT", &claims).unwrap()
    }

    pub(crate) async fn log_in(&mut self, rig: &Rig) {
        let token: TokenResponse = self.ask_token(rig, &self.assertion(rig)).await.read();
        self.token = token.access_token;
    }

    pub(crate) async fn ask_token(&self, rig: &Rig, assertion: &str) -> Answer {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", exeunt_api::oauth::JWT_BEARER),
            ("client_assertion", assertion),
        ];
        answer(rig.http.post(rig.url(path::TOKEN)).form(&form)).await
    }

    /// A SET of this device.
    pub(crate) fn set(&self, aud: &str, event_type: &str, event: &impl Serialize) -> Set {
        let jti = Jti::parse(new_id(now()).unwrap()).unwrap();
        Set::new(&self.id, aud, jti, now(), event_type, event).unwrap()
    }

    pub(crate) async fn push(&self, rig: &Rig, event_type: &str, event: &impl Serialize) -> Answer {
        let set = self.set(&rig.hub.issuer, event_type, event);
        push(rig, path::EVENTS, &self.token, self.key.sign(&set).unwrap()).await
    }

    pub(crate) async fn begin(
        &self,
        rig: &Rig,
        subject: &str,
        session: &str,
        proof: Proof,
    ) -> Answer {
        self.begin_since(rig, subject, session, proof, now()).await
    }

    pub(crate) async fn begin_since(
        &self,
        rig: &Rig,
        subject: &str,
        session: &str,
        proof: Proof,
        since: Timestamp,
    ) -> Answer {
        let claims = SessionEstablished {
            subject: Subject::parse(subject).unwrap(),
            session_id: SessionId::parse(session).unwrap(),
            kind: SessionKind::Console,
            proof,
            since,
            ended: false,
        };
        self.push(rig, SESSION_ESTABLISHED_EVENT, &claims).await
    }

    pub(crate) async fn ask_sign_out(
        &self,
        rig: &Rig,
        txn: &str,
        subject: &str,
        session: &str,
        tier: Tier,
    ) -> Answer {
        let claims = SignOutRequested {
            txn: Txn::parse(txn).unwrap(),
            subject: Subject::parse(subject).unwrap(),
            tier,
            reason: None,
            requested: now(),
            session: SessionId::parse(session).unwrap(),
        };
        self.push(rig, SIGN_OUT_REQUESTED_EVENT, &claims).await
    }

    pub(crate) async fn progress(&self, rig: &Rig, txn: &Txn, outcome: Outcome) -> Answer {
        let (txn, epoch) = (txn.clone(), self.epoch);
        let claims = Progress { txn, outcome, at: now(), epoch, order: None };
        self.push(rig, PROGRESS_EVENT, &claims).await
    }

    pub(crate) fn receipt_body(&self, txn: &Txn, verdict: Verdict) -> ReceiptBody {
        let stores = vec![StoreReport {
            app: "chromium".into(),
            profile: "Default".into(),
            store: "cookies".into(),
            place: ".config/chromium/Default/Cookies".into(),
            before: Before::Present,
            verdict: Some(verdict),
            detail: None,
        }];
        ReceiptBody {
            device: self.id.clone(),
            txn: txn.clone(),
            seq: self.receipts + 1,
            previous: self.last.clone(),
            authority: Authority::LocalRequest { uid: 1000, surface: "tray".into() },
            subject: Some(Subject::parse("alice").unwrap()),
            tier: Tier::SignOut,
            pinned: true,
            mode: Mode::Installed,
            outcome: verdict.outcome(),
            accepted: now(),
            checked: now(),
            stores,
            steps: vec![],
            lock: LockReport::NotAsked,
            catalogue: "1".into(),
            coverage: String::new(),
            not_covered: vec![],
            remarks: vec![],
        }
    }

    /// Says that stores came back after a close.
    pub(crate) async fn returned(&self, rig: &Rig, after: &Txn, epoch: u64) -> Answer {
        let claims = StoresReturned {
            after: after.clone(),
            at: now(),
            epoch,
            subject: Some(Subject::parse("alice").unwrap()),
            stores: self.receipt_body(after, Verdict::Gone).stores,
            contains: false,
        };
        self.push(rig, STORES_RETURNED_EVENT, &claims).await
    }

    /// Sends a receipt and chains the next to it.
    pub(crate) async fn receipt(&mut self, rig: &Rig, body: &ReceiptBody) -> Answer {
        let set = self.set(&rig.hub.issuer, RECEIPT_EVENT, body).with_txn(body.txn.clone());
        let compact = self.key.sign(&set).unwrap();
        let answer = push(rig, path::EVENTS, &self.token, compact.clone()).await;
        if answer.status.is_success() {
            self.receipts = body.seq;
            self.last = hex(&Sha256::digest(compact.as_bytes()));
        }
        answer
    }

    pub(crate) async fn poll(&self, rig: &Rig, request: &PollRequest) -> PollResponse {
        rig.post(path::POLL, &self.token, request).await.read()
    }

    /// What waits now.
    pub(crate) async fn peek(&self, rig: &Rig) -> BTreeMap<Jti, String> {
        let request = PollRequest { return_immediately: true, ..PollRequest::default() };
        self.poll(rig, &request).await.sets
    }

    pub(crate) async fn ack(&self, rig: &Rig, jtis: impl IntoIterator<Item = Jti>) {
        let ack = jtis.into_iter().collect();
        let request = PollRequest { max_events: Some(0), ack, ..PollRequest::default() };
        assert!(self.poll(rig, &request).await.sets.is_empty());
    }

    /// Verifies an order as a warden does.
    pub(crate) fn order(&self, rig: &Rig, compact: &str) -> (Option<Txn>, Order) {
        let issuer = Some(rig.hub.issuer.clone());
        let expected = Expected { issuer, audience: self.id.clone() };
        let set = verify(compact, &self.keys, &expected).unwrap();
        let order: Order = set.event_as(ORDER_EVENT).unwrap();
        assert_eq!(order.device, DeviceId::parse(self.id.clone()).unwrap());
        assert_eq!(order.epoch, self.epoch);
        (set.txn.clone(), order)
    }
}

/// Pushes a compact SET.
pub(crate) async fn push(rig: &Rig, path: &str, token: &str, compact: String) -> Answer {
    let ask = rig.http.post(rig.url(path)).bearer_auth(token);
    let ask = ask.header("content-type", "application/secevent+jwt").body(compact);
    answer(ask).await
}
