//! Auth0 by its management interface: sessions and refresh tokens of a user.
//!
//! It refuses to pick among users: an address that several have is none.

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};
use serde_json::json as object;

use super::call::{Failed, Http, below, json, send};
use super::{Call, Connector, NotCovered, Person, Probe};

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

const NOT_COVERED: [NotCovered; 2] = [
    NotCovered {
        what: "access tokens that services check by themselves",
        how_long: "until they expire",
    },
    NotCovered {
        what: "sessions that applications keep by themselves after sign-in",
        how_long: "until each application ends them",
    },
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Auth0 POST /api/v2/users/{id}/revoke-access"
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
            let url = below(&self.url, &["api", "v2", "users", &id, "revoke-access"])?;
            let ask = http.post(url).bearer_auth(token).json(&object!({}));
            send("the revocation of the user's access", ask).await?;
            Ok("Auth0 began to revoke the user's sessions and refresh tokens".into())
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let id = self.user(http, &token, &person.subject).await?;
            for (path, field) in [("sessions", "sessions"), ("refresh-tokens", "tokens")] {
                let url = below(&self.url, &["api", "v2", "users", &id, path])?;
                let answer = send("the user's list", http.get(url).bearer_auth(&token)).await?;
                match json("the user's list", answer).await?[field].as_array().map(Vec::len) {
                    Some(0) => {}
                    Some(left) => {
                        return Ok(Probe::Accepted(format!("the provider lists {left} {path}")));
                    }
                    None => return Err(Failed::Never("the user's list is no list".into())),
                }
            }
            Ok(Probe::Rejected("the provider lists no session and no refresh token".into()))
        })
    }
}

impl Settings {
    async fn token(&self, http: &Http) -> Result<String, Failed> {
        let body = object!({
            "grant_type": "client_credentials", "audience": self.audience,
            "client_id": self.client_id, "client_secret": self.client_secret,
        });
        let ask = http.post(below(&self.url, &["oauth", "token"])?).json(&body);
        let answer = json("a token request", send("a token request", ask).await?).await?;
        let token = answer["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| Failed::Never("no access token was given".into()))
    }

    /// The user's id. Auth0's own names hold a `|`, which the registry reads as issuer and sub.
    async fn user(&self, http: &Http, token: &str, who: &Subject) -> Result<String, Failed> {
        let email = match who {
            Subject::IssSub { iss, sub } if iss.trim_end_matches('/') == self.url => {
                return Ok(sub.clone());
            }
            Subject::IssSub { iss, sub } if !iss.contains(':') => {
                return Ok(format!("{iss}|{sub}"));
            }
            Subject::IssSub { .. } => {
                return Err(Failed::Never("the subject is another issuer's".into()));
            }
            Subject::Opaque { id } => return Ok(id.clone()),
            Subject::Email { email } => email.as_str(),
            Subject::Account { uri } => uri.trim_start_matches("acct:"),
        };
        let mut url = below(&self.url, &["api", "v2", "users-by-email"])?;
        url.query_pairs_mut().append_pair("email", email);
        let ask = http.get(url).bearer_auth(token);
        let found = json("a user search", send("a user search", ask).await?).await?;
        match found.as_array().map(Vec::as_slice) {
            Some([one]) => one["user_id"]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| Failed::Never("the user has no id".into())),
            Some([]) => Err(Failed::Never("the provider knows no such user".into())),
            Some(_) | None => Err(Failed::Never("the provider knows several such users".into())),
        }
    }
}
