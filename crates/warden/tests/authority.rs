//! What the hub's key alone can make of a device, and what it cannot: a real warden, and a thief who
//! signs with the very key that its enrolment pinned.

#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer ends the test")]
#![expect(clippy::unwrap_used, reason = "what several tests share may fail as loudly as they do")]

#[path = "stage/rig.rs"]
mod rig;

use std::collections::BTreeSet;

use exeunt_domain::order::{
    CHANGE_EVENT, LEASE_ASKED_EVENT, ORDER_EVENT, WIDE_ORDER_EVENT, WideOrder,
};
use exeunt_domain::{
    Act, Approvers, Authority, Group, Jti, Order, Outcome, Subject, Targets, Tier, Timestamp,
};
use exeunt_ipc::message::{LeaseStanding, WardenAnswer, WardenRequest};
use exeunt_policy::Policy;
use exeunt_ssf::{ChangeEvent, Jwks, LeaseAsked, Set, SigningKey, read_unverified};

use rig::{Hub, NOW, Rig, later, next_uplink, receipt};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A device of which alice is the person, enrolled with a hub that has three approvers.
fn enrolled() -> (Rig, Hub) {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let mut hub = Hub::with_approvers();
    assert_eq!(hub.enroll(&rig), WardenAnswer::Done);
    (rig, hub)
}

fn refused(answer: &WardenAnswer) -> &str {
    match answer {
        WardenAnswer::Failed(failure) => &failure.code,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn lease(rig: &Rig) -> LeaseStanding {
    let WardenAnswer::Status(status) = rig.ask(WardenRequest::Status) else { panic!("no status") };
    status.lease.unwrap()
}

fn order(hub: &Hub, rig: &Rig, jti: &str, order: &Order) -> WardenAnswer {
    let set = hub.sign(jti, Some(jti), ORDER_EVENT, order);
    rig.ask(WardenRequest::Deliver { set })
}

fn policy(text: &str) -> (Act, Option<String>) {
    (Act::Policy { sha256: Policy::digest(text) }, Some(text.to_owned()))
}

/// Everything that would give the thief more than signing people out one by one.
fn attempts(hub: &Hub, forged: Option<&[SigningKey]>) -> Vec<(&'static str, ChangeEvent)> {
    let thiefs = SigningKey::generate().unwrap();
    let keys = BTreeSet::from([thiefs.kid().clone()]);
    let change = |act| hub.change("forged", act, forged);
    let hub_keys = change(Act::HubKeys { keys: keys.clone() });
    let own = Approvers { keys, needed: 1 };
    let policies = [
        ("a shorter lease", "[lease]\nlasts = \"60s\"\n"),
        ("a lease that purges", "[lease]\ntier = \"purge\"\n"),
        ("a trigger", "[[trigger]]\non = \"idle\"\nafter = \"1s\"\ntier = \"sign-out\"\n"),
        ("another person's name", "[subjects]\nfixed = \"ceo\"\n"),
    ];
    let mut all = vec![
        ("a new key", ChangeEvent { jwks: Some(Jwks::of(thiefs.jwk())), ..hub_keys }),
        ("new approvers", change(Act::Approvers(own))),
        ("a higher limit", change(Act::OrderLimit { orders_per_hour: 1000 })),
        ("no limit at all", change(Act::OrderLimit { orders_per_hour: 0 })),
    ];
    for (name, text) in policies {
        let (act, policy) = policy(text);
        all.push((name, ChangeEvent { policy, ..change(act) }));
    }
    all
}

/// R16, R17: a stolen hub key signs people out one by one, at most six an hour, and nothing more.
#[test]
fn a_stolen_hub_key_signs_people_out_one_by_one_and_can_do_nothing_else() {
    let (mut rig, hub) = enrolled();
    let purge = Order { tier: Tier::Purge, ..hub.demand(later()) };
    let strangers: Vec<SigningKey> = (0..2).map(|_| SigningKey::generate().unwrap()).collect();
    let act = Act::Order { tier: Tier::Purge, user: purge.user.clone() };

    // Purge: plainly, with approvals of the thief's own making, and with real ones for another cause.
    assert_eq!(refused(&order(&hub, &rig, "purge-1", &purge)), "access_denied");
    let forged = Some(hub.quorum(&strangers, "purge-2", act.clone()));
    let forged = Order { quorum: forged, ..purge.clone() };
    assert_eq!(refused(&order(&hub, &rig, "purge-2", &forged)), "access_denied");
    let mild = Act::Order { tier: Tier::SignOut, user: purge.user.clone() };
    for (jti, quorum) in [
        ("purge-3", hub.quorum(&hub.approvers, "purge-3", mild)),
        ("purge-4", hub.quorum(&hub.approvers, "another-txn", act)),
    ] {
        let reused = Order { quorum: Some(quorum), ..purge.clone() };
        assert_eq!(refused(&order(&hub, &rig, jti, &reused)), "access_denied");
    }

    // Whoever is there, and many devices with one SET.
    let anyone = Order { user: None, ..hub.demand(later()) };
    assert_eq!(refused(&order(&hub, &rig, "anyone", &anyone)), "access_denied");
    let jti = Jti::parse("many").unwrap();
    let many = Set::new(rig::ISSUER, "occ-07", jti, NOW, ORDER_EVENT, &hub.demand(later()));
    let mut many = many.unwrap().with_txn(exeunt_domain::Txn::parse("many").unwrap());
    many.aud.push("occ-08".into());
    let set = hub.key.sign(&many).unwrap();
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set })), "access_denied");

    // Keys, approvers, the limit, the lease, the policy: without a quorum, and with a forged one.
    for forged in [None, Some(strangers.as_slice())] {
        for (what, change) in attempts(&hub, forged) {
            assert_eq!(refused(&hub.send(&rig, "forged", &change)), "access_denied", "{what}");
        }
    }
    // A lease that nobody asked for.
    let set = hub.renewal("guessed", None);
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set })), "access_denied");
    assert!(rig.token().exists(), "something was ended all the same");

    // What it can do: sign alice out. Time told by the hub's key moves no lease.
    let ahead = Order { issued: Timestamp(NOW.0 + 365 * DAY_MS), ..hub.demand(later()) };
    let ahead = Order { deadline: Timestamp(ahead.issued.0 + HOUR_MS), ..ahead };
    assert_eq!(order(&hub, &rig, "order-1", &ahead), WardenAnswer::Done);
    assert_eq!(receipt(&rig, &hub).outcome, Outcome::Verified);
    assert!(!rig.token().exists());
    let left = lease(&rig);
    assert!(!left.lapsed && left.left_ms > 6 * DAY_MS, "{left:?}");

    // Six an hour; a restart of the warden forgets none of them.
    for n in 2..=6 {
        assert_eq!(order(&hub, &rig, &format!("order-{n}"), &ahead), WardenAnswer::Done, "{n}");
    }
    assert_eq!(refused(&order(&hub, &rig, "order-7", &ahead)), "access_denied");
    rig.restart();
    assert_eq!(refused(&order(&hub, &rig, "order-8", &ahead)), "access_denied");
    rig.ahead(HOUR_MS - 60_000);
    assert_eq!(refused(&order(&hub, &rig, "order-9", &ahead)), "access_denied");
    rig.ahead(HOUR_MS + 1);
    assert_eq!(order(&hub, &rig, "order-10", &ahead), WardenAnswer::Done);
}

