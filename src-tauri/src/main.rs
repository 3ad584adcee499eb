//! exeunt-tray: the tray and its windows.
//!
//! It refuses to run without a desktop, and to contain anything itself: it asks the warden.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

#[cfg(target_os = "linux")]
mod curtain;
mod icon;
mod link;
mod model;
mod plan;
mod record;
mod run;
mod tray;
mod view;
mod window;
mod words;

/// The tray of this desktop session: who is signed in, and the way out everywhere.
#[derive(Debug, Parser)]
#[command(name = "exeunt-tray", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open the window; the process ends when it is closed.
    Window {
        /// Which screen to open.
        #[arg(long, value_enum, default_value_t = Screen::Status)]
        screen: Screen,
        /// Come forward for each line on standard input.
        #[arg(long, hide = true)]
        listen: bool,
    },
    /// Hang the kiosk curtain over the screen (X11). No password opens it: the warden takes it away
    /// when root begins a new session here.
    #[cfg(target_os = "linux")]
    Curtain,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Screen {
    /// Who is signed in.
    Status,
    /// What a sign-out would do.
    Preview,
}

impl From<Screen> for view::Start {
    fn from(screen: Screen) -> Self {
        match screen {
            Screen::Status => view::Start::Status,
            Screen::Preview => view::Start::Preview,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    prefer_plain_rendering(args.command.as_ref());
    if !has_desktop() {
        eprintln!(
            "exeunt-tray: no desktop: neither DISPLAY nor WAYLAND_DISPLAY is set. \
             In a terminal, use: exeunt status"
        );
        return ExitCode::FAILURE;
    }
    let ended = match args.command {
        None => tray::run(),
        Some(Command::Window { screen, listen }) => window::run(screen.into(), listen),
        #[cfg(target_os = "linux")]
        Some(Command::Curtain) => curtain::run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exeunt-tray: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The page, its policy and its capability, as built in.
fn context() -> tauri::Context {
    tauri::generate_context!()
}

/// What GTK and WebKit read from the environment, unless somebody chose already. Without a GPU the
/// DMABUF renderer costs 50 MB and, under some X servers, the picture. An icon without a window
/// needs no GL, nor does the curtain, and a software GL brings 50 MB of compiler along.
fn prefer_plain_rendering(command: Option<&Command>) {
    set_unless_chosen("WEBKIT_DISABLE_DMABUF_RENDERER", "1");
    if !matches!(command, Some(Command::Window { .. })) {
        set_unless_chosen(NO_GL, "disable");
    }
}

/// The variable by which GTK is kept from GL; a window's process does without it.
const NO_GL: &str = "GDK_GL";

fn set_unless_chosen(name: &str, value: &str) {
    if std::env::var_os(name).is_none() {
        // SAFETY: main has started no thread yet, so nothing reads the environment meanwhile.
        #[expect(unsafe_code, reason = "GTK and WebKit read this from the environment only")]
        unsafe {
            std::env::set_var(name, value);
        }
    }
}

fn has_desktop() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(not(target_os = "linux")) || set("DISPLAY") || set("WAYLAND_DISPLAY")
}
