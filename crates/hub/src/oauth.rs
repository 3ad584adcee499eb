//! Who is calling: access tokens by client credentials, and operators' tokens.
//!
//! It refuses to keep a token: of an operator's only the hash, of any other nothing.

mod tokens;

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest as _, FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use exeunt_api::oauth::{CLIENT_CREDENTIALS, JWT_BEARER};
use exeunt_api::{OAuthErrorBody, Role, TokenRequest, TokenResponse, path};
use exeunt_domain::{DeviceId, Timestamp};
use exeunt_ssf::Jwks;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Hub;
use crate::http::{ApiError, Json};
use crate::sequencer::now;
use crate::store::Operator;
use tokens::Grant;
pub use tokens::Tokens;

/// Seconds that an access token lives.
const TOKEN_SECS: u64 = 3600;
/// Seconds that a client assertion may live at most.
const ASSERTION_SECS: u64 = 600;
/// The `typ` headers a client assertion may carry.
const ASSERTION_TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];
/// What an agent may do.
const AGENT_SCOPE: &str = "ssf.read";
/// What a relying service may do.
const SERVICE_SCOPE: &str = "exeunt.sessions";

/// An agent: the networked, unprivileged part of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its device.
    pub device: DeviceId,
    /// The enrolment in which it got its token.
    pub epoch: u64,
}

/// A relying service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its client id.
    pub id: String,
    /// For people.
    pub name: String,
    /// The one audience it speaks for.
    pub aud: String,
}

impl Client {
    /// How the audit names it.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("service:{}", self.id)
    }
}

/// An operator, as the gate before their door let them in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// How the audit names them.
    pub actor: String,
    /// Their own name.
    pub name: String,
    /// What they may do.
    pub roles: Vec<Role>,
    /// When their token expires.
    pub expires: Option<Timestamp>,
}

impl Admin {
    /// Whose token a request carries.
    ///
    /// # Errors
    /// [`ApiError`]: 401 for a stranger, 403 for a device or a service.
    pub fn of(hub: &Hub, headers: &HeaderMap) -> Result<Self, ApiError> {
        let token = bearer(headers)?;
        let Some(operator) = hub.shared.operator(&hash(token)) else {
            return Err(match hub.tokens.holder(token) {
                Some(_) => ApiError::forbidden("this door is for operators"),
                None => ApiError::unauthorized("the token is unknown or has expired"),
            });
        };
        if operator.expires.is_some_and(|expires| expires <= now()) {
            return Err(ApiError::unauthorized("the token is unknown or has expired"));
        }
        let Operator { name, roles, expires, .. } = operator;
        Ok(Admin { actor: format!("admin:{name}"), name, roles, expires })
    }
}

/// SHA-256 of an operator's token or a client's secret, the only form that is kept.
#[must_use]
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// `POST /oauth/token` (RFC 6749 §4.4): `private_key_jwt`, `client_secret_basic` or `_post`.
pub async fn token(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let form = Form::<TokenRequest>::from_request(request, &());
    let form = match tokio::time::timeout(hub.limits.read_timeout, form).await {
        Ok(Ok(form)) => form.0,
        Ok(Err(_)) | Err(_) => {
            return Denied::new("invalid_request", "the form is malformed").into_response();
        }
    };
    match decide(&hub, &headers, &form) {
        Ok(granted) => {
            let no_store = [("cache-control", "no-store")];
            (no_store, Json(granted)).into_response()
        }
        Err(denied) => denied.into_response(),
    }
}

fn decide(hub: &Hub, headers: &HeaderMap, request: &TokenRequest) -> Result<TokenResponse, Denied> {
    if request.grant_type != CLIENT_CREDENTIALS {
        return Err(Denied::new("unsupported_grant_type", "use client_credentials"));
    }
    let (grant, scope) = if request.client_assertion.is_some() {
        (Grant::Agent(agent_of(hub, request)?), AGENT_SCOPE.to_owned())
    } else {
        let id = service_of(hub, headers, request)?;
        let own = hub.shared.service(&id).map(|service| service.scopes).unwrap_or_default();
        let may = std::iter::once(SERVICE_SCOPE.to_owned()).chain(own).collect::<Vec<_>>();
        (Grant::Service(id), may.join(" "))
    };
    let asked = request.scope.as_deref().map(str::trim).filter(|asked| !asked.is_empty());
    let may = |one: &str| scope.split(' ').any(|own| own == one);
    if asked.is_some_and(|asked| !asked.split_whitespace().all(may)) {
        return Err(Denied::new("invalid_scope", format!("this client may ask for {scope}")));
    }
    let scope = asked.unwrap_or(&scope).to_owned();
    let grant = match grant {
        Grant::Service(id) if !scope.split_whitespace().any(|one| one == SERVICE_SCOPE) => {
            Grant::Stream(id)
        }
        grant @ (Grant::Agent(_) | Grant::Service(_) | Grant::Stream(_)) => grant,
    };
    Ok(TokenResponse {
        access_token: hub.tokens.grant(&grant, &scope, now().plus_ms(TOKEN_SECS * 1000)),
        token_type: "Bearer".into(),
        expires_in: TOKEN_SECS,
        scope,
    })
}

