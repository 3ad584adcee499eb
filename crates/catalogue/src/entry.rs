//! Entries of the catalogue as the engine reads them: apps, their stores, keyring items and agents.
//! It refuses to say how anything is done: every action is one of a closed set of values.

use std::collections::BTreeMap;

use exeunt_domain::Tier;
use serde::{Deserialize, Serialize};

use crate::glob::{Glob, RelGlob};
use crate::ids::{AppId, StoreId};
use crate::place::{Place, Platform};
use crate::proof::Examples;

/// What sort of thing an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A web browser.
    Browser,
    /// Any other program with windows.
    DesktopApp,
    /// A command-line tool that a person signs in to.
    Cli,
    /// Credentials that programs use in a person's or a service's name.
    MachineIdentity,
    /// A keyring as a whole.
    Keyring,
}

/// How an app arranges profiles below its roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The root holds `Local State`; each direct subdirectory that holds `Preferences` is a
    /// profile, and so is the root when it holds `Preferences` itself (Opera).
    Chromium,
    /// The root holds `profiles.ini`; profiles are those it names and each direct subdirectory,
    /// also of `Profiles`, that holds `prefs.js`.
    Gecko,
    /// The root is a profile, and so is each directory in `Partitions`.
    Electron,
    /// The root is the single profile.
    Flat,
}

/// What a store's paths are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// Each profile of each root.
    Profile,
    /// Each root.
    Root,
    /// Each profile's directory below the cache place of its root; see [`App::cache_of`].
    Cache,
}

/// An edit that takes secrets out of a file and keeps the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Edit {
    /// Delete rows of a SQLite table.
    Sqlite {
        /// The table.
        table: String,
        /// The column that `key_like` is matched against; absent: every row goes.
        #[serde(default)]
        key_column: Option<String>,
        /// SQL `LIKE` patterns; a row goes if any matches.
        #[serde(default)]
        key_like: Vec<String>,
    },
    /// Remove members of a JSON document.
    Json {
        /// RFC 6901 pointers to what goes; `*` as a token matches any member or element.
        keys: Vec<String>,
    },
    /// Remove keys of a TOML document.
    Toml {
        /// Dotted keys to what goes; `*` as a segment matches any key.
        keys: Vec<String>,
    },
    /// Remove keys of an INI file.
    Ini {
        /// The section, or every section.
        #[serde(default)]
        section: Option<String>,
        /// Names of the keys, compared without ASCII case; `*` as in a glob.
        keys: Vec<String>,
    },
    /// Remove whole lines of a text file.
    Lines {
        /// A line goes if, without leading blanks, it starts with any of these.
        #[serde(default)]
        starts: Vec<String>,
        /// A line goes if it holds any of these.
        #[serde(default)]
        contains: Vec<String>,
    },
    /// Remove elements of an XML document.
    Xml {
        /// Local names of the elements, at any depth, that go with all they hold.
        elements: Vec<String>,
    },
    /// Remove keys of a YAML document.
    Yaml {
        /// Names of mapping keys, at any depth, that go with all they hold.
        keys: Vec<String>,
    },
}

/// What happens to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The file or directory goes, with all it holds.
    Remove,
    /// The file stays, without its secrets.
    Edit(Edit),
}

/// One store of an app: the files that hold one sort of session state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRule {
    /// Its id, unique within the app.
    pub id: StoreId,
    /// The lowest tier that touches it.
    pub tier: Tier,
    /// What `paths` are relative to.
    pub within: Within,
    /// The files and directories, a SQLite store as its whole group of files.
    pub paths: Vec<RelGlob>,
    /// What happens to them.
    pub action: Action,
    /// What they are, in a person's words: "cookies".
    pub about: String,
    /// Whether they hold browsing history and no session.
    pub history_only: bool,
    /// Paths that show what the rule is for.
    pub examples: Examples,
    pub(crate) at: PerPlatform<Vec<Place>>,
}

impl StoreRule {
    /// Places of this store that do not lie below a root of the app, such as `home:.netrc`.
    ///
    /// They are in addition to `paths`, and get the same action.
    #[must_use]
    pub fn at(&self, platform: Platform) -> &[Place] {
        self.at.on(platform)
    }
}

/// A keyring, by the interface that it is reached through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyringStore {
    /// The freedesktop Secret Service (gnome-keyring, KWallet, KeePassXC).
    SecretService,
    /// KWallet's own interface.
    #[serde(rename = "kwallet")]
    KWallet,
    /// The kernel's keyrings (keyctl).
    Kernel,
    /// The macOS Keychain; attributes `service` and `account`.
    Keychain,
    /// The Windows Credential Manager; the label is the target name.
    CredentialManager,
}

