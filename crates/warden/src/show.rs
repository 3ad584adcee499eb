//! What `once` prints: one line of JSON, or a few lines for people.
//!
//! It refuses to call anything done that is not `verified`.

use exeunt_domain::receipt::LockReport;
use exeunt_domain::{Outcome, StoreReport, Verdict};
use exeunt_engine::ports::Moment;
use exeunt_engine::{Plan, Receipt};
use exeunt_ipc::message::{Ends, Preview, Reported};
use serde_json::{Value, json};

/// The rows of a survey, and the places that look as if they held a secret.
///
/// # Errors
/// Never for these types; the error is serde's.
pub(crate) fn survey(
    stores: &[StoreReport],
    reported: &[Reported],
    as_json: bool,
) -> anyhow::Result<String> {
    if as_json {
        return Ok(json!({ "v": 1, "stores": stores, "reported": reported }).to_string());
    }
    let mut text = match stores.len() {
        0 => "No store of a known app is there.".to_owned(),
        count => format!("{count} stores hold sessions:"),
    };
    for row in stores {
        text.push_str(&format!("\n  {:<18} {:<22} {}", row.app, row.store, row.place));
        if let Some(detail) = &row.detail {
            text.push_str(&format!(" ({detail})"));
        }
    }
    if !reported.is_empty() {
        text.push_str("\nLooks like secrets, and is left to you:");
    }
    for row in reported {
        text.push_str(&format!("\n  {:<18} {} ({})", row.kind, row.place, row.count));
    }
    Ok(text)
}

/// A plan as the tray and the CLI show it.
pub(crate) fn preview_of<D>(plan: &Plan<D>, closes: Vec<String>) -> Preview {
    let ends = plan.ends().into_iter().map(|(app, name, stores)| Ends { app, name, stores });
    Preview {
        stores: plan.reports(),
        ends: ends.collect(),
        closes,
        stays: vec!["Documents".into(), "Bookmarks".into(), "Settings and extensions".into()],
        cannot: plan.cannot(),
        digest: plan.digest(),
    }
}

/// A preview.
///
/// # Errors
/// serde's.
pub(crate) fn preview(preview: &Preview, as_json: bool) -> anyhow::Result<String> {
    if as_json {
        let mut value = serde_json::to_value(preview)?;
        if let Value::Object(members) = &mut value {
            members.insert("v".into(), 1.into());
        }
        return Ok(value.to_string());
    }
    let mut text =
        format!("This ends {} stores of {} apps.", preview.stores.len(), preview.ends.len());
    for end in &preview.ends {
        text.push_str(&format!("\n  ends     {} ({} stores)", end.name, end.stores));
    }
    for name in &preview.closes {
        text.push_str(&format!("\n  closes   {name}"));
    }
    text.push_str(&format!("\n  stays    {}", preview.stays.join(", ")));
    for cannot in &preview.cannot {
        text.push_str(&format!("\n  cannot   {}", cannot.what));
    }
    Ok(text)
}

/// A closed containment.
///
/// # Errors
/// serde's.
pub(crate) fn closed(receipt: &Receipt, extra: Value, as_json: bool) -> anyhow::Result<String> {
    let body = &receipt.body;
    if as_json {
        let mut value = json!({
            "v": 1, "outcome": body.outcome, "stores": body.stores, "steps": body.steps,
            "lock": body.lock, "remarks": body.remarks, "not_covered": body.not_covered,
            "receipt": receipt.compact,
        });
        if let (Value::Object(members), Value::Object(more)) = (&mut value, extra) {
            members.extend(more);
        }
        return Ok(value.to_string());
    }
    let total = body.stores.len();
    let gone = body.stores.iter().filter(|s| s.verdict == Some(Verdict::Gone)).count();
    let outcome = body.outcome;
    let mut text = if outcome == Outcome::Verified {
        format!("Verified: {gone} of {total} stores gone, looked at again.")
    } else {
        format!("Outcome {outcome}: {gone} of {total} stores gone. The rest:")
    };
    for row in body.stores.iter().filter(|row| row.verdict != Some(Verdict::Gone)) {
        let verdict = row.verdict.map_or("not looked at", Verdict::as_str);
        let detail = row.detail.as_deref().unwrap_or("");
        text.push_str(&format!(
            "\n  {verdict:<9} {} {}: {} {detail}",
            row.app, row.store, row.place
        ));
    }
    text.push_str(match &body.lock {
        LockReport::Proved { .. } => "\nThe screen is locked.",
        LockReport::NotProved { .. } => "\nThe screen is NOT proved locked.",
        LockReport::NotAsked => "\nNo session was named, so no screen was locked.",
    });
    for place in &body.not_covered {
        text.push_str(&format!("\nNot covered: {}", place.what));
    }
    for remark in &body.remarks {
        text.push_str(&format!("\nNote: {remark}"));
    }
    Ok(text)
}

/// A step, to standard error, for people who wait.
pub(crate) fn progress(moment: &Moment, quiet: bool) {
    if quiet {
        return;
    }
    if let Moment::Ended(step) = moment {
        let error = step.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
        eprintln!("  {:>8.1} ms  {}{error}", step.at_ms, step.step);
    }
}
