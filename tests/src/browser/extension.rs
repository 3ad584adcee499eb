//! The rig's extension: it remembers when it was born and shows that to the page.
//!
//! It refuses every page but the site's.

use std::io::{Cursor, Write as _};

use anyhow::Result;
use serde_json::{Value, json};

/// Its id in Firefox.
pub(super) const FIREFOX_ID: &str = "rig@exeunt.example";

// Restored tabs run it at the same time, hence the lock.
const SCRIPT: &str = r#""use strict";
navigator.locks.request("born", () => new Promise((done) => {
  chrome.storage.local.get("born", (kept) => {
    const born = kept.born || crypto.randomUUID();
    chrome.storage.local.set({ born }, () => {
      document.documentElement.dataset.extension = born;
      done();
    });
  });
}));
"#;

/// Its files: names and contents.
pub(super) fn files(manifest_version: u8) -> [(&'static str, String); 2] {
    [("manifest.json", manifest(manifest_version).to_string()), ("content.js", SCRIPT.to_owned())]
}

/// Its files as Firefox wants them, unsigned.
pub(super) fn xpi() -> Result<Vec<u8>> {
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files(2) {
        archive.start_file(name, stored)?;
        archive.write_all(content.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

fn manifest(version: u8) -> Value {
    let mut manifest = json!({
        "manifest_version": version,
        "name": "Rig",
        "version": "1.0",
        "permissions": ["storage"],
        "content_scripts": [{
            "matches": ["http://localhost/*"],
            "js": ["content.js"],
            "run_at": "document_start",
        }],
    });
    if version == 2 {
        manifest["browser_specific_settings"] = json!({ "gecko": { "id": FIREFOX_ID } });
    }
    manifest
}
