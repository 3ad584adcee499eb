//! What needs a quorum, from the first approver to the order that carries their signatures.
//!
//! It refuses to trust the hub's word for it: what a device gets is checked as its warden checks it.

use std::collections::BTreeSet;

use exeunt_api::{
    AdminTokenResponse, ApproverResponse, ProposalInfo, ProposalList, ProposalStatus, Role, path,
};
use exeunt_domain::order::{CHANGE_EVENT, WIDE_ORDER_EVENT, WideOrder};
use exeunt_domain::{Act, Approvers, Outcome, Proof, Proposal, Targets, Tier, Timestamp, Txn};
use exeunt_ssf::{
    ChangeEvent, EnrolToken, Expected, InForce, LeaseAsked, SigningKey, approve, verify,
};
use serde_json::{Value, json};

use crate::rig::{Answer, Device, Rig, answer, push};

/// A hub with a requester and three approvers in force, each with their key.
struct House {
    rig: Rig,
    /// A responder.
    rita: String,
    people: Vec<Person>,
}

/// An operator with an approver's key.
struct Person {
    name: String,
    token: String,
    key: SigningKey,
}

async fn operator(rig: &Rig, name: &str, roles: &[Role]) -> String {
    let body = json!({ "name": name, "roles": roles });
    rig.post(path::ADMIN_TOKENS, &rig.admin, &body).await.read::<AdminTokenResponse>().token
}

impl Person {
    async fn new(rig: &Rig, name: &str) -> Self {
        let token = operator(rig, name, &[Role::Approver]).await;
        Self { name: name.to_owned(), token, key: SigningKey::generate().unwrap() }
    }

    fn named(&self) -> Value {
        json!({ "name": self.name, "x": self.key.jwk().x() })
    }
}

impl House {
    async fn new() -> Self {
        Self::over(Rig::new().await).await
    }

    async fn over(rig: Rig) -> Self {
        let mut people = Vec::new();
        for name in ["ann", "bea", "cal"] {
            people.push(Person::new(&rig, name).await);
        }
        let add: Vec<_> = people.iter().map(Person::named).collect();
        let set = rig.post(path::APPROVERS, &rig.admin, &json!({ "add": add })).await;
        let set: ApproverResponse = set.read();
        assert_eq!((set.set.needed, set.set.approvers.len()), (None, 3));
        let enacted = rig.post(path::APPROVERS, &rig.admin, &json!({ "needed": 2 })).await;
        assert_eq!(enacted.read::<ApproverResponse>().set.needed, Some(2));
        let rita = operator(&rig, "rita", &[Role::Responder]).await;
        Self { rig, rita, people }
    }

    /// A device at which `subject` is signed in, enrolled with what `body` adds to the token.
    async fn device(&self, name: &str, subject: &str, group: Option<&str>) -> (Device, EnrolToken) {
        let token =
            self.rig.device_token(json!({ "name": name, "group": group, "tenant": "north" })).await;
        let mut device = Device::new(name);
        device.enrol(&self.rig, &token).await.read::<Value>();
        device.log_in(&self.rig).await;
        let began = device.begin(&self.rig, subject, "console", Proof::Account).await;
        assert_eq!(began.status, 202);
        (device, token)
    }

    async fn propose(&self, body: Value) -> ProposalInfo {
        self.rig.post(path::PROPOSALS, &self.rita, &body).await.read()
    }

    async fn approve(&self, who: &Person, proposal: &Proposal) -> Answer {
        self.send(who, &proposal.txn, &who.key, proposal).await
    }

    async fn send(&self, who: &Person, txn: &Txn, key: &SigningKey, signed: &Proposal) -> Answer {
        let body = json!({ "approval": approve(key, signed).unwrap() });
        self.rig.post(&path::approve(txn), &who.token, &body).await
    }

    /// Two approvers agree.
    async fn agree(&self, info: &ProposalInfo) -> ProposalInfo {
        self.approve(&self.people[0], &info.proposal).await.read::<ProposalInfo>();
        self.approve(&self.people[1], &info.proposal).await.read()
    }

