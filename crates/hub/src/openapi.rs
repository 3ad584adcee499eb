//! The operators' interface as an OpenAPI 3.1 document, made from the messages' own types and the
//! table of doors.
//!
//! It refuses to leave a door of operators out.

mod operation;
mod registry;

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use exeunt_api::number::LARGEST;
use exeunt_api::{
    AdminTokenRequest, AdminTokenResponse, AlarmList, ApproveRequest, ApproverList,
    ApproverRequest, ApproverResponse, AuditVerdict, ChangeRequest, ConnectorInfo, ConnectorTest,
    DeviceList, DeviceTokenRequest, DeviceTokenResponse, ErrorBody, ExpectRequest, OperatorInfo,
    ProposalInfo, ProposalList, ProposalRequest, ReceiptRecord, ServiceRequest, ServiceResponse,
    SessionList, SignInFinish, SignInRequest, SignInResponse, SignOutRequest, SignOutResponse,
    SignedIn, TransmitterInfo, TransmitterList, TransmitterRequest, TxnState,
};
use schemars::generate::SchemaSettings;
use schemars::{SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::access::{RULES, Rule, Who};
use crate::connectors::ConnectorRequest;
use operation::Operation;

/// Where it is served.
pub const PATH: &str = "/v1/openapi.json";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

/// `GET /v1/openapi.json`.
pub async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::openapi3().with(|it| {
        it.meta_schema = None;
        it.definitions_path = "/components/schemas".into();
        it.transforms.clear();
    });
    let mut types = SchemaGenerator::new(settings);
    let mut paths: Map<String, Value> = Map::new();
    for one in operations() {
        let place = paths.entry(one.path).or_insert_with(|| json!({}));
        place[one.method.to_ascii_lowercase()] = one.describe(&mut types);
    }
    types.subschema_for::<ErrorBody>();
    let schemas = types.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "exeunt-hub: the operators' interface",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every time is in milliseconds since 1970, by hub time. Unknown members \
                of requests are refused. Errors have one shape.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "operator": {
                    "type": "http", "scheme": "bearer",
                    "description": "An operator's token: from `exeunt admin login --oidc`, from \
                        POST /v1/admin-tokens, or the first one in DATA/admin-token.",
                },
            },
        },
    })
}

/// Doors of operators that the document does not describe, and the other way round.
#[must_use]
pub fn undescribed() -> Vec<String> {
    let all = operations();
    let is = |one: &Operation, rule: &Rule| one.method == rule.0 && one.path == rule.1;
    let doors = RULES.iter().filter(|rule| matches!(rule.2, Who::Operator(_)));
    let missing = doors
        .filter(|rule| !all.iter().any(|one| is(one, rule)))
        .map(|Rule(method, path, _)| format!("{method} {path} is not described"));
    let surplus = all
        .iter()
        .filter(|one| !RULES.iter().any(|rule| is(one, rule)))
        .map(|one| format!("{} {} is no door", one.method, one.path));
    missing.chain(surplus).collect()
}

fn operations() -> Vec<Operation> {
    let mut all = registry::operations();
    all.extend(one_alone());
    all.extend(other_parties());
    all.extend(approvals());
    all
}

/// What one operator alone may do.
fn one_alone() -> Vec<Operation> {
    vec![
        Operation::get("/v1/operator", "Who is asking, and what they may do")
            .answers::<OperatorInfo>(200),
        Operation::post("/v1/sign-in", "Begins a sign-in at the operators' identity provider")
            .for_anyone()
            .takes::<SignInRequest>()
            .answers::<SignInResponse>(200)
            .may_miss(),
        Operation::post("/v1/sign-in/finish", "Finishes it, and answers a token, shown once")
            .for_anyone()
            .takes::<SignInFinish>()
            .answers::<SignedIn>(201)
            .may_miss(),
        Operation::get("/v1/sessions", "Sessions of one subject, newest first")
            .query("subject", registry::SUBJECT, true, registry::subject)
            .answers::<SessionList>(200),
        Operation::post("/v1/sign-out", "Signs a subject out everywhere, or previews it")
            .takes::<SignOutRequest>()
            .answers::<SignOutResponse>(200)
            .may_miss(),
        Operation::get("/v1/txn/{txn}", "How a transaction stands, target by target")
            .answers::<TxnState>(200),
        Operation::get(
            "/v1/txn/{txn}/events",
            "The same as server-sent events, until all is final",
        )
        .answers_text(200, "text/event-stream"),
        Operation::post("/v1/txn/{txn}/cancel", "Expects nothing further; what ended stays ended")
            .answers_nothing(),
        Operation::get("/v1/receipts/{txn}", "Receipts of a transaction, oldest first")
            .answers::<Vec<ReceiptRecord>>(200),
        Operation::get("/v1/devices", "Every enrolled device").answers::<DeviceList>(200),
        Operation::get("/v1/alarms", "What an operator has to look at, newest first")
            .query(
                "before",
                "Only what lies before this row of the audit.",
                false,
                |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": LARGEST }),
            )
            .query(
                "limit",
                "How many; at most 10,000.",
                false,
                |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            )
            .answers::<AlarmList>(200),
        Operation::delete("/v1/devices/{device}", "Removes a device: its enrolment ends at once")
            .answers_nothing(),
        Operation::get("/v1/audit", "The audit log, one row a line, oldest first")
            .query(
                "after",
                "Only rows after this sequence number.",
                false,
                |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": LARGEST }),
            )
            .query(
                "limit",
                "How many rows; at most 10,000.",
                false,
                |_| json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            )
            .answers_text(200, "application/jsonl"),
        Operation::get("/v1/audit/verify", "Checks the whole chain against its signed head")
            .answers::<AuditVerdict>(200),
        Operation::post("/v1/device-tokens", "A one-time enrolment token, shown once")
            .takes::<DeviceTokenRequest>()
            .answers::<DeviceTokenResponse>(201),
        Operation::post("/v1/admin-tokens", "A token for another operator, shown once")
            .takes::<AdminTokenRequest>()
            .answers::<AdminTokenResponse>(201),
        Operation::delete("/v1/admin-tokens/{name}", "Ends every token of an operator")
            .answers_nothing(),
        Operation::post("/v1/services", "Credentials for a relying service, shown once")
            .takes::<ServiceRequest>()
            .answers::<ServiceResponse>(201),
    ]
}

