//! Operators sign in at their organisation's own identity provider (OpenID Connect Core 1.0 §3.1,
//! RFC 7636, RFC 8252), and get a token of this hub for some hours.
//!
//! It refuses a person without a mapped role, a redirect to another machine, and a code without
//! the verifier that its challenge came from.

mod provider;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use exeunt_api::{SignInFinish, SignInRequest, SignInResponse, SignedIn, VERSION};
use exeunt_domain::Timestamp;
use exeunt_ssf::random_token;
use reqwest::Url;

use crate::Hub;
use crate::http::{ApiError, Json};
use crate::oauth::hash;
use crate::publish::lock;
use crate::sequencer::now;
use crate::store::{Command, Operator};

pub use provider::Fault;
pub use settings::{Settings, SettingsError};

/// How long a sign-in may take, in milliseconds.
const GOOD_FOR_MS: u64 = 600_000;
/// Most sign-ins under way.
const MOST: usize = 1000;
/// Sign-ins that may begin or end within a minute, whoever asks.
const PER_MINUTE: u32 = 120;

/// Signing in, where the hub was given a provider.
#[derive(Debug)]
pub struct SignIn {
    settings: Settings,
    known: provider::Known,
    pending: Mutex<HashMap<String, Pending>>,
}

/// A sign-in under way.
#[derive(Clone, Debug)]
struct Pending {
    redirect_uri: String,
    challenge: String,
    nonce: String,
    expires: Timestamp,
}

impl SignIn {
    /// By these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, known: provider::Known::default(), pending: Mutex::default() }
    }

    fn keep(&self, state: &str, pending: Pending) -> Result<(), ApiError> {
        let mut all = lock(&self.pending);
        let now = now();
        all.retain(|_, one| one.expires > now);
        if all.len() >= MOST {
            return Err(busy());
        }
        all.insert(state.to_owned(), pending);
        Ok(())
    }

    /// A state is good once.
    fn take(&self, state: &str) -> Option<Pending> {
        lock(&self.pending).remove(state).filter(|one| one.expires > now())
    }
}

/// `POST /v1/sign-in`: where to send the browser.
///
/// # Errors
/// [`ApiError`]; 404 when this hub was given no identity provider.
pub async fn begin(
    State(hub): State<Arc<Hub>>,
    Json(ask): Json<SignInRequest>,
) -> Result<Json<SignInResponse>, ApiError> {
    let sign_in = enabled(&hub)?;
    if !is_challenge(&ask.code_challenge) {
        return Err(ApiError::invalid("code_challenge is the base64url of a SHA-256 (S256)"));
    }
    if !comes_back_here(&ask.redirect_uri, &hub.url) {
        let say = "redirect_uri is an http address on loopback, or one below the hub's own";
        return Err(ApiError::invalid(say));
    }
    let metadata = sign_in.known.metadata(&hub, &sign_in.settings).await.map_err(told)?;
    let random = || random_token().map_err(|_| ApiError::internal("no randomness"));
    let (state, nonce, expires) = (random()?, random()?, now().plus_ms(GOOD_FOR_MS));
    let mut url = Url::parse(&metadata.authorization_endpoint)
        .map_err(|error| told(Fault::Away(format!("its authorization endpoint: {error}"))))?;
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &sign_in.settings.client_id)
        .append_pair("redirect_uri", &ask.redirect_uri)
        .append_pair("scope", &sign_in.settings.scopes.join(" "))
        .append_pair("state", &state)
        .append_pair("nonce", &nonce)
        .append_pair("code_challenge", &ask.code_challenge)
        .append_pair("code_challenge_method", "S256");
    let pending =
        Pending { redirect_uri: ask.redirect_uri, challenge: ask.code_challenge, nonce, expires };
    sign_in.keep(&state, pending)?;
    Ok(Json(SignInResponse { v: VERSION, authorization_url: url.into(), state, expires }))
}

