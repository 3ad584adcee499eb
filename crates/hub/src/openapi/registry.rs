//! The operations about subjects' names, playbooks, what follows them, holds, and failures asked
//! again.
//!
//! It refuses to describe the doors of others.

use exeunt_api::playbook::{
    FollowupList, HoldList, HoldRequest, PlaybookList, PlaybookRequest, TickRequest,
};
use exeunt_api::{JoinRequest, NAME, SignOutResponse, SplitRequest, SubjectInfo, TxnState};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::operation::Operation;

/// What a query's `subject` is.
pub(super) const SUBJECT: &str =
    "Whose, as people type it: a name, an address, `acct:…`, or `ISSUER|SUB`.";

/// How it is written.
pub(super) fn subject(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 1024, "pattern": NAME })
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/subject", "Everything by which a subject is known")
            .query("subject", SUBJECT, true, subject)
            .answers::<SubjectInfo>(200),
        Operation::post("/v1/subject/join", "Makes two names one subject's")
            .takes::<JoinRequest>()
            .answers::<SubjectInfo>(200),
        Operation::post("/v1/subject/split", "Takes a name out of a subject's")
            .takes::<SplitRequest>()
            .answers::<SubjectInfo>(200)
            .may_miss(),
        Operation::post(
            "/v1/txn/{txn}/retry",
            "Asks again what failed, under the same transaction",
        )
        .answers::<TxnState>(200),
        Operation::get("/v1/playbooks", "Playbooks, described").answers::<PlaybookList>(200),
        Operation::post("/v1/playbooks/{playbook}", "Runs a playbook about one subject")
            .takes::<PlaybookRequest>()
            .answers::<SignOutResponse>(200),
        Operation::get("/v1/followups", "What is to be seen to after sign-outs, oldest first")
            .query("subject", SUBJECT, false, subject)
            .query("all", "Ticked ones as well.", false, |_| json_schema!({ "type": "boolean" }))
            .answers::<FollowupList>(200),
        Operation::post("/v1/followups/{id}/tick", "It was seen to")
            .takes::<TickRequest>()
            .answers_nothing(),
        Operation::get("/v1/holds", "Subjects of whom no session begins").answers::<HoldList>(200),
        Operation::post("/v1/holds", "Puts a subject on hold")
            .takes::<HoldRequest>()
            .answers_nothing(),
        Operation::post("/v1/holds/release", "Releases a subject")
            .takes::<HoldRequest>()
            .answers_nothing()
            .may_miss(),
    ]
}
