//! ZITADEL's session service (v2): sessions of a user, each by itself.
//!
//! It refuses to end a session of which it does not know the user.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{Failed, Http, ask, below, end, list, text};
use super::each::each;
use super::user::{Known, only};
use super::{
    ACCESS_TOKENS, APP_SESSIONS, Call, Connector, Listed, NotCovered, Person, instant, label,
};

/// An instance, and a service user's personal access token.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "ZitadelSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The instance's URL.
    url: String,
    /// A token with `session.read`, `session.delete` and `user.read`.
    token: String,
}

/// ZITADEL, "DeleteSession": the session and its token; OIDC refresh tokens are grants of their own.
const NOT_COVERED: [NotCovered; 4] = [
    ACCESS_TOKENS,
    NotCovered::until(
        "refresh tokens of OIDC applications",
        "until each is revoked or expires, 90 days at the latest unless set otherwise",
    ),
    NotCovered::until(
        "sign-ins at the login interface of version 1",
        "until each browser's session there expires",
    ),
    APP_SESSIONS,
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "ZITADEL DELETE /v2/sessions/{id}, one session at a time"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "ZITADEL console, Users, Service Users, this user, Personal Access Tokens: make one, and see \
         that the user has a role with session.delete; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let user = &self.user(http, person).await?;
            let ids = || async move {
                let all = self.listed(http, user).await?;
                all.iter().map(|one| text("a session", one, "/id")).collect()
            };
            let end_one = |id: String| async move {
                let url = below(&self.url, &["v2", "sessions", &id])?;
                let request = http.delete(url).bearer_auth(&self.token).json(&json!({}));
                end("a session's end", request).await
            };
            let done = each("sessions", ids, end_one).await?;
            Ok(format!("ZITADEL ended {done} sessions"))
        })
    }

    fn sessions<'a>(&'a self, http: &'a Http, person: &'a Person) -> Option<Call<'a, Vec<Listed>>> {
        Some(Box::pin(async move {
            let user = self.user(http, person).await?;
            self.listed(http, &user).await?.iter().map(listed).collect()
        }))
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            self.search(http, "sessions", &json!({ "query": { "limit": 1 } })).await?;
            Ok("ZITADEL took the token for a search of sessions".into())
        })
    }
}

impl Settings {
    async fn search(&self, http: &Http, what: &str, body: &Value) -> Result<Value, Failed> {
        let path: &[&str] =
            if what == "users" { &["v2", "users"] } else { &["v2", "sessions", "search"] };
        let url = below(&self.url, path)?;
        ask("a search", http.post(url).bearer_auth(&self.token).json(body)).await
    }

    /// Sessions whose user is this one: a search that ignored the query would show others', too.
    async fn listed(&self, http: &Http, user: &str) -> Result<Vec<Value>, Failed> {
        let body = json!({
            "query": { "limit": 100 }, "queries": [{ "userIdQuery": { "id": user } }],
        });
        let mut answer = self.search(http, "sessions", &body).await?;
        if answer.is_object() && answer.get("sessions").is_none() {
            answer["sessions"] = json!([]);
        }
        let mut all = list("the session list", answer, "/sessions")?;
        all.retain(|one| one["factors"]["user"]["id"] == user);
        Ok(all)
    }

    async fn user(&self, http: &Http, person: &Person) -> Result<String, Failed> {
        let query = match person.known_at(&self.url)? {
            Known::Id(id) => return Ok(id.to_owned()),
            Known::Email(email) => json!({
                "emailQuery": { "emailAddress": email, "method": "TEXT_QUERY_METHOD_EQUALS" }
            }),
            Known::Name(name) => json!({
                "loginNameQuery": { "loginName": name, "method": "TEXT_QUERY_METHOD_EQUALS" }
            }),
        };
        let mut answer = self.search(http, "users", &json!({ "queries": [query] })).await?;
        if answer.is_object() && answer.get("result").is_none() {
            answer["result"] = json!([]);
        }
        only(&list("a user search", answer, "/result")?, "/userId")
    }
}

/// `zitadel.session.v2.Session`.
fn listed(one: &Value) -> Result<Listed, Failed> {
    let agent = &one["userAgent"];
    Ok(Listed {
        id: text("a session", one, "/id")?,
        label: label(&[&agent["description"], &agent["ip"]]),
        since: instant(&one["creationDate"]),
        last_seen: instant(&one["changeDate"]),
    })
}
