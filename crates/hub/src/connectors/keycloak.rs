//! Keycloak by its admin interface: one call ends every session of a user.
//!
//! It refuses to search loosely: a user is found by an exact name or address, or not at all.

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Failed, Http, address, below, json, send};
use super::{Call, Connector, NotCovered, Person, Probe};

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

const NOT_COVERED: [NotCovered; 2] = [
    NotCovered {
        what: "access tokens that services check by themselves",
        how_long: "until they expire",
    },
    NotCovered {
        what: "offline sessions, which stay listed though they are refused",
        how_long: "until they are deleted one by one",
    },
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Keycloak POST /admin/realms/{realm}/users/{id}/logout"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let id = self.user(http, &token, &person.subject).await?;
            let url = self.admin(&["users", &id, "logout"])?;
            send("the user's logout", http.post(url).bearer_auth(token)).await?;
            Ok("Keycloak logged the user out of every session".into())
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let id = self.user(http, &token, &person.subject).await?;
            let ask = http.get(self.admin(&["users", &id, "sessions"])?).bearer_auth(token);
            let list = json("the session list", send("the session list", ask).await?).await?;
            match list.as_array().map(Vec::len) {
                Some(0) => Ok(Probe::Rejected("the provider lists no session".into())),
                Some(left) => Ok(Probe::Accepted(format!("the provider lists {left} sessions"))),
                None => Err(Failed::Never("the session list is no list".into())),
            }
        })
    }
}

impl Settings {
    fn admin(&self, rest: &[&str]) -> Result<reqwest::Url, Failed> {
        below(&self.url, &[&["admin", "realms", self.realm.as_str()], rest].concat())
    }

    async fn token(&self, http: &Http) -> Result<String, Failed> {
        address(&self.url)?;
        let path = ["realms", &self.realm, "protocol", "openid-connect", "token"];
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
        ];
        let ask = http.post(below(&self.url, &path)?).form(&form);
        let answer = json("a token request", send("a token request", ask).await?).await?;
        let token = answer["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| Failed::Never("no access token was given".into()))
    }

    /// The user's id: an issuer's own name of this realm is one already.
    async fn user(&self, http: &Http, token: &str, who: &Subject) -> Result<String, Failed> {
        let (field, value) = match who {
            Subject::IssSub { iss, sub } => {
                let ours = below(&self.url, &["realms", &self.realm])?;
                if iss.trim_end_matches('/') != ours.as_str() {
                    return Err(Failed::Never("the subject is another issuer's".into()));
                }
                return Ok(sub.clone());
            }
            Subject::Email { email } => ("email", email.as_str()),
            Subject::Account { uri } => ("email", uri.trim_start_matches("acct:")),
            Subject::Opaque { id } => ("username", id.as_str()),
        };
        let mut url = self.admin(&["users"])?;
        url.query_pairs_mut().append_pair(field, value).append_pair("exact", "true");
        let ask = http.get(url).bearer_auth(token);
        let found = json("a user search", send("a user search", ask).await?).await?;
        match found.as_array().map(Vec::as_slice) {
            Some([one]) => id(one),
            Some([]) => Err(Failed::Never("the provider knows no such user".into())),
            Some(_) | None => Err(Failed::Never("the provider knows several such users".into())),
        }
    }
}

fn id(user: &Value) -> Result<String, Failed> {
    let id = user["id"].as_str().filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| Failed::Never("the user has no id".into()))
}