impl KeyringStore {
    /// The platform that has this keyring.
    #[must_use]
    pub fn platform(self) -> Platform {
        match self {
            KeyringStore::SecretService | KeyringStore::KWallet | KeyringStore::Kernel => {
                Platform::Linux
            }
            KeyringStore::Keychain => Platform::Macos,
            KeyringStore::CredentialManager => Platform::Windows,
        }
    }
}

/// Items of a keyring that go. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringRule {
    /// Its id, unique within the app.
    pub id: StoreId,
    /// The lowest tier that touches it.
    pub tier: Tier,
    /// Which keyring.
    pub store: KeyringStore,
    /// The exact `xdg:schema` (Secret Service) or wallet folder (KWallet) or key type (kernel).
    pub schema: Option<String>,
    /// Attributes that the item must have, with matching values.
    pub attributes: BTreeMap<String, Glob>,
    /// The item's label, description or target name.
    pub label: Option<Glob>,
    /// Whether policy must ask for it by itself, since more than the session goes with it.
    pub opt_in: bool,
    /// What it is, in a person's words.
    pub about: String,
}

/// A program that keeps credentials in memory or behind a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentKind {
    /// Speaks the SSH agent protocol: remove all identities.
    SshAgent,
    /// `gpg-agent`: forget cached passphrases.
    GpgAgent,
    /// An OpenSSH multiplexing master: exit.
    ControlMaster,
    /// `git credential-cache--daemon`: exit.
    GitCredentialCache,
    /// A Kerberos ticket cache, wherever the user's default is: destroy all.
    KerberosCache,
}

/// An agent to flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRule {
    /// Its id, unique within the app.
    pub id: StoreId,
    /// What it is and so how it is flushed.
    pub kind: AgentKind,
    /// Where its sockets are.
    pub places: Vec<Place>,
    /// The variable of the user's processes that names another socket, such as `SSH_AUTH_SOCK`.
    pub variable: Option<String>,
}

/// An environment variable of live processes that moves one of the app's roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvDir {
    /// The variable, whose value is a directory.
    pub variable: String,
    /// The root that it replaces; the directory is surveyed as another such root.
    pub replaces: Place,
}

/// An environment variable of live processes that names a store's file in place of the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// The variable, whose value is an absolute path.
    pub variable: String,
    /// The store of the app whose action the file gets.
    pub store: StoreId,
    /// Whether the value is a list, parted by colons.
    pub list: bool,
}

/// One app and all that it leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Its name, as people know it.
    pub name: String,
    /// What sort of thing it is.
    pub kind: Kind,
    /// How profiles are arranged below the roots.
    pub layout: Layout,
    /// Where the facts come from: vendors' pages, issues, or `measured`.
    pub evidence: Vec<String>,
    /// Names of its processes. A hint for people; holders are found by what they hold open.
    pub processes: Vec<String>,
    /// Entries that a root must hold for the app to be believed to live there.
    pub requires: Vec<RelGlob>,
    /// Its stores, the family's first.
    pub stores: Vec<StoreRule>,
    /// Its keyring items.
    pub keyring: Vec<KeyringRule>,
    /// Variables that move its roots.
    pub env_dirs: Vec<EnvDir>,
    /// Variables that name one of its files.
    pub env_files: Vec<EnvFile>,
    /// Agents to flush.
    pub agents: Vec<AgentRule>,
    /// Arguments after which, or after whose `=`, a live process names its profile directory.
    pub profile_args: Vec<String>,
    pub(crate) roots: PerPlatform<Roots>,
}

impl App {
    /// Where the app's data is on a platform.
    #[must_use]
    pub fn roots(&self, platform: Platform) -> &[Place] {
        &self.roots.on(platform).places
    }

    /// The place that holds the caches of a root's profiles, at the same relative paths, or `None`
    /// when they lie inside the profiles. `root` is one of [`App::roots`].
    #[must_use]
    pub fn cache_of(&self, platform: Platform, root: &Place) -> Option<&Place> {
        let roots = self.roots.on(platform);
        let index = roots.places.iter().position(|place| place == root)?;
        roots.caches.get(index)?.as_ref()
    }
}

/// Roots and, in the same order, their cache places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    pub(crate) places: Vec<Place>,
    pub(crate) caches: Vec<Option<Place>>,
}

/// One value for each platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PerPlatform<T> {
    pub(crate) linux: T,
    pub(crate) macos: T,
    pub(crate) windows: T,
}

impl<T> PerPlatform<T> {
    pub(crate) fn on(&self, platform: Platform) -> &T {
        match platform {
            Platform::Linux => &self.linux,
            Platform::Macos => &self.macos,
            Platform::Windows => &self.windows,
        }
    }

    pub(crate) fn on_mut(&mut self, platform: Platform) -> &mut T {
        match platform {
            Platform::Linux => &mut self.linux,
            Platform::Macos => &mut self.macos,
            Platform::Windows => &mut self.windows,
        }
    }
}
