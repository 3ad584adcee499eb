//! What a device found again after a close: noted for whoever watches the audit.
//!
//! It refuses to change what was answered then: the receipt stands, and this comes after it.

use serde_json::json;

use super::{Done, Note, Stop, Work, check_epoch, first_sight};
use crate::store::Reply;
use crate::store::command::Returned;

pub(super) fn returned(work: &mut Work<'_>, ask: &Returned) -> Result<Done, Stop> {
    check_epoch(work.db, &ask.from)?;
    if !first_sight(work, &ask.from)? {
        return Ok(Done::silent(Reply::Repeated));
    }
    tracing::warn!(device = %ask.from.device, after = %ask.after, "session stores came back");
    let stores: Vec<String> =
        ask.stores.iter().map(|row| format!("{}/{} {}", row.app, row.store, row.place)).collect();
    let note = Note::new(format!("device:{}", ask.from.device), "stores-returned")
        .at_device(&ask.from.device)
        .under(&ask.after)
        .with(json!({ "stores": stores, "contains": ask.contains, "at": ask.at }));
    let note = Note { subject: ask.subject.as_ref().map(exeunt_domain::Subject::key), ..note };
    let mut done = Done::noted(Reply::Done, note);
    done.effects.changed.push(ask.after.clone());
    Ok(done)
}
