//! The compiled-in catalogue: every entry proves itself, and none reaches what is protected.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use exeunt_catalogue::{Action, App, Catalogue, Layout, Platform, StoreRule, Within};
use exeunt_domain::Tier;

fn builtin() -> Catalogue {
    Catalogue::builtin().unwrap()
}

fn app<'a>(catalogue: &'a Catalogue, id: &str) -> &'a App {
    catalogue.apps().iter().find(|app| app.id.as_str() == id).unwrap()
}

fn parts(path: &str) -> Vec<&[u8]> {
    path.split('/').map(str::as_bytes).collect()
}

/// The rules of an app that act on a path at a tier.
fn acting<'a>(app: &'a App, tier: Tier, path: &str) -> Vec<&'a StoreRule> {
    app.rules_for(Platform::Linux, &parts(path)).filter(|rule| rule.tier <= tier).collect()
}

fn removed(app: &App, tier: Tier, path: &str) -> bool {
    acting(app, tier, path).iter().any(|rule| rule.action == Action::Remove)
}

#[test]
fn every_example_holds() {
    let catalogue = builtin();
    let failures: Vec<String> = catalogue
        .apps()
        .iter()
        .flat_map(|app| app.failures(catalogue.protected()))
        .map(|failure| failure.to_string())
        .collect();
    assert_eq!(failures, [] as [String; 0]);
}

#[test]
fn every_store_that_is_on_linux_has_an_example() {
    for app in builtin().apps() {
        for rule in &app.stores {
            let linux =
                !app.roots(Platform::Linux).is_empty() || !rule.at(Platform::Linux).is_empty();
            assert!(
                !linux || !rule.examples.removes.is_empty(),
                "{}/{} shows nothing that it removes",
                app.id,
                rule.id
            );
        }
    }
}

#[test]
fn every_app_keeps_something_and_cites_a_source() {
    for app in builtin().apps() {
        assert!(!app.evidence.is_empty(), "{} has no evidence", app.id);
        let linux = !app.roots(Platform::Linux).is_empty();
        let keeps = app.stores.iter().any(|rule| !rule.examples.keeps.is_empty());
        assert!(!linux || app.stores.is_empty() || keeps, "{} shows nothing that it keeps", app.id);
    }
}

#[test]
fn every_file_on_disk_is_compiled_in() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../catalogue");
    let source = include_str!("../src/builtin.rs");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "{name} is not in builtin.rs");
        count += 1;
    }
    assert!(count > 1);
}

#[test]
fn sign_out_ends_chromium_sessions_and_keeps_what_a_person_wants() {
    let catalogue = builtin();
    let chrome = app(&catalogue, "google-chrome");
    for gone in [
        ".config/google-chrome/Default/Cookies",
        ".config/google-chrome/Profile 1/Network/Cookies-wal",
        ".config/google-chrome/Default/Sessions_Encrypted/Session_1",
        ".config/google-chrome/Default/Local Storage/leveldb/000003.log",
        ".cache/google-chrome/Default/Cache/Cache_Data/data_0",
    ] {
        assert!(removed(chrome, Tier::SignOut, gone), "{gone} stays");
    }
    for kept in [
        ".config/google-chrome/Default/Login Data",
        ".config/google-chrome/Default/History",
        ".config/google-chrome/Default/Bookmarks",
        ".config/google-chrome/Default/Preferences",
        ".config/google-chrome/Default/Secure Preferences",
        ".config/google-chrome/Default/Web Data",
        ".config/google-chrome/Default/Extensions/abc",
        ".config/google-chrome/Default/Local Extension Settings/abc",
        ".config/google-chrome/Local State",
        ".config/google-chrome/Default",
        ".config/google-chrome",
    ] {
        assert!(!removed(chrome, Tier::SignOut, kept), "{kept} goes");
    }
    assert!(removed(chrome, Tier::Purge, ".config/google-chrome/Default/Login Data"));
    assert!(!removed(chrome, Tier::Purge, ".config/google-chrome/Default/Bookmarks"));
}

