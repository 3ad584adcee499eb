//! How many devices were ordered to close within an hour, by each actor and in all.
//!
//! It refuses to count orders: a hundred orders to one device reach one device.

use std::collections::HashSet;

use exeunt_domain::DeviceId;
use rusqlite::params;

use super::{Stop, Work};
use crate::store::Refused;
use crate::store::command::DeviceLimit;

const HOUR_MS: u64 = 3_600_000;

/// Counts `devices` for `actor`, unless that would be more than the limit allows.
///
/// # Errors
/// [`Refused::TooManyDevices`].
pub(super) fn admit(
    work: &Work<'_>,
    actor: &str,
    devices: &[DeviceId],
    limit: &DeviceLimit,
) -> Result<(), Stop> {
    if devices.is_empty() || *limit == DeviceLimit::NONE {
        return Ok(());
    }
    let over = work.now.0.saturating_sub(HOUR_MS);
    let (mut own, mut all, mut old) = (HashSet::new(), HashSet::new(), false);
    let mut find = work.db.prepare_cached("SELECT actor, device, at FROM reached")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        let (by, device, at): (String, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if at <= over {
            old = true;
            continue;
        }
        if by == actor {
            own.insert(device.clone());
        }
        all.insert(device);
    }
    if old {
        work.db.prepare_cached("DELETE FROM reached WHERE at <= ?1")?.execute([over])?;
    }
    for (mut reached, most, whose) in [
        (own, limit.each, "this operator's sign-outs"),
        (all, limit.in_all, "the sign-outs of all operators together"),
    ] {
        reached.extend(devices.iter().map(ToString::to_string));
        let would = reached.len() as u64;
        if would > most {
            return Err(Refused::TooManyDevices { whose, would, most }.into());
        }
    }
    let mut note = work.db.prepare_cached(
        "INSERT INTO reached (actor, device, at) VALUES (?1, ?2, ?3)
         ON CONFLICT (actor, device) DO UPDATE SET at = ?3",
    )?;
    for device in devices {
        note.execute(params![actor, device.as_str(), work.now.0])?;
    }
    Ok(())
}
