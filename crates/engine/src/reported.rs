//! Places that look as if they held a secret and that no containment edits: environments of
//! processes, shell histories, `.env` files.
//!
//! It refuses to keep, return or log a value: only a kind, a place and a count leave this module.

use std::collections::BTreeMap;

use exeunt_catalogue::Base;

use crate::ports::{Entry, FileKind, Files, Name};

/// At most so many bytes of one file are looked at.
const MAX_FILE_BYTES: usize = 4 << 20;
/// At most so many directories of a home are looked into.
const MAX_DIRECTORIES: usize = 512;
/// Longest name of a variable that is shown, in bytes.
const MAX_NAME: usize = 64;

/// What sort of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportedKind {
    /// A variable of running processes.
    Environment,
    /// A file that systemd makes the user's environment from (environment.d(5)).
    UserEnvironment,
    /// A variable that the account's service manager gives to whatever it starts next.
    ManagerEnvironment,
    /// What was typed at a shell.
    ShellHistory,
    /// Variables of a project.
    EnvFile,
}

impl ReportedKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::UserEnvironment => "user-environment",
            Self::ManagerEnvironment => "manager-environment",
            Self::ShellHistory => "shell-history",
            Self::EnvFile => "env-file",
        }
    }
}

/// A place that looks as if it held a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reported {
    /// What sort of place.
    pub kind: ReportedKind,
    /// The variable's name, or the file relative to the home.
    pub place: String,
    /// How many processes, or how many lines.
    pub count: u64,
}

/// The environments of the account's processes.
pub trait Environments {
    /// In how many processes each variable is set to something and passes `wanted`, by name.
    /// Values never leave the adapter; processes that withhold theirs are left out.
    fn count(&self, wanted: &dyn Fn(&[u8]) -> bool) -> BTreeMap<Vec<u8>, u64>;

