//! `exeunt admin connector`: identity providers.
//!
//! It refuses to send a secret that was typed, and to show one.

use std::io::Read as _;
use std::path::Path;

use exeunt_api::{ConnectorInfo, ConnectorTest, path};
use serde_json::{Map, Value, json};

use super::credentials::load;
use crate::args::connector::{Add, Connector, KINDS, Kind};
use crate::fault::{EXIT_ERROR, Fault};
use crate::out::Out;

/// Fields that are true or false.
const FLAGS: [&str; 1] = ["okta_shape"];

/// Runs one of its commands.
pub(crate) async fn run(out: Out, command: Connector) -> Result<u8, Fault> {
    match command {
        Connector::Add(typed) => add(out, typed).await,
        Connector::List => {
            let all: Vec<ConnectorInfo> = load()?.get(path::CONNECTORS, &[]).await?;
            out.answer(json!({ "connectors": all }), || list(&all))?;
            Ok(0)
        }
        Connector::Remove { name } => {
            load()?.delete(path::CONNECTORS, &name).await?;
            let words = || format!("{name} is forgotten, and no sign-out reaches it any more.");
            out.answer(json!({ "removed": name }), words)?;
            Ok(0)
        }
        Connector::Test { name } => {
            let at = format!("{}/{}/test", path::CONNECTORS, segment(&name)?);
            let tried: ConnectorTest = load()?.post(&at, &json!({})).await?;
            out.answer(serde_json::to_value(&tried)?, || {
                let word = if tried.works { "works" } else { "does NOT work" };
                format!("{} {word}: {} ({} ms)", tried.name, tried.said, tried.ms)
            })?;
            Ok(if tried.works { 0 } else { EXIT_ERROR })
        }
    }
}

async fn add(out: Out, typed: Add) -> Result<u8, Fault> {
    let kind = KINDS.iter().find(|kind| kind.name == typed.kind);
    let kind = kind.ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        Fault::usage(format!("there is no kind `{}`", typed.kind))
            .hint(format!("the kinds are {}", names.join(", ")))
    })?;
    let settings = settings(kind, &typed)?;
    let body = json!({ "name": typed.name, "settings": settings, "audiences": typed.audience });
    let made: ConnectorInfo = load()?.post(path::CONNECTORS, &body).await?;
    out.answer(serde_json::to_value(&made)?, || {
        let name = &made.name;
        format!("{}\nTry it with `exeunt admin connector test {name}`.", words(&made))
    })?;
    Ok(0)
}

/// The settings as the hub takes them.
fn settings(kind: &Kind, typed: &Add) -> Result<Map<String, Value>, Fault> {
    let mut all = Map::new();
    all.insert("kind".to_owned(), kind.name.into());
    let is_secret =
        |field: &&str| kind.secrets.contains(field) || kind.optional_secrets.contains(field);
    for (field, value) in &typed.fields {
        if is_secret(&field.as_str()) {
            let say = format!("{field} is secret, and was on the command line for all to see");
            return Err(Fault::usage(say).hint(format!(
                "make a new one, put it into a file, and say --secret {field}=FILE"
            )));
        }
        let value = match value.as_str() {
            "true" | "false" if FLAGS.contains(&field.as_str()) => (value == "true").into(),
            text => Value::from(text),
        };
        all.insert(field.clone(), value);
    }
    for (field, file) in &typed.secret {
        all.insert(field.clone(), read(file)?.into());
    }
    let known = [kind.fields, kind.optional, kind.secrets, kind.optional_secrets].concat();
    if let Some(stray) = all.keys().find(|key| *key != "kind" && !known.contains(&key.as_str())) {
        return Err(Fault::usage(format!("{} has no field `{stray}`", kind.name))
            .hint(format!("its fields are {}", known.join(", "))));
    }
    let missing = [kind.fields, kind.secrets].concat();
    let missing: Vec<_> = missing.into_iter().filter(|field| !all.contains_key(*field)).collect();
    if let Some(first) = missing.first() {
        let how = if is_secret(first) {
            format!("--secret {first}=FILE")
        } else {
            format!("{first}=VALUE")
        };
        return Err(Fault::usage(format!("{} also needs {}", kind.name, missing.join(", ")))
            .hint(format!("say {how}; `exeunt admin connector add --help` explains each kind")));
    }
    Ok(all)
}

/// A secret from a file or from standard input, without the line's end.
fn read(file: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)
            .map_err(|error| Fault::new("secret_file", format!("{}: {error}", file.display())))?;
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new("secret_file", format!("{} is empty", file.display())));
    }
    Ok(text.to_owned())
}

/// A name that stays one segment of a path.
fn segment(name: &str) -> Result<&str, Fault> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(fine) || name.starts_with('.') {
        return Err(Fault::usage(format!("`{name}` is no provider's name")));
    }
    Ok(name)
}

fn list(all: &[ConnectorInfo]) -> String {
    if all.is_empty() {
        return "No identity provider is registered.".to_owned();
    }
    all.iter().map(words).collect::<Vec<_>>().join("\n")
}

fn words(one: &ConnectorInfo) -> String {
    let gaps = one.does_not_cover.iter();
    let gaps: Vec<_> = gaps.map(|gap| format!("    {} ({})", gap.what, gap.how_long)).collect();
    format!(
        "{}: {}\n  by {}\n  It does not end:\n{}",
        one.name,
        one.kind,
        one.mechanism,
        gaps.join("\n")
    )
}
