//! `exeunt catalogue`: what is known to hold sessions, and what is wrong with a file of your own.
//!
//! It refuses nothing silently: every mistake is printed, not the first alone.

use std::path::PathBuf;

use exeunt_catalogue::{Catalogue, CatalogueError};
use serde_json::json;

use crate::args;
use crate::fault::{EXIT_ERROR, Fault};
use crate::out::{Out, count};

/// Where a site puts files of its own.
const SITE: &str = "/etc/exeunt/catalogue.d";

/// Runs one of its commands.
pub(crate) fn run(out: Out, command: &args::Catalogue) -> Result<u8, Fault> {
    match command {
        args::Catalogue::List => list(out),
        args::Catalogue::Check { files } => check(out, files),
    }
}

fn list(out: Out) -> Result<u8, Fault> {
    let mut catalogue = Catalogue::builtin().map_err(|error| wrong(&error))?;
    let site = site_files()?;
    if !site.is_empty() {
        catalogue = catalogue.with_site(&site).map_err(|error| wrong(&error))?;
    }
    let apps = catalogue.apps().iter().map(|app| {
        json!({
            "id": app.id.as_str(), "name": app.name, "kind": app.kind,
            "stores": app.stores.len(), "keyring": app.keyring.len(),
        })
    });
    let object = json!({
        "version": catalogue.version(), "coverage": catalogue.coverage_hash(),
        "apps": apps.collect::<Vec<_>>(),
    });
    out.answer(object, || {
        let mut words = String::new();
        for app in catalogue.apps() {
            let stores = count(app.stores.len() + app.keyring.len(), "store");
            words.push_str(&format!("{:<24} {:<28} {stores}\n", app.id.as_str(), app.name));
        }
        let apps = count(catalogue.apps().len(), "app");
        let (version, coverage) = (catalogue.version(), catalogue.coverage_hash());
        format!("{words}{apps}, version {version}, coverage {coverage}")
    })?;
    Ok(0)
}

fn check(out: Out, files: &[PathBuf]) -> Result<u8, Fault> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map(|text| (path.display().to_string(), text))
            .map_err(|error| Fault::new("io", format!("{}: {error}", path.display())))
    };
    let files: Vec<(String, String)> = files.iter().map(read).collect::<Result<_, _>>()?;
    let builtin = Catalogue::builtin().map_err(|error| wrong(&error))?;
    let mistakes: Vec<String> =
        builtin.mistakes(&files).iter().map(CatalogueError::to_string).collect();
    out.answer(json!({ "ok": mistakes.is_empty(), "mistakes": mistakes }), || {
        if mistakes.is_empty() {
            return "No mistakes.".into();
        }
        format!("{}\n{}.", mistakes.join("\n"), count(mistakes.len(), "mistake"))
    })?;
    Ok(if mistakes.is_empty() { 0 } else { EXIT_ERROR })
}

fn site_files() -> Result<Vec<(String, String)>, Fault> {
    let Ok(entries) = std::fs::read_dir(SITE) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push((path.display().to_string(), std::fs::read_to_string(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

fn wrong(error: &CatalogueError) -> Fault {
    Fault::new("catalogue", error.to_string())
        .hint("`exeunt catalogue check FILE` explains every mistake")
}
