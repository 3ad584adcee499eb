//! Ory Kratos by its admin interface: every session of an identity.
//!
//! It refuses to reach Hydra, which keeps tokens of its own: that is another connector.

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Failed, Http, ask, asking, below, end, list, text};
use super::user::{Known, only};
use super::{APP_SESSIONS, Call, Connector, Listed, NotCovered, Person, instant, label};

/// A server's admin interface.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "KratosSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The admin interface's URL.
    url: String,
    /// A bearer token, where a gateway or the Ory Network wants one.
    #[serde(default)]
    token: Option<String>,
}

/// Ory, "Delete & Invalidate an Identity's Sessions"; tokenized sessions are JWTs.
const NOT_COVERED: [NotCovered; 3] = [
    NotCovered::until("sessions that were turned into JWTs", "until they expire"),
    NotCovered::until(
        "OAuth tokens and consents at Ory Hydra",
        "until its own connector ends them",
    ),
    APP_SESSIONS,
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Ory Kratos DELETE /admin/identities/{id}/sessions"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Ory Console, Project settings, API keys: make one, or have the gateway in front of Kratos \
         give a new token; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let id = self.identity(http, person).await?;
            let url = below(&self.url, &["admin", "identities", &id, "sessions"])?;
            // 404 where the identity has none.
            end("the end of the identity's sessions", self.proved(http.delete(url))).await?;
            Ok("Kratos ended the identity's sessions".into())
        })
    }

    fn sessions<'a>(&'a self, http: &'a Http, person: &'a Person) -> Option<Call<'a, Vec<Listed>>> {
        Some(Box::pin(async move { self.listed(http, person).await?.iter().map(listed).collect() }))
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let url = below(&self.url, &["admin", "identities"])?;
            let request = self.proved(http.get(asking(url, &[("page_size", "1")])));
            list("an identity search", ask("an identity search", request).await?, "")?;
            Ok("Kratos answered a search of identities".into())
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

    async fn listed(&self, http: &Http, person: &Person) -> Result<Vec<Value>, Failed> {
        let id = self.identity(http, person).await?;
        let url = below(&self.url, &["admin", "identities", &id, "sessions"])?;
        let url = asking(url, &[("active", "true"), ("page_size", "250")]);
        let what = "the session list";
        list(what, ask(what, self.proved(http.get(url))).await?, "")
    }

    async fn identity(&self, http: &Http, person: &Person) -> Result<String, Failed> {
        let identifier = match person.known_at(&self.url)? {
            Known::Id(id) => return Ok(id.to_owned()),
            Known::Email(word) | Known::Name(word) => word,
        };
        let url = below(&self.url, &["admin", "identities"])?;
        let url = asking(url, &[("credentials_identifier", identifier)]);
        let found = ask("an identity search", self.proved(http.get(url))).await?;
        only(&list("an identity search", found, "")?, "/id")
    }
}

/// A session of Kratos'.
fn listed(one: &Value) -> Result<Listed, Failed> {
    let device = &one["devices"][0];
    Ok(Listed {
        id: text("a session", one, "/id")?,
        label: label(&[&device["user_agent"], &device["ip_address"], &device["location"]]),
        since: instant(&one["authenticated_at"]),
        last_seen: instant(&one["updated_at"]),
    })
}
