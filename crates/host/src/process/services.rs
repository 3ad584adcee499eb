//! The services that systemd runs for an account (org.freedesktop.systemd1(5)): which one a process is
//! the main process of, and stopping it.
//!
//! It refuses a service of another account's manager, and one of the machine's.

use std::io;

use exeunt_engine::ports::Service;
use zbus::zvariant::OwnedValue;

use super::proc::{Pinned, is_trusted_program};
use crate::keychain::SessionBus;
use crate::locker::bus::{Bus, BusError};
use crate::users::Account;

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";

/// The service that the account's manager started as this process.
pub(super) fn of(process: &Pinned, uid: u32) -> io::Result<Option<Service>> {
    let groups = process.read("cgroup")?.unwrap_or_default();
    let Some(service) = unit_in(&String::from_utf8_lossy(&groups), uid) else { return Ok(None) };
    let Some(stat) = process.stat()? else { return Ok(None) };
    let Some(manager) = Pinned::open(stat.parent)? else { return Ok(None) };
    let is_manager = manager.exe_is_roots() && is_trusted_program(&manager.exe(), &["systemd"]);
    Ok(is_manager.then_some(service))
}

/// Stops a service: its processes are told to end, and it is not started again.
pub(super) fn stop(service: &Service, uid: u32) -> io::Result<()> {
    let account = Account::of_uid(uid).map_err(io::Error::other)?;
    let bus = SessionBus::parse(&format!("unix:path=/run/user/{uid}/bus"));
    let bus = bus.map_err(|error| io::Error::other(error.to_string()))?;
    let name = service.0.clone();
    let stopped = Bus::Session(bus, account).ask(SERVICE, move |connection| {
        let manager = Some(MANAGER_INTERFACE);
        let arguments = (name, "replace");
        connection.call_method(Some(SERVICE), MANAGER, manager, "StopUnit", &arguments)?;
        Ok(())
    });
    stopped.map_err(io::Error::other)
}

/// What a manager gives to what it starts, each as `NAME=VALUE`.
///
/// # Errors
/// [`BusError`]; there is no manager, mostly.
pub(crate) fn environment(bus: &Bus) -> Result<Vec<String>, BusError> {
    bus.ask(SERVICE, |connection| {
        let properties = Some("org.freedesktop.DBus.Properties");
        let asked = (MANAGER_INTERFACE, "Environment");
        let answer = connection.call_method(Some(SERVICE), MANAGER, properties, "Get", &asked)?;
        let value: OwnedValue = answer.body().deserialize()?;
        Ok(value.try_into().map_err(zbus::Error::from)?)
    })
}

/// The innermost service of the account's manager in a text of `/proc/PID/cgroup`.
fn unit_in(groups: &str, uid: u32) -> Option<Service> {
    let manager = format!("/user@{uid}.service/");
    let path = groups.lines().find_map(|line| Some(line.split_once(&manager)?.1))?;
    let unit = path.rsplit('/').next().filter(|unit| unit.ends_with(".service"))?;
    Some(Service(unit.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_of_the_accounts_own_manager() {
        let user = "4:memory:/x\n1:name=systemd:/user.slice/user-7.slice/user@7.service/app.slice/a.service\n";
        assert_eq!(unit_in(user, 7), Some(Service("a.service".into())));
        assert_eq!(unit_in(user, 8), None);
        for other in [
            "0::/system.slice/cron.service",
            "0::/user.slice/user-7.slice/session-2.scope",
            "0::/user.slice/user-7.slice/user@7.service/init.scope",
            "0::/user.slice/user-7.slice/user@7.service/app.slice/app-x-1.scope",
        ] {
            assert_eq!(unit_in(other, 7), None, "{other}");
        }
    }
}
