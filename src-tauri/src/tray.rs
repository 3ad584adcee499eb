//! The tray process: an icon, a menu, no window. Windows are children that exit when closed.
//!
//! It refuses to hold what a window holds: no page, no plan, no receipt.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use exeunt_domain::receipt::LockReport;
use exeunt_ipc::Sockets;
use exeunt_ipc::message::WardenStatus;
use tauri::menu::{Menu, MenuItem, PredefinedMenuItem};
use tauri::tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent};
use tauri::{AppHandle, RunEvent, Wry};

use crate::icon::Mark;
use crate::link::{self, AskError};
use crate::model::{latest_session, person, reaches_everywhere};
use crate::view::Start;
use crate::words::word;

/// How often the warden is asked how things stand.
const REFRESH: Duration = Duration::from_secs(5);

/// Shows the icon until "Quit" is chosen.
///
/// # Errors
/// When there is no desktop to show it on.
pub(crate) fn run() -> anyhow::Result<()> {
    let app = tauri::Builder::default()
        .setup(|app| {
            let handle = app.handle().clone();
            thread::spawn(move || appear(&handle));
            Ok(())
        })
        .build(crate::context())
        .context("the tray could not be started")?;
    app.run(|_, event| {
        // The last window is not the end of the tray: it has none.
        if let RunEvent::ExitRequested { code: None, api, .. } = event {
            api.prevent_exit();
        }
    });
    Ok(())
}

/// The icon and the two lines of its menu that change.
struct Shown {
    icon: TrayIcon,
    line: MenuItem<Wry>,
    everywhere: MenuItem<Wry>,
}

/// Shows the icon as soon as the desktop has a place for it: at sign-in a panel may start later than
/// this process, and some desktops have none until an extension is switched on.
fn appear(app: &AppHandle) {
    let mut told = false;
    let shown = loop {
        match on_main_thread(app, show) {
            Ok(shown) => break shown,
            Err(error) if told => drop(error),
            Err(error) => {
                eprintln!(
                    "exeunt-tray: no place for an icon yet, waiting for one ({error}). \
                     The window opens without it: exeunt-tray window"
                );
                told = true;
            }
        }
        thread::sleep(REFRESH);
    };
    watch(&shown);
}

/// Icons and menus belong to the main thread.
fn on_main_thread<T: Send + 'static>(
    app: &AppHandle,
    make: fn(&AppHandle) -> tauri::Result<T>,
) -> anyhow::Result<T> {
    let (made, result) = channel();
    let handle = app.clone();
    app.run_on_main_thread(move || {
        // The receiver waits below for as long as this closure can run.
        let _ = made.send(make(&handle));
    })?;
    Ok(result.recv()??)
}

fn show(app: &AppHandle) -> tauri::Result<Shown> {
    let item = |id: &str, words: String, enabled: bool| {
        MenuItem::with_id(app, id, words, enabled, None::<&str>)
    };
    let line = item("status", word("status.asking", ""), false)?;
    let everywhere = item("everywhere", word("status.everywhere", ""), true)?;
    let menu = Menu::with_items(
        app,
        &[
            &line,
            &PredefinedMenuItem::separator(app)?,
            &everywhere,
            &item("lock", word("status.lock", ""), true)?,
            &item("open", word("tray.open", ""), true)?,
            &PredefinedMenuItem::separator(app)?,
            &item("quit", word("tray.quit", ""), true)?,
        ],
    )?;
    let window = Arc::new(Window::default());
    let by_menu = Arc::clone(&window);
    let first_line = line.clone();
    let icon = TrayIconBuilder::with_id("exeunt")
        .icon(Mark::Unknown.image())
        .tooltip(word("app.name", ""))
        .menu(&menu)
        .show_menu_on_left_click(false)
        .on_menu_event(move |app, event| chosen(app, event.id().as_ref(), &by_menu, &first_line))
        .on_tray_icon_event(move |_, event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                window.show(Start::Status);
            }
        })
        .build(app)?;
    Ok(Shown { icon, line, everywhere })
}

fn chosen(app: &AppHandle, id: &str, window: &Arc<Window>, line: &MenuItem<Wry>) {
    match id {
        "everywhere" => window.show(Start::Preview),
        "open" => window.show(Start::Status),
        "lock" => {
            let line = line.clone();
            thread::spawn(move || lock(&line));
        }
        "quit" => app.exit(0),
        _ => {}
    }
}