#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    exp: u64,
    jti: String,
}

/// An agent by `private_key_jwt` (RFC 7523 §3).
fn agent_of(hub: &Hub, request: &TokenRequest) -> Result<Agent, Denied> {
    if request.client_assertion_type.as_deref() != Some(JWT_BEARER) {
        return Err(Denied::new("invalid_request", format!("the assertion type is {JWT_BEARER}")));
    }
    let compact = request.client_assertion.as_deref().unwrap_or_default();
    let named = subject_of(compact).and_then(|id| DeviceId::parse(id).ok());
    let device = named.and_then(|id| hub.shared.device(&id)).ok_or_else(Denied::client)?;
    let keys = Jwks::of(&device.agent_key);
    let endpoint = format!("{}{}", hub.url, path::TOKEN);
    let audiences = [endpoint.as_str(), &hub.issuer, &hub.url];
    let now = now();
    let claims = ASSERTION_TYPES.iter().find_map(|typ| {
        let verify = |aud: &&str| exeunt_ssf::verify_jwt(compact, &keys, typ, aud, now).ok();
        audiences.iter().find_map(verify)
    });
    let claims: Assertion = claims.ok_or_else(Denied::client)?;
    let id = device.id.as_str();
    if claims.iss != id || claims.sub != id || claims.exp > now.as_secs() + ASSERTION_SECS {
        return Err(Denied::client());
    }
    if request.client_id.as_deref().is_some_and(|given| given != id) {
        return Err(Denied::client());
    }
    if !hub.tokens.first_use(id, &claims.jti, claims.exp) {
        return Err(Denied::new("invalid_client", "this assertion was used before"));
    }
    Ok(Agent { device: device.id, epoch: device.epoch })
}

/// Whose key to verify an assertion with. Nothing else is believed of it yet.
fn subject_of(compact: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Sub {
        sub: String,
    }
    let claims = compact.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Sub>(&claims).ok().map(|claims| claims.sub)
}

/// A relying service by its secret, in the header or in the form (RFC 6749 §2.3.1).
fn service_of(hub: &Hub, headers: &HeaderMap, request: &TokenRequest) -> Result<String, Denied> {
    let (id, secret) = match headers.get(AUTHORIZATION) {
        Some(value) => basic(value.to_str().unwrap_or_default()).ok_or_else(Denied::client)?,
        None => match (&request.client_id, &request.client_secret) {
            (Some(id), Some(secret)) => (id.clone(), secret.clone()),
            _ => return Err(Denied::client()),
        },
    };
    let service = hub.shared.service(&id).ok_or_else(Denied::client)?;
    // Comparing hashes of high-entropy secrets tells a timing observer nothing of use.
    if service.secret != hash(&secret) {
        return Err(Denied::client());
    }
    Ok(id)
}

/// A relying service by its id and secret.
pub(crate) fn client_by_secret(hub: &Hub, id: &str, secret: &str) -> Option<Client> {
    let service = hub.shared.service(id)?;
    // Comparing hashes of high-entropy secrets tells a timing observer nothing of use.
    (service.secret == hash(secret)).then_some(Client {
        id: service.client_id,
        name: service.name,
        aud: service.aud,
    })
}

/// A relying service by its access token.
pub(crate) fn client_by_token(hub: &Hub, token: &str) -> Option<Client> {
    let Some(Grant::Service(id)) = hub.tokens.holder(token) else { return None };
    let service = hub.shared.service(&id)?;
    Some(Client { id, name: service.name, aud: service.aud })
}

/// Id and secret of an `Authorization: Basic` header.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// A refusal of an OAuth endpoint (RFC 6749 §5.2, RFC 6750 §3).
#[derive(Debug)]
pub(crate) struct Denied {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl Denied {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        let status = match error {
            "invalid_client" | "invalid_token" => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, error, description: description.into() }
    }

