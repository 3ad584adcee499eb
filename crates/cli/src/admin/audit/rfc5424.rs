//! Audit rows as syslog messages (RFC 5424), one a line.
//!
//! It refuses a line break within a message: what people typed is escaped.

use std::fmt::Write as _;

use exeunt_api::AuditEntry;

use super::ocsf::{is_amiss, words};
use crate::fault::Fault;

/// The facility "log audit".
const FACILITY: u32 = 13;
const WARNING: u32 = 4;
const NOTICE: u32 = 5;
/// 32473 is the number of nobody, for examples (RFC 5612): we have none of our own.
const ID: &str = "exeunt@32473";
/// MSGID is at most so long.
const LONGEST_ID: usize = 32;

/// One message, without the line's end. `host` is the hub's name.
pub(super) fn message(row: &AuditEntry, host: &str) -> Result<String, Fault> {
    let priority = FACILITY * 8 + if is_amiss(row) { WARNING } else { NOTICE };
    let millis = i64::try_from(row.at.0).ok();
    let at = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    let at = at.ok_or_else(|| {
        Fault::new("hub_answer", format!("row {} bears no time that can be written", row.seq))
    })?;
    let action: String = row.action.chars().filter(char::is_ascii_graphic).collect();
    let action = action.get(..LONGEST_ID).unwrap_or(&action);
    let mut line = format!("<{priority}>1 {at} {} exeunt-hub - {} [{ID}", name(host), nil(action));
    let (seq, detail) = (row.seq.to_string(), row.detail.to_string());
    let sessions = row.sessions.join(" ");
    let members = [
        ("seq", Some(seq.as_str())),
        ("hash", Some(&row.hash)),
        ("actor", Some(&row.actor)),
        ("subject", row.subject.as_deref()),
        ("txn", row.txn.as_deref()),
        ("device", row.source_device.as_deref()),
        ("reason", row.reason.as_deref()),
        ("sessions", Some(sessions.as_str()).filter(|all| !all.is_empty())),
        ("detail", Some(detail.as_str()).filter(|all| *all != "null")),
    ];
    for (member, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        // Writing to a string does not fail.
        let _ = write!(line, " {member}=\"{}\"", escaped(value));
    }
    let _ = write!(line, "] \u{feff}{}", printable(&words(row)));
    Ok(line)
}

fn nil(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn name(host: &str) -> String {
    let name: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    nil(&name).to_owned()
}

/// PARAM-VALUE: `"`, `\` and `]` are escaped; other control characters have no place in a line.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in printable(value).chars() {
        if ['"', '\\', ']'].contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use exeunt_domain::Timestamp;
    use serde_json::json;

    use super::*;

    fn row() -> AuditEntry {
        AuditEntry {
            seq: 7,
            at: Timestamp(1_764_540_000_123),
            actor: "admin:ada".into(),
            action: "sign-out".into(),
            source_device: None,
            subject: Some("alice".into()),
            txn: Some("t1".into()),
            reason: Some("she said \"lost\" [sic] C:\\\nnext line".into()),
            sessions: vec!["00".into(), "11".into()],
            detail: json!(null),
            hash: "ab".into(),
        }
    }

    #[test]
    fn writes_one_line_with_its_parts_in_order() {
        let said = message(&row(), "hub.example").unwrap();
        assert!(
            said.starts_with(
                "<109>1 2025-11-30T22:00:00.123Z hub.example exeunt-hub - sign-out [exeunt@32473 \
                 seq=\"7\" hash=\"ab\" actor=\"admin:ada\" subject=\"alice\" txn=\"t1\""
            ),
            "{said}"
        );
        assert!(said.contains(r#"reason="she said \"lost\" [sic\] C:\\ next line""#), "{said}");
        assert!(said.contains(r#"sessions="00 11"] "#) && !said.contains("device="), "{said}");
        assert!(said.contains("] \u{feff}sign-out of alice by admin:ada: she said"), "{said}");
        assert!(!said.contains('\n'));
    }

    #[test]
    fn what_is_amiss_is_a_warning_and_absent_names_are_nil() {
        let refused = AuditEntry { action: "receipt-refused".into(), ..row() };
        assert!(message(&refused, "").unwrap().starts_with("<108>1 2025-11-30T22:00:00.123Z - "));
        let gap = AuditEntry { detail: json!({ "chain": "chain_gap" }), ..row() };
        assert!(message(&gap, "").unwrap().starts_with("<108>1 "));
        let long = AuditEntry { action: "x".repeat(50), ..row() };
        assert!(message(&long, "h").unwrap().contains(&format!(" - {} [", "x".repeat(32))));
        let never = AuditEntry { at: Timestamp(u64::MAX), ..row() };
        assert!(message(&never, "h").is_err());
    }
}
