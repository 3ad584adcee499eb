//! Keycloak by its admin interface: one call ends every session of a user.
//!
//! It refuses to search loosely: a user is found by an exact name or address, or not at all.

use exeunt_domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Failed, Http, access_token, ask, asking, below, list, send, text};
use super::user::{Known, only};
use super::{ACCESS_TOKENS, Call, Connector, Listed, NotCovered, Person, label};

/// A realm, and a client with the role `manage-users`.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "KeycloakSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server's base URL.
    url: String,
    /// The realm.
    realm: String,
    /// A confidential client with a service account.
    client_id: String,
    /// Its secret.
    client_secret: String,
}

/// Keycloak, "Server Administration Guide", revocation of sessions and tokens; offline sessions:
/// keycloak#31359.
const NOT_COVERED: [NotCovered; 2] = [
    ACCESS_TOKENS,
    NotCovered::until(
        "offline sessions, which stay listed though they are refused",
        "until they are deleted one by one",
    ),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Keycloak POST /admin/realms/{realm}/users/{id}/logout"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Keycloak, Clients, this client, Credentials: regenerate the secret, and see that its \
         service account has the role manage-users; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let id = self.user(http, &token, person).await?;
            let url = self.admin(&["users", &id, "logout"])?;
            send("the user's logout", http.post(url).bearer_auth(token)).await?;
            Ok("Keycloak logged the user out of every session".into())
        })
    }

    fn sessions<'a>(&'a self, http: &'a Http, person: &'a Person) -> Option<Call<'a, Vec<Listed>>> {
        Some(Box::pin(async move { self.listed(http, person).await?.iter().map(listed).collect() }))
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let url = asking(self.admin(&["users"])?, &[("max", "1")]);
            ask("a user search", http.get(url).bearer_auth(token)).await?;
            Ok("Keycloak gave a token, which may look for users".into())
        })
    }
}

impl Settings {
    fn admin(&self, rest: &[&str]) -> Result<reqwest::Url, Failed> {
        below(&self.url, &[&["admin", "realms", self.realm.as_str()], rest].concat())
    }

    async fn token(&self, http: &Http) -> Result<String, Failed> {
        let path = ["realms", &self.realm, "protocol", "openid-connect", "token"];
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
        ];
        access_token(http.post(below(&self.url, &path)?).form(&form)).await
    }

    async fn listed(&self, http: &Http, person: &Person) -> Result<Vec<Value>, Failed> {
        let token = self.token(http).await?;
        let id = self.user(http, &token, person).await?;
        let url = self.admin(&["users", &id, "sessions"])?;
        let answer = ask("the session list", http.get(url).bearer_auth(token)).await?;
        list("the session list", answer, "")
    }

    /// The user's id: an issuer's own name of this realm is one already.
    async fn user(&self, http: &Http, token: &str, person: &Person) -> Result<String, Failed> {
        let ours = below(&self.url, &["realms", &self.realm])?;
        let (field, value) = match person.known_at(ours.as_str())? {
            Known::Id(id) => return Ok(id.to_owned()),
            Known::Email(email) => ("email", email),
            Known::Name(name) => ("username", name),
        };
        let url = asking(self.admin(&["users"])?, &[(field, value), ("exact", "true")]);
        let found = ask("a user search", http.get(url).bearer_auth(token)).await?;
        only(&list("a user search", found, "")?, "/id")
    }
}

/// `UserSessionRepresentation`.
fn listed(one: &Value) -> Result<Listed, Failed> {
    let millis = |field: &str| one[field].as_u64().map(Timestamp);
    Ok(Listed {
        id: text("a session", one, "/id")?,
        label: label(&[&one["ipAddress"]]),
        since: millis("start"),
        last_seen: millis("lastAccess"),
    })
}
