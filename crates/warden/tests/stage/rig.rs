//! A warden over a throwaway home, and a hub played by the test, with the agent between them.
//!
//! It refuses to reach into the warden: everything goes over its socket.

#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer ends the test")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exeunt_domain::order::{
    CHANGE_EVENT, ENROL_EVENT, ENROLLED_EVENT, LEASE_EVENT, ORDER_EVENT, RECEIPT_EVENT,
};
use exeunt_domain::receipt::ReceiptBody;
use exeunt_domain::{
    Act, Approvers, DeviceId, Jti, Order, Proposal, Quorum, Subject, Targets, Tier, Timestamp, Txn,
};
use exeunt_ipc::message::{Closed, Failure, UplinkSet, WardenAnswer, WardenRequest};
use exeunt_ipc::{Sockets, WardenClient};
use exeunt_ssf::{
    ChangeEvent, EnrolEvent, EnrolToken, EnrolledEvent, Expected, Jwks, LeaseAsked, LeaseEvent,
    Set, SigningKey, read_unverified,
};

pub(crate) const ISSUER: &str = "http://127.0.0.1:7443";
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A warden over a throwaway home; ended by pid when the test is over.
pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) child: Child,
}

impl Rig {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join(".aws/sso/cache")).unwrap();
        std::fs::create_dir_all(home.join("Documents")).unwrap();
        std::fs::write(dir.path().join("warden.toml"), "subject_fixed = \"alice\"\n").unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let key = SigningKey::generate().unwrap();
        let agent_key = serde_json::to_vec(key.jwk()).unwrap();
        std::fs::write(dir.path().join("run/agent-key.pub.json"), agent_key).unwrap();
        let child = spawn(dir.path());
        let rig = Self { dir, child };
        rig.plant();
        rig.connect();
        rig
    }

    pub(crate) fn plant(&self) {
        std::fs::create_dir_all(self.home().join(".aws/sso/cache")).unwrap();
        std::fs::write(self.token(), "token").unwrap();
        std::fs::write(self.home().join("Documents/letter"), "dear").unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.dir.path());
        self.connect();
    }

    /// Starts it anew so that it dies by `SIGKILL` where the step `name` begins.
    pub(crate) fn restart_to_die_at(&mut self, name: &str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = command(self.dir.path()).env("EXEUNT_FAULT_AT", name).spawn().unwrap();
        self.connect();
    }

    /// Starts it anew where no file may grow, as on a full disk.
    pub(crate) fn restart_without_room(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let warden = command(self.dir.path());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
        shell.arg(warden.get_program()).args(warden.get_args());
        for (key, value) in warden.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        self.child = shell.stderr(Stdio::null()).spawn().unwrap();
        self.connect();
    }

    /// Lets the warden's boot clock run so far ahead of the machine's.
    pub(crate) fn ahead(&self, ms: u64) {
        std::fs::write(self.dir.path().join("ahead"), ms.to_string()).unwrap();
        // Whatever changes wakes whoever waits with the old time.
        let accepted = vec![Jti::parse("nothing").unwrap()];
        let poke = WardenRequest::UplinkResult { accepted, refused: Default::default() };
        assert_eq!(self.ask(poke), WardenAnswer::Done);
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.home().join(".aws/sso/cache/a.json")
    }

    /// Connects, waiting for the socket for as long as the process lives.
    pub(crate) fn connect(&self) -> WardenClient {
        let socket = Sockets::within(&self.dir.path().join("run")).warden;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match WardenClient::connect(&socket) {
                Ok(client) => {
                    client.answer_within(Some(Duration::from_secs(30))).unwrap();
                    return client;
                }
                Err(_) if Instant::now() < until => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn ask(&self, request: WardenRequest) -> WardenAnswer {
        self.connect().ask(request).unwrap()
    }

    pub(crate) fn close(&self) -> Closed {
        let request = close_request(false);
        end_of(self.connect(), request).unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub(crate) fn close_request(hand_over: bool) -> WardenRequest {
    let surface = "test".into();
    WardenRequest::Close { tier: Tier::SignOut, reason: None, surface, hand_over }
}

pub(crate) fn spawn(dir: &Path) -> Child {
    command(dir).spawn().unwrap()
}

pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exeunt-warden"));
    command
        .args(["serve", "--user-mode", "--home"])
        .arg(dir.join("home"))
        .arg("--runtime-dir")
        .arg(dir.join("run"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .arg("--config")
        .arg(dir.join("warden.toml"))
        .env("HOME", dir.join("home"))
        .env("EXEUNT_FAULT_CLOCK_AHEAD", dir.join("ahead"))
        .env_remove("DISPLAY")
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .stderr(Stdio::null());
    command
}

/// Everything up to the last answer.
pub(crate) fn end_of(mut client: WardenClient, request: WardenRequest) -> Result<Closed, Failure> {
    let mut answer = client.ask(request).unwrap();
    loop {
        match answer {
            WardenAnswer::Progress(_) => answer = client.next_answer().unwrap(),
            WardenAnswer::Closed(closed) => return Ok(closed),
            WardenAnswer::Failed(failure) => return Err(failure),
            other => panic!("{other:?}"),
        }
    }
}

/// The hub, and the agent between it and the warden.
pub(crate) struct Hub {
    pub(crate) key: SigningKey,
    pub(crate) device: Option<Jwks>,
    /// Who may approve; none are pinned when this is empty.
    pub(crate) approvers: Vec<SigningKey>,
    pub(crate) epoch: u64,
    pub(crate) orders_per_hour: u32,
    /// What the device belongs to.
    pub(crate) group: Option<exeunt_domain::Group>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        Self { key, device: None, approvers: Vec::new(), epoch: 1, orders_per_hour: 3, group: None }
    }

    /// A hub whose approvers the enrolment pins: two of three.
    pub(crate) fn with_approvers() -> Self {
        let approvers = (0..3).map(|_| SigningKey::generate().unwrap()).collect();
        Self { approvers, orders_per_hour: 6, ..Self::new() }
    }

    pub(crate) fn token(&self) -> EnrolToken {
        EnrolToken {
            v: 1,
            hub: ISSUER.into(),
            issuer: ISSUER.into(),
            secret: "once".into(),
            thumbprints: vec![self.key.kid().clone()],
            approvers: self.set_of_approvers(),
            orders_per_hour: None,
            group: self.group.clone(),
            tenant: None,
            name: None,
            expires: NOW,
        }
    }

    pub(crate) fn sign(
        &self,
        jti: &str,
        txn: Option<&str>,
        kind: &str,
        event: &impl serde::Serialize,
    ) -> String {
        let jti = Jti::parse(jti).unwrap();
        let mut set = Set::new(ISSUER, "occ-07", jti, NOW, kind, event).unwrap();
        set.txn = txn.map(|txn| Txn::parse(txn).unwrap());
        self.key.sign(&set).unwrap()
    }

    /// Enrols the rig's warden as `occ-07`.
    pub(crate) fn enroll(&mut self, rig: &Rig) -> WardenAnswer {
        let token = self.token().encode();
        let root = rig.connect();
        let asked = std::thread::spawn(move || {
            let mut root = root;
            root.ask(WardenRequest::Enroll { token }).unwrap()
        });
        let uplink = next_uplink(rig, ENROL_EVENT);
        let event: EnrolEvent =
            read_unverified(&uplink.set).unwrap().event_as(ENROL_EVENT).unwrap();
        assert_eq!(event.secret, "once");
        self.device = Some(Jwks::of(&event.device_jwk));
        let enrolled = EnrolledEvent {
            device: DeviceId::parse("occ-07").unwrap(),
            epoch: self.epoch,
            hub_jwks: Jwks::of(self.key.jwk()),
            hub_time: NOW,
            orders_per_hour: self.orders_per_hour,
        };
        let set = self.sign(&format!("enrolled-{}", self.epoch), None, ENROLLED_EVENT, &enrolled);
        assert_eq!(rig.ask(WardenRequest::Deliver { set }), WardenAnswer::Done);
        asked.join().unwrap()
    }

    pub(crate) fn order(&self, jti: &str, txn: &str, deadline: Timestamp) -> String {
        self.sign(jti, Some(txn), ORDER_EVENT, &self.demand(deadline))
    }

    /// An order to sign alice out, unsigned.
    pub(crate) fn demand(&self, deadline: Timestamp) -> Order {
        Order {
            device: DeviceId::parse("occ-07").unwrap(),
            epoch: self.epoch,
            user: Some(Subject::parse("alice").unwrap()),
            tier: Tier::SignOut,
            deadline,
            issued: NOW,
            previous: None,
            reason: None,
            quorum: None,
            again: false,
        }
    }

    pub(crate) fn set_of_approvers(&self) -> Option<Approvers> {
        let keys = self.approvers.iter().map(|key| key.kid().clone()).collect();
        (!self.approvers.is_empty()).then_some(Approvers { keys, needed: 2 })
    }

    /// What two of `approvers` signed for an act under `txn`.
    pub(crate) fn quorum(&self, approvers: &[SigningKey], txn: &str, act: Act) -> Quorum {
        let proposal = Proposal {
            hub: ISSUER.into(),
            txn: Txn::parse(txn).unwrap(),
            targets: Targets::Devices { ids: [DeviceId::parse("occ-07").unwrap()].into() },
            act,
            requester: "admin:carol".into(),
            requester_key: None,
            proposed: NOW,
            deadline: later(),
        };
        let sign = |key| exeunt_ssf::approve(key, &proposal).unwrap();
        let approvals = approvers.iter().take(2).map(sign).collect();
        Quorum { proposal, approvals }
    }

    /// A change, with the approvals of `approvers` or none.
    pub(crate) fn change(
        &self,
        jti: &str,
        act: Act,
        approvers: Option<&[SigningKey]>,
    ) -> ChangeEvent {
        let quorum = approvers.map(|by| self.quorum(by, jti, act.clone()));
        ChangeEvent {
            device: DeviceId::parse("occ-07").unwrap(),
            epoch: self.epoch,
            act,
            jwks: None,
            policy: None,
            quorum,
            deadline: later(),
            issued: NOW,
            previous: None,
        }
    }

    /// Sends a change whose transaction is named as its `jti`.
    pub(crate) fn send(&self, rig: &Rig, jti: &str, change: &ChangeEvent) -> WardenAnswer {
        let set = self.sign(jti, Some(jti), CHANGE_EVENT, change);
        rig.ask(WardenRequest::Deliver { set })
    }

    /// Answers the warden's next request for a renewal.
    pub(crate) fn renew(&self, rig: &Rig, last_order: Option<&str>) -> (LeaseAsked, WardenAnswer) {
        let uplink = next_uplink(rig, exeunt_domain::order::LEASE_ASKED_EVENT);
        let asked: LeaseAsked = read_unverified(&uplink.set)
            .unwrap()
            .event_as(exeunt_domain::order::LEASE_ASKED_EVENT)
            .unwrap();
        let set = self.renewal(&asked.nonce, last_order);
        (asked, rig.ask(WardenRequest::Deliver { set }))
    }

    pub(crate) fn renewal(&self, nonce: &str, last_order: Option<&str>) -> String {
        let lease = LeaseEvent {
            device: DeviceId::parse("occ-07").unwrap(),
            epoch: self.epoch,
            nonce: nonce.into(),
            last_order: last_order.map(|jti| Jti::parse(jti).unwrap()),
            hub_time: NOW,
        };
        self.sign(&format!("lease-{nonce}"), None, LEASE_EVENT, &lease)
    }
}

/// Waits for an uplinked SET of a kind, settling everything before it.
pub(crate) fn next_uplink(rig: &Rig, kind: &str) -> UplinkSet {
    let mut agent = rig.connect();
    for _ in 0..64 {
        let WardenAnswer::Uplink { sets } = agent.ask(WardenRequest::TakeUplink).unwrap() else {
            panic!("no uplink")
        };
        for uplink in sets {
            let read = read_unverified(&uplink.set).unwrap();
            if read.event_type() == kind && kind == ENROL_EVENT {
                return uplink;
            }
            let accepted = vec![uplink.jti.clone()];
            let settle = WardenRequest::UplinkResult { accepted, refused: Default::default() };
            assert_eq!(agent.ask(settle).unwrap(), WardenAnswer::Done);
            if read.event_type() == kind {
                return uplink;
            }
        }
    }
    panic!("no {kind} among the uplinks")
}

pub(crate) fn receipt(rig: &Rig, hub: &Hub) -> ReceiptBody {
    let uplink = next_uplink(rig, RECEIPT_EVENT);
    let expected = Expected { issuer: Some("occ-07".into()), audience: ISSUER.into() };
    let set = exeunt_ssf::verify(&uplink.set, hub.device.as_ref().unwrap(), &expected).unwrap();
    set.event_as(RECEIPT_EVENT).unwrap()
}

pub(crate) fn later() -> Timestamp {
    NOW.plus_ms(3_600_000)
}
