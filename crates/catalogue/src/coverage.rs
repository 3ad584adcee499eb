//! The coverage hash: one value that changes when, and only when, what is covered changes.
//! It refuses to depend on the order of files or entries, on names for people, or on evidence.

use sha2::{Digest, Sha256};

use crate::entry::{Action, App, Edit, KeyringRule, PerPlatform, StoreRule};
use crate::place::{Place, Platform};
use crate::protected::Protected;

/// The SHA-256, in lowercase hex, over the canonical form of the apps and the protected places.
pub(crate) fn hash(apps: &[App], protected: &Protected) -> String {
    let mut entries: Vec<Vec<String>> = apps.iter().map(app).collect();
    entries.sort();
    let mut digest = Sha256::new();
    for field in std::iter::once(protected.canonical()).chain(entries).flatten() {
        digest.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(field.as_bytes());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn app(app: &App) -> Vec<String> {
    let mut fields = vec![format!("app {}", app.id), format!("{:?} {:?}", app.kind, app.layout)];
    for platform in Platform::ALL {
        for root in app.roots(platform) {
            let cache = app.cache_of(platform, root).map(Place::to_string).unwrap_or_default();
            fields.push(format!("root {platform:?} {root} {cache}"));
        }
    }
    fields.extend(app.requires.iter().map(|path| format!("requires {path}")));
    fields.extend(app.profile_args.iter().map(|arg| format!("argument {arg}")));
    fields.extend(app.env_dirs.iter().map(|dir| format!("env {} {}", dir.variable, dir.replaces)));
    let files = app.env_files.iter();
    fields.extend(files.map(|f| format!("env file {} {} {}", f.variable, f.store, f.list)));
    for agent in &app.agents {
        let places: Vec<String> = agent.places.iter().map(Place::to_string).collect();
        fields.push(format!("agent {} {:?} {:?} {places:?}", agent.id, agent.kind, agent.variable));
    }
    app.stores.iter().for_each(|rule| store(rule, &mut fields));
    app.keyring.iter().for_each(|rule| keyring(rule, &mut fields));
    fields
}

fn store(rule: &StoreRule, fields: &mut Vec<String>) {
    fields.push(format!("store {} {} {:?} {}", rule.id, rule.tier, rule.within, rule.history_only));
    fields.extend(rule.paths.iter().map(|path| format!("path {path}")));
    at(&rule.at, fields);
    match &rule.action {
        Action::Remove => fields.push("remove".to_owned()),
        Action::Edit(edit) => edit_fields(edit, fields),
    }
}

fn at(places: &PerPlatform<Vec<Place>>, fields: &mut Vec<String>) {
    for platform in Platform::ALL {
        fields.extend(places.on(platform).iter().map(|place| format!("at {platform:?} {place}")));
    }
}

fn edit_fields(edit: &Edit, fields: &mut Vec<String>) {
    let (head, lists): (String, [&[String]; 2]) = match edit {
        Edit::Sqlite { table, key_column, key_like } => {
            (format!("sqlite {table} {}", key_column.as_deref().unwrap_or("")), [key_like, &[]])
        }
        Edit::Json { keys } => ("json".to_owned(), [keys, &[]]),
        Edit::Toml { keys } => ("toml".to_owned(), [keys, &[]]),
        Edit::Ini { section, keys } => {
            (format!("ini {}", section.as_deref().unwrap_or("")), [keys, &[]])
        }
        Edit::Lines { starts, contains } => ("lines".to_owned(), [starts, contains]),
        Edit::Xml { elements } => ("xml".to_owned(), [elements, &[]]),
        Edit::Yaml { keys } => ("yaml".to_owned(), [keys, &[]]),
    };
    fields.push(head);
    for (number, list) in lists.into_iter().enumerate() {
        fields.extend(list.iter().map(|text| format!("{number} {text}")));
    }
}

fn keyring(rule: &KeyringRule, fields: &mut Vec<String>) {
    let schema = rule.schema.as_deref().unwrap_or("");
    let label = rule.label.as_ref().map_or("", |glob| glob.as_str());
    fields.push(format!("keyring {} {} {:?} {}", rule.id, rule.tier, rule.store, rule.opt_in));
    fields.push(format!("schema {schema}"));
    fields.push(format!("label {label}"));
    fields.extend(rule.attributes.iter().map(|(key, value)| format!("attribute {key}={value}")));
}
