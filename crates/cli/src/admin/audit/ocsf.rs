//! Audit rows as events of the Open Cybersecurity Schema Framework (schema.ocsf.io, 1.3.0).
//!
//! It refuses to call anything done that the hub does not: a commit is a log-off, a device's part is
//! as far along as its receipt.

use exeunt_api::AuditEntry;
use serde_json::{Map, Value, json};

/// The version of the schema.
const VERSION: &str = "1.3.0";

/// What a row is, in the schema's words.
#[derive(Clone, Copy)]
struct Class {
    category: u32,
    class: u32,
    name: &'static str,
    activity: u32,
    activity_name: &'static str,
}

const LOGON: Class = authentication(1, "Logon");
const LOGOFF: Class = authentication(2, "Logoff");
const EVICT: Class = Class {
    category: 7,
    class: 7001,
    name: "Remediation Activity",
    activity: 2,
    activity_name: "Evict",
};
const OTHER: Class =
    Class { category: 0, class: 0, name: "Base Event", activity: 99, activity_name: "Other" };

const fn authentication(activity: u32, activity_name: &'static str) -> Class {
    Class { category: 3, class: 3002, name: "Authentication", activity, activity_name }
}

/// One event.
pub(super) fn event(row: &AuditEntry) -> Value {
    let class = class_of(row);
    let (severity_id, severity) = severity(row);
    let mut event = json!({
        "category_uid": class.category,
        "class_uid": class.class,
        "class_name": class.name,
        "activity_id": class.activity,
        "activity_name": class.activity_name,
        "type_uid": class.class * 100 + class.activity,
        "time": row.at,
        "severity_id": severity_id,
        "severity": severity,
        "message": words(row),
        "metadata": metadata(row),
        "unmapped": { "action": row.action, "detail": row.detail, "hash": row.hash },
        "actor": { "user": { "name": row.actor, "uid": row.actor } },
    });
    if let Value::Object(event) = &mut event {
        let (status_id, status) = status(row);
        event.insert("status_id".into(), status_id.into());
        event.insert("status".into(), status.into());
        if let Some(device) = device_of(row) {
            event.insert("device".into(), device);
        }
        if let Some(reason) = &row.reason {
            event.insert("status_detail".into(), reason.as_str().into());
        }
        match class.class {
            3002 => authentication_of(row, event),
            7001 => remediation_of(row, event),
            _ => {}
        }
    }
    event
}

/// Who said what, in a few words.
pub(super) fn words(row: &AuditEntry) -> String {
    let about = row.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
    let why = row.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}{about} by {}{why}", row.action, row.actor)
}

/// Whether a row says that something was refused, is missing or went wrong.
pub(super) fn is_amiss(row: &AuditEntry) -> bool {
    let of = |member: &str| row.detail[member].as_str();
    row.action.ends_with("-refused")
        || ["order-overdue", "stores-returned", "restored"].contains(&row.action.as_str())
        || of("chain").is_some_and(|chain| chain != "whole")
        || of("coverage").is_some_and(|coverage| coverage == "unexpected")
        || of("outcome")
            .is_some_and(|outcome| ["partial", "unreachable", "refused"].contains(&outcome))
}

fn class_of(row: &AuditEntry) -> Class {
    let known = row.subject.is_some();
    match row.action.as_str() {
        "session-registered" if known => LOGON,
        "sign-out" | "session-ended" if known => LOGOFF,
        "receipt" | "progress" | "order-overdue" | "stores-returned" if row.txn.is_some() => EVICT,
        _ => OTHER,
    }
}

fn severity(row: &AuditEntry) -> (u32, &'static str) {
    if is_amiss(row) { (3, "Medium") } else { (1, "Informational") }
}

/// The statuses of a remediation beyond success and failure are the class's own.
fn status(row: &AuditEntry) -> (u32, &'static str) {
    if row.action.ends_with("-refused") {
        return (2, "Failure");
    }
    match (row.action.as_str(), row.detail["outcome"].as_str()) {
        ("receipt", Some("verified")) => (1, "Success"),
        ("receipt", Some("partial")) => (4, "Partial"),
        ("receipt", Some("refused")) => (2, "Failure"),
        ("receipt", Some("unreachable")) | ("order-overdue", _) => (6, "Error"),
        // On its way is neither.
        ("progress" | "receipt" | "stores-returned", _) => (99, "Other"),
        _ => (1, "Success"),
    }
}

fn metadata(row: &AuditEntry) -> Value {
    json!({
        "version": VERSION,
        "product": { "name": "Exeunt", "vendor_name": "Exeunt", "uid": "exeunt-hub" },
        "log_name": "audit",
        "sequence": row.seq,
        "uid": row.hash,
        "correlation_uid": row.txn,
    })
}

fn device_of(row: &AuditEntry) -> Option<Value> {
    let named = row.detail["device"].as_str();
    let id = row.source_device.as_deref().or(named)?;
    Some(json!({ "uid": id, "hostname": id, "type_id": 0, "type": "Unknown" }))
}

fn authentication_of(row: &AuditEntry, event: &mut Map<String, Value>) {
    let subject = row.subject.as_deref().unwrap_or_default();
    event.insert("user".into(), json!({ "name": subject, "uid": subject }));
    event.insert("service".into(), json!({ "name": "Exeunt", "uid": "exeunt-hub" }));
    if let [session, ..] = row.sessions.as_slice() {
        let mut described = json!({ "uid": session, "count": row.sessions.len() });
        if row.action == "sign-out" {
            described["expiration_reason"] = "revoked".into();
        }
        event.insert("session".into(), described);
    }
}

fn remediation_of(row: &AuditEntry, event: &mut Map<String, Value>) {
    event.insert("command_uid".into(), row.txn.as_deref().unwrap_or_default().into());
    // d3fend.mitre.org: Session Termination, and the invalidation of what is cached.
    event.insert(
        "countermeasures".into(),
        json!([{
            "d3f_tactic": { "name": "Evict", "uid": "TA0105" },
            "d3f_technique": { "name": "Session Termination", "uid": "D3-ST" },
            "version": "1.0.0",
        }]),
    );
}