/// What approvers agreed to is carried out, and the receipt names them.
#[test]
fn a_purge_that_approvers_agreed_to_is_carried_out_and_does_not_count() {
    let (rig, hub) = enrolled();
    let act = Act::Order { tier: Tier::Purge, user: Some(Subject::parse("alice").unwrap()) };
    let quorum = hub.quorum(&hub.approvers, "purge", act);
    let purge = Order { tier: Tier::Purge, quorum: Some(quorum), ..hub.demand(later()) };
    assert_eq!(order(&hub, &rig, "purge", &purge), WardenAnswer::Done);
    let body = receipt(&rig, &hub);
    assert_eq!((body.tier, body.outcome), (Tier::Purge, Outcome::Verified), "{body:#?}");
    let named =
        |key: &SigningKey| body.remarks.iter().any(|said| said.contains(key.kid().as_str()));
    assert!(named(&hub.approvers[0]) && named(&hub.approvers[1]), "{:?}", body.remarks);
    for n in 1..=6 {
        let answer = order(&hub, &rig, &format!("order-{n}"), &hub.demand(later()));
        assert_eq!(answer, WardenAnswer::Done, "{n}");
    }
}

/// A key changes by the old key and a quorum; whatever the old one signed is worth nothing then.
#[test]
fn after_a_key_change_nothing_that_the_old_key_signed_is_believed() {
    let (rig, mut hub) = enrolled();
    let old_order = hub.order("j-old", "t-old", later());
    // A thief moves this device's idea of the hub's time far ahead, to blind it.
    let far = Timestamp(NOW.0 + 365 * DAY_MS);
    let ahead = Order { issued: far, deadline: far, ..hub.demand(later()) };
    assert_eq!(order(&hub, &rig, "ahead", &ahead), WardenAnswer::Done);
    let late = order(&hub, &rig, "blind", &hub.demand(later()));
    assert_eq!(refused(&late), "invalid_request", "the premise: the device is blind");

    let new = SigningKey::generate().unwrap();
    let act = Act::HubKeys { keys: BTreeSet::from([new.kid().clone()]) };
    let mut change = hub.change("rekey", act, Some(&hub.approvers));
    change.jwks = Some(Jwks::of(new.jwk()));
    change.deadline = far;
    let quorum = change.quorum.as_mut().unwrap();
    quorum.proposal.deadline = far;
    let sign = |key| exeunt_ssf::approve(key, &quorum.proposal).unwrap();
    quorum.approvals = hub.approvers.iter().take(2).map(sign).collect();
    assert_eq!(hub.send(&rig, "rekey", &change), WardenAnswer::Done);

    let answer = rig.ask(WardenRequest::Deliver { set: old_order });
    assert_eq!(refused(&answer), "invalid_key");
    // The hub's clock began anew with its new key: the device sees again.
    hub.key = new;
    assert_eq!(order(&hub, &rig, "j-new", &hub.demand(later())), WardenAnswer::Done);
    // The same approvals serve once, whoever signs around them.
    let set = hub.sign("rekey-again", Some("rekey"), CHANGE_EVENT, &change);
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set })), "invalid_request");
}

