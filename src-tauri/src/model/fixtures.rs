//! What a warden and an agent may say, for the tests of this crate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::order::Authority;
use exeunt_domain::receipt::{Before, LockReport, Mode, NotCovered, ReceiptBody};
use exeunt_domain::{Outcome, Proof, SessionKind, StoreReport, Subject, Tier, Timestamp, Verdict};
use exeunt_ipc::message::{
    Closed, ConsoleSession, Ends, HubLink, HubSession, Preview, Target, TxnState, WardenStatus,
};

pub(crate) const TXN: &str = "txn-1";
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(crate) fn status() -> WardenStatus {
    WardenStatus {
        mode: Mode::Installed,
        device: Some("occ-07".parse().unwrap()),
        hub: Some("https://hub.example".into()),
        sessions: vec![ConsoleSession {
            id: "s1".parse().unwrap(),
            subject: Subject::parse("acct:alice@corp.example").unwrap(),
            uid: 1000,
            proof: Proof::Account,
            since: Timestamp(NOW.0 - 60_000),
        }],
        running: None,
        waiting: 0,
        catalogue: "38".into(),
        console: "host".into(),
        last: None,
        returned: None,
        watch: None,
        lease: None,
    }
}

pub(crate) fn link(reachable: bool) -> HubLink {
    let hub = Some("https://hub.example".into());
    HubLink { hub, reachable, answered: Some(Timestamp(NOW.0 - 5000)), waiting: 0 }
}

fn session(place: &str, label: &str, here: bool) -> HubSession {
    HubSession {
        kind: SessionKind::Web,
        place: place.into(),
        label: label.into(),
        here,
        since: NOW,
        last_seen: NOW,
    }
}

pub(crate) fn sessions() -> Vec<HubSession> {
    vec![
        session("lt-0412", "Chrome", false),
        session("occ-07", "Chromium on occ-07", true),
        session("occ-07", "Firefox", true),
        session("lt-0412", "claude-code", false),
    ]
}

pub(crate) fn store(verdict: Option<Verdict>) -> StoreReport {
    StoreReport {
        app: "chromium".into(),
        profile: "Default".into(),
        store: "cookies".into(),
        place: ".config/chromium/Default/Cookies".into(),
        before: Before::Present,
        verdict,
        detail: None,
    }
}

pub(crate) fn preview() -> Preview {
    Preview {
        stores: vec![store(None)],
        ends: vec![Ends { app: "chromium".into(), name: "Chromium".into(), stores: 1 }],
        closes: vec!["Chromium".into()],
        stays: vec!["bookmarks".into()],
        cannot: vec![NotCovered { what: "phone".into(), until: Some(NOW) }],
        digest: "d1".into(),
    }
}

pub(crate) fn closed(outcome: Outcome, hub_committed: bool) -> Closed {
    let verdict = if outcome == Outcome::Verified { Verdict::Gone } else { Verdict::Residual };
    Closed {
        txn: TXN.parse().unwrap(),
        outcome,
        hub_committed,
        hub_refused: None,
        stores: vec![store(Some(verdict))],
        steps: Vec::new(),
        lock: LockReport::Proved { how: "grab held".into() },
        receipt: "e30.e30.c2ln".into(),
    }
}

/// A record as a warden signs it, but for the signature.
pub(crate) fn compact(stores: Vec<StoreReport>) -> String {
    let body = ReceiptBody {
        device: "occ-07".into(),
        txn: TXN.parse().unwrap(),
        seq: 12,
        previous: String::new(),
        authority: Authority::LocalRequest { uid: 1000, surface: "tray".into() },
        subject: None,
        tier: Tier::SignOut,
        pinned: true,
        mode: Mode::Installed,
        outcome: Outcome::Partial,
        accepted: NOW,
        checked: NOW,
        stores,
        steps: Vec::new(),
        lock: LockReport::NotAsked,
        catalogue: "38".into(),
        coverage: String::new(),
        not_covered: vec![NotCovered { what: "phone".into(), until: None }],
        remarks: Vec::new(),
    };
    let claims = serde_json::json!({ "events": { "https://exeunt.example/receipt": body } });
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Two sessions, this device as the hub still sees it, and a laptop that stands at `laptop`.
pub(crate) fn txn(laptop: Outcome) -> TxnState {
    let target = |kind: &str, id: &str, outcome| Target {
        kind: kind.into(),
        id: id.into(),
        outcome,
        at: NOW.plus_ms(402),
        detail: None,
    };
    TxnState {
        txn: TXN.parse().unwrap(),
        outcome: laptop,
        targets: vec![
            target("session", "a", Outcome::Verified),
            target("session", "b", Outcome::Verified),
            target("device", "occ-07", Outcome::Delivered),
            target("device", "lt-0412", laptop),
        ],
    }
}
