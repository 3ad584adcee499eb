//! Okta by its users interface: sessions, and with them the OAuth tokens and remembered devices.
//!
//! It refuses to call it verified: Okta lists no sessions of a user to look at again.

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};

use super::call::{Failed, Http, asking, below, send};
use super::{ACCESS_TOKENS, APP_SESSIONS, Call, Connector, NotCovered, Person, Probe};

/// An organisation, and a token that may manage its users' sessions.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "OktaSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The organisation's URL.
    url: String,
    /// An API token.
    token: String,
}

/// Okta, "User Sessions" interface: `oauthTokens` and `forgetDevices`; applications end sessions of
/// their own by Universal Logout only.
const NOT_COVERED: [NotCovered; 2] = [APP_SESSIONS, ACCESS_TOKENS];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Okta DELETE /api/v1/users/{id}/sessions?oauthTokens=true&forgetDevices=true"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Okta, Security, API, Tokens: make a token as an administrator who may end users' sessions \
         (one that is not used for 30 days ends); then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let login = person.known_at(&self.url)?.word();
            let url = below(&self.url, &["api", "v1", "users", login, "sessions"])?;
            let url = asking(url, &[("oauthTokens", "true"), ("forgetDevices", "true")]);
            send("the end of the user's sessions", self.proved(http.delete(url))).await?;
            Ok("Okta ended the user's sessions and revoked their tokens".into())
        })
    }

    fn probe<'a>(&'a self, _http: &'a Http, _person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async {
            Err(Failed::Never("Okta offers no list of a user's sessions to look at".into()))
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let url = asking(below(&self.url, &["api", "v1", "users"])?, &[("limit", "1")]);
            send("a user search", self.proved(http.get(url))).await?;
            Ok("Okta took the token for a search of users".into())
        })
    }
}

impl Settings {
    fn proved(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("authorization", format!("SSWS {}", self.token))
    }
}