/// Identity providers and transmitters.
fn other_parties() -> Vec<Operation> {
    vec![
        Operation::get("/v1/connectors", "Identity providers, without their credentials")
            .answers::<Vec<ConnectorInfo>>(200),
        Operation::post("/v1/connectors", "Registers an identity provider, or replaces one")
            .takes::<ConnectorRequest>()
            .answers::<ConnectorInfo>(201),
        Operation::delete(
            "/v1/connectors/{name}",
            "Forgets an identity provider, its credentials and what was handed over for it",
        )
        .answers_nothing(),
        Operation::post(
            "/v1/connectors/{name}/test",
            "Tries an identity provider's credentials, and ends nothing",
        )
        .answers::<ConnectorTest>(200),
        Operation::get("/v1/transmitters", "Parties that send SETs to this hub")
            .answers::<TransmitterList>(200),
        Operation::post("/v1/transmitters", "Registers a party that sends SETs, within bounds")
            .takes::<TransmitterRequest>()
            .answers::<TransmitterInfo>(201),
        Operation::delete(
            "/v1/transmitters/{transmitter}",
            "Takes nothing of a transmitter any more",
        )
        .answers_nothing(),
        Operation::post("/v1/transmitters/{transmitter}/expect", "Expects a verification event")
            .takes::<ExpectRequest>()
            .answers_nothing(),
    ]
}

/// What one operator alone may not do.
fn approvals() -> Vec<Operation> {
    vec![
        Operation::get("/v1/approvers", "Who may approve, and how many it takes")
            .answers::<ApproverList>(200),
        Operation::post("/v1/approvers", "Changes who may approve, or proposes it to them")
            .takes::<ApproverRequest>()
            .answers::<ApproverResponse>(200)
            .may_miss(),
        Operation::get("/v1/proposals", "What was proposed, newest first")
            .answers::<ProposalList>(200),
        Operation::post("/v1/proposals", "Proposes an order that needs a quorum, or previews it")
            .takes::<ProposalRequest>()
            .answers::<ProposalInfo>(200)
            .may_miss(),
        Operation::get("/v1/proposals/{txn}", "One proposal, and who approved it")
            .answers::<ProposalInfo>(200),
        Operation::post("/v1/proposals/{txn}/approve", "Approves; the last one carries it out")
            .takes::<ApproveRequest>()
            .answers::<ProposalInfo>(200),
        Operation::post("/v1/proposals/{txn}/withdraw", "Takes a proposal back").answers_nothing(),
        Operation::post("/v1/changes", "Proposes a change of what enrolments fixed, or a policy")
            .takes::<ChangeRequest>()
            .answers::<ProposalInfo>(200),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

    #[test]
    fn every_door_of_operators_is_described_and_nothing_else() {
        assert_eq!(undescribed(), [""; 0]);
    }

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        if std::env::var_os("EXEUNT_OPENAPI").is_some_and(|value| value == "write") {
            std::fs::write(COMMITTED, DOCUMENT.as_str()).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == *DOCUMENT,
            "write it again: EXEUNT_OPENAPI=write cargo test -p exeunt-hub openapi"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn look(value: &Value, whole: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(to)) = members.get("$ref") {
                        let pointer = to.strip_prefix('#').unwrap();
                        assert!(whole.pointer(pointer).is_some(), "{to}");
                    }
                    members.values().for_each(|one| look(one, whole));
                }
                Value::Array(items) => items.iter().for_each(|one| look(one, whole)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = document();
        look(&document, &document);
        assert!(document["components"]["schemas"]["SignOutRequest"].is_object());
    }
}
