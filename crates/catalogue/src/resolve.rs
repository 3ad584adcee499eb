//! From the TOML shape to entries: ids, places and rules are judged, families inherited.
//! It refuses a whole file set for any one mistake, and reports every mistake that it finds.

use std::collections::BTreeMap;

use exeunt_domain::Tier;

use crate::entry::{
    Action, AgentRule, App, Edit, EnvDir, EnvFile, KeyringRule, KeyringStore, PerPlatform, Roots,
    StoreRule,
};
use crate::error::{CatalogueError, Location, in_plain_words};
use crate::glob::{Glob, RelGlob};
use crate::ids::{AppId, StoreId};
use crate::place::{Base, Place, Platform};
use crate::proof::Examples;
use crate::schema::{
    RawAgent, RawApp, RawEnvDir, RawEnvFile, RawFamily, RawFile, RawKeyring, RawPlaces, RawStore,
    Text,
};

/// What the apps of a family share, after judgement.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) id: String,
    kind: crate::entry::Kind,
    layout: crate::entry::Layout,
    evidence: Vec<String>,
    processes: Vec<String>,
    profile_args: Vec<String>,
    stores: Vec<StoreRule>,
}

/// An app, and where in its file it and each of its own stores stand.
pub(crate) struct Resolved {
    pub(crate) app: App,
    at: Location,
    stores: BTreeMap<String, Location>,
    /// Nothing was wrong with it so far: its examples are worth running.
    pub(crate) sound: bool,
}

impl Resolved {
    /// Where the app's id stands.
    pub(crate) fn at(&self) -> Location {
        self.at.clone()
    }

    /// Where a store's id stands; an inherited one is where the app is.
    pub(crate) fn store_at(&self, id: &StoreId) -> Location {
        self.stores.get(id.as_str()).unwrap_or(&self.at).clone()
    }
}

/// Takes one text as the catalogue's shape.
///
/// # Errors
/// [`CatalogueError::Shape`] with the position of the mistake.
pub(crate) fn shape<T: serde::de::DeserializeOwned>(
    file: &str,
    text: &str,
) -> Result<T, CatalogueError> {
    toml::from_str(text).map_err(|error| CatalogueError::Shape {
        at: Location::of(file, text, error.span().map_or(0, |span| span.start)),
        mistake: in_plain_words(error.message()),
    })
}

/// One file while it is judged.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    pub(crate) fn at<T>(&self, spanned: &toml::Spanned<T>) -> Location {
        Location::of(self.file, self.text, spanned.span().start)
    }

    pub(crate) fn place(&self, text: &Text) -> Result<Place, CatalogueError> {
        Place::parse(text.get_ref()).map_err(|mistake| CatalogueError::Place {
            at: self.at(text),
            place: text.get_ref().clone(),
            mistake,
        })
    }

    pub(crate) fn glob(&self, text: &Text) -> Result<Glob, CatalogueError> {
        Glob::parse(text.get_ref()).map_err(|mistake| CatalogueError::Path {
            at: self.at(text),
            path: text.get_ref().clone(),
            mistake,
        })
    }

    fn path(&self, text: &Text) -> Result<RelGlob, CatalogueError> {
        RelGlob::parse(text.get_ref()).map_err(|mistake| CatalogueError::Path {
            at: self.at(text),
            path: text.get_ref().clone(),
            mistake,
        })
    }

    fn rule<T>(
        &self,
        spanned: &toml::Spanned<T>,
        mistake: impl Into<String>,
        remedy: &'static str,
    ) -> CatalogueError {
        CatalogueError::Rule { at: self.at(spanned), mistake: mistake.into(), remedy }
    }
}

