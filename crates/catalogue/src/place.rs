//! Places: a closed base plus a relative path, the only way the catalogue can point anywhere.
//! It refuses a bare base, so that no entry can mean a whole home or configuration directory.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::glob::{Glob, GlobError, RelGlob};

/// An operating system that the catalogue has places for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// Linux with the XDG base directories.
    Linux,
    /// macOS.
    Macos,
    /// Windows.
    Windows,
}

impl Platform {
    /// Every platform, in a fixed order.
    pub const ALL: [Platform; 3] = [Platform::Linux, Platform::Macos, Platform::Windows];
}

/// A directory that a user has on every platform.
///
/// | | Linux | macOS | Windows |
/// |---|---|---|---|
/// | `home` | `~` | `~` | `%UserProfile%` |
/// | `config` | `$XDG_CONFIG_HOME`, `~/.config` | `~/Library/Application Support` | `%AppData%` |
/// | `cache` | `$XDG_CACHE_HOME`, `~/.cache` | `~/Library/Caches` | `%LocalAppData%` |
/// | `data` | `$XDG_DATA_HOME`, `~/.local/share` | `~/Library/Application Support` | `%AppData%` |
/// | `state` | `$XDG_STATE_HOME`, `~/.local/state` | `~/Library/Application Support` | `%LocalAppData%` |
/// | `runtime` | `$XDG_RUNTIME_DIR` | none | none |
///
/// Source: XDG Base Directory Specification 0.8; Apple File System Programming Guide; Windows
/// Known Folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// The home directory itself.
    Home,
    /// Settings.
    Config,
    /// What can be made again.
    Cache,
    /// Data that the user would miss.
    Data,
    /// State that survives restarts.
    State,
    /// Sockets and other files of this login only.
    Runtime,
}

impl Base {
    /// The base's usual path below the home, or `None` where it lies elsewhere or does not exist.
    #[must_use]
    pub fn from_home(self, platform: Platform) -> Option<&'static [&'static str]> {
        match (platform, self) {
            (_, Base::Home) => Some(&[]),
            (_, Base::Runtime) => None,
            (Platform::Linux, Base::Config) => Some(&[".config"]),
            (Platform::Linux, Base::Cache) => Some(&[".cache"]),
            (Platform::Linux, Base::Data) => Some(&[".local", "share"]),
            (Platform::Linux, Base::State) => Some(&[".local", "state"]),
            (Platform::Macos, Base::Config | Base::Data | Base::State) => {
                Some(&["Library", "Application Support"])
            }
            (Platform::Macos, Base::Cache) => Some(&["Library", "Caches"]),
            (Platform::Windows, Base::Config | Base::Data) => Some(&["AppData", "Roaming"]),
            (Platform::Windows, Base::Cache | Base::State) => Some(&["AppData", "Local"]),
        }
    }

    /// The word that stands before the colon in a place.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Base::Home => "home",
            Base::Config => "config",
            Base::Cache => "cache",
            Base::Data => "data",
            Base::State => "state",
            Base::Runtime => "runtime",
        }
    }

    const ALL: [Base; 6] =
        [Base::Home, Base::Config, Base::Cache, Base::Data, Base::State, Base::Runtime];
}

/// Why a text is not a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The text has no known base before a colon.
    #[error("it has no base; begin with home:, config:, cache:, data:, state: or runtime:")]
    Base,
    /// The part after the colon is not a relative path.
    #[error("{0}")]
    Path(GlobError),
}

/// A path below a base. The path has at least one component: a base itself is never a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Where the path starts.
    pub base: Base,
    /// The path below the base.
    pub path: RelGlob,
}

impl Place {
    /// Takes a text such as `config:google-chrome` as a place.
    ///
    /// # Errors
    /// [`PlaceError`] when the base is not one of the closed set, or the path is refused.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        let (word, path) = text.split_once(':').ok_or(PlaceError::Base)?;
        let base = Base::ALL.into_iter().find(|b| b.as_str() == word).ok_or(PlaceError::Base)?;
        let path = RelGlob::parse(path).map_err(PlaceError::Path)?;
        Ok(Self { base, path })
    }

    /// The components below the home, or `None` when the base does not lie below it.
    #[must_use]
    pub fn from_home(&self, platform: Platform) -> Option<Vec<Glob>> {
        let base = self.base.from_home(platform)?;
        let base = base.iter().filter_map(|name| Glob::parse(name).ok());
        Some(base.chain(self.path.components().iter().cloned()).collect())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.base.as_str(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_bare_base_and_unknown_bases() {
        for bad in ["home:", "config:", "home", "etc:passwd", "/home", "home:/x", "home:../x"] {
            assert!(Place::parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn finds_its_way_from_the_home_on_each_platform() {
        let place = Place::parse("config:Slack").unwrap();
        let texts = |p| {
            place.from_home(p).unwrap().iter().map(|g| g.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(Platform::Linux), [".config", "Slack"]);
        assert_eq!(texts(Platform::Macos), ["Library", "Application Support", "Slack"]);
        assert_eq!(texts(Platform::Windows), ["AppData", "Roaming", "Slack"]);
        assert!(Place::parse("runtime:x").unwrap().from_home(Platform::Linux).is_none());
    }
}
