//! Approvers' commands against a hub that the test plays.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use exeunt_api::{
    ApproveRequest, ApproverRequest, ApproverResponse, ChangeRequest, Matter, NewApprover,
    ProposalInfo, ProposalList, ProposalRequest, ProposalStatus, Reach,
};
use exeunt_domain::{Act, Proposal, Targets, Tier, Timestamp, Txn};
use serde_json::{Value, json};

use crate::schema::check;
use crate::stage::{Ran, Stage};

/// What the hub shows, and what it was sent.
struct Played {
    info: ProposalInfo,
    asked: Vec<Value>,
}

type Shared = Arc<Mutex<Played>>;

struct Hub {
    url: String,
    played: Shared,
    _runtime: tokio::runtime::Runtime,
}

fn info() -> ProposalInfo {
    let proposal = Proposal {
        hub: "https://hub.example".into(),
        txn: Txn::parse("t1").unwrap(),
        targets: Targets::Everyone,
        act: Act::Order { tier: Tier::Purge, user: None },
        requester: "admin:rita".into(),
        requester_key: None,
        proposed: Timestamp(1),
        deadline: Timestamp(u64::MAX >> 12),
    };
    ProposalInfo {
        v: 1,
        digest: exeunt_ssf::approval::digest(&proposal).unwrap(),
        proposal,
        status: ProposalStatus::Open,
        reason: Some("stolen".into()),
        needed: 2,
        approvals: vec![],
        reach: Reach { devices: 1, named: vec!["occ-07".parse().unwrap()], sessions: 2 },
        matter: Matter::default(),
    }
}

fn hub() -> Hub {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let played: Shared = Arc::new(Mutex::new(Played { info: info(), asked: vec![] }));
    let app = Router::new()
        .route("/v1/proposals", get(list).post(propose))
        .route("/v1/proposals/t1", get(show))
        .route("/v1/proposals/t1/approve", post(approve))
        .route("/v1/changes", post(change))
        .route("/v1/approvers", get(|| async { Json(set()) }).post(set_approvers))
        .with_state(Arc::clone(&played));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await });
    Hub { url, played, _runtime: runtime }
}

impl Hub {
    fn run(&self, stage: &Stage, arguments: &[&str]) -> Ran {
        let mut command = stage.command(&[&["admin"], arguments].concat());
        command.env("EXEUNT_HUB", &self.url).env("EXEUNT_ADMIN_TOKEN", "token");
        Ran::of(&command.output().unwrap())
    }

    fn asked(&self) -> Vec<Value> {
        self.played.lock().unwrap().asked.clone()
    }
}

fn note(played: &Shared, asked: impl serde::Serialize) -> ProposalInfo {
    let mut played = played.lock().unwrap();
    played.asked.push(serde_json::to_value(asked).unwrap());
    played.info.clone()
}

async fn list(State(played): State<Shared>) -> Json<ProposalList> {
    Json(ProposalList { v: 1, proposals: vec![played.lock().unwrap().info.clone()] })
}

async fn show(State(played): State<Shared>) -> Json<ProposalInfo> {
    Json(played.lock().unwrap().info.clone())
}

async fn propose(
    State(played): State<Shared>,
    Json(ask): Json<ProposalRequest>,
) -> Json<ProposalInfo> {
    Json(note(&played, ask))
}

async fn change(
    State(played): State<Shared>,
    Json(ask): Json<ChangeRequest>,
) -> Json<ProposalInfo> {
    Json(note(&played, ask))
}

/// Believes an approval only as a hub does: by its signature over the proposal.
async fn approve(
    State(played): State<Shared>,
    Json(ask): Json<ApproveRequest>,
) -> Json<ProposalInfo> {
    let info = note(&played, &ask);
    let kid = exeunt_ssf::approver(&ask.approval, &info.proposal).unwrap();
    let by = exeunt_api::ApprovedBy { name: "ann".into(), kid, at: Timestamp(1) };
    Json(ProposalInfo { approvals: vec![by], ..info })
}

fn set() -> Value {
    json!({ "v": 1, "needed": 2, "approvers": [{ "name": "ann", "kid": "k", "x": "x", "added": 1 }] })
}

async fn set_approvers(
    State(played): State<Shared>,
    Json(ask): Json<ApproverRequest>,
) -> Json<ApproverResponse> {
    let info = note(&played, ask);
    let set = serde_json::from_value(set()).unwrap();
    Json(ApproverResponse { v: 1, set, proposal: Some(info) })
}

