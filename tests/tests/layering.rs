//! The arrows between the crates, and what must never be reached by any of them.

#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Who may depend on whom; what is below a crate by several arrows is below it, too.
const ARROWS: [(&str, &[&str]); 16] = [
    ("warden", &["host", "engine", "catalogue", "policy", "ipc", "ssf"]),
    ("agent", &["signal", "ipc", "api"]),
    ("tray", &["ipc"]),
    ("hub", &["ssf", "signal", "check", "api", "policy"]),
    ("guard", &["signal", "check"]),
    ("cli", &["signal", "ipc", "api", "ssf", "catalogue", "policy"]),
    ("host", &["engine"]),
    ("engine", &["catalogue", "ssf"]),
    ("signal", &["ssf"]),
    ("check", &["domain"]),
    ("api", &["domain"]),
    ("policy", &["domain"]),
    ("ipc", &["domain"]),
    ("catalogue", &["domain"]),
    ("ssf", &["domain"]),
    ("domain", &[]),
];

/// Crates that bring HTTP or TLS, in whatever way.
const NETWORK: [&str; 22] = [
    "async-tungstenite",
    "attohttpc",
    "aws-lc-rs",
    "axum",
    "curl",
    "h2",
    "h3",
    "hyper",
    "hyper-util",
    "isahc",
    "minreq",
    "native-tls",
    "openssl",
    "quinn",
    "reqwest",
    "rustls",
    "rustls-platform-verifier",
    "surf",
    "tokio-rustls",
    "tungstenite",
    "ureq",
    "warp",
];
const WINDOWS: [&str; 4] = ["tauri", "tao", "wry", "webkit2gtk"];

struct Workspace(Metadata);

impl Workspace {
    fn read() -> Self {
        let options = ["--filter-platform".to_owned(), "x86_64-unknown-linux-gnu".to_owned()];
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        Self(MetadataCommand::new().current_dir(root).other_options(options).exec().unwrap())
    }

    fn name(&self, id: &PackageId) -> &str {
        &self.0[id].name
    }

    fn normal(&self, id: &PackageId) -> Vec<&PackageId> {
        let resolve = self.0.resolve.as_ref().unwrap();
        let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
        let is_normal = |dep: &&cargo_metadata::NodeDep| {
            dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        node.deps.iter().filter(is_normal).map(|dep| &dep.pkg).collect()
    }

    /// Everything that ends up in the crate, however far away.
    fn tree(&self, name: &str) -> BTreeSet<&str> {
        let root = self.0.workspace_packages().into_iter().find(|package| package.name == name);
        let mut open = vec![&root.unwrap_or_else(|| panic!("no crate is named {name}")).id];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            for below in self.normal(id) {
                if seen.insert(below) {
                    open.push(below);
                }
            }
        }
        seen.into_iter().map(|id| self.name(id)).collect()
    }

    fn reaches(&self, name: &str, forbidden: &[&str]) -> Vec<String> {
        let tree = self.tree(name);
        let found = forbidden.iter().filter(|one| tree.contains(**one));
        found.map(|one| format!("{name} reaches {one}")).collect()
    }
}

fn below(name: &str) -> BTreeSet<String> {
    let arrows: BTreeMap<_, _> = ARROWS.into();
    let mut open = vec![name];
    let mut seen = BTreeSet::from(["exeunt-domain".to_owned()]);
    while let Some(one) = open.pop() {
        for next in arrows[one] {
            seen.insert(format!("exeunt-{next}"));
            open.push(next);
        }
    }
    seen
}

fn none(found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn arrows_run_down_only() {
    let workspace = Workspace::read();
    let outside = ["exeunt-testkit", "exeunt-tests", "exeunt-xtask"];
    let mut wrong = Vec::new();
    for package in workspace.0.workspace_packages() {
        let Some(short) = package.name.strip_prefix("exeunt-") else { continue };
        if outside.contains(&package.name.as_str()) {
            continue;
        }
        assert!(ARROWS.iter().any(|(name, _)| *name == short), "{short} has no place in the house");
        let allowed = below(short);
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("exeunt-");
            let normal = dependency.kind == DependencyKind::Normal;
            if ours && normal && !allowed.contains(&dependency.name) {
                wrong.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    none(wrong);
}

/// The part that can delete has no network (R14).
#[test]
fn warden_reaches_no_network_and_no_window() {
    let workspace = Workspace::read();
    none(workspace.reaches("exeunt-warden", &NETWORK));
    none(workspace.reaches("exeunt-warden", &WINDOWS));
    none(workspace.reaches("exeunt-warden", &["exeunt-signal", "exeunt-agent", "exeunt-hub"]));
    // The list names what the networked parts really use: it would find it here.
    assert!(!workspace.reaches("exeunt-hub", &NETWORK).is_empty());
    assert!(!workspace.reaches("exeunt-tray", &WINDOWS).is_empty());
}

/// The part that has the network cannot delete (R14).
#[test]
fn networked_parts_reach_no_engine() {
    let workspace = Workspace::read();
    for name in ["exeunt-hub", "exeunt-agent", "exeunt-tray"] {
        none(workspace.reaches(name, &["exeunt-engine", "exeunt-host"]));
    }
    none(workspace.reaches("exeunt-engine", &["exeunt-host"]));
}

#[test]
fn the_core_is_synchronous() {
    let workspace = Workspace::read();
    for name in ["domain", "ssf", "check", "policy", "catalogue", "engine"] {
        none(workspace.reaches(&format!("exeunt-{name}"), &["tokio", "async-std", "smol"]));
    }
}

#[test]
fn only_tests_use_the_testkit() {
    let workspace = Workspace::read();
    let users = workspace.0.workspace_packages().into_iter().filter(|package| {
        package.dependencies.iter().any(|dependency| {
            dependency.name == "exeunt-testkit" && dependency.kind == DependencyKind::Normal
        })
    });
    none(users.map(|package| package.name.to_string()).filter(|name| name != "exeunt-tests"));
}

#[test]
fn plain_cargo_needs_neither_npm_nor_a_web_view() {
    let workspace = Workspace::read();
    let default: Vec<_> =
        workspace.0.workspace_default_packages().iter().map(|it| it.name.to_string()).collect();
    for name in ["exeunt-tray", "exeunt-tests"] {
        assert!(!default.contains(&name.to_owned()), "{name}");
    }
    for name in default {
        none(workspace.reaches(&name, &WINDOWS));
    }
}