    /// The variables among what the account's service manager gives to what it starts that are set
    /// to something and pass `wanted`, by name. None where there is no such manager.
    fn of_manager(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<String>;
}

/// Looks at every such place. Touches nothing; what cannot be read is left out.
pub fn look<F: Files>(files: &F, environments: &dyn Environments) -> Vec<Reported> {
    let variables = environments.count(&is_secret_name).into_iter();
    let mut found: Vec<Reported> = variables
        .filter_map(|(name, count)| {
            let place = String::from_utf8(name).ok()?;
            Some(Reported { kind: ReportedKind::Environment, place, count })
        })
        .collect();
    let kind = ReportedKind::ManagerEnvironment;
    let kept = environments.of_manager(&is_secret_name).into_iter();
    found.extend(kept.map(|place| Reported { kind, place, count: 1 }));
    for (kind, dir, name) in places(files) {
        let Ok(text) = files.read(&dir, &name, MAX_FILE_BYTES) else { continue };
        let count =
            text.split(|&b| b == b'\n').filter(|line| is_telling(kind, line)).count() as u64;
        if count > 0 {
            let mut place = files.place(&dir);
            place.push(name);
            found.push(Reported { kind, place: crate::bounds::show(&place), count });
        }
    }
    found.sort();
    found
}

/// Whether a variable of that name is likely to hold a secret.
#[must_use]
pub fn is_secret_name(name: &[u8]) -> bool {
    const WHOLE: [&str; 8] =
        ["PASSWORD", "PASSWD", "TOKEN", "SECRET", "API_KEY", "APIKEY", "PGPASSWORD", "MYSQL_PWD"];
    const ENDS: [&str; 12] = [
        "_TOKEN",
        "_SECRET",
        "_API_KEY",
        "_APIKEY",
        "_PASSWORD",
        "_PASSWD",
        "_PASS",
        "_PAT",
        "_ACCESS_KEY",
        "_SECRET_KEY",
        "_PRIVATE_KEY",
        "_CREDENTIALS",
    ];
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if name.len() > MAX_NAME || !name.iter().all(fits) {
        return false;
    }
    let name = name.to_ascii_uppercase();
    let ends = ENDS.iter().any(|end| name.ends_with(end.as_bytes()));
    ends || WHOLE.iter().any(|whole| name == whole.as_bytes())
}

/// The files that are looked at: histories, `.env` files of the home and one level below, and
/// environment.d.
fn places<F: Files>(files: &F) -> Vec<(ReportedKind, F::Dir, Name)> {
    const HISTORIES: [(Base, &[&str], &str); 14] = [
        (Base::Home, &[], ".bash_history"),
        (Base::Home, &[], ".zsh_history"),
        (Base::Home, &[], ".zhistory"),
        (Base::Home, &[], ".sh_history"),
        (Base::Home, &[], ".python_history"),
        (Base::Home, &[], ".psql_history"),
        (Base::Home, &[], ".mysql_history"),
        (Base::Home, &[], ".rediscli_history"),
        (Base::Home, &[], ".node_repl_history"),
        (Base::Data, &["fish"], "fish_history"),
        (Base::Data, &["powershell", "PSReadLine"], "ConsoleHost_history.txt"),
        (Base::Config, &["nushell"], "history.txt"),
        (Base::State, &["bash"], "history"),
        (Base::State, &["zsh"], "history"),
    ];
    let mut places = Vec::new();
    for (base, steps, name) in HISTORIES {
        let (dir, name) = (descend(files, base, steps), Name::new(name.as_bytes()));
        places.extend(dir.zip(name).map(|(dir, name)| (ReportedKind::ShellHistory, dir, name)));
    }
    if let Some(dir) = descend(files, Base::Config, &["environment.d"]) {
        let conf = |entry: &Entry| entry.name.as_bytes().ends_with(b".conf");
        let names = regular(files, &dir, conf);
        places.extend(names.map(|name| (ReportedKind::UserEnvironment, dir.clone(), name)));
    }
    let Some(home) = descend(files, Base::Home, &[]) else { return places };
    let listed = files.list(&home).unwrap_or_default().into_iter();
    let directories = listed.filter(|entry| entry.kind == FileKind::Dir && !entry.mount_point);
    let below = directories.take(MAX_DIRECTORIES).filter_map(|e| files.enter(&home, &e.name).ok());
    for dir in std::iter::once(home.clone()).chain(below) {
        let names = regular(files, &dir, |entry| is_env_file(entry.name.as_bytes()));
        places.extend(names.map(|name| (ReportedKind::EnvFile, dir.clone(), name)));
    }
    places
}

fn descend<F: Files>(files: &F, base: Base, steps: &[&str]) -> Option<F::Dir> {
    let base = files.base(base).ok().flatten()?;
    steps.iter().try_fold(base, |dir, step| {
        Name::new(step.as_bytes()).and_then(|name| files.enter(&dir, &name).ok())
    })
}

fn regular<F: Files>(
    files: &F,
    dir: &F::Dir,
    wanted: impl Fn(&Entry) -> bool,
) -> impl Iterator<Item = Name> {
    let mut listed = files.list(dir).unwrap_or_default();
    listed.retain(|entry| entry.kind == FileKind::File && wanted(entry));
    listed.into_iter().map(|entry| entry.name)
}

/// `.env`, `.env.local` and the like, without their templates.
fn is_env_file(name: &[u8]) -> bool {
    let template = [b".example".as_slice(), b".sample", b".template", b".dist"];
    let named = name == b".env" || name == b".envrc" || name.starts_with(b".env.");
    named && !template.iter().any(|end| name.ends_with(end))
}

fn is_telling(kind: ReportedKind, line: &[u8]) -> bool {
    match kind {
        ReportedKind::Environment
        | ReportedKind::UserEnvironment
        | ReportedKind::ManagerEnvironment
        | ReportedKind::EnvFile => assigns_secret(line),
        ReportedKind::ShellHistory => assigns_secret(line) || shows_secret(line),
    }
}

/// Whether a line sets a variable of a telling name to something that is no reference.
fn assigns_secret(line: &[u8]) -> bool {
    let ends = line.iter().enumerate().filter(|(_, byte)| **byte == b'=').map(|(at, _)| at);
    ends.into_iter().any(|at| {
        let (before, after) = line.split_at(at);
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let start = before.iter().rposition(|byte| !fits(byte)).map_or(0, |at| at + 1);
        let name = before.get(start..).unwrap_or_default();
        let value = after.get(1..).unwrap_or_default();
        let value = value.trim_ascii_start().strip_prefix(b"\"").unwrap_or(value);
        let plain = value.first().is_some_and(|b| !matches!(b, b'$' | b'`' | b' ' | b'"' | b'\''));
        let quoted = value.strip_prefix(b"'").is_some_and(|rest| !rest.starts_with(b"'"));
        is_secret_name(name) && (plain || quoted)
    })
}

/// Whether a line shows a token of a known shape, or hands a secret to a command.
fn shows_secret(line: &[u8]) -> bool {
    const SHAPES: [&[u8]; 17] = [
        b"ghp_",
        b"gho_",
        b"ghs_",
        b"github_pat_",
        b"glpat-",
        b"xoxb-",
        b"xoxp-",
        b"AKIA",
        b"sk-ant-",
        b"sk-proj-",
        b"hf_",
        b"npm_",
        b"pypi-",
        b"dckr_pat_",
        b"eyJhbGci",
        b"Authorization: Bearer ",
        b"Authorization: Basic ",
    ];
    const FLAGS: [&[u8]; 4] = [b"--password=", b"--token=", b"--api-key=", b"--secret="];
    /// A shape is followed by at least so many bytes of the token itself.
    const BODY: usize = 12;
    let follows = |needle: &[u8], least: usize| {
        line.windows(needle.len()).enumerate().any(|(at, window)| {
            let rest = line.get(at + needle.len()..).unwrap_or_default();
            let body = rest.iter().take_while(|byte| byte.is_ascii_graphic()).count();
            window == needle && body >= least && !rest.starts_with(b"$")
        })
    };
    let shape = SHAPES.iter().any(|shape| follows(shape, BODY));
    shape || FLAGS.iter().any(|flag| follows(flag, 1)) || has_password_in_url(line)
}

/// `scheme://user:password@host`.
fn has_password_in_url(line: &[u8]) -> bool {
    let starts = line.windows(3).enumerate().filter(|(_, window)| *window == b"://");
    starts.map(|(at, _)| line.get(at + 3..).unwrap_or_default()).any(|rest| {
        let ends = |byte: &u8| matches!(byte, b'/' | b' ' | b'"' | b'\'');
        let authority = rest.split(ends).next().unwrap_or_default();
        let login = authority.iter().rposition(|b| *b == b'@').and_then(|at| authority.get(..at));
        let password = login.and_then(|login| {
            let colon = login.iter().position(|byte| *byte == b':')?;
            login.get(colon + 1..)
        });
        password.is_some_and(|password| !password.is_empty() && !password.starts_with(b"$"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names_of_secrets_and_leaves_others_alone() {
        for name in
            ["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "db_password", "PASSWORD", "X_API_KEY"]
        {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        for name in
            ["PATH", "TOKENS", "KEYBOARD", "SSH_AUTH_SOCK", "", "A B_TOKEN", "PASSWORD_FILE"]
        {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
        assert!(!is_secret_name(&[b'A'; 200]));
    }

    #[test]
    fn tells_lines_with_secrets_from_lines_without() {
        for line in [
            "export GITHUB_TOKEN=abc",
            "API_KEY='abc'",
            "curl -H 'Authorization: Bearer abcdefghijklmnop' x",
            "git clone https://me:hunter2@example.org/x",
            "mysql --password=hunter2",
            "echo ghp_abcdefghijklmnopqrst",
            ": 1700000000:0;export DB_PASSWORD=\"x\"",
        ] {
            assert!(is_telling(ReportedKind::ShellHistory, line.as_bytes()), "{line}");
        }
        for line in [
            "ls -l",
            "export GITHUB_TOKEN=$(cat token)",
            "unset API_KEY",
            "TOKEN=",
            "A_TOKEN=''",
            "git clone https://example.org/x",
            "ssh me@example.org",
            "make FOO=bar",
            "ghp_",
            "mysql --password=$PW",
            "",
        ] {
            assert!(!is_telling(ReportedKind::ShellHistory, line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn looks_at_environment_files_and_not_at_their_templates() {
        for name in [".env", ".env.local", ".envrc", ".env.production"] {
            assert!(is_env_file(name.as_bytes()), "{name}");
        }
        for name in [".env.example", "env", ".environment", ".env.sample"] {
            assert!(!is_env_file(name.as_bytes()), "{name}");
        }
    }
}