/// `POST /v1/sign-in/finish`: a token, if the provider vouches for someone with a role here.
///
/// # Errors
/// [`ApiError`]; 403 for a person whom no role is mapped to, and for everything that does not fit
/// together.
pub async fn finish(
    State(hub): State<Arc<Hub>>,
    Json(ask): Json<SignInFinish>,
) -> Result<(StatusCode, Json<SignedIn>), ApiError> {
    let sign_in = enabled(&hub)?;
    let unknown = || ApiError::forbidden("this sign-in is unknown or over: begin again");
    let pending = sign_in.take(&ask.state).ok_or_else(unknown)?;
    if provider::challenge(&ask.code_verifier) != pending.challenge {
        return Err(ApiError::forbidden("the verifier does not belong to this sign-in"));
    }
    if ask.iss.as_ref().is_some_and(|iss| *iss != sign_in.settings.issuer) {
        return Err(ApiError::forbidden("another identity provider answered (RFC 9207)"));
    }
    let redeem = provider::Redeem {
        code: &ask.code,
        verifier: &ask.code_verifier,
        redirect_uri: &pending.redirect_uri,
        nonce: &pending.nonce,
    };
    let claims = sign_in.known.redeem(&hub, &sign_in.settings, &redeem).await.map_err(told)?;
    let (name, roles) = sign_in.settings.person(&claims).map_err(|why| {
        tracing::warn!(%why, "someone signed in and may not operate this hub");
        ApiError::forbidden(why.to_string())
    })?;
    let token = random_token().map_err(|_| ApiError::internal("no randomness"))?;
    let expires = now().plus_ms(sign_in.settings.session_minutes * 60_000);
    let operator = Operator {
        token: hash(&token),
        name: name.clone(),
        roles: roles.clone(),
        expires: Some(expires),
    };
    let actor = format!("oidc:{}", sign_in.settings.issuer);
    hub.sequencer.submit(Command::AddOperator { actor, operator }).await?.reply?;
    Ok((StatusCode::CREATED, Json(SignedIn { v: VERSION, token, name, roles, expires })))
}

fn enabled(hub: &Hub) -> Result<&SignIn, ApiError> {
    let sign_in = hub.sign_in.as_ref().ok_or_else(|| {
        ApiError::not_found("this hub was given no identity provider")
            .hint("use an operator's token, or start the hub with --sign-in FILE")
    })?;
    hub.calls.take("sign-in", PER_MINUTE).map_err(|_| busy())?;
    Ok(sign_in)
}

fn busy() -> ApiError {
    let code = StatusCode::TOO_MANY_REQUESTS;
    ApiError::new(code, "rate_limited", "too many sign-ins are under way: try again in a minute")
}

fn told(fault: Fault) -> ApiError {
    tracing::warn!(error = %fault, "a sign-in failed");
    match fault {
        Fault::Away(_) => {
            let code = StatusCode::SERVICE_UNAVAILABLE;
            ApiError::new(code, "unavailable", fault.to_string())
        }
        Fault::Refused(_) | Fault::Unproved(_) => ApiError::forbidden(fault.to_string()),
    }
}

fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// RFC 8252 §7.3: loopback by its address, at any port; or the hub's own pages.
fn comes_back_here(text: &str, own: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    if text.len() > 2048 || url.fragment().is_some() || !url.username().is_empty() {
        return false;
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_own = Url::parse(own).is_ok_and(|own| own.origin() == url.origin());
    is_own || (url.scheme() == "http" && is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_comes_back_to_this_machine_or_to_the_hub_alone() {
        let own = "https://hub.example:7443";
        for good in
            ["http://127.0.0.1:9/cb", "http://[::1]:9/cb", "https://hub.example:7443/console"]
        {
            assert!(comes_back_here(good, own), "{good}");
        }
        for bad in [
            "https://evil.example/cb",
            "http://localhost.evil/cb",
            "http://127.0.0.1.evil.example/",
            "https://hub.example/",
            "https://hub.example:7443@evil.example/",
            "https://me@hub.example:7443/",
            "javascript:alert(1)",
            "http://127.0.0.1:9/#f",
            "",
        ] {
            assert!(!comes_back_here(bad, own), "{bad}");
        }
    }

    #[test]
    fn a_challenge_is_a_sha_256_and_nothing_else() {
        assert!(is_challenge(&provider::challenge("a verifier")));
        for bad in ["", "plain", &"x".repeat(44), &format!("{}=", "x".repeat(42))] {
            assert!(!is_challenge(bad), "{bad}");
        }
    }
}
