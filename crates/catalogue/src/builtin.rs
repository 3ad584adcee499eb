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
///
/// The generic entry is last: what a named app claims is that app's.
pub(crate) const FILES: &[(&str, &str)] = compiled_in![
    "ai-tools.toml",
    "aws.toml",
    "chromium.toml",
    "claude-code.toml",
    "cloud.toml",
    "codex.toml",
    "containers.toml",
    "electron.toml",
    "gecko.toml",
    "gh.toml",
    "git.toml",
    "keyrings.toml",
    "mail.toml",
    "packages.toml",
    "remote-access.toml",
    "safari.toml",
    "ssh-gpg-kerberos.toml",
    "teams.toml",
    "telegram.toml",
    "vscode.toml",
    "windows-accounts.toml",
    "electron-generic.toml",
];
