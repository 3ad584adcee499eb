//! Files of each format, made from the rule that is to edit them.
//!
//! It refuses to be a format's bare minimum: each also holds what must stay.

use exeunt_catalogue::Edit;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

/// What must be gone.
pub(crate) const SECRET: &str = "s3cret-c4n4ry";
/// What must stay.
pub(crate) const KEPT: &str = "kept-by-its-owner";

/// The name of an edit's format.
pub(crate) fn format(edit: &Edit) -> &'static str {
    match edit {
        Edit::Sqlite { .. } => "sqlite",
        Edit::Json { .. } => "json",
        Edit::Toml { .. } => "toml",
        Edit::Ini { .. } => "ini",
        Edit::Lines { .. } => "lines",
        Edit::Xml { .. } => "xml",
        Edit::Yaml { .. } => "yaml",
    }
}

/// Whether `text` stands in `bytes`.
pub(crate) fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A file in which `edit` finds secrets beside things that are kept.
pub(crate) fn of_edit(edit: &Edit) -> Vec<u8> {
    match edit {
        Edit::Sqlite { table, key_column, key_like } => {
            database(table, key_column.as_deref(), key_like)
        }
        Edit::Json { keys } => {
            let mut root = json!({ "other": KEPT });
            keys.iter().for_each(|key| plant_json(&mut root, key));
            serde_json::to_vec_pretty(&root).unwrap()
        }
        Edit::Toml { keys } => toml(keys).into_bytes(),
        Edit::Ini { section, keys } => {
            let section = section.as_deref().unwrap_or("section");
            let secrets = keys.iter().map(|key| format!("{}={SECRET}\n", plain(key)));
            format!("[{section}]\nname={KEPT}\n{}", secrets.collect::<String>()).into_bytes()
        }
        Edit::Lines { starts, contains } => {
            let lines = starts.iter().chain(contains).map(|start| format!("{start}{SECRET}\n"));
            format!("# {KEPT}\n{}", lines.collect::<String>()).into_bytes()
        }
        Edit::Xml { elements } => {
            let secrets = elements.iter().map(|name| format!("<{name}>{SECRET}</{name}>"));
            let secrets = secrets.collect::<String>();
            let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
            format!(
                "{xml}<App><Servers><Server><Host>{KEPT}</Host>{secrets}</Server></Servers></App>\n"
            )
            .into_bytes()
        }
        Edit::Yaml { keys } => {
            let secrets = keys.iter().map(|key| format!("    {key}: {SECRET}\n"));
            format!("example.org:\n    user: {KEPT}\n{}", secrets.collect::<String>()).into_bytes()
        }
    }
}

/// A real database of the kind that an app keeps whole: cookies in a browser's own table.
pub(crate) fn whole_database(name: &str) -> Vec<u8> {
    let table = match name {
        "Cookies" | "Extension Cookies" | "Safe Browsing Cookies" => {
            "CREATE TABLE cookies(creation_utc INTEGER, host_key TEXT, name TEXT, value TEXT, \
             encrypted_value BLOB, path TEXT, expires_utc INTEGER);
             INSERT INTO cookies VALUES(1,'.example.org','sid','SECRET',x'763130','/',2)"
        }
        "cookies.sqlite" => {
            "CREATE TABLE moz_cookies(id INTEGER PRIMARY KEY, host TEXT, name TEXT, value TEXT);
             INSERT INTO moz_cookies VALUES(1,'example.org','sid','SECRET')"
        }
        "Login Data" | "Login Data For Account" => {
            "CREATE TABLE logins(origin_url TEXT, username_value TEXT, password_value BLOB);
             INSERT INTO logins VALUES('https://example.org','alice','SECRET')"
        }
        _ => "CREATE TABLE kv(key TEXT, value TEXT); INSERT INTO kv VALUES('token','SECRET')",
    };
    bytes_of(&table.replace("SECRET", SECRET))
}

fn bytes_of(sql: &str) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("db");
    let database = Connection::open(&path).unwrap();
    database.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY;").unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    std::fs::read(path).unwrap()
}

fn database(table: &str, key_column: Option<&str>, key_like: &[String]) -> Vec<u8> {
    let key = key_column.unwrap_or("service");
    let mut sql = format!(
        "CREATE TABLE {table}({key} TEXT, value BLOB); CREATE TABLE other(value TEXT);
         INSERT INTO other VALUES('{KEPT}');"
    );
    match key_column {
        None => sql.push_str(&format!("INSERT INTO {table} VALUES('AccountId-1','{SECRET}');")),
        Some(_) => {
            let rows = key_like.iter().map(|like| {
                format!("INSERT INTO {table} VALUES('{}','{SECRET}');", like.replace('%', "x"))
            });
            sql.extend(rows);
            sql.push_str(&format!("INSERT INTO {table} VALUES('workbench.kept','{KEPT}');"));
        }
    }
    bytes_of(&sql)
}

fn plain(key: &str) -> String {
    key.replace('*', "x")
}

/// Puts a secret where an RFC 6901 pointer with stars leads, and something kept beside it.
fn plant_json(root: &mut Value, pointer: &str) {
    let tokens: Vec<String> = pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~").replace('*', "https://x.example"))
        .collect();
    let (last, way) = tokens.split_last().unwrap();
    let mut here = root;
    for token in way {
        let members = here.as_object_mut().unwrap();
        members.entry("beside").or_insert_with(|| KEPT.into());
        here = members.entry(token.clone()).or_insert_with(|| Value::Object(Map::new()));
        if !here.is_object() {
            return; // a pointer above this one already takes it all
        }
    }
    here.as_object_mut().unwrap().entry(last.clone()).or_insert_with(|| SECRET.into());
}

fn toml(keys: &[String]) -> String {
    let mut document = toml_edit::DocumentMut::new();
    document["other"] = toml_edit::value(KEPT);
    for key in keys {
        let steps: Vec<String> = key.split('.').map(plain).collect();
        let (last, way) = steps.split_last().unwrap();
        let mut table = document.as_table_mut();
        for step in way {
            let item = table.entry(step).or_insert_with(toml_edit::table);
            table = item.as_table_mut().unwrap();
        }
        table.entry(last).or_insert_with(|| toml_edit::value(SECRET));
    }
    document.to_string()
}