#[test]
fn a_key_is_made_once_and_approves_what_was_shown() {
    let (hub, stage) = (hub(), Stage::empty());
    let key = stage.dir.path().join("ann.key");
    let key = key.to_str().unwrap();
    let none = hub.run(&stage, &["approve", "t1", "--yes", "--json", "--key", key]);
    assert_eq!(none.json()["error"]["code"], "no_approver_key");
    let made = hub.run(&stage, &["approver", "init", "--key", key, "--json"]);
    assert_eq!(made.code, 0, "{made:?}");
    check("admin-approver-init", &made.json());
    let seed = std::fs::read_to_string(key).unwrap();
    assert!(!made.out.contains(&seed), "the private key was shown");
    let again = hub.run(&stage, &["approver", "init", "--key", key, "--json"]);
    assert_eq!((again.code, &again.json()["error"]["code"]), (1, &"key_exists".into()));

    // Without --yes it asks, and there is nobody to ask.
    assert_eq!(hub.run(&stage, &["approve", "t1", "--key", key]).code, 2);
    assert!(hub.asked().is_empty());
    let ran = hub.run(&stage, &["approve", "t1", "--yes", "--json", "--key", key]);
    assert_eq!(ran.code, 0, "{ran:?}");
    check("admin-proposal", &ran.json());
    assert_eq!(ran.json()["approvals"][0]["kid"], made.json()["kid"]);
    let words = hub.run(&stage, &["approve", "t1", "--yes", "--key", key]);
    for shown in
        ["purge of whoever is there", "at every device", "1 device", "admin:rita", "stolen"]
    {
        assert!(words.err.contains(shown), "{shown}: {words:?}");
    }
}

#[test]
fn a_hub_that_shows_another_digest_gets_no_signature() {
    let (hub, stage) = (hub(), Stage::empty());
    let key = stage.dir.path().join("ann.key");
    let key = key.to_str().unwrap();
    hub.run(&stage, &["approver", "init", "--key", key]);
    hub.played.lock().unwrap().info.proposal.targets = Targets::Devices { ids: [].into() };
    let ran = hub.run(&stage, &["approve", "t1", "--yes", "--json", "--key", key]);
    assert_eq!(ran.code, 1, "{ran:?}");
    check("error", &ran.json());
    assert!(hub.asked().is_empty(), "it was signed all the same");
}

#[test]
fn what_needs_a_quorum_is_proposed_and_nothing_is_called_done() {
    let (hub, stage) = (hub(), Stage::empty());
    let purge = ["sign-out", "--subject", "alice", "--tier", "purge"];
    let ran = hub.run(&stage, &[&purge[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    check("admin-proposal", &ran.json());
    assert!(hub.run(&stage, &purge).out.contains("Nothing is done yet: 2 approvals are needed"));
    for (place, sent) in [
        (&["--group", "kiosks"][..], json!({ "tier": "lock", "group": "kiosks" })),
        (&["--tenant", "north"], json!({ "tier": "lock", "tenant": "north" })),
        (&["--everyone"], json!({ "tier": "lock", "everyone": true })),
        (&["--device", "a", "--device", "b"], json!({ "tier": "lock", "devices": ["a", "b"] })),
    ] {
        let ran = hub.run(&stage, &[&["sign-out", "--tier", "lock"], place].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(hub.asked().last(), Some(&sent));
    }
    for wrong in [
        &["sign-out", "--tier", "purge"][..],
        &["sign-out", "--group", "a", "--everyone"],
        &["sign-out", "--everyone", "--follow"],
    ] {
        assert_eq!(hub.run(&stage, wrong).code, 2, "{wrong:?}");
    }
    let policy = stage.dir.path().join("p.toml");
    std::fs::write(&policy, "[lease]\nlasts = \"1h\"\n").unwrap();
    let ran = hub.run(&stage, &["change", "policy", policy.to_str().unwrap(), "--json"]);
    check("admin-proposal", &ran.json());
    assert_eq!(hub.asked().last(), Some(&json!({ "policy": "[lease]\nlasts = \"1h\"\n" })));
    hub.run(&stage, &["change", "limit", "--orders-per-hour", "9"]);
    assert_eq!(hub.asked().last(), Some(&json!({ "orders_per_hour": 9 })));
}

#[test]
fn approvers_and_proposals_are_listed_and_named() {
    let (hub, stage) = (hub(), Stage::empty());
    check("admin-approver-list", &hub.run(&stage, &["approver", "list", "--json"]).json());
    check("admin-proposal-list", &hub.run(&stage, &["proposal", "list", "--json"]).json());
    check("admin-proposal", &hub.run(&stage, &["proposal", "show", "t1", "--json"]).json());
    let key = exeunt_ssf::SigningKey::generate().unwrap();
    let x = key.jwk().x();
    let ran = hub.run(&stage, &["approver", "add", "--name", "ann", "--key", x, "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    check("admin-approver", &ran.json());
    let add = vec![NewApprover { name: "ann".into(), x: x.into() }];
    let sent = ApproverRequest { add, ..ApproverRequest::default() };
    assert_eq!(hub.asked(), [serde_json::to_value(sent).unwrap()]);
    let bad = hub.run(&stage, &["approver", "add", "--name", "ann", "--key", "hello", "--json"]);
    assert_eq!((bad.code, hub.asked().len()), (2, 1), "{bad:?}");
    // The text of a policy is part of what an approver reads.
    hub.played.lock().unwrap().info.matter.policy = Some("[lease]\nlasts = \"1h\"".into());
    let shown = hub.run(&stage, &["proposal", "show", "t1"]);
    assert!(shown.out.contains("| lasts = \"1h\""), "{shown:?}");
}
