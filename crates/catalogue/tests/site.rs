//! Files from outside: mistakes are explained, nothing is shadowed, protection wins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use exeunt_catalogue::{Catalogue, CatalogueError, Platform};
use proptest::prelude::*;

const GOOD: &str = r#"
[[app]]
id = "acme"
name = "Acme"
kind = "cli"
layout = "flat"
evidence = ["https://acme.example/docs"]
roots = { all = ["config:acme"] }
[[app.store]]
id = "token"
tier = "sign-out"
about = "token"
paths = ["token.json"]
removes = [".config/acme/token.json"]
keeps = [".config/acme/settings.json"]
"#;

fn files(text: &str) -> Vec<(String, String)> {
    vec![("site.toml".to_owned(), text.to_owned())]
}

fn mistake(text: &str) -> CatalogueError {
    Catalogue::builtin().unwrap().with_site(&files(text)).unwrap_err()
}

/// The good file with one text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from} is not in the example");
    GOOD.replacen(from, to, 1)
}

#[test]
fn a_site_adds_an_app_and_the_coverage_hash_changes() {
    let before = Catalogue::builtin().unwrap();
    let after = before.clone().with_site(&files(GOOD)).unwrap();
    assert_eq!(after.apps().len(), before.apps().len() + 1);
    assert_ne!(after.coverage_hash(), before.coverage_hash());
    assert_eq!(after.coverage_hash().len(), 64);
    assert!(after.version().ends_with("+site"));
    assert!(before.mistakes(&files(GOOD)).is_empty());
}

#[test]
fn the_coverage_hash_ignores_wording_and_order_but_not_paths() {
    let hash = |texts: &[&str]| {
        let files: Vec<_> =
            texts.iter().map(|text| ("f.toml".to_owned(), (*text).to_owned())).collect();
        Catalogue::parse(&files).unwrap().coverage_hash().to_owned()
    };
    let other = with("\"acme\"", "\"acme-two\"");
    assert_eq!(hash(&[GOOD, &other]), hash(&[&other, GOOD]));
    assert_eq!(hash(&[GOOD]), hash(&[&with("\"Acme\"", "\"Acme Tool\"")]));
    let paths = GOOD.replace("token.json", "tokens.json");
    assert_ne!(hash(&[GOOD]), hash(&[&paths]));
    assert_ne!(hash(&[GOOD]), hash(&[&with("\"sign-out\"", "\"purge\"")]));
}

#[test]
fn a_brand_of_chromium_is_four_lines() {
    let text = "[[app]]\nid = \"acme-browser\"\nname = \"Acme\"\nfamily = \"chromium\"\nroots = { linux = [\"config:acme-browser\"] }\n";
    let catalogue = Catalogue::builtin().unwrap().with_site(&files(text)).unwrap();
    let app = catalogue.apps().last().unwrap();
    let path: Vec<&[u8]> = vec![b".config", b"acme-browser", b"Default", b"Cookies"];
    assert_eq!(app.rules_for(Platform::Linux, &path).count(), 1);
}

#[test]
fn names_line_column_and_mistake_of_an_unknown_key() {
    let text = with("paths =", "pathz =");
    let message = mistake(&text).to_string();
    assert!(message.starts_with("site.toml:13:1: unknown field `pathz`"), "{message}");
}

#[test]
fn points_at_the_store_whose_example_fails() {
    let message = mistake(&with("settings.json", "token.json")).to_string();
    assert!(
        message.starts_with("site.toml:10:6: an example does not hold: acme/token"),
        "{message}"
    );
}

