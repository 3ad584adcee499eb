//! Ory Hydra by its admin interface: login sessions and consents of a subject, with their tokens.
//!
//! It refuses to leave one of the two calls out: the end of a login session leaves the tokens.

use reqwest::{RequestBuilder, Url};
use serde::{Deserialize, Serialize};

use super::call::{Failed, Http, ask, asking, below, end, list, send};
use super::{ACCESS_TOKENS, Call, Connector, NotCovered, Person, Probe};

/// A server's admin interface.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "HydraSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The admin interface's URL.
    url: String,
    /// Its issuer, whose own names of people it knows.
    issuer: String,
    /// A bearer token, where a gateway or the Ory Network wants one.
    #[serde(default)]
    token: Option<String>,
}

/// Ory, "Revoke OAuth 2.0 Login Sessions" and "Revoke OAuth 2.0 Consent Sessions": neither tells
/// clients.
const NOT_COVERED: [NotCovered; 3] = [
    ACCESS_TOKENS,
    NotCovered::until(
        "sessions that clients keep by themselves: no logout is sent to them",
        "until each client ends them",
    ),
    NotCovered::until("sign-ins at the login provider before Hydra", "until they end there"),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Ory Hydra DELETE /admin/oauth2/auth/sessions/consent?all=true and /login"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Ory Console, Project settings, API keys: make one, or have the gateway in front of Hydra \
         give a new token; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let subject = person.known_at(&self.issuer)?.word();
            let login = self.at("login", &[("subject", subject)])?;
            end("the end of login sessions", self.proved(http.delete(login))).await?;
            let consents = self.at("consent", &[("subject", subject), ("all", "true")])?;
            let revoked = end("the end of consents", self.proved(http.delete(consents))).await;
            revoked.map_err(|failed| failed.having("Hydra ended the login sessions"))?;
            Ok("Hydra ended the subject's login sessions, and consents with their tokens".into())
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let subject = person.known_at(&self.issuer)?.word();
            let what = "the list of consents";
            let request = self.proved(http.get(self.at("consent", &[("subject", subject)])?));
            let left = list(what, ask(what, request).await?, "")?;
            if !left.is_empty() {
                return Ok(Probe::of_lists(&[("consent", left.len())]));
            }
            for token in &person.tokens {
                let url = below(&self.url, &["admin", "oauth2", "introspect"])?;
                let request = self.proved(http.post(url)).form(&[("token", token)]);
                if ask("introspection", request).await?["active"] != false {
                    return Ok(Probe::Accepted("introspection says active".into()));
                }
            }
            let say = "Hydra lists no consent any more, and no login sessions to look at";
            Err(Failed::Never(say.into()))
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let url = asking(below(&self.url, &["admin", "clients"])?, &[("page_size", "1")]);
            send("a list of clients", self.proved(http.get(url))).await?;
            Ok("Hydra answered a list of clients".into())
        })
    }
}

impl Settings {
    fn proved(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn at(&self, which: &str, query: &[(&str, &str)]) -> Result<Url, Failed> {
        let path = ["admin", "oauth2", "auth", "sessions", which];
        Ok(asking(below(&self.url, &path)?, query))
    }
}
