//! The catalogue as a whole: read from the compiled-in files, then widened by a site's own.
//! It refuses any file that replaces an entry or could reach a protected place.

use std::collections::BTreeMap;

use crate::builtin::{FILES, PROTECTED, PROTECTED_TEXT};
use crate::coverage;
use crate::entry::App;
use crate::error::CatalogueError;
use crate::protected::Protected;
use crate::resolve::{Family, Resolved, Source, apps, families, shape};
use crate::schema::{RawFile, RawProtected};

/// Every app that can be signed out of, and every place that is never touched.
#[derive(Debug, Clone)]
pub struct Catalogue {
    apps: Vec<App>,
    families: BTreeMap<String, Family>,
    protected: Protected,
    hash: String,
    version: String,
}

impl Catalogue {
    /// The catalogue that is compiled in.
    ///
    /// # Errors
    /// [`CatalogueError`] when a compiled-in file is wrong, which the tests exclude.
    pub fn builtin() -> Result<Self, CatalogueError> {
        let files = FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self::parse(&files.collect::<Vec<_>>())
    }

    /// A catalogue of just these files (name and text) under the compiled-in protected places.
    ///
    /// # Errors
    /// The first [`CatalogueError`] in the order of the files.
    pub fn parse(files: &[(String, String)]) -> Result<Self, CatalogueError> {
        let mut mistakes = Vec::new();
        let empty = Self {
            apps: Vec::new(),
            families: BTreeMap::new(),
            protected: compiled_in_protected()?,
            hash: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let catalogue = empty.add(files, Origin::Builtin, &mut mistakes);
        mistakes.into_iter().next().map_or(Ok(catalogue), Err)
    }

    /// This catalogue and the entries of a site. A site adds; it never replaces or removes.
    ///
    /// # Errors
    /// The first [`CatalogueError`]: also when an id is taken or a rule reaches a protected place.
    pub fn with_site(self, files: &[(String, String)]) -> Result<Self, CatalogueError> {
        let mut mistakes = Vec::new();
        let mut catalogue = self.add(files, Origin::Site, &mut mistakes);
        if !files.is_empty() && !catalogue.version.ends_with("+site") {
            catalogue.version.push_str("+site");
        }
        mistakes.into_iter().next().map_or(Ok(catalogue), Err)
    }

    /// Every mistake in a site's files, were they added to this catalogue; failed examples too.
    #[must_use]
    pub fn mistakes(&self, files: &[(String, String)]) -> Vec<CatalogueError> {
        let mut mistakes = Vec::new();
        self.clone().add(files, Origin::Site, &mut mistakes);
        mistakes
    }

    /// Every app, those of a family in the order of its file.
    #[must_use]
    pub fn apps(&self) -> &[App] {
        &self.apps
    }

    /// The places that are never touched.
    #[must_use]
    pub fn protected(&self) -> &Protected {
        &self.protected
    }

    /// The SHA-256 of what is covered, in lowercase hex. Wording and evidence do not change it.
    #[must_use]
    pub fn coverage_hash(&self) -> &str {
        &self.hash
    }

    /// The version of the compiled-in data, with `+site` when a site has added to it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn add(
        mut self,
        files: &[(String, String)],
        origin: Origin,
        mistakes: &mut Vec<CatalogueError>,
    ) -> Self {
        let mut read = Vec::new();
        for (file, text) in files {
            if file.rsplit('/').next() == Some(PROTECTED) {
                mistakes.push(CatalogueError::ProtectedFile { file: file.clone() });
                continue;
            }
            match shape::<RawFile>(file, text) {
                Ok(raw) => {
                    if raw.app.is_empty() && raw.family.is_empty() {
                        mistakes.push(CatalogueError::Empty { file: file.clone() });
                    }
                    read.push((Source { file, text }, raw));
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        for (source, raw) in &read {
            families(source, raw, &mut self.families, mistakes);
        }
        let mut added = Vec::new();
        for (source, raw) in &read {
            for resolved in apps(source, raw, &self.families, mistakes) {
                self.admit(resolved, &mut added, mistakes);
            }
        }
        if origin == Origin::Builtin {
            for resolved in &added {
                self.protected.add_profiles_of(&resolved.app);
            }
        }
        for resolved in &added {
            judge(&self.protected, origin, resolved, mistakes);
        }
        self.apps.extend(added.into_iter().map(|resolved| resolved.app));
        self.hash = coverage::hash(&self.apps, &self.protected);
        self
    }

    fn admit(
        &self,
        resolved: Resolved,
        added: &mut Vec<Resolved>,
        mistakes: &mut Vec<CatalogueError>,
    ) {
        let id = &resolved.app.id;
        let known = self.apps.iter().chain(added.iter().map(|other| &other.app));
        if known.into_iter().any(|other| other.id == *id) {
            mistakes.push(CatalogueError::Taken { at: resolved.at(), id: id.to_string() });
        } else {
            added.push(resolved);
        }
    }
}

/// Whose files they are. Only the compiled-in ones say which directories are profiles to protect:
/// a site could otherwise shield a store from removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Builtin,
    Site,
}

fn compiled_in_protected() -> Result<Protected, CatalogueError> {
    let source = Source { file: PROTECTED, text: PROTECTED_TEXT };
    let raw: RawProtected = shape(PROTECTED, PROTECTED_TEXT)?;
    Protected::load(&raw, |text| source.place(text), |text| source.glob(text))
}

/// Reports each removal of an app that could reach a protected place, and, of a site's apps, each
/// example that does not hold; those of the compiled-in apps are run by the tests.
fn judge(
    protected: &Protected,
    origin: Origin,
    resolved: &Resolved,
    mistakes: &mut Vec<CatalogueError>,
) {
    let app = &resolved.app;
    for trespass in app.trespasses(protected) {
        let mistake = CatalogueError::Protected {
            at: resolved.store_at(&trespass.rule),
            app: app.id.to_string(),
            path: trespass.path,
            reason: trespass.reason,
        };
        // The same on each platform is one mistake.
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
    let failures = match origin {
        Origin::Builtin => Vec::new(),
        Origin::Site if resolved.sound => app.failures(protected),
        Origin::Site => Vec::new(),
    };
    for failure in failures {
        mistakes.push(CatalogueError::Rule {
            at: resolved.store_at(&failure.store),
            mistake: format!("an example does not hold: {failure}"),
            remedy: "correct the example or the rule",
        });
    }
}