/// New approvers and another limit, by a quorum of the old ones.
#[test]
fn approvers_are_replaced_by_a_quorum_and_the_old_ones_count_no_more() {
    let (rig, hub) = enrolled();
    let new: Vec<SigningKey> = (0..2).map(|_| SigningKey::generate().unwrap()).collect();
    let keys = new.iter().map(|key| key.kid().clone()).collect();
    let act = Act::Approvers(Approvers { keys, needed: 2 });
    let change = hub.change("set", act, Some(&hub.approvers));
    assert_eq!(hub.send(&rig, "set", &change), WardenAnswer::Done);
    let limit = Act::OrderLimit { orders_per_hour: 100 };
    let old = hub.change("limit-1", limit.clone(), Some(&hub.approvers));
    assert_eq!(refused(&hub.send(&rig, "limit-1", &old)), "access_denied");
    let change = hub.change("limit-2", limit, Some(&new));
    assert_eq!(hub.send(&rig, "limit-2", &change), WardenAnswer::Done);
    let asked = loop {
        let uplink = next_uplink(&rig, LEASE_ASKED_EVENT);
        let set = read_unverified(&uplink.set).unwrap();
        let asked: LeaseAsked = set.event_as(LEASE_ASKED_EVENT).unwrap();
        if asked.in_force.orders_per_hour == 100 {
            break asked;
        }
    };
    // The hub is told what holds now.
    assert_eq!(asked.in_force.approvers.unwrap().keys.len(), 2);
}

/// A policy that gives no more power needs nobody; one that does needs the quorum.
#[test]
fn a_policy_of_the_hub_holds_and_a_stronger_one_needs_the_quorum() {
    let (mut rig, hub) = enrolled();
    let (act, text) = policy("[subjects]\nfixed = \"alice\"\n[lease]\nlasts = \"30d\"\n");
    let mild = ChangeEvent { policy: text, ..hub.change("mild", act, None) };
    assert_eq!(hub.send(&rig, "mild", &mild), WardenAnswer::Done);
    let strict = "[subjects]\nfixed = \"alice\"\n[lease]\nlasts = \"1h\"\n\
                  [[trigger]]\non = \"idle\"\nafter = \"5m\"\ntier = \"sign-out\"\n";
    let (act, text) = policy(strict);
    let bare = ChangeEvent { policy: text.clone(), ..hub.change("bare", act.clone(), None) };
    assert_eq!(refused(&hub.send(&rig, "bare", &bare)), "access_denied");
    let change = hub.change("strict", act.clone(), Some(&hub.approvers));
    // The approved name with another text.
    let swapped = ChangeEvent { policy: Some(String::new()), ..change.clone() };
    assert_eq!(refused(&hub.send(&rig, "strict", &swapped)), "invalid_request");
    assert_eq!(
        hub.send(&rig, "strict", &ChangeEvent { policy: text, ..change }),
        WardenAnswer::Done
    );
    rig.restart();
    let WardenAnswer::Policy(held) = rig.ask(WardenRequest::Policy) else { panic!("no policy") };
    assert_eq!((held.lease_s, held.sha256), (Some(3600), Some(Policy::digest(strict))));
    assert!(lease(&rig).left_ms <= HOUR_MS);

    // The tray reports; the warden decides.
    let idle = |ms| rig.ask(WardenRequest::Idle { ms });
    assert_eq!(idle(299_000), WardenAnswer::Done);
    assert!(rig.token().exists());
    assert_eq!(idle(301_000), WardenAnswer::Done);
    let body = receipt(&rig, &hub);
    assert_eq!(body.authority, Authority::LocalPolicy { trigger: "idle".into() });
    assert!(!rig.token().exists());
}

