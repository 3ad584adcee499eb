//! The TOML shape of catalogue files, with the position of every text that is judged later.
//! It refuses unknown keys everywhere, so that a misspelt key is never a silent gap in coverage.

use std::collections::BTreeMap;

use exeunt_domain::Tier;
use serde::Deserialize;
use toml::Spanned;

use crate::entry::{AgentKind, Edit, KeyringStore, Kind, Layout, Within};

/// A text and where it stands.
pub(crate) type Text = Spanned<String>;

/// One catalogue file: families to inherit from, and apps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFile {
    #[serde(default)]
    pub(crate) family: Vec<RawFamily>,
    #[serde(default)]
    pub(crate) app: Vec<RawApp>,
}

/// What the apps of a family share.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawFamily {
    pub(crate) id: Text,
    pub(crate) kind: Kind,
    pub(crate) layout: Layout,
    #[serde(default)]
    pub(crate) evidence: Vec<String>,
    #[serde(default)]
    pub(crate) processes: Vec<String>,
    #[serde(default)]
    pub(crate) profile_args: Vec<String>,
    #[serde(default)]
    pub(crate) store: Vec<RawStore>,
}

/// One app. `kind` and `layout` come from the family, if it names one.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawApp {
    pub(crate) id: Text,
    pub(crate) name: String,
    pub(crate) family: Option<Text>,
    #[serde(default)]
    pub(crate) without: Vec<Text>,
    pub(crate) kind: Option<Kind>,
    pub(crate) layout: Option<Layout>,
    #[serde(default)]
    pub(crate) evidence: Vec<String>,
    #[serde(default)]
    pub(crate) processes: Vec<String>,
    #[serde(default)]
    pub(crate) profile_args: Vec<String>,
    #[serde(default)]
    pub(crate) requires: Vec<Text>,
    #[serde(default)]
    pub(crate) roots: RawPlaces,
    #[serde(default)]
    pub(crate) env_dir: Vec<RawEnvDir>,
    #[serde(default)]
    pub(crate) env_file: Vec<RawEnvFile>,
    #[serde(default)]
    pub(crate) store: Vec<RawStore>,
    #[serde(default)]
    pub(crate) keyring: Vec<RawKeyring>,
    #[serde(default)]
    pub(crate) agent: Vec<RawAgent>,
}

/// Places by platform; those of `all` are on each.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPlaces {
    #[serde(default)]
    pub(crate) all: Vec<Text>,
    #[serde(default)]
    pub(crate) linux: Vec<Text>,
    #[serde(default)]
    pub(crate) macos: Vec<Text>,
    #[serde(default)]
    pub(crate) windows: Vec<Text>,
}

/// One store.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawStore {
    pub(crate) id: Text,
    pub(crate) tier: Spanned<Tier>,
    #[serde(default = "profile")]
    pub(crate) within: Within,
    pub(crate) about: String,
    #[serde(default)]
    pub(crate) paths: Vec<Text>,
    #[serde(default)]
    pub(crate) sqlite: Vec<Text>,
    #[serde(default)]
    pub(crate) at: RawPlaces,
    pub(crate) edit: Option<Spanned<Edit>>,
    #[serde(default)]
    pub(crate) history_only: bool,
    #[serde(default)]
    pub(crate) removes: Vec<String>,
    #[serde(default)]
    pub(crate) keeps: Vec<String>,
}

/// Keyring items.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawKeyring {
    pub(crate) id: Text,
    pub(crate) tier: Spanned<Tier>,
    pub(crate) store: KeyringStore,
    pub(crate) about: String,
    pub(crate) schema: Option<String>,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Text>,
    pub(crate) label: Option<Text>,
    #[serde(default)]
    pub(crate) opt_in: bool,
}

/// An agent to flush.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawAgent {
    pub(crate) id: Text,
    pub(crate) kind: AgentKind,
    #[serde(default)]
    pub(crate) places: Vec<Text>,
    pub(crate) variable: Option<Text>,
}

/// A variable that moves a root.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawEnvDir {
    pub(crate) variable: Text,
    pub(crate) replaces: Text,
}

/// A variable that names a store's file.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RawEnvFile {
    pub(crate) variable: Text,
    pub(crate) store: Text,
    #[serde(default)]
    pub(crate) list: bool,
}

/// The compiled-in file of protected places.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProtected {
    #[serde(default)]
    pub(crate) place: Vec<RawProtectedPlaces>,
    #[serde(default)]
    pub(crate) name: Vec<RawProtectedNames>,
}

/// Places that no removal may reach.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProtectedPlaces {
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) trees: Vec<Text>,
    #[serde(default)]
    pub(crate) entries: Vec<Text>,
}

/// Names that no removal may reach, wherever they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProtectedNames {
    pub(crate) reason: String,
    pub(crate) names: Vec<Text>,
}

fn profile() -> Within {
    Within::Profile
}
