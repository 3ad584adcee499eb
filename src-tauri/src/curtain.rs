//! The kiosk curtain: one window over every monitor of an X server, with keyboard and pointer held.
//!
//! It refuses to open for anything that is typed, and to show a name, a place or a reason: whoever
//! stands before it may be anybody. The warden ends it, or the session does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use gtk::gdk::{self, GrabStatus, SeatCapabilities, VisibilityState};
use gtk::glib::{self, ControlFlow, Propagation};
use gtk::prelude::*;

use crate::icon::Mark;
use crate::words::word;

/// Another client may hold the keyboard for a moment, and nothing tells when it lets go.
const GRAB_AGAIN: Duration = Duration::from_millis(10);
/// Side of the mark at 96 dots per inch, in pixels.
const MARK: f64 = 48.0;
/// Its empty edge, as a share of its grid: the words stand flush with what is drawn.
const EDGE: f64 = 0.125;
/// The dots per inch that sizes are meant for.
const PLAIN_DPI: f64 = 96.0;
/// How wide the words may run, in characters.
const COLUMN: i32 = 44;

/// The colours of `ui/src/tokens.css`: canvas, ink, second ink, edge.
const LIGHT: [&str; 4] = ["#f4f6f8", "#14202b", "#4a5966", "#76848f"];
const DARK: [&str; 4] = ["#0f151b", "#e8edf2", "#a5b3bf", "#72838f"];

/// Hangs the curtain. It returns when the X server is gone.
///
/// # Errors
/// When there is no X server to hang it before.
pub(crate) fn run() -> anyhow::Result<()> {
    gdk::set_allowed_backends("x11");
    gtk::init().context("the curtain needs an X server")?;
    let screen = gdk::Screen::default().context("the display has no screen")?;
    let Some(root) = screen.root_window() else { bail!("the screen has no root window") };
    dress(&screen)?;
    // A popup is no concern of a window manager's: it can neither move nor close it.
    let window = gtk::Window::new(gtk::WindowType::Popup);
    window.set_title(&word("curtain.sentence", ""));
    window.style_context().add_class("curtain");
    window.add_events(gdk::EventMask::VISIBILITY_NOTIFY_MASK);
    window.connect_key_press_event(|_, _| Propagation::Stop);
    window.connect_delete_event(|_, _| Propagation::Stop);
    window.connect_event(|window, event| {
        let seen = event.downcast_ref::<gdk::EventVisibility>();
        if seen.is_some_and(|event| event.state() != VisibilityState::Unobscured)
            && let Some(own) = window.window()
        {
            own.raise();
        }
        Propagation::Proceed
    });
    window.connect_map_event(|window, _| {
        hold(window);
        Propagation::Proceed
    });
    window.connect_grab_broken_event(|window, _| {
        hold(window);
        Propagation::Proceed
    });
    let hung = Rc::new(RefCell::new(None));
    hang(&window, &screen, &root, &hung);
    let changed = window.clone();
    screen.connect_size_changed(move |screen| hang(&changed, screen, &root, &hung));
    window.show_all();
    gtk::main();
    Ok(())
}

/// Takes keyboard and pointer, as soon as nobody else has them.
fn hold(window: &gtk::Window) {
    if grab(window) {
        return;
    }
    let window = window.clone();
    glib::timeout_add_local(GRAB_AGAIN, move || match grab(&window) {
        true => ControlFlow::Break,
        false => ControlFlow::Continue,
    });
}

fn grab(window: &gtk::Window) -> bool {
    let (Some(own), Some(seat)) =
        (window.window(), gdk::Display::default().and_then(|display| display.default_seat()))
    else {
        return false;
    };
    seat.grab(&own, SeatCapabilities::ALL, false, None, None, None) == GrabStatus::Success
}

/// Lays the window over the whole screen, and the words before every monitor.
fn hang(
    window: &gtk::Window,
    screen: &gdk::Screen,
    root: &gdk::Window,
    hung: &RefCell<Option<gtk::Fixed>>,
) {
    let (width, height) = (root.width(), root.height());
    window.move_(0, 0);
    window.set_size_request(width, height);
    window.resize(width, height);
    if let Some(old) = hung.take() {
        window.remove(&old);
    }
    let all = gtk::Fixed::new();
    let display = screen.display();
    for monitor in (0..display.n_monitors()).filter_map(|number| display.monitor(number)) {
        let place = monitor.geometry();
        let words = words(screen);
        words.set_size_request(place.width(), place.height());
        all.put(&words, place.x(), place.y());
    }
    window.add(&all);
    all.show_all();
    hung.replace(Some(all));
}

