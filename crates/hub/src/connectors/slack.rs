//! Slack's admin interface: every session of a member, on every device.
//!
//! It refuses to take `ok` for an end: it means that the reset was queued.

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{Failed, Http, ask, below, list, text};
use super::user::Known;
use super::{Call, Connector, Listed, NotCovered, Person, label};

/// Slack's words for credentials that it does not accept.
const DENIED: [&str; 9] = [
    "not_authed",
    "invalid_auth",
    "token_expired",
    "token_revoked",
    "account_inactive",
    "missing_scope",
    "not_allowed_token_type",
    "not_an_admin",
    "no_permission",
];
/// Its words for what may work later.
const LATER: [&str; 5] =
    ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"];

/// An Enterprise organization, and a token of an owner or administrator.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "SlackSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where its interface is: `https://slack.com`.
    url: String,
    /// A user token with `admin.users:read`, `admin.users:write` and `users:read.email`.
    token: String,
    /// The workspace whose sessions are looked at again.
    team: String,
}

/// Slack, "admin.users.session.resetBulk": enqueued; Enterprise only.
const NOT_COVERED: [NotCovered; 3] = [
    NotCovered::until(
        "tokens that the member gave to Slack apps, and legacy tokens",
        "until each is revoked with auth.revoke",
    ),
    NotCovered::until("sessions at other workspaces than the one that is looked at", "unknown"),
    NotCovered::until("bots and incoming webhooks that the member made", "until removed"),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Slack POST admin.users.session.resetBulk"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "api.slack.com, Your Apps, this app, OAuth & Permissions: have an organization's owner \
         install it again with admin.users:read, admin.users:write and users:read.email; then \
         register the connector again with the new user token"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let id = self.user(http, person).await?;
            let request = self.method(http, "admin.users.session.resetBulk")?;
            let request = request.json(&json!({ "user_ids": [id] }));
            said("the reset of sessions", request).await?;
            Ok("Slack queued the end of the member's sessions".into())
        })
    }

    fn sessions<'a>(&'a self, http: &'a Http, person: &'a Person) -> Option<Call<'a, Vec<Listed>>> {
        Some(Box::pin(async move { self.listed(http, person).await?.iter().map(listed).collect() }))
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            said("a try of the token", self.method(http, "auth.test")?).await?;
            Ok("Slack knows the token; whether it may end sessions shows at the first sign-out"
                .into())
        })
    }
}

impl Settings {
    fn method(&self, http: &Http, name: &str) -> Result<RequestBuilder, Failed> {
        Ok(http.post(below(&self.url, &["api", name])?).bearer_auth(&self.token))
    }

    async fn listed(&self, http: &Http, person: &Person) -> Result<Vec<Value>, Failed> {
        let id = self.user(http, person).await?;
        let what = "the session list";
        let form = [("user_id", id.as_str()), ("team_id", &self.team), ("limit", "1000")];
        let answer = said(what, self.method(http, "admin.users.session.list")?.form(&form)).await?;
        let mut all = list(what, answer, "/active_sessions")?;
        all.retain(|one| one["user_id"] == id.as_str());
        Ok(all)
    }

    async fn user(&self, http: &Http, person: &Person) -> Result<String, Failed> {
        let email = match person.known_at(&self.url)? {
            Known::Id(id) | Known::Name(id) => return Ok(id.to_owned()),
            Known::Email(email) => email,
        };
        let what = "a user search";
        let request = self.method(http, "users.lookupByEmail")?.form(&[("email", email)]);
        text("the user", &said(what, request).await?, "/user/id")
    }
}

/// Slack answers 200 and says within whether it was done.
async fn said(what: &str, request: RequestBuilder) -> Result<Value, Failed> {
    let answer = ask(what, request).await?;
    if answer["ok"] == true {
        return Ok(answer);
    }
    let word: String = answer["error"].as_str().unwrap_or("no reason").chars().take(64).collect();
    let say = format!("{what} was refused with {word}");
    Err(match word.as_str() {
        "users_not_found" | "user_not_found" => {
            Failed::Never("the provider knows no such user".into())
        }
        word if DENIED.contains(&word) => Failed::Denied(say),
        word if LATER.contains(&word) => Failed::Later(say, None),
        _ => Failed::Never(say),
    })
}

/// A session of `admin.users.session.list`.
fn listed(one: &Value) -> Result<Listed, Failed> {
    let device = if one["recent"].is_object() { &one["recent"] } else { &one["created"] };
    Ok(Listed {
        id: text("a session", one, "/session_id")?,
        label: label(&[&device["device_hardware"], &device["os"], &device["ip"]]),
        since: None,
        last_seen: None,
    })
}
