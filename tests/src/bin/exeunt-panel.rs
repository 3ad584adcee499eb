//! Stands in for a desktop's panel: the place where tray icons announce themselves
//! (<https://www.freedesktop.org/wiki/Specifications/StatusNotifierItem/StatusNotifierWatcher/>).
//!
//! It refuses to draw them: what matters is that a tray finds a panel, as on most desktops.

use std::io::Write as _;

use anyhow::Result;
use zbus::blocking::MessageIterator;
use zbus::blocking::connection::Builder;

const NAME: &str = "org.kde.StatusNotifierWatcher";

#[derive(Default)]
struct Watcher {
    items: Vec<String>,
}

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&mut self, service: String) {
        self.items.push(service);
    }

    fn register_status_notifier_host(&self, _service: String) {}

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        self.items.clone()
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

fn main() -> Result<()> {
    let watcher = Watcher::default();
    let panel =
        Builder::session()?.name(NAME)?.serve_at("/StatusNotifierWatcher", watcher)?.build()?;
    println!("ready");
    std::io::stdout().flush()?;
    // Until the bus goes away, or somebody ends this.
    for message in MessageIterator::from(panel) {
        message?;
    }
    Ok(())
}