#[test]
fn sign_out_edits_the_account_out_of_shared_files() {
    let catalogue = builtin();
    let chromium = app(&catalogue, "chromium");
    for edited in [".config/chromium/Default/Web Data", ".config/chromium/Default/Preferences"] {
        let rules = acting(chromium, Tier::SignOut, edited);
        assert_eq!(rules.len(), 1, "{edited}");
        assert!(matches!(rules[0].action, Action::Edit(_)), "{edited}");
    }
}

#[test]
fn sign_out_ends_firefox_sessions_and_keeps_extensions_and_passwords() {
    let catalogue = builtin();
    let firefox = app(&catalogue, "firefox");
    for root in [".config/mozilla/firefox", ".mozilla/firefox"] {
        let at = |path: &str| format!("{root}/x.default-release/{path}");
        for gone in ["cookies.sqlite-wal", "sessionstore-backups", "signedInUser.json"] {
            assert!(removed(firefox, Tier::SignOut, &at(gone)), "{gone} stays");
        }
        for kept in
            ["logins.json", "logins.db", "key4.db", "places.sqlite", "prefs.js", "storage/default"]
        {
            assert!(!removed(firefox, Tier::SignOut, &at(kept)), "{kept} goes");
        }
        assert!(removed(firefox, Tier::Purge, &at("key4.db")));
    }
    assert!(removed(
        firefox,
        Tier::SignOut,
        ".cache/mozilla/firefox/x.default-release/cache2/entries/1"
    ));
}

#[test]
fn opera_keeps_its_first_profile_in_the_root() {
    let catalogue = builtin();
    assert!(removed(app(&catalogue, "opera"), Tier::SignOut, ".config/opera/Cookies"));
}

#[test]
fn caches_lie_where_each_packaging_puts_them() {
    let catalogue = builtin();
    let firefox = app(&catalogue, "firefox");
    let cache_of = |root: &str| {
        let roots = firefox.roots(Platform::Linux);
        let root = roots.iter().find(|place| place.to_string() == root).unwrap();
        firefox.cache_of(Platform::Linux, root).unwrap().to_string()
    };
    assert_eq!(cache_of("config:mozilla/firefox"), "cache:mozilla/firefox");
    assert_eq!(cache_of("home:.mozilla/firefox"), "cache:mozilla/firefox");
    assert_eq!(
        cache_of("home:snap/firefox/common/.mozilla/firefox"),
        "home:snap/firefox/common/.cache/mozilla/firefox"
    );
}

#[test]
fn protects_what_must_never_be_touched() {
    let catalogue = builtin();
    let protected = catalogue.protected();
    for place in [
        "Documents",
        "Documents/a/b.txt",
        "Desktop/x",
        ".config",
        ".local/share",
        ".local",
        ".config/google-chrome",
        ".config/google-chrome/Default",
        ".config/google-chrome/Profile 7",
        ".config/google-chrome/Default/Bookmarks",
        ".config/google-chrome/Default/Preferences",
        ".config/google-chrome/Default/Extensions/abc/1.0",
        ".config/google-chrome/Local State",
        ".config/BraveSoftware",
        ".mozilla",
        ".mozilla/firefox/abcd.default-release",
        ".config/mozilla/firefox/x/places.sqlite",
        ".config/mozilla/firefox/x/storage/default/moz-extension+++1/idb",
        "elsewhere/profile/Bookmarks",
        ".ssh",
        ".ssh/id_ed25519",
        ".ssh/id_work",
        ".ssh/known_hosts",
        ".gnupg",
        ".gnupg/private-keys-v1.d/a.key",
        ".local/share/keyrings",
        ".var/app/org.mozilla.firefox",
        "code/project/.git/config",
        "..",
        ".config/../Documents",
        "",
    ] {
        assert!(protected.forbids(Platform::Linux, &parts(place)).is_some(), "{place} is open");
    }
    assert!(protected.forbids(Platform::Linux, &[]).is_some());
    for place in [
        ".config/google-chrome/Default/Cookies",
        ".config/opera/Cookies",
        ".mozilla/firefox/abcd.default/cookies.sqlite-wal",
        ".aws/sso/cache",
        ".aws/credentials",
        ".ssh/cm-host",
        ".local/share/keyrings/login.keyring",
        ".config/gh/hosts.yml",
    ] {
        assert_eq!(protected.forbids(Platform::Linux, &parts(place)), None, "{place}");
    }
}

