//! Checks the page, the capability and the commands at build time.
//!
//! It refuses to build without the page, and says how to make it.

use std::path::Path;

fn main() {
    let page = Path::new("../ui/dist/tray/index.html");
    if std::env::var_os("CARGO_FEATURE_CUSTOM_PROTOCOL").is_some() && !page.is_file() {
        println!("cargo::error=ui/dist/tray is missing: run `npm ci && npm run build` in ui/");
        return;
    }
    let commands =
        &["view", "ask_preview", "sign_out", "lock", "retry", "save_receipt", "close_window"];
    let manifest = tauri_build::AppManifest::new().commands(commands);
    if let Err(error) =
        tauri_build::try_build(tauri_build::Attributes::new().app_manifest(manifest))
    {
        println!("cargo::error={error:#}");
    }
}