/// Judges the families of one file and adds them to `families`.
pub(crate) fn families(
    source: &Source<'_>,
    file: &RawFile,
    families: &mut BTreeMap<String, Family>,
    mistakes: &mut Vec<CatalogueError>,
) {
    for raw in &file.family {
        match family(source, raw, mistakes) {
            Ok(family) if families.contains_key(&family.id) => {
                mistakes.push(CatalogueError::Taken { at: source.at(&raw.id), id: family.id });
            }
            Ok(family) => {
                families.insert(family.id.clone(), family);
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
}

/// Judges the apps of one file.
pub(crate) fn apps(
    source: &Source<'_>,
    file: &RawFile,
    families: &BTreeMap<String, Family>,
    mistakes: &mut Vec<CatalogueError>,
) -> Vec<Resolved> {
    let mut resolved = Vec::new();
    for raw in &file.app {
        let before = mistakes.len();
        match app(source, raw, families, mistakes) {
            Ok(app) => {
                let stores = raw.store.iter().map(|store| &store.id);
                let stores = stores.map(|id| (id.get_ref().clone(), source.at(id))).collect();
                let sound = mistakes.len() == before;
                resolved.push(Resolved { app, at: source.at(&raw.id), stores, sound });
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    resolved
}

fn family(
    source: &Source<'_>,
    raw: &RawFamily,
    mistakes: &mut Vec<CatalogueError>,
) -> Result<Family, CatalogueError> {
    Ok(Family {
        id: app_id(source, &raw.id)?.as_str().to_owned(),
        kind: raw.kind,
        layout: raw.layout,
        evidence: raw.evidence.clone(),
        processes: raw.processes.clone(),
        profile_args: raw.profile_args.clone(),
        stores: all(&raw.store, mistakes, |raw| store(source, raw)),
    })
}

fn app(
    source: &Source<'_>,
    raw: &RawApp,
    families: &BTreeMap<String, Family>,
    mistakes: &mut Vec<CatalogueError>,
) -> Result<App, CatalogueError> {
    let id = app_id(source, &raw.id)?;
    let family = raw.family.as_ref().map(|name| find(source, name, families)).transpose()?;
    let missing = |key: &str| {
        let mistake = format!("`{id}` has no {key}");
        source.rule(&raw.id, mistake, "name a family, or give both kind and layout")
    };
    let kind = raw.kind.or(family.map(|f| f.kind)).ok_or_else(|| missing("kind"))?;
    let layout = raw.layout.or(family.map(|f| f.layout)).ok_or_else(|| missing("layout"))?;
    let inherited = |pick: fn(&Family) -> &Vec<String>, own: &[String]| {
        family.map(pick).into_iter().flatten().chain(own).cloned().collect::<Vec<_>>()
    };
    let app = App {
        name: raw.name.clone(),
        kind,
        layout,
        evidence: inherited(|f| &f.evidence, &raw.evidence),
        processes: inherited(|f| &f.processes, &raw.processes),
        profile_args: inherited(|f| &f.profile_args, &raw.profile_args),
        requires: all(&raw.requires, mistakes, |text| source.path(text)),
        stores: stores(source, raw, family, mistakes),
        keyring: all(&raw.keyring, mistakes, |raw| keyring(source, raw)),
        env_dirs: all(&raw.env_dir, mistakes, |raw| env_dir(source, raw)),
        env_files: all(&raw.env_file, mistakes, |raw| env_file(source, raw)),
        agents: all(&raw.agent, mistakes, |raw| agent(source, raw)),
        roots: roots(source, &raw.roots, mistakes),
        id,
    };
    whole(source, raw, &app, mistakes);
    Ok(app)
}

/// The family's stores that the app inherits, then its own.
fn stores(
    source: &Source<'_>,
    raw: &RawApp,
    family: Option<&Family>,
    mistakes: &mut Vec<CatalogueError>,
) -> Vec<StoreRule> {
    let inherited = family.map(|family| family.stores.as_slice()).unwrap_or_default();
    for text in &raw.without {
        if !inherited.iter().any(|rule| rule.id.as_str() == text.get_ref()) {
            let mistake = format!("the family has no store `{}`", text.get_ref());
            mistakes.push(source.rule(text, mistake, "name a store that is inherited"));
        }
    }
    let wanted =
        |rule: &&StoreRule| !raw.without.iter().any(|text| text.get_ref() == rule.id.as_str());
    let own = all(&raw.store, mistakes, |raw| store(source, raw));
    inherited.iter().filter(wanted).cloned().chain(own).collect()
}

/// The id of a removal whose path an earlier removal of the app names too. An entry belongs to one
/// rule, or its tier would depend on the order of rules.
fn named_twice(app: &App) -> Option<(&StoreId, String)> {
    let mut seen = std::collections::BTreeSet::new();
    for rule in app.stores.iter().filter(|rule| rule.action == Action::Remove) {
        for path in &rule.paths {
            if !seen.insert((rule.within, path)) {
                return Some((&rule.id, path.to_string()));
            }
        }
    }
    None
}

/// What only the whole app shows.
fn whole(source: &Source<'_>, raw: &RawApp, app: &App, mistakes: &mut Vec<CatalogueError>) {
    let mut seen = std::collections::BTreeSet::new();
    let ids = app.stores.iter().map(|s| &s.id).chain(app.keyring.iter().map(|k| &k.id));
    for id in ids.chain(app.agents.iter().map(|a| &a.id)) {
        if !seen.insert(id) {
            let at = own_id(raw, id).map_or_else(|| source.at(&raw.id), |text| source.at(text));
            mistakes.push(CatalogueError::Taken { at, id: id.to_string() });
        }
    }
    for (rule, raw) in app.env_files.iter().zip(&raw.env_file) {
        if !app.stores.iter().any(|store| store.id == rule.store) {
            let mistake = format!("`{}` has no store `{}`", app.id, rule.store);
            let remedy = "name the store whose action the file gets";
            mistakes.push(source.rule(&raw.store, mistake, remedy));
        }
    }
    for (rule, raw) in app.env_dirs.iter().zip(&raw.env_dir) {
        let is_root = |p| app.roots(p).contains(&rule.replaces);
        if !Platform::ALL.into_iter().any(is_root) {
            let mistake = format!("`{}` is no root of `{}`", rule.replaces, app.id);
            let remedy = "name the root that the variable moves, as it stands in `roots`";
            mistakes.push(source.rule(&raw.replaces, mistake, remedy));
        }
    }
    let mut refuse = |mistake: String, remedy| mistakes.push(source.rule(&raw.id, mistake, remedy));
    if app.evidence.is_empty() {
        refuse(format!("`{}` has no evidence", app.id), "cite a vendor page or an issue");
    }
    if let Some((id, path)) = named_twice(app) {
        refuse(format!("`{path}` of `{id}` is named by two rules"), "keep it in one of them");
    }
    let given = raw.store.len() + raw.keyring.len() + raw.agent.len();
    if seen.is_empty() && given == 0 {
        refuse(format!("`{}` has nothing to end", app.id), "add a store, keyring or agent");
    }
    let rooted = Platform::ALL.into_iter().any(|p| texts(&raw.roots, p).next().is_some());
    if !rooted && app.stores.iter().any(|store| !store.paths.is_empty()) {
        refuse(format!("`{}` has paths but no roots", app.id), "add roots, or use `at`");
    }
    let starred =
        |place: &Place| place.path.components().first().is_some_and(|c| c.as_str() == "*");
    let anywhere = Platform::ALL.into_iter().any(|p| app.roots(p).iter().any(starred));
    if anywhere && app.requires.is_empty() {
        refuse(
            format!("`{}` has a root that is every directory of a base", app.id),
            "say by `requires` what such a directory must hold",
        );
    }
}

fn own_id<'a>(raw: &'a RawApp, id: &StoreId) -> Option<&'a Text> {
    let stores = raw.store.iter().map(|s| &s.id).chain(raw.keyring.iter().map(|k| &k.id));
    stores.chain(raw.agent.iter().map(|a| &a.id)).rfind(|text| text.get_ref() == id.as_str())
}

fn store(source: &Source<'_>, raw: &RawStore) -> Result<StoreRule, CatalogueError> {
    let id = store_id(source, &raw.id)?;
    let action = match &raw.edit {
        None => Action::Remove,
        Some(edit) => {
            if let Some(mistake) = edit_mistake(edit.get_ref()) {
                return Err(source.rule(edit, mistake, "see the table of edits in docs/adding.md"));
            }
            if !raw.sqlite.is_empty() {
                let remedy = "give the main file in `paths`";
                return Err(source.rule(edit, "an edit cannot act on a `sqlite` group", remedy));
            }
            Action::Edit(edit.get_ref().clone())
        }
    };
    let mut paths = raw.paths.iter().map(|t| source.path(t)).collect::<Result<Vec<_>, _>>()?;
    for text in &raw.sqlite {
        paths.extend(sqlite_group(source, text)?);
    }
    let at = places(source, &raw.at)?;
    if paths.is_empty() && Platform::ALL.into_iter().all(|p| at.on(p).is_empty()) {
        let remedy = "give `paths`, `sqlite` or `at`";
        return Err(source.rule(&raw.id, format!("`{id}` names no file"), remedy));
    }
    let examples = Examples { removes: raw.removes.clone(), keeps: raw.keeps.clone() };
    Ok(StoreRule {
        tier: tier(source, &raw.tier)?,
        within: raw.within,
        about: raw.about.clone(),
        history_only: raw.history_only,
        id,
        paths,
        action,
        examples,
        at,
    })
}

/// The files of one SQLite database: the main one, write-ahead log, shared memory, journal.
fn sqlite_group(source: &Source<'_>, text: &Text) -> Result<Vec<RelGlob>, CatalogueError> {
    if text.get_ref().ends_with('*') {
        let remedy = "name the main file; its -wal, -shm and -journal come by themselves";
        return Err(source.rule(text, "a `sqlite` path ends in a star", remedy));
    }
    let refused = |mistake| CatalogueError::Path {
        at: source.at(text),
        path: text.get_ref().clone(),
        mistake,
    };
    ["", "-wal", "-shm", "-journal"]
        .into_iter()
        .map(|tail| RelGlob::parse(&format!("{}{tail}", text.get_ref())).map_err(refused))
        .collect()
}

fn edit_mistake(edit: &Edit) -> Option<&'static str> {
    let empty = |texts: &[String]| texts.iter().any(String::is_empty);
    let listed = |texts: &[String]| texts.is_empty() || empty(texts);
    match edit {
        Edit::Sqlite { table, key_column, key_like } => {
            let word = |t: &String| {
                !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !word(table) || !key_column.as_ref().is_none_or(word) {
                Some("the table and the key column must be plain SQL names")
            } else if key_column.is_some() == key_like.is_empty() || empty(key_like) {
                Some("`key-column` and `key-like` go together")
            } else {
                None
            }
        }
        Edit::Json { keys } => (keys.is_empty() || keys.iter().any(|k| !pointer(k)))
            .then_some("every key must be an RFC 6901 pointer below the root, such as `/auths/*`"),
        Edit::Toml { keys } => (listed(keys)
            || keys.iter().any(|k| k.split('.').any(str::is_empty)))
        .then_some("every key must be a dotted key, such as `registries.*.token`"),
        Edit::Ini { section, keys } => (listed(keys)
            || section.as_ref().is_some_and(String::is_empty))
        .then_some("an INI edit needs the names of keys"),
        Edit::Lines { starts, contains } => ((starts.is_empty() && contains.is_empty())
            || empty(starts)
            || empty(contains))
        .then_some("a line edit needs `starts` or `contains`, and an empty text matches all"),
        Edit::Xml { elements } => listed(elements).then_some("an XML edit needs names of elements"),
        Edit::Yaml { keys } => listed(keys).then_some("a YAML edit needs the names of keys"),
    }
}

fn pointer(key: &str) -> bool {
    let escapes = key.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    key.len() > 1 && key.starts_with('/') && escapes
}

fn keyring(source: &Source<'_>, raw: &RawKeyring) -> Result<KeyringRule, CatalogueError> {
    let id = store_id(source, &raw.id)?;
    let attributes = raw
        .attributes
        .iter()
        .map(|(key, value)| Ok((key.clone(), source.glob(value)?)))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let label = raw.label.as_ref().map(|text| source.glob(text)).transpose()?;
    let telling = |glob: &Glob| glob.as_str() != "*";
    let narrowed = raw.schema.as_deref().is_some_and(|s| !s.is_empty() && s != GENERIC_SCHEMA)
        || attributes.values().any(telling)
        || label.as_ref().is_some_and(telling);
    if !narrowed {
        let remedy = "give a schema of its own, an attribute or a label that is not just `*`";
        return Err(source.rule(&raw.id, format!("`{id}` would match every item"), remedy));
    }
    if raw.store == KeyringStore::CredentialManager && label.is_none() {
        let remedy = "give the target name as `label`";
        return Err(source.rule(&raw.id, format!("`{id}` has no target"), remedy));
    }
    Ok(KeyringRule {
        tier: tier(source, &raw.tier)?,
        store: raw.store,
        schema: raw.schema.clone(),
        opt_in: raw.opt_in,
        about: raw.about.clone(),
        id,
        attributes,
        label,
    })
}

/// The schema that programs use when they have none of their own; it tells nothing.
const GENERIC_SCHEMA: &str = "org.freedesktop.Secret.Generic";

fn agent(source: &Source<'_>, raw: &RawAgent) -> Result<AgentRule, CatalogueError> {
    Ok(AgentRule {
        id: store_id(source, &raw.id)?,
        kind: raw.kind,
        places: raw.places.iter().map(|t| source.place(t)).collect::<Result<_, _>>()?,
        variable: raw.variable.as_ref().map(|t| variable(source, t)).transpose()?,
    })
}

fn env_dir(source: &Source<'_>, raw: &RawEnvDir) -> Result<EnvDir, CatalogueError> {
    let variable = variable(source, &raw.variable)?;
    Ok(EnvDir { variable, replaces: source.place(&raw.replaces)? })
}

fn env_file(source: &Source<'_>, raw: &RawEnvFile) -> Result<EnvFile, CatalogueError> {
    let variable = variable(source, &raw.variable)?;
    Ok(EnvFile { variable, store: store_id(source, &raw.store)?, list: raw.list })
}

fn variable(source: &Source<'_>, text: &Text) -> Result<String, CatalogueError> {
    let name = text.get_ref();
    let word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
        let mistake = format!("`{name}` is no variable");
        return Err(source.rule(
            text,
            mistake,
            "write its bare name in capitals, without a dollar sign",
        ));
    }
    Ok(name.clone())
}

fn places(source: &Source<'_>, raw: &RawPlaces) -> Result<PerPlatform<Vec<Place>>, CatalogueError> {
    let mut places = PerPlatform::default();
    for platform in Platform::ALL {
        *places.on_mut(platform) =
            texts(raw, platform).map(|text| source.place(text)).collect::<Result<_, _>>()?;
    }
    Ok(places)
}

fn roots(
    source: &Source<'_>,
    raw: &RawPlaces,
    mistakes: &mut Vec<CatalogueError>,
) -> PerPlatform<Roots> {
    let mut roots = PerPlatform::<Roots>::default();
    for platform in Platform::ALL {
        for text in texts(raw, platform) {
            match root(source, text) {
                Ok((place, cache)) => {
                    let roots = roots.on_mut(platform);
                    roots.places.push(place);
                    roots.caches.push(cache);
                }
                Err(mistake)
                    if platform == Platform::Linux || !raw.all.iter().any(|t| t == text) =>
                {
                    mistakes.push(mistake);
                }
                Err(_) => {}
            }
        }
    }
    roots
}

/// A root, `config:chromium`, or a root with its cache place, `home:.x/y -> cache:y`.
fn root(source: &Source<'_>, text: &Text) -> Result<(Place, Option<Place>), CatalogueError> {
    let parse = |part: &str| {
        Place::parse(part).map_err(|mistake| CatalogueError::Place {
            at: source.at(text),
            place: part.to_owned(),
            mistake,
        })
    };
    let Some((place, cache)) = text.get_ref().split_once(" -> ") else {
        let place = parse(text.get_ref())?;
        let own = matches!(place.base, Base::Config | Base::Data) && place.path.is_literal();
        let cache = own.then(|| Place { base: Base::Cache, path: place.path.clone() });
        return Ok((place, cache));
    };
    let (place, cache) = (parse(place)?, parse(cache)?);
    if !place.path.is_literal() || !cache.path.is_literal() {
        let remedy = "name the root and its cache without a star";
        return Err(source.rule(text, "a starred root cannot have a cache place", remedy));
    }
    Ok((place, Some(cache)))
}

fn texts(raw: &RawPlaces, platform: Platform) -> impl Iterator<Item = &Text> {
    let own = match platform {
        Platform::Linux => &raw.linux,
        Platform::Macos => &raw.macos,
        Platform::Windows => &raw.windows,
    };
    raw.all.iter().chain(own)
}

fn tier(source: &Source<'_>, raw: &toml::Spanned<Tier>) -> Result<Tier, CatalogueError> {
    match raw.get_ref() {
        Tier::Lock => Err(source.rule(
            raw,
            "the tier `lock` ends nothing on disk",
            "use `sign-out` or `purge`",
        )),
        Tier::SignOut | Tier::Purge => Ok(*raw.get_ref()),
    }
}

fn app_id(source: &Source<'_>, text: &Text) -> Result<AppId, CatalogueError> {
    AppId::parse(text.get_ref())
        .map_err(|_| CatalogueError::Id { at: source.at(text), id: text.get_ref().clone() })
}

fn store_id(source: &Source<'_>, text: &Text) -> Result<StoreId, CatalogueError> {
    StoreId::parse(text.get_ref())
        .map_err(|_| CatalogueError::Id { at: source.at(text), id: text.get_ref().clone() })
}

fn find<'a>(
    source: &Source<'_>,
    name: &Text,
    families: &'a BTreeMap<String, Family>,
) -> Result<&'a Family, CatalogueError> {
    families.get(name.get_ref()).ok_or_else(|| CatalogueError::Family {
        at: source.at(name),
        family: name.get_ref().clone(),
        known: families.keys().cloned().collect::<Vec<_>>().join(", "),
    })
}

/// Maps what can be mapped and collects the mistakes of the rest.
fn all<R, T>(
    raw: &[R],
    mistakes: &mut Vec<CatalogueError>,
    one: impl Fn(&R) -> Result<T, CatalogueError>,
) -> Vec<T> {
    let mut kept = Vec::with_capacity(raw.len());
    for item in raw {
        match one(item) {
            Ok(value) => kept.push(value),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    kept
}
