//! Microsoft Entra ID by Graph: refresh tokens and browser sessions of a user.
//!
//! It refuses to call it verified: Graph lists no sessions of a user to look at again.

use serde::{Deserialize, Serialize};

use super::call::{Failed, Http, access_token, ask, below};
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

/// Microsoft, "user: revokeSignInSessions" and "Continuous access evaluation".
const NOT_COVERED: [NotCovered; 3] = [
    NotCovered::within(
        "access tokens at services without continuous access evaluation",
        "about an hour",
        90 * 60,
    ),
    NotCovered::within(
        "access tokens at services with continuous access evaluation",
        "up to 15 minutes",
        15 * 60,
    ),
    NotCovered::until("guests, whose sessions are their own tenant's", "until it acts"),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Microsoft Graph POST /users/{id}/revokeSignInSessions"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Entra admin centre, App registrations, this application, Certificates & secrets: make a \
         client secret, and see that User.RevokeSessions.All is granted; then register the \
         connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.login_url, &self.graph_url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            // Entra's `sub` differs from one application to the next: no issuer's name is Graph's.
            let name = person.known_at("")?.word();
            let token = self.token(http).await?;
            let url = below(&self.graph_url, &["v1.0", "users", name, "revokeSignInSessions"])?;
            let request = http.post(url).bearer_auth(token).header("content-length", "0");
            if ask("the revocation of sign-in sessions", request).await?["value"] == true {
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

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            self.token(http).await?;
            Ok("Entra gave a token; whether it may revoke sessions shows at the first sign-out"
                .into())
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
        access_token(http.post(url).form(&form)).await
    }
}
