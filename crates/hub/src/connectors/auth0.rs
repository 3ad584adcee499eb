//! Auth0 by its management interface: sessions and refresh tokens of a user.
//!
//! It refuses to pick among users: an address that several have is none.

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{Failed, Http, access_token, ask, asking, below, list, send, text};
use super::user::{Known, only};
use super::{
    ACCESS_TOKENS, APP_SESSIONS, Call, Connector, Listed, NotCovered, Person, Probe, instant, label,
};

/// A tenant, and an application that may manage its users' sessions.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "Auth0Settings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The tenant's URL.
    url: String,
    /// The management interface's audience.
    audience: String,
    /// The application.
    client_id: String,
    /// Its secret.
    client_secret: String,
}

/// Auth0, Management API "Revoke selected user access": sessions and refresh tokens.
const NOT_COVERED: [NotCovered; 2] = [ACCESS_TOKENS, APP_SESSIONS];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Auth0 POST /api/v2/users/{id}/revoke-access"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Auth0, Applications, this machine-to-machine application: rotate the secret, and see that it \
         may read users and delete sessions and refresh tokens; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let id = self.user(http, &token, person).await?;
            let url = below(&self.url, &["api", "v2", "users", &id, "revoke-access"])?;
            let request = http.post(url).bearer_auth(token).json(&json!({}));
            send("the revocation of the user's access", request).await?;
            Ok("Auth0 began to revoke the user's sessions and refresh tokens".into())
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let sessions = self.listed(http, person, "sessions", "/sessions").await?;
            let tokens = self.listed(http, person, "refresh-tokens", "/tokens").await?;
            let lists = [("session", sessions.len()), ("refresh token", tokens.len())];
            Ok(Probe::of_lists(&lists))
        })
    }

    fn sessions<'a>(&'a self, http: &'a Http, person: &'a Person) -> Option<Call<'a, Vec<Listed>>> {
        Some(Box::pin(async move {
            let all = self.listed(http, person, "sessions", "/sessions").await?;
            all.iter().map(listed).collect()
        }))
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let url = asking(below(&self.url, &["api", "v2", "users"])?, &[("per_page", "1")]);
            ask("a user search", http.get(url).bearer_auth(token)).await?;
            Ok("Auth0 gave a token, which may look for users".into())
        })
    }
}

impl Settings {
    async fn token(&self, http: &Http) -> Result<String, Failed> {
        let body = json!({
            "grant_type": "client_credentials", "audience": self.audience,
            "client_id": self.client_id, "client_secret": self.client_secret,
        });
        access_token(http.post(below(&self.url, &["oauth", "token"])?).json(&body)).await
    }

    async fn listed(
        &self,
        http: &Http,
        person: &Person,
        path: &str,
        pointer: &str,
    ) -> Result<Vec<Value>, Failed> {
        let token = self.token(http).await?;
        let id = self.user(http, &token, person).await?;
        let url = below(&self.url, &["api", "v2", "users", &id, path])?;
        let answer = ask("the user's list", http.get(url).bearer_auth(token)).await?;
        list("the user's list", answer, pointer)
    }

    /// The user's id. Auth0's own names hold a `|`, which the registry reads as issuer and sub.
    async fn user(&self, http: &Http, token: &str, person: &Person) -> Result<String, Failed> {
        if let Subject::IssSub { iss, sub } = &person.subject
            && !iss.contains(':')
        {
            return Ok(format!("{iss}|{sub}"));
        }
        let email = match person.known_at(&self.url)? {
            Known::Id(id) | Known::Name(id) => return Ok(id.to_owned()),
            Known::Email(email) => email,
        };
        let url = below(&self.url, &["api", "v2", "users-by-email"])?;
        let request = http.get(asking(url, &[("email", email)])).bearer_auth(token);
        only(&list("a user search", ask("a user search", request).await?, "")?, "/user_id")
    }
}

/// A session of Auth0's Management API.
fn listed(one: &Value) -> Result<Listed, Failed> {
    Ok(Listed {
        id: text("a session", one, "/id")?,
        label: label(&[&one["device"]["last_user_agent"], &one["device"]["last_ip"]]),
        since: instant(&one["authenticated_at"]).or_else(|| instant(&one["created_at"])),
        last_seen: instant(&one["last_interacted_at"]).or_else(|| instant(&one["updated_at"])),
    })
}