    fn set(&self) -> Approvers {
        Approvers { keys: self.people.iter().map(|p| p.key.kid().clone()).collect(), needed: 2 }
    }
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

#[tokio::test]
async fn a_token_names_the_approvers_in_force_their_number_and_the_hourly_limit() {
    let house = House::new().await;
    let body = json!({ "name": "k1", "group": "kiosks", "tenant": "north" });
    let token = house.rig.device_token(body).await;
    assert_eq!((token.approvers, token.orders_per_hour), (Some(house.set()), Some(6)));
    assert_eq!(token.group.unwrap().as_str(), "kiosks");
    assert_eq!(token.tenant.unwrap().as_str(), "north");
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn a_token_from_before_the_set_was_in_force_enrols_nobody() {
    let rig = Rig::new().await;
    let token = rig.device_token(json!({ "name": "occ-1" })).await;
    assert_eq!(token.approvers, None);
    let house = House::over(rig).await;
    let mut device = Device::new("occ-1");
    assert_eq!(device.enrol(&house.rig, &token).await.status, 403);
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn a_purge_goes_out_with_two_approvals_and_not_with_one() {
    let house = House::new().await;
    let (device, token) = house.device("occ-07", "alice", None).await;
    let body = json!({ "subject": "alice", "tier": "purge", "reason": "laptop stolen" });
    let info = house.propose(body).await;
    assert_eq!((info.reach.devices, info.reach.sessions, info.needed), (1, 1, 2));
    assert_eq!(info.digest, exeunt_ssf::approval::digest(&info.proposal).unwrap());
    let one = house.approve(&house.people[0], &info.proposal).await.read::<ProposalInfo>();
    assert_eq!((one.status, one.approvals.len()), (ProposalStatus::Open, 1));
    // The same one again is the same one.
    let again = house.approve(&house.people[0], &info.proposal).await.read::<ProposalInfo>();
    assert_eq!((again.status, again.approvals.len()), (ProposalStatus::Open, 1));
    assert!(device.peek(&house.rig).await.is_empty(), "ordered with one approval");
    let sessions = house.rig.get("/v1/sessions?subject=alice", &house.rig.admin).await;
    assert_eq!(sessions.body["sessions"][0]["status"], "active");

    let two = house.approve(&house.people[2], &info.proposal).await.read::<ProposalInfo>();
    assert_eq!((two.status, two.approvals.len()), (ProposalStatus::Committed, 2));
    let sets = device.peek(&house.rig).await;
    let (txn, order) = device.order(&house.rig, sets.values().next().unwrap());
    assert_eq!((txn, order.tier), (Some(info.proposal.txn.clone()), Tier::Purge));
    let quorum = order.quorum.unwrap();
    assert_eq!((&quorum.proposal, order.deadline), (&info.proposal, info.proposal.deadline));
    // As the warden judges it: by what its token named.
    assert_eq!(exeunt_ssf::agreed(token.approvers.as_ref(), &quorum).unwrap().len(), 2);
    let sessions = house.rig.get("/v1/sessions?subject=alice", &house.rig.admin).await;
    assert_eq!(sessions.body["sessions"][0]["status"], "revoked");

    let rows = house.rig.audited("sign-out").await;
    let by = rows[0]["detail"]["approvers"].as_array().unwrap();
    let names: BTreeSet<_> = by.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["ann", "cal"]));
    assert_eq!(
        (&rows[0]["actor"], &rows[0]["reason"]),
        (&"admin:rita".into(), &"laptop stolen".into())
    );
    assert_eq!(house.rig.audited("proposed").await.len(), 1);
    assert_eq!(house.rig.audited("approved").await.len(), 1);
    let late = house.approve(&house.people[1], &info.proposal).await;
    assert_eq!(refused(&late), (409, "conflict"));
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn who_may_not_approve_is_refused_by_name_and_nothing_happens() {
    let house = House::new().await;
    let (device, _) = house.device("occ-07", "alice", None).await;
    // Ann may respond, too: what she proposes, she does not approve.
    let body = json!({ "name": "ann", "roles": ["responder", "approver"] });
    let both: AdminTokenResponse =
        house.rig.post(path::ADMIN_TOKENS, &house.rig.admin, &body).await.read();
    let body = json!({ "subject": "alice", "tier": "purge" });
    let own: ProposalInfo = house.rig.post(path::PROPOSALS, &both.token, &body).await.read();
    assert_eq!(own.proposal.requester_key.as_ref(), Some(house.people[0].key.kid()));
    let said = house.approve(&house.people[0], &own.proposal).await;
    assert_eq!(refused(&said), (403, "forbidden"));

    let info = house.propose(body).await;
    let (ann, bea) = (&house.people[0], &house.people[1]);
    // An operator who approves with a key that is in no set.
    let stranger = Person::new(&house.rig, "sid").await;
    let said = house.approve(&stranger, &info.proposal).await;
    assert_eq!(refused(&said), (403, "forbidden"));
    assert!(said.body["error"]["message"].as_str().unwrap().contains("no approver"));
    // Another's key; another proposal's signature; one that was altered after it was signed.
    let said = house.send(ann, &info.proposal.txn, &bea.key, &info.proposal).await;
    assert_eq!(refused(&said), (403, "forbidden"));
    let said = house.send(ann, &info.proposal.txn, &ann.key, &own.proposal).await;
    assert_eq!(refused(&said), (400, "invalid_request"));
    let altered = Proposal { targets: Targets::Everyone, ..info.proposal.clone() };
    let said = house.send(ann, &info.proposal.txn, &ann.key, &altered).await;
    assert_eq!(refused(&said), (400, "invalid_request"));
    // A role that is not an approver's.
    let body = json!({ "approval": approve(&ann.key, &info.proposal).unwrap() });
    let said = house.rig.post(&path::approve(&info.proposal.txn), &house.rita, &body).await;
    assert_eq!(refused(&said), (403, "forbidden"));
    let said = house.send(ann, &Txn::parse("none").unwrap(), &ann.key, &info.proposal).await;
    assert_eq!(refused(&said), (404, "not_found"));
    assert!(device.peek(&house.rig).await.is_empty());
    assert_eq!(house.rig.audited("approval-refused").await.len(), 6);

    // Taken back: by whoever proposed it or an administrator, and then nobody approves it.
    let take = |token: String| {
        let path = path::withdraw(&info.proposal.txn);
        answer(house.rig.http.post(house.rig.url(&path)).bearer_auth(token))
    };
    assert_eq!(take(both.token.clone()).await.status, 403);
    assert_eq!(take(house.rita.clone()).await.status, 204);
    assert_eq!(refused(&house.approve(ann, &info.proposal).await), (409, "conflict"));
    let list: ProposalList = house.rig.get(path::PROPOSALS, &ann.token).await.read();
    let stands: Vec<_> = list.proposals.iter().map(|one| one.status).collect();
    assert_eq!(stands, [ProposalStatus::Withdrawn, ProposalStatus::Open]);
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn without_approvers_in_force_nothing_is_proposed_and_bad_demands_are_refused() {
    let rig = Rig::new().await;
    let purge = json!({ "subject": "alice", "tier": "purge" });
    let early = rig.post(path::PROPOSALS, &rig.admin, &purge).await;
    assert_eq!(refused(&early), (409, "conflict"));
    assert!(early.body["error"]["hint"].as_str().unwrap().contains("approver add"));
    let house = House::over(rig).await;
    let (device, _) = house.device("occ-07", "alice", None).await;
    for (body, code) in [
        (json!({ "subject": "nobody", "tier": "purge" }), (404, "unknown_subject")),
        (json!({ "tier": "purge" }), (409, "conflict")),
        (json!({ "tier": "purge", "group": "k", "everyone": true }), (409, "conflict")),
        (json!({ "tier": "purge", "group": "nowhere" }), (409, "conflict")),
        (json!({ "tier": "purge", "devices": ["occ-99"] }), (404, "not_found")),
        (json!({ "tier": "purge", "everyone": true, "good_for_s": 1 }), (400, "invalid_request")),
        (json!({ "tier": "format", "everyone": true }), (400, "invalid_request")),
    ] {
        let said = house.rig.post(path::PROPOSALS, &house.rita, &body).await;
        assert_eq!(refused(&said), code, "{body}");
    }
    // A preview keeps nothing.
    let body = json!({ "subject": "alice", "tier": "purge", "preview": true });
    assert_eq!(house.propose(body).await.reach.devices, 1);
    let list: ProposalList = house.rig.get(path::PROPOSALS, &house.rita).await.read();
    assert!(list.proposals.is_empty() && device.peek(&house.rig).await.is_empty());
    house.rig.hub.stop().await;
}

/// One entry, one signature, the same bytes: to every device of the group and to no other.
#[tokio::test]
async fn an_order_to_a_group_is_one_entry_for_all_of_it() {
    let house = House::new().await;
    let (one, token) = house.device("k1", "alice", Some("kiosks")).await;
    let (two, _) = house.device("k2", "bob", Some("kiosks")).await;
    let (other, _) = house.device("d1", "cleo", Some("desks")).await;
    let info = house.propose(json!({ "tier": "sign-out", "group": "kiosks" })).await;
    assert_eq!((info.reach.devices, info.reach.sessions), (2, 2));
    let done = house.agree(&info).await;
    assert_eq!(done.status, ProposalStatus::Committed);
    let (first, second) = (one.peek(&house.rig).await, two.peek(&house.rig).await);
    assert_eq!((first.len(), &first), (1, &second), "not the same bytes");
    assert!(other.peek(&house.rig).await.is_empty());
    let compact = first.values().next().unwrap();
    let audience = info.proposal.targets.audience().unwrap();
    let expected = Expected { issuer: Some(house.rig.hub.issuer.clone()), audience };
    let set = verify(compact, &one.keys, &expected).unwrap();
    let order: WideOrder = set.event_as(WIDE_ORDER_EVENT).unwrap();
    assert_eq!(exeunt_ssf::agreed(token.approvers.as_ref(), &order.quorum).unwrap().len(), 2);
    for (subject, status) in [("alice", "revoked"), ("bob", "revoked"), ("cleo", "active")] {
        let sessions =
            house.rig.get(&format!("/v1/sessions?subject={subject}"), &house.rig.admin).await;
        assert_eq!(sessions.body["sessions"][0]["status"], status, "{subject}");
    }
    let state = house.rig.txn(&info.proposal.txn).await;
    let devices = state.targets.iter().filter(|target| target.kind == "device");
    assert_eq!(devices.map(|target| target.id.as_str()).collect::<Vec<_>>(), ["k1", "k2"]);
    // Acknowledged by one, it still waits for the other, also after a restart.
    one.ack(&house.rig, first.keys().cloned()).await;
    assert!(one.peek(&house.rig).await.is_empty());
    let House { rig, .. } = house;
    let rig = rig.restart(|_| {}).await;
    let (mut one, mut two) = (one, two);
    one.log_in(&rig).await;
    two.log_in(&rig).await;
    assert!(one.peek(&rig).await.is_empty());
    assert_eq!(two.peek(&rig).await, second);
    // Whoever is in the group from now on is not meant.
    let token = rig.device_token(json!({ "name": "k3", "group": "kiosks" })).await;
    let mut late = Device::new("k3");
    late.enrol(&rig, &token).await.read::<Value>();
    late.log_in(&rig).await;
    assert!(late.peek(&rig).await.is_empty());
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_tenant_and_everyone_are_reached_each_by_one_entry_and_a_lease_names_it() {
    let house = House::new().await;
    let (one, _) = house.device("k1", "alice", Some("kiosks")).await;
    let (two, _) = house.device("d1", "bob", None).await;
    for (body, name) in [
        (json!({ "tier": "lock", "tenant": "north" }), "urn:exeunt:tenant:north"),
        (json!({ "tier": "lock", "everyone": true }), "urn:exeunt:everyone"),
    ] {
        let info = house.propose(body).await;
        assert_eq!((info.reach.devices, info.reach.sessions), (2, 0));
        house.agree(&info).await;
        let waiting = one.peek(&house.rig).await;
        let (jti, compact) = waiting.last_key_value().unwrap();
        assert_eq!(two.peek(&house.rig).await.get(jti), Some(compact));
        let read = exeunt_ssf::read_unverified(compact).unwrap();
        assert_eq!(read.aud, [name]);
        // Whoever withholds it ends the lease with it.
        assert_eq!(renew(&house.rig, &one, held(&house)).await.as_ref(), Some(jti));
    }
    house.rig.hub.stop().await;
}

fn held(house: &House) -> InForce {
    let hub_keys = house.rig.hub.state().keys.now().kid().clone();
    InForce {
        policy: None,
        hub_keys: [hub_keys].into(),
        approvers: Some(house.set()),
        orders_per_hour: 6,
    }
}

/// The last order that a renewal names.
async fn renew(rig: &Rig, device: &Device, in_force: InForce) -> Option<exeunt_domain::Jti> {
    use exeunt_domain::order::{LEASE_ASKED_EVENT, LEASE_EVENT};
    let asked = LeaseAsked { nonce: "n".into(), epoch: device.epoch, in_force };
    let set = device.set(&rig.hub.issuer, LEASE_ASKED_EVENT, &asked);
    let compact = device.key.sign(&set).unwrap();
    let said = push(rig, path::LEASE, &device.token, compact).await;
    let Value::String(compact) = said.body else { panic!("{}", said.body) };
    let expected = Expected { issuer: Some(rig.hub.issuer.clone()), audience: device.id.clone() };
    let lease = verify(&compact, &device.keys, &expected).unwrap();
    lease.event_as::<exeunt_ssf::LeaseEvent>(LEASE_EVENT).unwrap().last_order
}

/// Once in force, the set changes by a quorum of those who are in it, here and at the devices.
#[tokio::test]
async fn the_set_changes_by_its_own_quorum_and_a_device_is_done_when_its_warden_says_so() {
    let house = House::new().await;
    let (device, _) = house.device("occ-07", "alice", None).await;
    let unused = house.rig.device_token(json!({ "name": "occ-08" })).await;
    let dora = Person::new(&house.rig, "dora").await;
    let body = json!({ "add": [dora.named()], "remove": ["cal"] });
    let said: ApproverResponse =
        house.rig.post(path::APPROVERS, &house.rig.admin, &body).await.read();
    let info = said.proposal.unwrap();
    assert!(said.set.approvers.iter().all(|one| one.name != "dora"), "in at once");
    assert!(matches!(info.proposal.act, Act::Approvers(_)));
    let names: Vec<_> = info.matter.approvers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["ann", "bea", "dora"]);
    assert_eq!(refused(&house.approve(&dora, &info.proposal).await), (403, "forbidden"));
    house.agree(&info).await;

    let now: exeunt_api::ApproverList = house.rig.get(path::APPROVERS, &house.rita).await.read();
    assert!(now.approvers.iter().any(|one| one.name == "dora"));
    let waiting = device.peek(&house.rig).await;
    let expected =
        Expected { issuer: Some(house.rig.hub.issuer.clone()), audience: "occ-07".into() };
    let set = verify(waiting.values().next().unwrap(), &device.keys, &expected).unwrap();
    let change: ChangeEvent = set.event_as(CHANGE_EVENT).unwrap();
    let Act::Approvers(new) = change.act.clone() else { panic!("{change:?}") };
    assert_eq!(change.quorum.unwrap().proposal, info.proposal);
    // An acknowledgement is transport; the warden's own word is the end of it.
    device.ack(&house.rig, waiting.keys().cloned()).await;
    assert_eq!(house.rig.txn(&info.proposal.txn).await.outcome, Outcome::Requested);
    renew(&house.rig, &device, held(&house)).await;
    assert_eq!(house.rig.txn(&info.proposal.txn).await.outcome, Outcome::Requested);
    let knows = || async {
        house.rig.get(path::DEVICES, &house.rita).await.body["devices"][0]["knows_approvers"]
            .clone()
    };
    assert_eq!(knows().await, json!(false));
    renew(&house.rig, &device, InForce { approvers: Some(new), ..held(&house) }).await;
    assert_eq!(house.rig.txn(&info.proposal.txn).await.outcome, Outcome::Verified);
    assert_eq!(knows().await, json!(true));

    // A token that names the old set enrols nobody, and the old one approves nothing.
    let mut other = Device::new("occ-08");
    assert_eq!(other.enrol(&house.rig, &unused).await.status, 403);
    let info = house.propose(json!({ "subject": "alice", "tier": "purge" })).await;
    assert_eq!(refused(&house.approve(&house.people[2], &info.proposal).await), (403, "forbidden"));
    house.approve(&dora, &info.proposal).await.read::<ProposalInfo>();
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn a_set_that_could_never_agree_is_refused() {
    let house = House::new().await;
    let ann = &house.people[0];
    let twice = json!({ "name": "ann-too", "x": ann.key.jwk().x() });
    for body in [
        json!({}),
        json!({ "needed": 0 }),
        json!({ "needed": 4 }),
        json!({ "remove": ["ann", "bea"] }),
        json!({ "add": [twice] }),
        json!({ "add": [{ "name": "x", "x": "A".repeat(43) }] }),
        json!({ "add": [{ "name": "x", "x": "short" }] }),
        json!({ "add": [{ "name": " ", "x": ann.key.jwk().x() }] }),
    ] {
        let said = house.rig.post(path::APPROVERS, &house.rig.admin, &body).await;
        assert!([400, 409].contains(&said.status.as_u16()), "{body}: {}", said.body);
    }
    let said =
        house.rig.post(path::APPROVERS, &house.rig.admin, &json!({ "remove": ["zed"] })).await;
    assert_eq!(refused(&said), (404, "not_found"));
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn a_limit_and_a_policy_go_to_every_device_by_a_quorum() {
    let house = House::new().await;
    let (device, _) = house.device("occ-07", "alice", None).await;
    for body in [
        json!({}),
        json!({ "orders_per_hour": 0 }),
        json!({ "orders_per_hour": 5, "policy": "" }),
        json!({ "policy": "[lease]\nlasts = \"soon\"\n" }),
    ] {
        let said = house.rig.post(path::CHANGES, &house.rig.admin, &body).await;
        assert!([400, 409].contains(&said.status.as_u16()), "{body}: {}", said.body);
    }
    let said = house.rig.post(path::CHANGES, &house.rita, &json!({ "orders_per_hour": 9 })).await;
    assert_eq!(said.status, 403, "a responder changes no limit");
    let text = "[subjects]\nfixed = \"alice\"\n[lease]\nlasts = \"2h\"\n";
    for body in [json!({ "orders_per_hour": 9 }), json!({ "policy": text })] {
        let info: ProposalInfo =
            house.rig.post(path::CHANGES, &house.rig.admin, &body).await.read();
        house.agree(&info).await;
        let waiting = device.peek(&house.rig).await;
        let expected =
            Expected { issuer: Some(house.rig.hub.issuer.clone()), audience: "occ-07".into() };
        let (jti, compact) = waiting.last_key_value().unwrap();
        let set = verify(compact, &device.keys, &expected).unwrap();
        let change: ChangeEvent = set.event_as(CHANGE_EVENT).unwrap();
        assert_eq!((&change.act, change.quorum.is_some()), (&info.proposal.act, true));
        assert_eq!(change.policy.as_deref(), body["policy"].as_str());
        device.ack(&house.rig, [jti.clone()]).await;
    }
    let token = house.rig.device_token(json!({ "name": "occ-08" })).await;
    assert_eq!(token.orders_per_hour, Some(9));
    house.rig.hub.stop().await;
}

/// The old key tells every device of the new one, with the quorum; from then on only the new one signs.
#[tokio::test]
async fn a_new_hub_key_is_told_by_the_old_one_and_signs_from_then_on() {
    let house = House::new().await;
    let (mut device, _) = house.device("occ-07", "alice", None).await;
    let unused = house.rig.device_token(json!({ "name": "occ-08" })).await;
    let old = house.rig.hub.state().keys.now();
    let body = json!({ "hub_key": true, "reason": "the old one may be stolen" });
    let info: ProposalInfo = house.rig.post(path::CHANGES, &house.rig.admin, &body).await.read();
    let Act::HubKeys { keys } = &info.proposal.act else { panic!("{info:?}") };
    assert_eq!(
        house.rig.hub.state().keys.now().kid(),
        old.kid(),
        "it signs before it was approved"
    );
    assert_eq!(house.agree(&info).await.status, ProposalStatus::Committed);
    assert!(keys.contains(house.rig.hub.state().keys.now().kid()));

    let waiting = device.peek(&house.rig).await;
    let expected =
        Expected { issuer: Some(house.rig.hub.issuer.clone()), audience: "occ-07".into() };
    let (jti, compact) = waiting.first_key_value().unwrap();
    let set = verify(compact, &device.keys, &expected).unwrap();
    assert_eq!(set.kid(), old.kid());
    let change: ChangeEvent = set.event_as(CHANGE_EVENT).unwrap();
    let new = change.jwks.unwrap();
    assert!(keys.contains(new.keys[0].kid()));
    device.ack(&house.rig, [jti.clone()]).await;
    device.keys = new.clone();
    let held = InForce { hub_keys: keys.clone(), ..held(&house) };
    renew(&house.rig, &device, held).await;
    assert_eq!(house.rig.txn(&info.proposal.txn).await.outcome, Outcome::Verified);
    let mut late = Device::new("occ-08");
    assert_eq!(late.enrol(&house.rig, &unused).await.status, 403, "it would trust the old key");

    // The new one signs orders and audit heads, also after a restart; the old one stays published.
    let House { rig, .. } = house;
    let rig = rig.restart(|_| {}).await;
    device.log_in(&rig).await;
    rig.sign_out("alice").await;
    let waiting = device.peek(&rig).await;
    assert_eq!(device.order(&rig, waiting.values().next().unwrap()).1.tier, Tier::SignOut);
    let published: exeunt_ssf::Jwks = rig.get(path::JWKS, "").await.read();
    assert_eq!(published.keys[0].kid(), new.keys[0].kid());
    assert!(published.find(old.kid().as_str()).is_some());
    let verdict: exeunt_api::AuditVerdict = rig.get(path::AUDIT_VERIFY, &rig.admin).await.read();
    assert!(verdict.verified, "{verdict:?}");
    let token = rig.device_token(json!({ "name": "occ-09" })).await;
    assert_eq!(token.thumbprints, [new.keys[0].kid().clone()]);
    rig.hub.stop().await;
}

/// Approvals end with their deadline: an order that stands on them is not signed again.
#[tokio::test]
async fn what_approvers_signed_is_not_signed_again_after_its_deadline() {
    let house = House::new().await;
    let (device, _) = house.device("occ-07", "alice", None).await;
    let body = json!({ "subject": "alice", "tier": "purge", "good_for_s": 60 });
    let info = house.propose(body).await;
    let lasts = info.proposal.deadline.since_ms(info.proposal.proposed);
    assert_eq!(lasts, 60_000);
    assert!(info.proposal.deadline > Timestamp(0));
    house.agree(&info).await;
    let (_, order) =
        device.order(&house.rig, device.peek(&house.rig).await.values().next().unwrap());
    assert_eq!(order.deadline, info.proposal.deadline, "beyond what was approved");
    house.rig.hub.stop().await;
}

#[tokio::test]
async fn a_removed_device_is_out_at_once_and_comes_back_in_a_new_epoch() {
    let house = House::new().await;
    let (device, _) = house.device("occ-07", "alice", None).await;
    let named = house.rig.device_token(json!({ "name": "occ-07" })).await;
    house.rig.sign_out("alice").await;
    let old = device.peek(&house.rig).await;
    assert_eq!(old.len(), 1);
    let remove = || {
        let place = house.rig.url(&format!("{}/occ-07", path::DEVICES));
        answer(house.rig.http.delete(place).bearer_auth(&house.rig.admin))
    };
    assert_eq!(remove().await.status, 204);
    assert_eq!(refused(&remove().await), (404, "not_found"));
    // Its agent's token, its agent's key, its warden's key, and a token that named it.
    assert_eq!(house.rig.post(path::POLL, &device.token, &json!({})).await.status, 401);
    let again = device.ask_token(&house.rig, &device.assertion(&house.rig)).await;
    assert_eq!(again.status, 401);
    let said = device.begin(&house.rig, "alice", "c2", Proof::Account).await;
    assert_eq!(said.status, 401);
    let mut thief = Device::new("occ-07");
    assert_eq!(thief.enrol(&house.rig, &named).await.status, 403);
    let txns = house.rig.audited("sign-out").await;
    let txn = Txn::parse(txns[0]["txn"].as_str().unwrap()).unwrap();
    let state = house.rig.txn(&txn).await;
    let target = state.targets.iter().find(|target| target.kind == "device").unwrap();
    assert_eq!(target.outcome, Outcome::Unreachable);
    assert!(target.detail.as_ref().unwrap().contains("removed"), "{target:?}");
    assert_eq!(house.rig.audited("device-removed").await.len(), 1);

    let (back, _) = house.device("occ-07", "alice", None).await;
    assert_eq!(back.epoch, device.epoch + 1, "old orders would be of this epoch");
    assert!(back.peek(&house.rig).await.is_empty(), "an old order replays");
    house.rig.hub.stop().await;
}
