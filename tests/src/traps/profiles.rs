//! What browsers and tools keep on disk, in their true formats, holding a secret or a keepsake.
//!
//! It refuses a real credential: a secret is whatever its caller made up.

use anyhow::Result;
use rusqlite::Connection;
use serde_json::json;

/// The first bytes of Firefox's compressed JSON.
pub const MOZ_LZ4: &[u8; 8] = b"mozLz40\0";

const CHROMIUM_COOKIES: &str = "
    CREATE TABLE meta(key LONGVARCHAR NOT NULL UNIQUE PRIMARY KEY, value LONGVARCHAR);
    INSERT INTO meta VALUES('version','24'),('last_compatible_version','24');
    CREATE TABLE cookies(creation_utc INTEGER NOT NULL, host_key TEXT NOT NULL,
      top_frame_site_key TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
      encrypted_value BLOB NOT NULL, path TEXT NOT NULL, expires_utc INTEGER NOT NULL,
      is_secure INTEGER NOT NULL, is_httponly INTEGER NOT NULL, last_access_utc INTEGER NOT NULL,
      has_expires INTEGER NOT NULL, is_persistent INTEGER NOT NULL, priority INTEGER NOT NULL,
      samesite INTEGER NOT NULL, source_scheme INTEGER NOT NULL, source_port INTEGER NOT NULL,
      last_update_utc INTEGER NOT NULL, source_type INTEGER NOT NULL,
      has_cross_site_ancestor INTEGER NOT NULL);
    CREATE UNIQUE INDEX cookies_unique_index ON cookies(host_key, top_frame_site_key,
      has_cross_site_ancestor, name, path, source_scheme, source_port);";

const FIREFOX_COOKIES: &str = "
    CREATE TABLE moz_cookies(id INTEGER PRIMARY KEY, originAttributes TEXT NOT NULL DEFAULT '',
      name TEXT, value TEXT, host TEXT, path TEXT, expiry INTEGER, lastAccessed INTEGER,
      creationTime INTEGER, isSecure INTEGER, isHttpOnly INTEGER,
      inBrowserElement INTEGER DEFAULT 0, sameSite INTEGER DEFAULT 0,
      schemeMap INTEGER DEFAULT 0, isPartitionedAttributeSet INTEGER DEFAULT 0,
      updateTime INTEGER,
      CONSTRAINT moz_uniqueid UNIQUE (name, host, path, originAttributes));
    PRAGMA user_version=17;";

const INSERT_FIREFOX_COOKIE: &str = "INSERT INTO moz_cookies
    (name, value, host, path, expiry, lastAccessed, creationTime, isSecure, isHttpOnly)
    VALUES ('sid', ?1, 'corp.example', '/', 1999999999000, 1, 1, 1, 1)";

/// Counts to its argument.
const COUNT: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";

/// Adds so many rows to a database: `Cookies` of Chromium, `Web Data`, or an editor's state.
///
/// # Errors
/// SQLite's.
pub fn fill(path: &std::path::Path, rows: u64) -> Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000")?;
    let has = |table: &str| db.table_exists(None, table);
    let into = if has("cookies")? {
        "INSERT INTO cookies SELECT i, 'h' || i || '.example', '', 'sid', '', x'763130aabbccdd', '/',
         1, 1, 1, 1, 1, 1, 1, 0, 2, 443, 1, 0, 0 FROM n"
    } else if has("autofill")? {
        "INSERT INTO autofill(name, value) SELECT 'field' || i, 'value' || i FROM n"
    } else {
        "INSERT INTO ItemTable(key, value) SELECT 'panel.' || i, 'state of a panel ' || i FROM n"
    };
    db.execute(&format!("{COUNT} {into}"), [rows.cast_signed()])?;
    Ok(())
}

/// Chromium's `Cookies`.
///
/// # Errors
/// SQLite's.
pub fn chromium_cookies(secret: &str) -> Result<Vec<u8>> {
    database(CHROMIUM_COOKIES, |db| {
        db.execute(
            "INSERT INTO cookies VALUES(13400000000000000, 'corp.example', '', 'sid', ?1, x'', '/',
             13600000000000000, 1, 1, 13400000000000000, 1, 1, 1, 0, 2, 443, 13400000000000000, 0, 0)",
            [secret],
        )
    })
}

