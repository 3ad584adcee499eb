//! The files of `catalogue/`, compiled in.
//! It refuses to read them from a disk, where they could be changed after the build.

/// The file name of the protected places, which no one may give.
pub(crate) const PROTECTED: &str = "protected.toml";

/// The protected places.
pub(crate) const PROTECTED_TEXT: &str = include_str!("../../../catalogue/protected.toml");

macro_rules! compiled_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../catalogue/", $name)))),*]
    };
}

/// Every other file: name and text. A test compares the names with the directory.
pub(crate) const FILES: &[(&str, &str)] =
    compiled_in!["aws.toml", "chromium.toml", "claude-code.toml", "gecko.toml", "gh.toml",];
