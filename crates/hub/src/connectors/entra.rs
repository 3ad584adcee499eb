//! Microsoft Entra ID by Graph: refresh tokens and browser sessions of a user.
//!
//! It refuses to call it verified: Graph lists no sessions of a user to look at again.

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};

use super::call::{Failed, Http, below, json, send};
use super::{Call, Connector, NotCovered, Person, Probe};

/// A tenant, and an application with `User.RevokeSessions.All`.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "EntraSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where tokens are given.
    login_url: String,
    /// Where Graph is.
    graph_url: String,
    /// What its tokens are for, as Graph itself has it.
    scope: String,
    /// The tenant.
    tenant: String,
    /// The application.
    client_id: String,
    /// Its secret.
    client_secret: String,
}

const NOT_COVERED: [NotCovered; 3] = [
    NotCovered {
        what: "access tokens at services without continuous access evaluation",
        how_long: "about an hour",
    },
    NotCovered {
        what: "access tokens at services with continuous access evaluation",
        how_long: "up to 15 minutes",
    },
    NotCovered { what: "guests, whose sessions are their own tenant's", how_long: "until it acts" },
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Microsoft Graph POST /users/{id}/revokeSignInSessions"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.login_url, &self.graph_url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let name = match &person.subject {
                Subject::Email { email } => email.as_str(),
                Subject::Account { uri } => uri.trim_start_matches("acct:"),
                Subject::Opaque { id } => id.as_str(),
                Subject::IssSub { .. } => {
                    // Entra's `sub` differs from one application to the next.
                    return Err(Failed::Never("Graph finds no user by an issuer's sub".into()));
                }
            };
            let token = self.token(http).await?;
            let url = below(&self.graph_url, &["v1.0", "users", name, "revokeSignInSessions"])?;
            let ask = http.post(url).bearer_auth(token).header("content-length", "0");
            let what = "the revocation of sign-in sessions";
            if json(what, send(what, ask).await?).await?["value"] == true {
                return Ok("Entra revoked the user's refresh tokens and browser sessions".into());
            }
            Err(Failed::Never("Graph did not say that it revoked anything".into()))
        })
    }

    fn probe<'a>(&'a self, _http: &'a Http, _person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async {
            Err(Failed::Never("Graph offers no list of a user's sessions to look at".into()))
        })
    }
}

impl Settings {
    async fn token(&self, http: &Http) -> Result<String, Failed> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", &self.client_secret),
            ("scope", &self.scope),
        ];
        let url = below(&self.login_url, &[&self.tenant, "oauth2", "v2.0", "token"])?;
        let answer = send("a token request", http.post(url).form(&form)).await?;
        let answer = json("a token request", answer).await?;
        let token = answer["access_token"].as_str();
        token.map(str::to_owned).ok_or_else(|| Failed::Never("no access token was given".into()))
    }
}