#[test]
fn refuses_what_the_format_does_not_have() {
    for (from, to, word) in [
        ("id = \"token\"", "id = \"token\"\ncommand = \"rm\"", "unknown field `command`"),
        ("paths = [\"token.json\"]", "paths = [\"/etc/passwd\"]", "absolute"),
        ("paths = [\"token.json\"]", "paths = [\"../x\"]", "`..`"),
        ("paths = [\"token.json\"]", "paths = [\"$HOME/x\"]", "expansion"),
        ("paths = [\"token.json\"]", "paths = [\"**/x\"]", "`**`"),
        ("paths = [\"token.json\"]", "paths = []", "names no file"),
        ("config:acme", "config:", "empty part"),
        ("config:acme", "etc:acme", "no base"),
        ("config:acme", "config:*", "requires"),
        ("\"sign-out\"", "\"lock\"", "ends nothing"),
        ("\"sign-out\"", "\"wipe\"", "unknown variant"),
        ("\"acme\"", "\"Acme\"", "is not an id"),
        ("kind = \"cli\"\n", "", "has no kind"),
        ("kind = \"cli\"", "family = \"chrome\"", "known are chromium"),
        ("evidence = [\"https://acme.example/docs\"]", "evidence = []", "no evidence"),
        ("about = \"token\"", "about = \"x\"\nedit = { json = { keys = [\"a\"] } }", "pointer"),
        (
            "about = \"token\"",
            "about = \"x\"\nedit = { lines = { starts = [\"\"] } }",
            "empty text",
        ),
        (
            "about = \"token\"",
            "about = \"x\"\nedit = { shell = { run = \"x\" } }",
            "unknown variant",
        ),
        (
            "removes = [\".config/acme/token.json\"]",
            "removes = [\".config/acme/other\"]",
            "does not reach",
        ),
        ("settings.json", "token.json", "a rule reaches it"),
    ] {
        let message = mistake(&with(from, to)).to_string();
        assert!(message.contains(word), "{to}: {message}");
        assert!(message.starts_with("site.toml:"), "{message}");
    }
}

#[test]
fn a_site_cannot_shadow_an_app_a_family_or_the_protected_places() {
    assert!(matches!(mistake(&with("\"acme\"", "\"aws\"")), CatalogueError::Taken { .. }));
    let family = "[[family]]\nid = \"chromium\"\nkind = \"browser\"\nlayout = \"flat\"\n";
    assert!(matches!(mistake(family), CatalogueError::Taken { .. }));
    let protected = vec![("d/protected.toml".to_owned(), String::new())];
    let refused = Catalogue::builtin().unwrap().with_site(&protected).unwrap_err();
    assert!(matches!(refused, CatalogueError::ProtectedFile { .. }));
    let twice = format!("{GOOD}{}", GOOD.replace("[[app]]\n", "\n[[app]]\n"));
    assert!(matches!(mistake(&twice), CatalogueError::Taken { .. }));
}

#[test]
fn a_site_cannot_reach_a_protected_place() {
    for (root, path) in [
        ("home:Documents", "x"),
        ("home:Documents/sub", "x"),
        ("home:.config", "google-chrome"),
        ("config:google-chrome", "Default"),
        ("config:google-chrome", "Profile*"),
        ("home:.mozilla", "firefox"),
        ("home:.ssh", "id_*"),
        ("home:.ssh", "*"),
        ("home:.gnupg", "private*"),
        ("home:.local", "share"),
        ("config:google-chrome/Default", "Book*"),
        ("config:vivaldi/Default", "Extensions/abc"),
        ("home:src/project", ".git/config"),
    ] {
        let text = with("config:acme", root)
            .replace("\"token.json\"", &format!("\"{path}\""))
            .lines()
            .filter(|line| !line.starts_with("removes") && !line.starts_with("keeps"))
            .collect::<Vec<_>>()
            .join("\n");
        let refused = mistake(&text);
        assert!(matches!(refused, CatalogueError::Protected { .. }), "{root}/{path}: {refused}");
    }
    let home = "[[app]]\nid = \"x\"\nname = \"x\"\nkind = \"cli\"\nlayout = \"flat\"\nevidence = [\"x\"]\n[[app.store]]\nid = \"all\"\ntier = \"purge\"\nabout = \"all\"\nat = { all = [\"home:*\"] }\n";
    assert!(matches!(mistake(home), CatalogueError::Protected { .. }));
}

