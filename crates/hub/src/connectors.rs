//! Identity providers: what each can be asked to end, what that does not cover, and how it is
//! looked at again afterwards.
//!
//! It refuses to call a provider's answer proof: `verified` follows only from a probe that was
//! rejected.

mod api;
mod auth0;
mod book;
mod call;
mod entra;
mod keycloak;
mod oauth;
mod okta;
mod run;

use std::pin::Pin;

use exeunt_domain::Subject;
use serde::{Deserialize, Serialize};

pub use api::{ConnectorInfo, ConnectorRequest, GRANTS, PATH, grant, list, register};
pub use book::{Book, BookError, Registered};
pub use call::{Failed, Http};
pub(crate) use oauth::encoded;
pub use run::run;

/// Something that a connector's call leaves alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize)]
pub struct NotCovered {
    /// What.
    pub what: &'static str,
    /// Until when.
    pub how_long: &'static str,
}

/// Whose sessions are to end, and what the hub holds of them.
#[derive(Clone, Debug)]
pub struct Person {
    /// As the registry names them.
    pub subject: Subject,
    /// Refresh tokens that relying services handed over for this.
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

/// A call that is under way.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send + 'a>>;

/// One kind of identity provider.
pub trait Connector: Send + Sync {
    /// The call by which it revokes, for the record.
    fn mechanism(&self) -> &'static str;
    /// What that call leaves alive, and for how long.
    fn does_not_cover(&self) -> &'static [NotCovered];
    /// Every address that it calls.
    fn addresses(&self) -> Vec<&str>;
    /// Asks the provider to end everything of a person; what it answered.
    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String>;
    /// Looks at what was usable before.
    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe>;
}

/// A provider's settings, its secrets among them. They are kept in a file that only the hub's user
/// reads, never in the record.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "ConnectorSettings")]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Settings {
    /// Any authorization server by RFC 7009 and RFC 7662.
    Oauth(oauth::Settings),
    /// Keycloak's admin interface.
    Keycloak(keycloak::Settings),
    /// Okta's users interface.
    Okta(okta::Settings),
    /// Microsoft Entra ID by Graph.
    Entra(entra::Settings),
    /// Auth0's management interface.
    Auth0(auth0::Settings),
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.kind()).finish_non_exhaustive()
    }
}

impl Settings {
    /// The word for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Settings::Oauth(_) => "oauth",
            Settings::Keycloak(_) => "keycloak",
            Settings::Okta(_) => "okta",
            Settings::Entra(_) => "entra",
            Settings::Auth0(_) => "auth0",
        }
    }

    /// How to speak to it.
    #[must_use]
    pub fn connector(&self) -> &dyn Connector {
        match self {
            Settings::Oauth(settings) => settings,
            Settings::Keycloak(settings) => settings,
            Settings::Okta(settings) => settings,
            Settings::Entra(settings) => settings,
            Settings::Auth0(settings) => settings,
        }
    }
}

/// What a connector leaves alive, as one sentence.
#[must_use]
pub fn residue(connector: &dyn Connector) -> String {
    let parts = connector.does_not_cover().iter();
    let parts: Vec<_> = parts.map(|gap| format!("{} ({})", gap.what, gap.how_long)).collect();
    format!("not covered: {}", parts.join("; "))
}
