//! Receipts: chained to the device's last one, countersigned, and set against their order.
//!
//! It refuses to believe a receipt's own summary when its parts say worse.

use exeunt_api::Countersigned;
use exeunt_domain::receipt::Mode;
use exeunt_domain::session::hex;
use exeunt_domain::{DeviceId, Outcome, ReceiptBody};
use rusqlite::{OptionalExtension as _, params};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::words::{any, meaning, word};
use super::{Done, Note, Stop, Work, check_epoch, first_sight, log};
use crate::store::command::{Received, Remains};
use crate::store::{Refused, Reply};

pub(super) fn receive(work: &mut Work<'_>, ask: &Received) -> Result<Done, Stop> {
    check_epoch(work.db, &ask.from)?;
    // A receipt is taken however old it is, and so may be one whose identifier was forgotten.
    let kept = "SELECT 1 FROM receipts WHERE device = ?1 AND jti = ?2";
    if !first_sight(work, &ask.from)?
        || any(work.db, kept, [ask.from.device.as_str(), ask.from.jti.as_str()])?
    {
        return Ok(Done::silent(Reply::Repeated));
    }
    let body = &*ask.body;
    if body.device != ask.from.device.as_str() {
        return Err(Refused::Contradiction("the receipt names another device").into());
    }
    if !body.outcome.is_final() {
        return Err(Refused::Contradiction("a receipt's outcome is final").into());
    }
    let device = standing(work, &ask.from.device)?;
    let link = device.link(body);
    let outcome = Outcome::worst([body.outcome, ReceiptBody::judge(&body.stores, &body.lock)]);
    let assurance = device.assurance(body.mode);
    let hash = hex(&Sha256::digest(ask.compact.as_bytes()));
    let countersigned = work.mint.countersign(&Countersigned {
        device: body.device.clone(),
        txn: body.txn.clone(),
        receipt: hash.clone(),
        device_seq: body.seq,
        chained: link == Link::Whole,
        assurance: assurance.to_owned(),
        outcome,
        received: work.now,
    })?;
    keep(work, ask, &Kept { countersigned, outcome, assurance, link, device: &device })?;
    if body.seq > device.seq {
        work.db
            .prepare_cached("UPDATE devices SET receipt_seq = ?2, receipt_hash = ?3 WHERE id = ?1")?
            .execute(params![ask.from.device.as_str(), body.seq, hash])?;
    }
    answer(work, ask, outcome, assurance, link)?;
    if ask.unexpected_coverage {
        let (device, txn, coverage) = (&ask.from.device, &body.txn, &body.coverage);
        tracing::error!(%device, %txn, coverage, "a receipt covers what this hub does not expect");
    }
    if link != Link::Whole {
        let (device, txn, chain) = (&ask.from.device, &body.txn, link.as_str());
        tracing::error!(%device, %txn, chain, "a device's chain of receipts is broken");
    }
    let note = Note::new(format!("device:{}", ask.from.device), "receipt")
        .at_device(&ask.from.device)
        .under(&body.txn)
        .with(json!({
            "outcome": outcome, "device_seq": body.seq, "chain": link.as_str(),
            "assurance": assurance, "receipt": hash,
            "coverage": coverage_word(ask),
        }));
    let note = Note { subject: body.subject.as_ref().map(exeunt_domain::Subject::key), ..note };
    let mut done = Done::noted(Reply::Done, note);
    done.effects.changed.push(body.txn.clone());
    done.effects.owing = Some((ask.from.device.clone(), log::owes(work.db, &ask.from.device)?));
    Ok(done)
}

/// Whether a device looked for what this hub expects its devices to look for.
fn coverage_word(ask: &Received) -> &'static str {
    if ask.unexpected_coverage { "unexpected" } else { "expected" }
}

/// How a receipt joins the device's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// It follows the last one, or is the first of its enrolment.
    Whole,
    /// Receipts are missing before it.
    Gap,
    /// It claims a place that is taken.
    Fork,
}

