//! Every entry proves itself: its example paths are run against the matcher that names its files.
//! It refuses to look at a disk; an example is a path below a Linux home, written by hand.

use std::fmt;

use crate::entry::{Action, App};
use crate::ids::{AppId, StoreId};
use crate::place::{Place, Platform};
use crate::protected::Protected;
use crate::reach::from_home;

/// Example paths of one store, relative to a Linux home.
///
/// `{root}` stands for each root of the app, `{cache}` for each cache place, `{runtime}` for the
/// runtime directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// Paths that the store's rule reaches.
    pub removes: Vec<String>,
    /// Paths that no rule of the app reaches at the store's tier.
    pub keeps: Vec<String>,
}

/// An example that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The app.
    pub app: AppId,
    /// The store whose example it is.
    pub store: StoreId,
    /// The example path, placeholders resolved.
    pub path: String,
    /// What is wrong.
    pub fault: &'static str,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {}: {}", self.app, self.store, self.path, self.fault)
    }
}

impl App {
    /// Runs every example of the app and says which do not hold.
    #[must_use]
    pub fn failures(&self, protected: &Protected) -> Vec<Failure> {
        let mut failures = Vec::new();
        for rule in &self.stores {
            let mut fail = |path: &str, fault| {
                failures.push(Failure {
                    app: self.id.clone(),
                    store: rule.id.clone(),
                    path: path.to_owned(),
                    fault,
                });
            };
            for path in rule.examples.removes.iter().flat_map(|text| self.spelt_out(text)) {
                let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
                if !self.rules_for(Platform::Linux, &parts).any(|found| found.id == rule.id) {
                    fail(&path, "the rule does not reach it");
                }
                let removes = rule.action == Action::Remove;
                if removes && protected.forbids(Platform::Linux, &parts).is_some() {
                    fail(&path, "it is protected");
                }
            }
            for path in rule.examples.keeps.iter().flat_map(|text| self.spelt_out(text)) {
                let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
                if self.rules_for(Platform::Linux, &parts).any(|found| found.tier <= rule.tier) {
                    fail(&path, "a rule reaches it");
                }
            }
        }
        failures
    }

    /// An example with its placeholder resolved: one path below a Linux home for each root or cache
    /// place, each star made a name.
    #[must_use]
    pub fn spelt_out(&self, text: &str) -> Vec<String> {
        let roots = self.roots(Platform::Linux);
        if text.contains("{root}") {
            roots.iter().map(|root| text.replace("{root}", &spell(root))).collect()
        } else if text.contains("{cache}") {
            let caches = roots.iter().filter_map(|root| self.cache_of(Platform::Linux, root));
            caches.map(|cache| text.replace("{cache}", &spell(cache))).collect()
        } else {
            vec![text.to_owned()]
        }
    }
}

/// A place as a path below a Linux home, each star made a name.
fn spell(place: &Place) -> String {
    let parts = from_home(place, Platform::Linux);
    let parts: Vec<String> = parts.iter().map(|glob| glob.as_str().replace('*', "x")).collect();
    parts.join("/")
}