/// An agent that withholds an order ends the device's lease with it (R18).
#[test]
fn a_withheld_order_is_noticed_at_the_next_renewal_and_the_lease_lapses_with_it() {
    let (mut rig, hub) = enrolled();
    let (asked, answer) = hub.renew(&rig, None);
    assert_eq!(answer, WardenAnswer::Done);
    assert!(asked.in_force.approvers.is_some());
    // An answer serves once.
    let set = hub.renewal(&asked.nonce, None);
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set })), "access_denied");

    // The hub names an order that the agent never delivered.
    rig.ahead(2 * HOUR_MS);
    let (_, answer) = hub.renew(&rig, Some("withheld"));
    assert_eq!(refused(&answer), "access_denied");
    let standing = lease(&rig);
    assert!(standing.withheld && !standing.lapsed, "{standing:?}");

    // Half the week goes by, then the machine's warden is restarted: nothing is given back.
    rig.ahead(4 * DAY_MS);
    rig.restart();
    let left = lease(&rig).left_ms;
    assert!(left <= 3 * DAY_MS && left > 2 * DAY_MS, "{left}");

    rig.ahead(7 * DAY_MS);
    let body = receipt(&rig, &hub);
    assert_eq!(body.authority, Authority::LocalPolicy { trigger: "lease-lapsed".into() });
    assert_eq!(body.tier, Tier::Lock);
    assert!(lease(&rig).lapsed);
    assert!(rig.token().exists(), "the usual lease only locks");

    // Once the order is there, the next renewal ends the lapse.
    let set = hub.order("withheld", "t1", later());
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    rig.ahead(7 * DAY_MS + 2 * HOUR_MS);
    let (_, answer) = hub.renew(&rig, Some("withheld"));
    assert_eq!(answer, WardenAnswer::Done);
    let standing = lease(&rig);
    assert!(
        !standing.lapsed && !standing.withheld && standing.left_ms > 6 * DAY_MS,
        "{standing:?}"
    );
}

