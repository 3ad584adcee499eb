//! A GitLab of one's own: personal access tokens of a user, and tokens that were handed over.
//!
//! It refuses to block the user, which is the only call that ends web sessions: that is no sign-out.

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Failed, Http, ask, asking, below, end, list, opens, text};
use super::each::each;
use super::user::{Known, only};
use super::{APP_SESSIONS, Call, Connector, NotCovered, Person, Probe};

/// A server, and a token of an administrator.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "GitlabSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server's URL.
    url: String,
    /// A personal access token of an administrator, with the scope `api`.
    token: String,
}

/// GitLab, "Personal access tokens API" and "Token information API".
const NOT_COVERED: [NotCovered; 4] = [
    NotCovered::within(
        "the browser's sessions at GitLab, which no call ends",
        "a week after the last use, unless set otherwise; or until the user is blocked",
        7 * 24 * 3600,
    ),
    NotCovered::until("SSH keys and deploy keys", "until they are removed"),
    NotCovered::until(
        "project and group tokens, and OAuth applications, that were not handed over",
        "until revoked",
    ),
    APP_SESSIONS,
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "GitLab DELETE /api/v4/personal_access_tokens/{id} and DELETE /api/v4/admin/token"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "GitLab, an administrator's Preferences, Access tokens: make one with the scope api (and \
         admin_mode where that is on); then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let id = &self.user(http, person).await?;
            let end_one = |token: String| async move {
                let url = below(&self.url, &["api", "v4", "personal_access_tokens", &token])?;
                end("a token's revocation", self.proved(http.delete(url))).await
            };
            let own = || self.listed(http, id);
            let done = each("personal access tokens", own, end_one).await?;
            let done = format!("GitLab revoked {done} personal access tokens");
            for token in &person.tokens {
                let url = below(&self.url, &["api", "v4", "admin", "token"])?;
                let request = self.proved(http.delete(url)).json(&json!({ "token": token }));
                let revoked = end("the revocation of a token", request).await;
                revoked.map_err(|failed| failed.having(&done))?;
            }
            Ok(format!("{done} and {} that were handed over", person.tokens.len()))
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let id = self.user(http, person).await?;
            let left = self.listed(http, &id).await?.len();
            for token in &person.tokens {
                let url = below(&self.url, &["api", "v4", "user"])?;
                if opens(http.get(url).bearer_auth(token)).await? {
                    return Ok(Probe::Accepted("a token that was handed over still works".into()));
                }
            }
            Ok(Probe::of_lists(&[("personal access token", left)]))
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let url = below(&self.url, &["api", "v4", "personal_access_tokens"])?;
            let request = self.proved(http.get(asking(url, &[("per_page", "1")])));
            list("a list of tokens", ask("a list of tokens", request).await?, "")?;
            Ok("GitLab took the token for a list of tokens".into())
        })
    }
}

impl Settings {
    fn proved(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("private-token", &self.token)
    }

    async fn listed(&self, http: &Http, id: &str) -> Result<Vec<String>, Failed> {
        let url = below(&self.url, &["api", "v4", "personal_access_tokens"])?;
        let url = asking(url, &[("user_id", id), ("state", "active"), ("per_page", "100")]);
        let what = "the list of tokens";
        let all = list(what, ask(what, self.proved(http.get(url))).await?, "")?;
        // Who is no administrator gets the caller's own list, whatever the query says.
        let own =
            all.iter().filter(|one| text("a token", one, "/user_id").is_ok_and(|it| it == id));
        own.map(|one| text("a token", one, "/id")).collect()
    }

    async fn user(&self, http: &Http, person: &Person) -> Result<String, Failed> {
        let (field, value) = match person.known_at(&self.url)? {
            Known::Id(id) => return Ok(id.to_owned()),
            Known::Email(email) => ("search", email),
            Known::Name(name) => ("username", name),
        };
        let url = asking(below(&self.url, &["api", "v4", "users"])?, &[(field, value)]);
        let what = "a user search";
        let mut found = list(what, ask(what, self.proved(http.get(url))).await?, "")?;
        // A search also finds what is only alike.
        if field == "search" {
            found.retain(|one| {
                one["email"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(value))
            });
        }
        only(&found, "/id")
    }
}