/// Locks, and says in the menu's first line what was seen.
fn lock(line: &MenuItem<Wry>) {
    let words = match link::lock(&Sockets::here()) {
        Ok(LockReport::Proved { .. }) => word("tray.lock.proved", ""),
        Ok(LockReport::NotProved { .. } | LockReport::NotAsked) => word("tray.lock.not-proved", ""),
        Err(_) => word("tray.lock.refused", ""),
    };
    // A menu that is gone needs no words.
    let _ = line.set_text(words);
}

fn watch(shown: &Shown) {
    let mut last = None;
    loop {
        let now = look(&link::status(&Sockets::here()));
        if last.as_ref() != Some(&now) {
            // The tray is going away when these fail, and so is this thread.
            let _ = shown.icon.set_icon(Some(now.mark.image()));
            let _ = shown.icon.set_tooltip(Some(&now.line));
            let _ = shown.line.set_text(&now.line);
            let _ = shown.everywhere.set_text(&now.button);
            last = Some(now);
        }
        thread::sleep(REFRESH);
    }
}

/// What icon and menu tell.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    mark: Mark,
    line: String,
    button: String,
}

fn look(status: &Result<WardenStatus, AskError>) -> Look {
    let Ok(status) = status else {
        return Look {
            mark: Mark::Unknown,
            line: word("warden.unreachable", ""),
            button: word("status.everywhere", ""),
        };
    };
    let session = latest_session(status);
    let everywhere = reaches_everywhere(status);
    let button = word(if everywhere { "status.everywhere" } else { "status.here_only" }, "");
    let (mark, line) = match (&status.running, session) {
        (Some(_), _) => (Mark::Closing, word("tray.closing", "")),
        (None, Some(session)) => (Mark::Normal, word("tray.signed_in", &person(&session.subject))),
        (None, None) if status.returned.is_some() => (Mark::Unknown, word("tray.came_back", "")),
        (None, None) => (Mark::Closed, word("status.nobody", "")),
    };
    Look { mark, line, button }
}

/// The one window process, if it is open.
#[derive(Default)]
struct Window {
    pipe: Mutex<Option<ChildStdin>>,
}

impl Window {
    /// Opens the window for `start`, or brings the open one forward.
    fn show(self: &Arc<Self>, start: Start) {
        let screen = match start {
            Start::Status => "status",
            Start::Preview => "preview",
        };
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = pipe.as_mut()
            && writeln!(open, "{screen}").is_ok()
        {
            return;
        }
        match spawn(screen) {
            Ok(mut child) => {
                *pipe = child.stdin.take();
                let window = Arc::clone(self);
                thread::spawn(move || window.forget(child));
            }
            Err(error) => eprintln!("exeunt-tray: {error:#}"),
        }
    }

    /// Waits for the window's end, so that no zombie stays and the next call opens a new one.
    fn forget(&self, mut child: Child) {
        // A child that cannot be waited for is one that has been reaped already.
        let _ = child.wait();
        *self.pipe.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn spawn(screen: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program's own file")?;
    Command::new(program)
        .env_remove(crate::NO_GL)
        .args(["window", "--listen", "--screen", screen])
        .stdin(Stdio::piped())
        .spawn()
        .context("the window could not be started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{TXN, status};

    #[test]
    fn says_who_is_inside_and_how_far_the_button_reaches() {
        let look = look(&Ok(status()));
        assert_eq!(look.mark, Mark::Normal);
        assert_eq!(look.line, "alice@corp.example is signed in here");
        assert_eq!(look.button, "Sign out everywhere…");
    }

    #[test]
    fn without_a_hub_the_button_promises_this_device_only() {
        let mut alone = status();
        alone.hub = None;
        assert_eq!(look(&Ok(alone)).button, "Sign out here…");
    }

    #[test]
    fn a_close_under_way_and_an_empty_console_have_their_own_shapes() {
        let mut closing = status();
        closing.running = Some(TXN.parse().unwrap());
        assert_eq!(look(&Ok(closing)).mark, Mark::Closing);
        let mut empty = status();
        empty.sessions.clear();
        assert_eq!(look(&Ok(empty)).mark, Mark::Closed);
    }

    #[test]
    fn a_store_that_came_back_is_said_and_not_shown_as_closed() {
        let mut back = status();
        back.sessions.clear();
        back.returned = Some(Box::new(exeunt_ipc::message::Returned {
            at: crate::model::fixtures::NOW,
            after: TXN.parse().unwrap(),
            stores: vec![],
            contained: None,
            detail: None,
        }));
        let look = look(&Ok(back));
        assert_eq!(look.mark, Mark::Unknown);
        assert_eq!(look.line, "A session store came back after the sign-out");
    }

    #[test]
    fn a_warden_that_does_not_answer_is_unknown_and_never_closed() {
        assert_eq!(look(&Err(AskError::Mismatch)).mark, Mark::Unknown);
    }
}