/// What follows from one mistake is not told as another.
#[test]
fn one_mistake_is_told_once_and_in_words_of_the_file() {
    let env =
        "[[app.env-dir]]\nvariable = \"ACME_HOME\"\nreplaces = \"config:other\"\n[[app.store]]";
    let file = "[[app.env-file]]\nvariable = \"ACME\"\nstore = \"none\"\n[[app.store]]";
    let two = "about = \"x\"\nedit = { json = { keys = [\"/a\"] }, yaml = { keys = [\"a\"] } }";
    let cases = [
        (with("[[app]]", "[app]"), "1:1", "two brackets"),
        (with("[\"https://acme.example/docs\"]", "\"x\""), "6:12", "put it in [ ]"),
        (with("id = \"acme\"", "id = 7"), "2:6", "put it in quotes"),
        (with("about = \"token\"", two), "12:8", "one format of edit"),
        (with("config:acme", "config"), "7:18", "no base"),
        (with("[\"token.json\"]", "[\"/x\"]"), "12:10", "absolute"),
        (with("config:acme", "home:Documents"), "9:6", "protected"),
        (with("[[app.store]]", env), "10:12", "is no root of `acme`"),
        (with("[[app.store]]", file), "10:9", "has no store `none`"),
    ];
    for (text, at, words) in cases {
        let text = text.trim_start();
        let found = Catalogue::builtin().unwrap().mistakes(&files(text));
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        let about_it: Vec<_> = said.iter().filter(|one| !one.contains("an example")).collect();
        assert_eq!(about_it.len(), 1, "{said:#?}");
        assert!(about_it[0].contains(words), "{said:#?}");
        assert!(about_it[0].contains(&format!("site.toml:{at}:")), "{at}: {said:#?}");
    }
    let empty = Catalogue::builtin().unwrap().mistakes(&files("# nothing\n"));
    assert!(matches!(empty.as_slice(), [CatalogueError::Empty { .. }]), "{empty:?}");
}

#[test]
fn reports_every_mistake_at_once() {
    let text = with("config:acme", "config:").replace("\"sign-out\"", "\"lock\"");
    let found = Catalogue::builtin().unwrap().mistakes(&files(&text));
    assert!(found.len() >= 2, "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered_and_never_panics(text in "\\PC{0,200}") {
        let _ = Catalogue::parse(&files(&text));
    }

    #[test]
    fn a_damaged_entry_is_answered_and_never_panics(at in 0usize..400, cut in 0usize..12, put in "[\\PC\\n\"\\[\\]=]{0,6}") {
        let mut chars: Vec<char> = GOOD.chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, put.chars());
        let _ = Catalogue::parse(&files(&chars.into_iter().collect::<String>()));
    }

    #[test]
    fn protection_wins_over_any_site(
        root in "[a-zA-Z.*]{1,6}|Documents|\\.ssh|\\.config|\\.mozilla|snap",
        path in "[a-zA-Z.*_]{1,8}|id_rsa|google-chrome|firefox|Default",
        name in "[a-zA-Z._]{1,8}",
    ) {
        let before = Catalogue::builtin().unwrap();
        let text = with("config:acme", &format!("home:{root}"))
            .replace("\"token.json\"", &format!("\"{path}\""))
            .lines()
            .filter(|line| !line.starts_with("removes") && !line.starts_with("keeps"))
            .collect::<Vec<_>>()
            .join("\n");
        let target: Vec<&[u8]> = vec![root.as_bytes(), path.as_bytes(), name.as_bytes()];
        let forbidden = before.protected().forbids(Platform::Linux, &target[..2]).is_some();
        if let Ok(after) = before.clone().with_site(&files(&text)) {
            prop_assert!(root.contains('*') || path.contains('*') || !forbidden);
            for depth in 0..=3 {
                prop_assert_eq!(
                    after.protected().forbids(Platform::Linux, &target[..depth]),
                    before.protected().forbids(Platform::Linux, &target[..depth])
                );
            }
        }
    }
}