/// One SET for a whole group: taken where the device belongs to it and enough approvers agreed.
#[test]
fn an_order_to_a_group_is_taken_by_its_members_with_a_quorum_and_by_no_other() {
    let rig = Rig::start();
    rig.ask(WardenRequest::Status);
    let group = |name: &str| Group::parse(name).unwrap();
    let mut hub = Hub { group: Some(group("kiosks")), ..Hub::with_approvers() };
    assert_eq!(hub.enroll(&rig), WardenAnswer::Done);
    let act = Act::Order { tier: Tier::SignOut, user: None };
    let wide = |txn: &str, targets: Targets, by: &[SigningKey]| {
        let mut quorum = hub.quorum(&[], txn, act.clone());
        quorum.proposal.targets = targets;
        let sign = |key| exeunt_ssf::approve(key, &quorum.proposal).unwrap();
        quorum.approvals = by.iter().map(sign).collect();
        WideOrder { quorum, issued: NOW, reason: None }
    };
    let sent = |txn: &str, order: &WideOrder, audience: &str| {
        let jti = Jti::parse(txn).unwrap();
        let set = Set::new(rig::ISSUER, audience, jti, NOW, WIDE_ORDER_EVENT, order).unwrap();
        let set = hub.key.sign(&set.with_txn(exeunt_domain::Txn::parse(txn).unwrap())).unwrap();
        rig.ask(WardenRequest::Deliver { set })
    };
    let (kiosks, desks) =
        (Targets::Group { name: group("kiosks") }, Targets::Group { name: group("desks") });
    let (ours, theirs) = (kiosks.audience().unwrap(), desks.audience().unwrap());
    let both = &hub.approvers[..2];
    // One approver; strangers; another group; ours by name and another's by approval; an old demand.
    let one = wide("one", kiosks.clone(), &hub.approvers[..1]);
    assert_eq!(refused(&sent("one", &one, &ours)), "access_denied");
    let strangers: Vec<SigningKey> = (0..2).map(|_| SigningKey::generate().unwrap()).collect();
    let forged = wide("forged", kiosks.clone(), &strangers);
    assert_eq!(refused(&sent("forged", &forged, &ours)), "access_denied");
    let other = wide("other", desks, both);
    assert_eq!(refused(&sent("other", &other, &theirs)), "invalid_audience");
    assert_eq!(refused(&sent("other", &other, &ours)), "invalid_audience");
    let mut widened = wide("widened", kiosks.clone(), both);
    widened.quorum.proposal.targets = Targets::Everyone;
    let everyone = Targets::Everyone.audience().unwrap();
    assert_eq!(refused(&sent("widened", &widened, &everyone)), "access_denied");
    let mut old = wide("old", kiosks.clone(), &[]);
    old.quorum.proposal.proposed = Timestamp(NOW.0 - 1);
    let sign = |key| exeunt_ssf::approve(key, &old.quorum.proposal).unwrap();
    old.quorum.approvals = both.iter().map(sign).collect();
    assert_eq!(refused(&sent("old", &old, &ours)), "access_denied");
    assert!(rig.token().exists(), "something was ended all the same");

    let good = wide("good", kiosks, both);
    assert_eq!(sent("good", &good, &ours), WardenAnswer::Done);
    let body = receipt(&rig, &hub);
    assert_eq!((body.tier, body.outcome), (Tier::SignOut, Outcome::Verified));
    assert!(!rig.token().exists());
    // The same approvals under another name of the SET serve once.
    rig.plant();
    let again =
        Set::new(rig::ISSUER, &ours, Jti::parse("again").unwrap(), NOW, WIDE_ORDER_EVENT, &good);
    let again = again.unwrap().with_txn(exeunt_domain::Txn::parse("good").unwrap());
    let set = hub.key.sign(&again).unwrap();
    assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
    assert_eq!(order(&hub, &rig, "after", &hub.demand(later())), WardenAnswer::Done);
    assert_eq!(receipt(&rig, &hub).txn.as_str(), "after");
    let WardenAnswer::Receipts { receipts } = rig.ask(WardenRequest::ReceiptList) else {
        panic!("no receipts")
    };
    assert_eq!(receipts.len(), 2, "it was carried out twice");
}

/// An order that arrived and was refused was not withheld.
#[test]
fn a_refused_order_counts_as_arrived() {
    let (rig, hub) = enrolled();
    let late = hub.order("late", "t1", Timestamp(NOW.0 - 1));
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set: late })), "invalid_request");
    assert_eq!(hub.renew(&rig, Some("late")).1, WardenAnswer::Done);
}

/// A new epoch begins a new clock, a new lease and a new set of approvers; nothing old replays.
#[test]
fn a_device_that_is_enrolled_anew_takes_nothing_from_before() {
    let (rig, mut hub) = enrolled();
    let far = Timestamp(NOW.0 + 365 * DAY_MS);
    let ahead = Order { issued: far, deadline: far, ..hub.demand(later()) };
    assert_eq!(order(&hub, &rig, "ahead", &ahead), WardenAnswer::Done);
    let old = hub.order("old", "t-old", Timestamp(far.0 + DAY_MS));
    assert_eq!(rig.ask(WardenRequest::Unenroll), WardenAnswer::Done);
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set: old.clone() })), "access_denied");

    hub.epoch = 2;
    hub.approvers.clear();
    assert_eq!(hub.enroll(&rig), WardenAnswer::Done);
    assert_eq!(refused(&rig.ask(WardenRequest::Deliver { set: old })), "invalid_request");
    let purge = Order { tier: Tier::Purge, ..hub.demand(later()) };
    let keys: Vec<SigningKey> = (0..2).map(|_| SigningKey::generate().unwrap()).collect();
    let act = Act::Order { tier: Tier::Purge, user: purge.user.clone() };
    let quorum = Some(hub.quorum(&keys, "purge", act));
    let answer = order(&hub, &rig, "purge", &Order { quorum, ..purge });
    assert!(
        matches!(&answer, WardenAnswer::Failed(f) if f.message.contains("no approver is known"))
    );
    assert_eq!(order(&hub, &rig, "new", &hub.demand(later())), WardenAnswer::Done);
}
