//! A GitHub organization with SAML sign-on: tokens and keys that a member authorized for it, and
//! tokens that were handed over.
//!
//! It refuses the call that revokes everybody's: GitHub has one for a whole enterprise, and none for
//! one person.

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::call::{Failed, Http, ask, asking, below, end, list, opens, send, text};
use super::each::each;
use super::user::Known;
use super::{APP_SESSIONS, Call, Connector, NotCovered, Person, Probe};

/// Who finds a member by the name that the identity provider has for them.
const MEMBER: &str = "query($org: String!, $name: String!) { organization(login: $org) { \
    samlIdentityProvider { externalIdentities(first: 2, userName: $name) { \
    nodes { user { login } } } } } }";

/// An organization, and a token of an owner.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "GithubSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where its interface is: `https://api.github.com`.
    url: String,
    /// The organization.
    organization: String,
    /// A token with `read:org` and `admin:org`.
    token: String,
}

/// GitHub, "Credential authorizations" and "Revoke a list of credentials".
const NOT_COVERED: [NotCovered; 4] = [
    NotCovered::within(
        "the browser's session at GitHub",
        "until SAML asks again, 24 hours at the latest within the organization",
        24 * 3600,
    ),
    NotCovered::until(
        "tokens and keys that were not authorized for the organization and not handed over",
        "until their owner removes them; they do not open the organization",
    ),
    NotCovered::until("GitHub Apps and OAuth apps that act for the person", "until removed"),
    APP_SESSIONS,
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "GitHub DELETE /orgs/{org}/credential-authorizations/{id} and POST /credentials/revoke"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "GitHub, an owner's Settings, Developer settings, Personal access tokens: make one with \
         admin:org and authorize it for the organization's sign-on; then register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let login = &self.login(http, person).await?;
            let end_one = |id: String| async move {
                let url = self.organization(&["credential-authorizations", &id])?;
                end("the end of an authorization", self.proved(http.delete(url))).await
            };
            let ids = || self.listed(http, login);
            let done = each("credential authorizations", ids, end_one).await?;
            let done = format!("GitHub ended {done} credential authorizations");
            if person.tokens.is_empty() {
                return Ok(done);
            }
            // Without credentials of the hub's: GitHub refuses the call with them.
            let url = below(&self.url, &["credentials", "revoke"])?;
            let request = http.post(url).json(&json!({ "credentials": person.tokens }));
            let request = request.header("user-agent", "exeunt");
            let revoked = send("the revocation of tokens", request).await;
            revoked.map_err(|failed| failed.having(&done))?;
            Ok(format!("{done}, and took {} tokens for revocation", person.tokens.len()))
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let login = self.login(http, person).await?;
            let left = self.listed(http, &login).await?.len();
            for token in &person.tokens {
                let request = http.get(below(&self.url, &["user"])?).bearer_auth(token);
                let request = request.header("user-agent", "exeunt");
                if opens(request).await? {
                    return Ok(Probe::Accepted("a token that was handed over still works".into()));
                }
            }
            Ok(Probe::of_lists(&[("credential authorization", left)]))
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let url =
                asking(self.organization(&["credential-authorizations"])?, &[("per_page", "1")]);
            send("a list of authorizations", self.proved(http.get(url))).await?;
            Ok("GitHub took the token for a list of authorizations".into())
        })
    }
}

impl Settings {
    fn proved(&self, request: RequestBuilder) -> RequestBuilder {
        let request = request.bearer_auth(&self.token).header("user-agent", "exeunt");
        request.header("x-github-api-version", "2022-11-28")
    }

    fn organization(&self, rest: &[&str]) -> Result<reqwest::Url, Failed> {
        below(&self.url, &[&["orgs", self.organization.as_str()], rest].concat())
    }

    async fn listed(&self, http: &Http, login: &str) -> Result<Vec<String>, Failed> {
        let url = self.organization(&["credential-authorizations"])?;
        let url = asking(url, &[("login", login), ("per_page", "100")]);
        let what = "the list of authorizations";
        let all = list(what, ask(what, self.proved(http.get(url))).await?, "")?;
        // A list that ignored the name would show others', too.
        let own = all.iter().filter(|one| one["login"] == login);
        own.map(|one| text("an authorization", one, "/credential_id")).collect()
    }

    /// The member's login; an address is looked for among the names of the organization's SAML
    /// identity provider.
    async fn login(&self, http: &Http, person: &Person) -> Result<String, Failed> {
        let name = match person.known_at("https://github.com")? {
            Known::Id(login) | Known::Name(login) => return Ok(login.to_owned()),
            Known::Email(email) => email,
        };
        let variables = json!({ "org": self.organization, "name": name });
        let body = json!({ "query": MEMBER, "variables": variables });
        let request = self.proved(http.post(below(&self.url, &["graphql"])?)).json(&body);
        let answer: Value = ask("a member search", request).await?;
        let nodes = "/data/organization/samlIdentityProvider/externalIdentities/nodes";
        super::user::only(&list("a member search", answer, nodes)?, "/user/login")
    }
}