    /// A refusal whose status its code does not tell.
    pub(crate) fn with_status(
        status: StatusCode,
        error: &'static str,
        description: impl Into<String>,
    ) -> Self {
        Self { status, error, description: description.into() }
    }

    /// One answer for every way in which a client is not who it says.
    fn client() -> Self {
        Self::new("invalid_client", "the client did not prove who it is")
    }
}

impl From<ApiError> for Denied {
    fn from(error: ApiError) -> Self {
        let code = match error.code() {
            "unauthorized" => "invalid_token",
            other => other,
        };
        Self { status: error.status(), error: code, description: error.message().to_owned() }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let error_description = self.description;
        let body = OAuthErrorBody { error: self.error.to_owned(), error_description };
        let mut response = (self.status, Json(body)).into_response();
        let challenge = match self.error {
            "invalid_token" => Some(r#"Bearer error="invalid_token""#),
            "invalid_client" => Some("Basic"),
            _ => None,
        };
        if let Some(challenge) = challenge.filter(|_| self.status == StatusCode::UNAUTHORIZED) {
            let challenge = axum::http::HeaderValue::from_static(challenge);
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = header.and_then(|text| text.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(ApiError::unauthorized("a bearer token is needed"))
    }
}

impl FromRequestParts<Arc<Hub>> for Agent {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        match hub.tokens.holder(bearer(&parts.headers)?) {
            Some(Grant::Agent(agent)) => {
                if hub.shared.epoch(&agent.device) == Some(agent.epoch) {
                    Ok(agent)
                } else {
                    Err(ApiError::unauthorized("this enrolment is over"))
                }
            }
            Some(Grant::Service(_) | Grant::Stream(_)) => {
                Err(ApiError::forbidden("this door is for devices"))
            }
            None => Err(ApiError::unauthorized("the token is unknown or has expired")),
        }
    }
}

impl FromRequestParts<Arc<Hub>> for Client {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        match hub.tokens.holder(bearer(&parts.headers)?) {
            Some(Grant::Service(id)) => {
                let service = hub.shared.service(&id);
                let service =
                    service.ok_or_else(|| ApiError::unauthorized("this service is gone"))?;
                Ok(Client { id, name: service.name, aud: service.aud })
            }
            Some(Grant::Agent(_)) => Err(ApiError::forbidden("this door is for services")),
            Some(Grant::Stream(_)) => {
                Err(ApiError::forbidden(format!("the token lacks {SERVICE_SCOPE}")))
            }
            None => Err(ApiError::unauthorized("the token is unknown or has expired")),
        }
    }
}

/// A receiver that may read its stream: `ssf.read` or `ssf.manage`.
#[derive(Clone, Debug)]
pub struct Reads(pub Client);

/// A receiver that may manage its stream: `ssf.manage`.
#[derive(Clone, Debug)]
pub struct Manages(pub Client);

impl FromRequestParts<Arc<Hub>> for Reads {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        receiver(parts, hub, &["ssf.read", "ssf.manage"]).map(Self)
    }
}

impl FromRequestParts<Arc<Hub>> for Manages {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, ApiError> {
        receiver(parts, hub, &["ssf.manage"]).map(Self)
    }
}

fn receiver(parts: &Parts, hub: &Hub, scopes: &[&str]) -> Result<Client, ApiError> {
    match hub.tokens.scoped(bearer(&parts.headers)?) {
        Some((Grant::Service(id) | Grant::Stream(id), scope)) => {
            let service = hub.shared.service(&id);
            let service = service.ok_or_else(|| ApiError::unauthorized("this service is gone"))?;
            if scope.split_whitespace().any(|one| scopes.contains(&one)) {
                return Ok(Client { id, name: service.name, aud: service.aud });
            }
            Err(ApiError::forbidden(format!("the token lacks {}", scopes.join(" or "))))
        }
        Some((Grant::Agent(_), _)) => Err(ApiError::forbidden("this door is for receivers")),
        None => Err(ApiError::unauthorized("the token is unknown or has expired")),
    }
}

impl FromRequestParts<Arc<Hub>> for Admin {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<Hub>) -> Result<Self, ApiError> {
        let admitted = parts.extensions.remove::<Admin>();
        admitted.ok_or_else(|| ApiError::internal("an operator's door has no gate"))
    }
}