/// Chromium's `Web Data`: tokens of the browser's account beside what people typed into forms.
///
/// # Errors
/// SQLite's.
pub fn web_data(secret: &str, kept: &str) -> Result<Vec<u8>> {
    let tables = "
        CREATE TABLE meta(key LONGVARCHAR NOT NULL UNIQUE PRIMARY KEY, value LONGVARCHAR);
        INSERT INTO meta VALUES('version','141');
        CREATE TABLE token_service(service VARCHAR PRIMARY KEY NOT NULL, encrypted_token BLOB,
          binding_key BLOB);
        CREATE TABLE autofill(name VARCHAR, value VARCHAR, value_lower VARCHAR,
          date_created INTEGER DEFAULT 0, date_last_used INTEGER DEFAULT 0,
          count INTEGER DEFAULT 1, PRIMARY KEY (name, value));";
    database(tables, |db| {
        db.execute(
            "INSERT INTO autofill(name, value, value_lower) VALUES('city', ?1, ?1)",
            [kept],
        )?;
        db.execute(
            "INSERT INTO token_service VALUES('AccountId-104', CAST(?1 AS BLOB), x'')",
            [secret],
        )
    })
}

/// Chromium's `History` with one visited address.
///
/// # Errors
/// SQLite's.
pub fn history(url: &str) -> Result<Vec<u8>> {
    let tables = "
        CREATE TABLE urls(id INTEGER PRIMARY KEY AUTOINCREMENT, url LONGVARCHAR, title LONGVARCHAR,
          visit_count INTEGER DEFAULT 0 NOT NULL, typed_count INTEGER DEFAULT 0 NOT NULL,
          last_visit_time INTEGER NOT NULL, hidden INTEGER DEFAULT 0 NOT NULL);
        CREATE INDEX urls_url_index ON urls(url);";
    database(tables, |db| {
        db.execute(
            "INSERT INTO urls(url, title, visit_count, last_visit_time) VALUES(?1,'',1,1)",
            [url],
        )
    })
}

/// `state.vscdb` of Visual Studio Code and its forks.
///
/// # Errors
/// SQLite's.
pub fn vscode_state(secret: &str, kept: &str) -> Result<Vec<u8>> {
    let table = "CREATE TABLE ItemTable(key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB);";
    database(table, |db| {
        db.execute("INSERT INTO ItemTable VALUES('workbench.panel.position', ?1)", [kept])?;
        let key = r#"secret://{"extensionId":"vscode.github-authentication","key":"github.auth"}"#;
        db.execute("INSERT INTO ItemTable VALUES(?1, ?2)", [key, secret])
    })
}

/// Firefox's `cookies.sqlite`.
///
/// # Errors
/// SQLite's.
pub fn firefox_cookies(secret: &str) -> Result<Vec<u8>> {
    database(FIREFOX_COOKIES, |db| db.execute(INSERT_FIREFOX_COOKIE, [secret]))
}

/// Firefox's `cookies.sqlite` and its write-ahead log, with the secret in the log alone: what a
/// killed Firefox leaves.
///
/// # Errors
/// SQLite's.
pub fn firefox_cookies_in_log(secret: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("db");
    let db = Connection::open(&path)?;
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;")?;
    db.execute_batch(FIREFOX_COOKIES)?;
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
    db.execute(INSERT_FIREFOX_COOKIE, [secret])?;
    // Copied while it is open: closing would write the log back.
    Ok((std::fs::read(&path)?, std::fs::read(dir.path().join("db-wal"))?))
}

/// The `data.sqlite` of a site's localStorage in Firefox.
///
/// # Errors
/// SQLite's.
pub fn firefox_storage(secret: &str) -> Result<Vec<u8>> {
    let tables = "
        CREATE TABLE database(origin TEXT NOT NULL, usage INTEGER NOT NULL DEFAULT 0,
          last_vacuum_time INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE data(key TEXT PRIMARY KEY, utf16_length INTEGER NOT NULL,
          conversion_type INTEGER NOT NULL, compression_type INTEGER NOT NULL,
          last_access_time INTEGER NOT NULL DEFAULT 0, value BLOB NOT NULL);";
    database(tables, |db| {
        let length = secret.len().to_string();
        db.execute(
            "INSERT INTO data VALUES('token', ?1, 1, 0, 0, CAST(?2 AS BLOB))",
            (length, secret),
        )
    })
}

/// Firefox's `sessionstore.jsonlz4`, with a session cookie in it.
#[must_use]
pub fn session_store(secret: &str) -> Vec<u8> {
    let cookie = json!({ "host": "corp.example", "name": "sid", "value": secret, "path": "/" });
    let entry = json!({ "url": "https://corp.example/inbox", "title": "Inbox" });
    let store = json!({
        "version": ["sessionrestore", 1],
        "windows": [{ "tabs": [{ "entries": [entry], "index": 1 }], "selected": 1 }],
        "cookies": [cookie],
    });
    let text = store.to_string();
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    [MOZ_LZ4.as_slice(), &length, &lz4_flex::block::compress(text.as_bytes())].concat()
}

/// `profiles.ini` with one profile.
#[must_use]
pub fn profiles_ini(path: &str, relative: bool) -> String {
    let relative = u8::from(relative);
    format!(
        "[General]\nStartWithLastProfile=1\nVersion=2\n\n[Profile0]\nName=default\n\
         IsRelative={relative}\nPath={path}\nDefault=1\n"
    )
}

/// `prefs.js`, with a preference to be kept.
#[must_use]
pub fn prefs_js() -> &'static str {
    "user_pref(\"browser.startup.homepage\", \"https://kept-preference.example/\");\n"
}

