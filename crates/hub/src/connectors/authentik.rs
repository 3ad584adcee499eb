//! authentik by its interface: sessions and OAuth tokens of a user, each by itself.
//!
//! It refuses the call that deletes sessions in bulk: its shape differs between releases.

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{Failed, Http, ask, asking, below, end, list, text};
use super::each::each;
use super::user::{Known, only};
use super::{
    ACCESS_TOKENS, APP_SESSIONS, Call, Connector, Listed, NotCovered, Person, Probe, instant, label,
};

/// What of a user is ended: what it is called, where it lies, how it is found and named.
const KINDS: [Kind; 3] = [
    Kind { what: "session", path: ["core", "authenticated_sessions"], by_name: true, id: "/uuid" },
    Kind { what: "refresh token", path: ["oauth2", "refresh_tokens"], by_name: false, id: "/pk" },
    Kind { what: "access token", path: ["oauth2", "access_tokens"], by_name: false, id: "/pk" },
];

/// A server, and a token of an administrator.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "AuthentikSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server's base URL.
    url: String,
    /// An API token.
    token: String,
}

/// authentik, API reference: `core/authenticated_sessions`, `oauth2/refresh_tokens`,
/// `oauth2/access_tokens`.
const NOT_COVERED: [NotCovered; 2] = [ACCESS_TOKENS, APP_SESSIONS];

struct Kind {
    what: &'static str,
    path: [&'static str; 2],
    by_name: bool,
    id: &'static str,
}

/// A user of authentik's.
struct User {
    pk: String,
    name: String,
}

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "authentik DELETE /api/v3/core/authenticated_sessions/{uuid}/ and the user's OAuth tokens"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "authentik, Directory, Tokens and App passwords: make an API token of a user who may delete \
         sessions and tokens; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let user = &self.user(http, person).await?;
            let mut done = Vec::new();
            for kind in &KINDS {
                let list = || self.ids(http, user, kind);
                let end_one = |id: String| async move {
                    end("a deletion", self.proved(http.delete(self.at(kind, &[&id, ""])?))).await
                };
                match each(&format!("{}s", kind.what), list, end_one).await {
                    Ok(count) => done.push(format!("{count} {}s", kind.what)),
                    Err(failed) if done.is_empty() => return Err(failed),
                    Err(failed) => return Err(failed.having(&format!("{} ended", done.join(", ")))),
                }
            }
            Ok(format!("authentik ended {}", done.join(", ")))
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let user = self.user(http, person).await?;
            let mut lists = Vec::new();
            for kind in &KINDS {
                lists.push((kind.what, self.ids(http, &user, kind).await?.len()));
            }
            Ok(Probe::of_lists(&lists))
        })
    }

    fn sessions<'a>(&'a self, http: &'a Http, person: &'a Person) -> Option<Call<'a, Vec<Listed>>> {
        Some(Box::pin(async move {
            let user = self.user(http, person).await?;
            let [kind, ..] = &KINDS;
            self.listed(http, &user, kind).await?.iter().map(listed).collect()
        }))
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let url = below(&self.url, &["api", "v3", "core", "users", ""])?;
            let request = self.proved(http.get(asking(url, &[("page_size", "1")])));
            list("a user search", ask("a user search", request).await?, "/results")?;
            Ok("authentik took the token for a search of users".into())
        })
    }
}

impl Settings {
    fn proved(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.token)
    }

    fn at(&self, kind: &Kind, rest: &[&str]) -> Result<reqwest::Url, Failed> {
        let [app, list] = kind.path;
        below(&self.url, &[&["api", "v3", app, list], rest].concat())
    }

    async fn listed(&self, http: &Http, user: &User, kind: &Kind) -> Result<Vec<Value>, Failed> {
        let (field, value) =
            if kind.by_name { ("user__username", &user.name) } else { ("user", &user.pk) };
        let url = asking(self.at(kind, &[""])?, &[(field, value), ("page_size", "100")]);
        let what = "the user's list";
        list(what, ask(what, self.proved(http.get(url))).await?, "/results")
    }

    async fn ids(&self, http: &Http, user: &User, kind: &Kind) -> Result<Vec<String>, Failed> {
        let all = self.listed(http, user, kind).await?;
        all.iter().map(|one| text("an item", one, kind.id)).collect()
    }

    /// The user. What authentik calls `sub` is a hash unless it is told otherwise, and found nowhere.
    async fn user(&self, http: &Http, person: &Person) -> Result<User, Failed> {
        let (field, value) = match person.known_at(&self.url)? {
            Known::Id(uuid) => ("uuid", uuid),
            Known::Email(email) => ("email", email),
            Known::Name(name) => ("username", name),
        };
        let url = below(&self.url, &["api", "v3", "core", "users", ""])?;
        let what = "a user search";
        let answer = ask(what, self.proved(http.get(asking(url, &[(field, value)])))).await?;
        let found = list(what, answer, "/results")?;
        Ok(User { pk: only(&found, "/pk")?, name: only(&found, "/username")? })
    }
}

/// An authenticated session.
fn listed(one: &Value) -> Result<Listed, Failed> {
    let browser = &one["user_agent"]["user_agent"]["family"];
    Ok(Listed {
        id: text("a session", one, "/uuid")?,
        label: label(&[browser, &one["user_agent"]["os"]["family"], &one["last_ip"]]),
        since: None,
        last_seen: instant(&one["last_used"]),
    })
}