fn words(screen: &gdk::Screen) -> gtk::Box {
    let column = gtk::Box::new(gtk::Orientation::Vertical, 0);
    column.set_valign(gtk::Align::Fill);
    let middle = gtk::Box::new(gtk::Orientation::Vertical, 0);
    middle.set_halign(gtk::Align::Center);
    middle.set_valign(gtk::Align::Center);
    middle.add(&mark(screen));
    for (class, text) in [
        ("sentence", word("curtain.sentence", "")),
        ("reason", word("curtain.reason", "")),
        ("action", word("curtain.action", "")),
    ] {
        middle.add(&label(class, &text));
    }
    if let Ok(now) = glib::DateTime::now_local().and_then(|now| now.format("%H:%M")) {
        middle.add(&label("since", &word("curtain.since", &now)));
    }
    column.pack_start(&middle, true, true, 0);
    column
}

fn label(class: &str, text: &str) -> gtk::Label {
    let label = gtk::Label::new(Some(text));
    label.style_context().add_class(class);
    label.set_line_wrap(true);
    label.set_max_width_chars(COLUMN);
    label.set_xalign(0.0);
    label.set_halign(gtk::Align::Start);
    label
}

/// The mark of a device that nobody is inside.
fn mark(screen: &gdk::Screen) -> gtk::DrawingArea {
    let dpi = screen.resolution();
    let side = MARK * if dpi > 0.0 { dpi / PLAIN_DPI } else { 1.0 };
    let area = gtk::DrawingArea::new();
    area.style_context().add_class("mark");
    #[expect(clippy::cast_possible_truncation, reason = "a size on a screen")]
    let pixels = side.round() as i32;
    area.set_size_request(pixels, pixels);
    area.set_halign(gtk::Align::Start);
    area.set_margin_bottom(pixels / 2);
    area.connect_draw(move |area, context| {
        let colour = area.style_context().color(gtk::StateFlags::NORMAL);
        context.set_source_rgba(colour.red(), colour.green(), colour.blue(), colour.alpha());
        let at = |share: f64| side * (share - EDGE) / (1.0 - 2.0 * EDGE);
        for [left, top, right, bottom] in Mark::Closed.parts().map(|part| part.map(at)) {
            context.rectangle(left, top, right - left, bottom - top);
        }
        if let Err(error) = context.fill() {
            eprintln!("exeunt-tray: the mark: {error}");
        }
        Propagation::Proceed
    });
    area
}

/// Whether the person's theme is, however it was chosen.
fn is_dark(plain: &gtk::Window) -> bool {
    let ground = plain.style_context().lookup_color("theme_bg_color");
    ground.is_some_and(|ground| ground.red() + ground.green() + ground.blue() < 1.5)
}

fn dress(screen: &gdk::Screen) -> anyhow::Result<()> {
    let dark = is_dark(&gtk::Window::new(gtk::WindowType::Popup));
    let [canvas, ink, second, edge] = if dark { DARK } else { LIGHT };
    // Points, not pixels: they follow the dots per inch that the person chose.
    let style = format!(
        ".curtain {{ background: {canvas}; color: {ink}; }}
        .curtain .mark {{ color: {edge}; }}
        .curtain .sentence {{ font-size: 24pt; font-weight: 600; margin-bottom: 9pt; }}
        .curtain .reason {{ font-size: 13pt; color: {second}; margin-bottom: 6pt; }}
        .curtain .action {{ font-size: 13pt; margin-bottom: 18pt; }}
        .curtain .since {{ font-size: 10pt; color: {second}; }}"
    );
    let provider = gtk::CssProvider::new();
    provider.load_from_data(style.as_bytes()).context("the curtain's style")?;
    gtk::StyleContext::add_provider_for_screen(
        screen,
        &provider,
        gtk::STYLE_PROVIDER_PRIORITY_USER + 1,
    );
    Ok(())
}