/// `places.sqlite`, with a bookmark to be kept.
///
/// # Errors
/// SQLite's.
pub fn places() -> Result<Vec<u8>> {
    let tables = "
        CREATE TABLE moz_places(id INTEGER PRIMARY KEY, url LONGVARCHAR, title LONGVARCHAR);
        CREATE TABLE moz_bookmarks(id INTEGER PRIMARY KEY, type INTEGER, fk INTEGER, title TEXT);
        INSERT INTO moz_places VALUES(1, 'https://kept-bookmark.example/', 'Handbook');";
    database(tables, |db| db.execute("INSERT INTO moz_bookmarks VALUES(1, 1, 1, 'Handbook')", []))
}

/// `Local State`, naming profiles.
#[must_use]
pub fn local_state(profiles: &[&str]) -> String {
    let info: serde_json::Map<_, _> =
        profiles.iter().map(|name| ((*name).to_owned(), json!({ "name": name }))).collect();
    json!({ "profile": { "info_cache": info, "last_used": profiles.first() } }).to_string()
}

/// `Preferences`, with something to be kept.
#[must_use]
pub fn preferences() -> String {
    json!({ "homepage": "https://kept-preference.example/" }).to_string()
}

/// `Preferences` with the browser's own account in it.
#[must_use]
pub fn preferences_with_account(secret: &str) -> String {
    json!({
        "homepage": "https://kept-preference.example/",
        "account_info": [{ "account_id": secret, "email": "alice@corp.example" }],
        "google": { "services": { "account_id": secret, "signin": { "allowed": true } } },
    })
    .to_string()
}

/// Chromium's `Bookmarks`.
#[must_use]
pub fn bookmarks() -> String {
    let mark =
        json!({ "type": "url", "name": "Handbook", "url": "https://kept-bookmark.example/" });
    json!({ "roots": { "bookmark_bar": { "children": [mark], "type": "folder" } }, "version": 1 })
        .to_string()
}

/// A session file: `SNSS`, its version, one command.
#[must_use]
pub fn snss(secret: &str) -> Vec<u8> {
    let address: Vec<u8> = format!("https://corp.example/inbox#{secret}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let size = u16::try_from(address.len() + 1).unwrap_or(u16::MAX);
    [b"SNSS".as_slice(), &3_i32.to_le_bytes(), &size.to_le_bytes(), &[6], &address].concat()
}

/// A LevelDB log with one write: a record header, then a batch of one value.
#[must_use]
pub fn leveldb_log(key: &[u8], value: &[u8]) -> Vec<u8> {
    let short = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(0x7f) & 0x7f;
    let mut batch = [1_u64.to_le_bytes().as_slice(), &1_u32.to_le_bytes(), &[1]].concat();
    batch.push(short(key));
    batch.extend(key);
    batch.push(short(value) + 1);
    batch.push(1);
    batch.extend(value);
    let size = u16::try_from(batch.len()).unwrap_or(u16::MAX).to_le_bytes();
    let sum = crc32c(&[[1].as_slice(), &batch].concat());
    let masked = sum.rotate_right(15).wrapping_add(0xa282_ead8);
    [masked.to_le_bytes().as_slice(), &size, &[1], &batch].concat()
}

/// CRC-32C (RFC 3720, appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(!0_u32, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

fn database(
    tables: &str,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("db");
    let db = Connection::open(&path)?;
    db.execute_batch(tables)?;
    fill(&db)?;
    db.close().map_err(|(_, error)| error)?;
    Ok(std::fs::read(&path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_as_the_standard_does() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_log_alone_holds_the_cookie_of_a_killed_firefox() {
        let (main, log) = firefox_cookies_in_log("secret-in-the-log").unwrap();
        let holds = |bytes: &[u8]| bytes.windows(17).any(|part| part == b"secret-in-the-log");
        assert!(!holds(&main) && holds(&log));
    }
}
