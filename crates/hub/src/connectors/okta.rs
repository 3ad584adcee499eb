//! Okta by its users interface: sessions, and with them the OAuth tokens and remembered devices.
//!
//! It refuses to call it verified: Okta lists no sessions of a user to look at again.

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};

use super::call::{Failed, Http, below, send};
use super::{Call, Connector, NotCovered, Person, Probe};

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

const NOT_COVERED: [NotCovered; 2] = [
    NotCovered {
        what: "sessions that applications keep by themselves after sign-in",
        how_long: "until each application ends them",
    },
    NotCovered {
        what: "access tokens that services check by themselves",
        how_long: "until they expire",
    },
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Okta DELETE /api/v1/users/{id}/sessions?oauthTokens=true&forgetDevices=true"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let login = match &person.subject {
                Subject::Email { email } => email.as_str(),
                Subject::Account { uri } => uri.trim_start_matches("acct:"),
                Subject::Opaque { id } => id.as_str(),
                Subject::IssSub { iss, sub } if *iss == self.url => sub.as_str(),
                Subject::IssSub { .. } => {
                    return Err(Failed::Never("the subject is another issuer's".into()));
                }
            };
            let mut url = below(&self.url, &["api", "v1", "users", login, "sessions"])?;
            url.query_pairs_mut().append_pair("oauthTokens", "true");
            url.query_pairs_mut().append_pair("forgetDevices", "true");
            let ask = http.delete(url).header("authorization", format!("SSWS {}", self.token));
            send("the end of the user's sessions", ask).await?;
            Ok("Okta ended the user's sessions and revoked their tokens".into())
        })
    }

    fn probe<'a>(&'a self, _http: &'a Http, _person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async {
            Err(Failed::Never("Okta offers no list of a user's sessions to look at".into()))
        })
    }
}
