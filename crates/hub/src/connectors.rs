//! Identity providers: what each can be asked to end, what that does not cover, and how it is
//! looked at again afterwards.
//!
//! It refuses to call a provider's answer proof: `verified` follows only from a probe that was
//! rejected.

mod api;
mod auth0;
mod authentik;
mod aws;
mod book;
mod call;
mod each;
mod entra;
mod github;
mod gitlab;
mod global_revocation;
mod google;
mod hydra;
mod keycloak;
mod kratos;
mod listing;
mod oauth;
mod okta;
mod run;
mod seal;
mod slack;
mod user;
mod zitadel;

use std::pin::Pin;

use exeunt_domain::{Subject, Timestamp};
use serde::{Deserialize, Serialize};

pub use api::{ConnectorRequest, GRANTS, PATH, TEST, grant, list, register, remove, test};
pub use book::{Book, BookError, Registered};
pub use call::{Again, Failed, Http};
pub use listing::listed;
pub(crate) use oauth::encoded;
pub use run::{declare, run};
pub use seal::{SealError, Sealing};

/// Something that a connector's call leaves alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCovered {
    /// What.
    pub what: &'static str,
    /// Until when.
    pub how_long: &'static str,
    /// How many seconds after the call it is over at the latest, where that is known.
    pub lapses_after_s: Option<u64>,
}

impl NotCovered {
    /// Something of which nobody knows when it is over.
    const fn until(what: &'static str, how_long: &'static str) -> Self {
        Self { what, how_long, lapses_after_s: None }
    }

    /// Something that is over after `seconds` at the latest.
    const fn within(what: &'static str, how_long: &'static str, seconds: u64) -> Self {
        Self { what, how_long, lapses_after_s: Some(seconds) }
    }
}

/// What nearly every provider leaves alive: nobody asks it about them.
const ACCESS_TOKENS: NotCovered =
    NotCovered::until("access tokens that services check by themselves", "until they expire");
/// What nearly every provider leaves alive: it never knew of them.
const APP_SESSIONS: NotCovered = NotCovered::until(
    "sessions that applications keep by themselves after sign-in",
    "until each application ends them",
);

/// Whose sessions are to end, and what the hub holds of them.
#[derive(Clone, Debug)]
pub struct Person {
    /// As the registry names them.
    pub subject: Subject,
    /// Tokens that relying services handed over for this.
    pub tokens: Vec<String>,
}

/// What was found when the provider was asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// What was usable before is refused now; how that showed.
    Rejected(String),
    /// Something is still accepted.
    Accepted(String),
}

impl Probe {
    /// What lists show in which everything that was revoked would still stand.
    fn of_lists(lists: &[(&str, usize)]) -> Self {
        match lists.iter().find(|(_, left)| *left > 0) {
            Some((what, left)) => Self::Accepted(format!("the provider lists {left} {what}")),
            None => {
                let names: Vec<_> = lists.iter().map(|(what, _)| format!("no {what}")).collect();
                Self::Rejected(format!("the provider lists {}", names.join(" and ")))
            }
        }
    }
}

/// A session, as its provider lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The provider's own name of it, which opens nothing.
    pub id: String,
    /// What a person recognises: a browser, an address.
    pub label: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When the provider saw it last.
    pub last_seen: Option<Timestamp>,
}

/// A call that is under way.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 'a>>;

/// One kind of identity provider.
pub trait Connector: Send + Sync {
    /// The call by which it revokes, for the record.
    fn mechanism(&self) -> &'static str;
    /// What that call leaves alive, and for how long.
    fn does_not_cover(&self) -> &'static [NotCovered];
    /// How its credentials are made anew once the provider refuses them.
    fn renewal(&self) -> &'static str;
    /// Every address that it calls.
    fn addresses(&self) -> Vec<&str>;
    /// What is wrong with its settings, beyond their shape and addresses.
    fn fault(&self) -> Option<String> {
        None
    }
    /// Whether its calls are signed by the hub itself.
    fn signs(&self) -> bool {
        false
    }
    /// Asks the provider to end everything of a person; what it answered.
    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String>;
    /// Looks at what was usable before; where the provider lists sessions, at those.
    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            match self.sessions(http, person) {
                Some(listed) => Ok(Probe::of_lists(&[("session", listed.await?.len())])),
                None => Err(Failed::Never("the provider offers nothing to look at".into())),
            }
        })
    }
    /// A person's sessions there; None where the provider lists none.
    fn sessions<'a>(
        &'a self,
        _http: &'a Http,
        _person: &'a Person,
    ) -> Option<Call<'a, Vec<Listed>>> {
        None
    }
    /// Tries the credentials and ends nothing; what that showed.
    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String>;
}

/// One line a kind: its name, its module, and what it is.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal in $module:ident;)*) => {
        /// A provider's settings, its secrets among them. They are kept in a sealed file, never in
        /// the record.
        #[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
        #[schemars(rename = "ConnectorSettings")]
        #[serde(tag = "kind")]
        pub enum Settings {
            $($(#[$doc])* #[serde(rename = $word)] $name($module::Settings),)*
        }

        impl Settings {
            /// The word for it.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $(Settings::$name(_) => $word,)* }
            }

            /// How to speak to it.
            #[must_use]
            pub fn connector(&self) -> &dyn Connector {
                match self { $(Settings::$name(settings) => settings,)* }
            }
        }
    };
}

kinds! {
    /// Any authorization server by RFC 7009 and RFC 7662.
    Oauth = "oauth" in oauth;
    /// Any party that takes Global Token Revocation.
    GlobalRevocation = "global-revocation" in global_revocation;
    /// Keycloak's admin interface.
    Keycloak = "keycloak" in keycloak;
    /// Okta's users interface.
    Okta = "okta" in okta;
    /// Microsoft Entra ID by Graph.
    Entra = "entra" in entra;
    /// Auth0's management interface.
    Auth0 = "auth0" in auth0;
    /// Google Workspace by the Directory interface.
    Google = "google" in google;
    /// authentik's interface.
    Authentik = "authentik" in authentik;
    /// ZITADEL's session service.
    Zitadel = "zitadel" in zitadel;
    /// Ory Kratos' admin interface.
    Kratos = "kratos" in kratos;
    /// Ory Hydra's admin interface.
    Hydra = "hydra" in hydra;
    /// A GitHub organization with SAML sign-on.
    Github = "github" in github;
    /// A GitLab of one's own.
    Gitlab = "gitlab" in gitlab;
    /// Slack's admin interface, for Enterprise organizations.
    Slack = "slack" in slack;
    /// AWS IAM Identity Center, by a service control policy.
    Aws = "aws" in aws;
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.kind()).finish_non_exhaustive()
    }
}

/// What a connector leaves alive, as one sentence.
#[must_use]
pub fn residue(connector: &dyn Connector) -> String {
    let parts = connector.does_not_cover().iter();
    let parts: Vec<_> = parts.map(|gap| format!("{} ({})", gap.what, gap.how_long)).collect();
    format!("not covered: {}", parts.join("; "))
}

/// A time as RFC 3339 writes it.
fn instant(value: &serde_json::Value) -> Option<Timestamp> {
    let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

/// What a person recognises of a session: whatever of the words there is.
fn label(words: &[&serde_json::Value]) -> String {
    let words: Vec<_> = words.iter().filter_map(|word| word.as_str()).collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "a session".to_owned() } else { words.join(", ") }
}
