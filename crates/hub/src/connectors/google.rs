//! Google Workspace by the Directory interface: web and device sign-ins, OAuth grants and
//! application passwords of a user.
//!
//! It refuses to call it verified: Google lists grants, and no sign-in to look at again.

use exeunt_ssf::RsaSigner;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Failed, Http, access_token, ask, below, end, list, send, text};
use super::each::each;
use super::{APP_SESSIONS, Call, Connector, NotCovered, Person, Probe};
use crate::sequencer::now;

/// What the service account may do, in an administrator's name (domain-wide delegation).
const SCOPE: &str = "https://www.googleapis.com/auth/admin.directory.user.security";
/// How a signed claim is traded for a token (RFC 7523 §2.1).
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A domain, and a service account with domain-wide delegation.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "GoogleSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the Directory interface is: `https://admin.googleapis.com`.
    url: String,
    /// Where tokens are given: `https://oauth2.googleapis.com`.
    login_url: String,
    /// The service account's address.
    service_account: String,
    /// The administrator in whose name it acts.
    administrator: String,
    /// The service account's private key, PEM.
    private_key: String,
}

/// Google, "Directory API: users.signOut", "tokens" and "asps"; "Revoke sessions" of the admin help.
const NOT_COVERED: [NotCovered; 3] = [
    NotCovered::until(
        "Google's own apps on phones and desktops, such as Gmail and Drive for desktop",
        "until the device is wiped or its account removed",
    ),
    NotCovered::within("access tokens that Google gave out before", "up to an hour", 3600),
    APP_SESSIONS,
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Google POST /admin/directory/v1/users/{userKey}/signOut, tokens.delete, asps.delete"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "Google Cloud console, IAM & Admin, Service Accounts, Keys: make a key; admin console, \
         Security, API controls, Domain-wide delegation: grant its client id \
         https://www.googleapis.com/auth/admin.directory.user.security; then register the connector \
         again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url, &self.login_url]
    }

    fn fault(&self) -> Option<String> {
        let key = RsaSigner::from_pem(&self.private_key);
        key.err().map(|error| format!("private_key: {error}"))
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let token = &self.token(http).await?;
            let user = person.known_at("https://accounts.google.com")?.word();
            let url = self.user(user, &["signOut"])?;
            send("the user's sign-out", http.post(url).bearer_auth(token).body("")).await?;
            let done = "Google signed the user out";
            let having = |failed: Failed| failed.having(done);
            let grants = self.each(http, token, user, "tokens", "/clientId").await;
            let grants = grants.map_err(having)?;
            let passwords = self.each(http, token, user, "asps", "/codeId").await;
            let passwords = passwords.map_err(having)?;
            Ok(format!("{done}, {grants} OAuth grants and {passwords} app passwords deleted"))
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let token = self.token(http).await?;
            let user = person.known_at("https://accounts.google.com")?.word();
            let grants = self.listed(http, &token, user, "tokens", "/clientId").await?.len();
            let passwords = self.listed(http, &token, user, "asps", "/codeId").await?.len();
            match Probe::of_lists(&[("OAuth grant", grants), ("app password", passwords)]) {
                Probe::Accepted(what) => Ok(Probe::Accepted(what)),
                Probe::Rejected(how) => {
                    Err(Failed::Never(format!("{how}; it lists no sign-ins to look at")))
                }
            }
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let token = self.token(http).await?;
            self.listed(http, &token, &self.administrator, "tokens", "/clientId").await?;
            Ok("Google gave a token, which may look at users' security".into())
        })
    }
}

impl Settings {
    async fn token(&self, http: &Http) -> Result<String, Failed> {
        let url = below(&self.login_url, &["token"])?;
        let now = now().as_secs();
        let claims = json!({
            "iss": self.service_account, "sub": self.administrator, "scope": SCOPE,
            "aud": url.as_str(), "iat": now, "exp": now + 600,
        });
        let key = RsaSigner::from_pem(&self.private_key);
        let key = key.map_err(|error| Failed::Never(error.to_string()))?;
        let signed = key.sign_jwt("JWT", &claims);
        let signed = signed.map_err(|error| Failed::Never(error.to_string()))?;
        let form = [("grant_type", JWT_BEARER), ("assertion", signed.as_str())];
        access_token(http.post(url).form(&form)).await
    }

    fn user(&self, user: &str, rest: &[&str]) -> Result<reqwest::Url, Failed> {
        below(&self.url, &[&["admin", "directory", "v1", "users", user], rest].concat())
    }

    /// Ids of what a user has: an empty list is left out of the answer altogether.
    async fn listed(
        &self,
        http: &Http,
        token: &str,
        user: &str,
        what: &str,
        id: &str,
    ) -> Result<Vec<String>, Failed> {
        let answer = ask("the user's list", http.get(self.user(user, &[what])?).bearer_auth(token));
        let answer = answer.await?;
        if answer.is_object() && answer.get("items").is_none() {
            return Ok(Vec::new());
        }
        let items = list("the user's list", answer, "/items")?;
        items.iter().map(|item| text("an item", item, id)).collect()
    }

    async fn each(
        &self,
        http: &Http,
        token: &str,
        user: &str,
        what: &str,
        id: &str,
    ) -> Result<usize, Failed> {
        let list = || self.listed(http, token, user, what, id);
        let end_one = |item: String| async move {
            let url = self.user(user, &[what, &item])?;
            end("a deletion", http.delete(url).bearer_auth(token)).await
        };
        each(what, list, end_one).await
    }
}