impl Link {
    fn as_str(self) -> &'static str {
        match self {
            Link::Whole => "whole",
            Link::Gap => "chain_gap",
            Link::Fork => "chain_fork",
        }
    }
}

struct Standing {
    seq: u64,
    hash: String,
    mode: Mode,
    key: String,
}

impl Standing {
    fn link(&self, body: &ReceiptBody) -> Link {
        let follows = body.seq == self.seq + 1 && body.previous == self.hash;
        match self.seq {
            0 => Link::Whole,
            _ if follows => Link::Whole,
            seq if body.seq > seq => Link::Gap,
            _ => Link::Fork,
        }
    }

    /// The weaker of what was enrolled and what the receipt claims.
    fn assurance(&self, claimed: Mode) -> &'static str {
        match (self.mode, claimed) {
            (Mode::Installed, Mode::Installed) => "installed",
            (Mode::User, _) | (Mode::Installed, Mode::User) => "user",
        }
    }
}

fn standing(work: &Work<'_>, device: &DeviceId) -> Result<Standing, Stop> {
    let (seq, hash, mode, key): (u64, String, String, String) = work
        .db
        .prepare_cached(
            "SELECT receipt_seq, receipt_hash, mode, device_key FROM devices WHERE id = ?1",
        )?
        .query_row([device.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?
        .ok_or(Refused::UnknownDevice)?;
    Ok(Standing { seq, hash, mode: meaning(mode)?, key })
}

struct Kept<'a> {
    countersigned: String,
    outcome: Outcome,
    assurance: &'static str,
    link: Link,
    device: &'a Standing,
}

fn keep(work: &Work<'_>, ask: &Received, kept: &Kept<'_>) -> Result<(), Stop> {
    work.db
        .prepare_cached(
            "INSERT INTO receipts (device, epoch, device_seq, jti, txn, compact, countersigned,
               outcome, at, device_key, assurance, chained)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            ask.from.device.as_str(),
            ask.from.epoch,
            ask.body.seq,
            ask.from.jti.as_str(),
            ask.body.txn.as_str(),
            ask.compact,
            kept.countersigned,
            word(&kept.outcome),
            work.now.0,
            kept.device.key,
            kept.assurance,
            kept.link == Link::Whole
        ])?;
    Ok(())
}

/// Sets the receipt against the order it answers, if the hub gave one.
fn answer(
    work: &Work<'_>,
    ask: &Received,
    outcome: Outcome,
    assurance: &str,
    link: Link,
) -> Result<(), Stop> {
    let mut remarks = Vec::new();
    if assurance == "user" {
        remarks.push("unattested: user mode, the account itself could have signed this");
    }
    match link {
        Link::Whole => {}
        Link::Gap => remarks.push("chain_gap: receipts of this device are missing before this one"),
        Link::Fork => remarks.push("chain_fork: this receipt claims a place that is taken"),
    }
    if ask.unexpected_coverage {
        remarks.push("coverage_unexpected: the device looked for another set of stores");
    }
    let detail = (!remarks.is_empty()).then(|| remarks.join("; "));
    work.db
        .prepare_cached(
            "UPDATE targets SET outcome = ?3, at = ?4, detail = ?5, answered = 1, not_covered = ?6
             WHERE txn = ?1 AND kind = 'device' AND id = ?2",
        )?
        .execute(params![
            ask.body.txn.as_str(),
            ask.from.device.as_str(),
            word(&outcome),
            work.now.0,
            detail,
            json!(remains(&ask.body)).to_string()
        ])?;
    Ok(())
}

/// What a device says that it did not reach.
fn remains(body: &ReceiptBody) -> Vec<Remains> {
    let all = body.not_covered.iter().map(|gap| Remains {
        what: gap.what.clone(),
        until: String::new(),
        lapses_after_s: None,
        lapses: gap.until,
    });
    all.collect()
}
