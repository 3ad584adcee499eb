//! The window process: one page, one link, gone when it is closed.
//!
//! It refuses to decide: the page asks for what the warden may grant, and nothing else is reachable.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use anyhow::Context as _;
use exeunt_ipc::Sockets;
use tauri::{AppHandle, Emitter, Manager, State, WebviewUrl, WebviewWindow, WebviewWindowBuilder};

use crate::link::Link;
use crate::view::{Start, View};

const LABEL: &str = "main";

/// Opens the window and returns when it is closed. With `listen`, lines on standard input bring it
/// forward: the tray speaks so to a window that is already open.
///
/// # Errors
/// When the window cannot be made.
pub(crate) fn run(start: Start, listen: bool) -> anyhow::Result<()> {
    tauri::Builder::default()
        .invoke_handler(tauri::generate_handler![
            view,
            ask_preview,
            sign_out,
            lock,
            retry,
            save_receipt,
            close_window
        ])
        .setup(move |app| {
            let (views, shown) = channel();
            let link = Link::open(Sockets::here(), start, move |view| {
                // A send fails only when the window is going away.
                let _ = views.send(view);
            });
            let handle = app.handle().clone();
            thread::spawn(move || show(&handle, &shown));
            app.manage(Arc::clone(&link));
            let window = open(app.handle())?;
            if listen {
                thread::spawn(move || obey(&link, &window));
            }
            Ok(())
        })
        .run(crate::context())
        .context("the window could not be opened")
}

fn open(app: &AppHandle) -> tauri::Result<WebviewWindow> {
    WebviewWindowBuilder::new(app, LABEL, WebviewUrl::App("index.html".into()))
        .title("Exeunt")
        .inner_size(360.0, 560.0)
        .min_inner_size(280.0, 320.0)
        .on_navigation(|url| {
            // The page never leaves itself; only a development build fetches it from a server.
            url.scheme() == "tauri"
                || url.host_str() == Some("tauri.localhost")
                || cfg!(not(feature = "custom-protocol"))
        })
        .build()
}

/// Hands views to the page in their order, on a thread that holds nothing the page's own commands
/// could wait for.
fn show(app: &AppHandle, views: &Receiver<View>) {
    for view in views {
        // An emit fails only when the window is going away.
        let _ = app.emit_to(LABEL, "view", view);
    }
}

/// Brings the window forward for each line of standard input; ends with it.
fn obey(link: &Link, window: &WebviewWindow) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        link.summon(if line == "preview" { Start::Preview } else { Start::Status });
        // A window that cannot take the focus is still there to be found.
        let _ = window.unminimize();
        let _ = window.set_focus();
    }
}

#[tauri::command]
fn view(link: State<'_, Arc<Link>>) -> View {
    link.view()
}

#[tauri::command]
fn ask_preview(link: State<'_, Arc<Link>>) {
    link.ask_preview();
}

#[tauri::command]
fn sign_out(link: State<'_, Arc<Link>>) {
    link.sign_out();
}

#[tauri::command]
fn lock(link: State<'_, Arc<Link>>) {
    link.lock();
}

#[tauri::command]
fn retry(link: State<'_, Arc<Link>>) {
    link.refresh_soon();
}

#[tauri::command]
fn close_window(app: AppHandle) {
    app.exit(0);
}

/// Writes the signed record into the person's downloads, else their home, readable by them alone.
#[tauri::command]
fn save_receipt(app: AppHandle, link: State<'_, Arc<Link>>) -> Result<String, SaveError> {
    let (name, compact) = link.receipt().ok_or(SaveError::NoReceipt)?;
    let dir = app
        .path()
        .download_dir()
        .ok()
        .filter(|dir| dir.is_dir())
        .or_else(|| app.path().home_dir().ok())
        .ok_or(SaveError::NoPlace)?;
    write_new(dir.join(&name), compact.as_bytes())?;
    let folder = dir.file_name().map(|folder| folder.to_string_lossy().into_owned());
    Ok(folder.map_or_else(|| name.clone(), |folder| format!("{folder}/{name}")))
}

fn write_new(path: PathBuf, bytes: &[u8]) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(bytes),
        // Saved before: the same receipt has the same name and the same bytes.
        Err(_) if std::fs::read(&path).is_ok_and(|saved| saved == bytes) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Why a receipt could not be saved.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    /// None has come.
    #[error("there is no receipt yet")]
    NoReceipt,
    /// Neither a downloads folder nor a home.
    #[error("this account has no folder for it")]
    NoPlace,
    /// The file could not be written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl serde::Serialize for SaveError {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