#[test]
fn protection_ignores_case_where_the_file_system_does() {
    let catalogue = builtin();
    let protected = catalogue.protected();
    assert!(protected.forbids(Platform::Windows, &parts("documents/x")).is_some());
    assert!(protected.forbids(Platform::Macos, &parts("DESKTOP")).is_some());
    assert!(protected.forbids(Platform::Linux, &parts("documents/x")).is_none());
}

#[test]
fn every_chromium_root_names_a_profile_directory_that_is_protected() {
    let catalogue = builtin();
    for app in catalogue.apps().iter().filter(|app| app.layout == Layout::Chromium) {
        for platform in Platform::ALL {
            for root in app.roots(platform).iter().filter(|root| root.path.is_literal()) {
                let globs = root.from_home(platform).unwrap();
                let mut path: Vec<&[u8]> = globs.iter().map(|g| g.as_str().as_bytes()).collect();
                assert!(catalogue.protected().forbids(platform, &path).is_some(), "{root}");
                path.push(b"Default");
                assert!(catalogue.protected().forbids(platform, &path).is_some(), "{root}");
            }
        }
    }
}

/// Every app that the reference of local state names for Linux, and what it is filed under here.
const ROWS: &[&str] = &[
    "antigravity",
    "arc",
    "aws",
    "azure",
    "brave",
    "cargo",
    "chromium",
    "citrix-workspace",
    "claude-code",
    "claude-desktop",
    "codex",
    "copilot-cli",
    "cursor",
    "discord",
    "docker",
    "electron-generic",
    "element",
    "evolution",
    "filezilla",
    "firefox",
    "gcloud",
    "gemini-cli",
    "gh",
    "git",
    "github-desktop",
    "glab",
    "gnome-keyring",
    "gnome-online-accounts",
    "google-chrome",
    "gpg",
    "helm",
    "horizon-client",
    "kerberos",
    "kiro",
    "kubectl",
    "kwallet",
    "librewolf",
    "mcp-remote",
    "microsoft-edge",
    "netrc",
    "notion",
    "npm",
    "opera",
    "podman",
    "postman",
    "python-packages",
    "remmina",
    "safari",
    "signal",
    "slack",
    "ssh",
    "teams",
    "telegram",
    "terraform",
    "thunderbird",
    "tor-browser",
    "vault",
    "vivaldi",
    "vscode",
    "windows-accounts",
    "zoom",
];

#[test]
fn every_kind_of_app_that_is_promised_is_there() {
    let catalogue = builtin();
    for id in ROWS {
        assert!(catalogue.apps().iter().any(|app| app.id.as_str() == *id), "{id} is missing");
    }
}

/// Which app's rule means an entry first, in the order of the catalogue, and at which tier.
fn owner<'a>(catalogue: &'a Catalogue, path: &str) -> (&'a str, Tier) {
    let parts = parts(path);
    let found = catalogue.apps().iter().find_map(|app| {
        let mut rules = app.rules_for(Platform::Linux, &parts);
        let rule = rules.find(|rule| rule.action == Action::Remove)?;
        Some((app.id.as_str(), rule.tier))
    });
    found.unwrap()
}

#[test]
fn the_generic_rule_comes_last_and_takes_only_what_no_named_app_means() {
    let catalogue = builtin();
    assert_eq!(catalogue.apps().last().unwrap().id.as_str(), "electron-generic");
    let generic = app(&catalogue, "electron-generic");
    assert_eq!(generic.requires.len(), 2);
    for directory in ["Signal", "Element", "Session", "Wire", "Standard Notes"] {
        for path in generic.stores.iter().flat_map(|rule| &rule.paths) {
            let path = format!(".config/{directory}/{}", path.as_str().replace('*', "x"));
            assert_eq!(owner(&catalogue, &path).1, Tier::Purge, "{path}");
        }
    }
    for work in ["Postman", "GitHub Desktop"] {
        let path = format!(".config/{work}/IndexedDB/x");
        assert_eq!(owner(&catalogue, &path).1, Tier::Purge, "{path}");
        let path = format!(".config/{work}/Cookies");
        assert_eq!(owner(&catalogue, &path).1, Tier::SignOut, "{path}");
    }
    let unknown = owner(&catalogue, ".config/Some App/Local Storage");
    assert_eq!(unknown, ("electron-generic", Tier::SignOut));
    let opera = owner(&catalogue, ".config/opera/IndexedDB/chrome-extension_a_0.indexeddb.leveldb");
    assert_eq!(opera, ("opera", Tier::Purge));
}

#[test]
fn an_editor_loses_its_secrets_and_keeps_its_state() {
    let catalogue = builtin();
    let state = ".config/Code/User/globalStorage/state.vscdb";
    let rules = acting(app(&catalogue, "vscode"), Tier::Purge, state);
    assert_eq!(rules.len(), 1);
    assert!(matches!(&rules[0].action, Action::Edit(_)));
    for app in catalogue.apps() {
        assert!(!removed(app, Tier::Purge, state), "{} removes {state}", app.id);
        assert!(!removed(app, Tier::Purge, ".config/Code/User"), "{}", app.id);
    }
}

#[test]
fn no_rule_at_sign_out_reaches_private_keys_documents_or_settings() {
    let catalogue = builtin();
    for kept in [
        ".ssh/id_ed25519",
        ".ssh/known_hosts",
        ".ssh/config",
        ".gnupg/private-keys-v1.d/A.key",
        "Documents/report.odt",
        ".aws/config",
        ".aws/credentials",
        ".claude/settings.json",
        ".codex/config.toml",
        ".cargo/config.toml",
        ".gitconfig",
        ".thunderbird/x.default/ImapMail/imap.example/INBOX",
        ".config/Postman/IndexedDB",
        ".config/GitHub Desktop/Local State",
        ".local/share/keyrings/login.keyring",
        ".local/share/TelegramDesktop/tdata",
    ] {
        for app in catalogue.apps() {
            assert!(!removed(app, Tier::SignOut, kept), "{} removes {kept}", app.id);
        }
    }
}

#[test]
fn keyring_items_that_take_passwords_with_them_are_opt_in() {
    for app in builtin().apps() {
        for rule in &app.keyring {
            let browser = app.kind == exeunt_catalogue::Kind::Browser;
            assert!(!browser || rule.opt_in, "{}/{}", app.id, rule.id);
        }
    }
}

/// Every removal of an app on Linux, as text from its base, with its profile spelt `*`.
fn removals(app: &App) -> Vec<String> {
    let mut found = Vec::new();
    for rule in app.stores.iter().filter(|rule| rule.action == Action::Remove) {
        found.extend(rule.at(Platform::Linux).iter().map(ToString::to_string));
        for root in app.roots(Platform::Linux) {
            let start = match rule.within {
                Within::Cache => app.cache_of(Platform::Linux, root),
                Within::Profile | Within::Root => Some(root),
            };
            let profile = match (rule.within, app.layout) {
                (Within::Profile | Within::Cache, Layout::Chromium | Layout::Gecko) => "/*/",
                (Within::Root, Layout::Chromium | Layout::Gecko)
                | (_, Layout::Electron | Layout::Flat) => "/",
            };
            let start = start.map(|start| format!("{start}{profile}"));
            found.extend(
                start.iter().flat_map(|s| rule.paths.iter().map(move |p| format!("{s}{p}"))),
            );
        }
    }
    found
}

#[test]
fn no_removal_lies_inside_another() {
    let catalogue = builtin();
    let all: std::collections::BTreeSet<String> =
        catalogue.apps().iter().flat_map(removals).collect();
    assert!(all.contains("config:chromium/*/Cookies-wal"));
    for path in &all {
        for (end, _) in path.match_indices('/') {
            assert!(!all.contains(&path[..end]), "{path} lies inside {}", &path[..end]);
        }
    }
}

#[test]
fn named_apps_share_no_removal() {
    let catalogue = builtin();
    let mut owners = std::collections::BTreeMap::new();
    for app in catalogue.apps() {
        for path in removals(app) {
            if let Some(other) = owners.insert(path.clone(), &app.id) {
                assert_eq!(other, &app.id, "{path} belongs to {other} and {}", app.id);
            }
        }
    }
}
