//! Commands and signatures that a test can foresee.
//!
//! It refuses randomness, but for the keys of an enrolment.

use exeunt_api::Countersigned;
use exeunt_domain::order::WideOrder;
use exeunt_domain::receipt::Mode;
use exeunt_domain::session::SessionHash;
use exeunt_domain::{
    DeviceId, Jti, Kid, Order, Proof, SessionId, SessionKind, Subject, Tier, Timestamp, Txn,
};
use exeunt_hub::store::command::{
    DeviceLimit, DeviceSession, Enrol, MintToken, Register, SignOut, Source,
};
use exeunt_hub::store::{Command, Mint};
use exeunt_ssf::{ChangeEvent, PublicJwk, SetError, SigningKey};

/// Time, names and "signatures" that a test can foresee.
pub(crate) struct Plain {
    pub(crate) now: u64,
    pub(crate) minted: u64,
}

impl Mint for Plain {
    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn order(&mut self, order: &Order, txn: &Txn) -> Result<(Jti, String), SetError> {
        self.minted += 1;
        let jti = Jti::parse(format!("order-{:06}", self.minted)).unwrap();
        Ok((jti, format!("{} {txn}", order.device)))
    }

    fn wide_order(&mut self, order: &WideOrder) -> Result<(Jti, String), SetError> {
        self.minted += 1;
        let jti = Jti::parse(format!("order-{:06}", self.minted)).unwrap();
        Ok((jti, format!("all {}", order.quorum.proposal.txn)))
    }

    fn change(&mut self, change: &ChangeEvent, txn: &Txn) -> Result<(Jti, String), SetError> {
        self.minted += 1;
        let jti = Jti::parse(format!("order-{:06}", self.minted)).unwrap();
        Ok((jti, format!("{} {txn}", change.device)))
    }

    fn rekey(&mut self, kid: &Kid) -> Result<PublicJwk, SetError> {
        Err(SetError::UnknownKey(kid.to_string()))
    }

    fn has_key(&self, _: &Kid) -> bool {
        false
    }

    fn kid(&self) -> Kid {
        Kid::parse("plain").unwrap()
    }

    fn countersign(&mut self, claims: &Countersigned) -> Result<String, SetError> {
        Ok(claims.receipt.clone())
    }
}

pub(crate) fn device_id() -> DeviceId {
    DeviceId::parse("occ-07").unwrap()
}

pub(crate) fn hash(session: usize) -> SessionHash {
    SessionHash::of("site", &SessionId::parse(format!("s{session}")).unwrap())
}

pub(crate) fn subject(n: usize) -> Subject {
    Subject::parse(&format!("subject-{n}")).unwrap()
}

pub(crate) fn register(who: usize, session: usize, auth_time: u64) -> Command {
    Command::Register(Register {
        actor: "service:site".into(),
        aud: "site".into(),
        subject: subject(who),
        session: hash(session),
        kind: SessionKind::Web,
        auth_time: Timestamp(auth_time),
        device: None,
        label: "site".into(),
        place: "site".into(),
        idp_sid: None,
        aliases: Vec::new(),
        expires: None,
    })
}

pub(crate) fn sign_out(who: usize, txn: usize) -> Command {
    Command::SignOut(SignOut {
        actor: "admin:test".into(),
        txn: Txn::parse(format!("txn-{txn}")).unwrap(),
        subject: subject(who),
        tier: Tier::SignOut,
        reason: None,
        only: None,
        idempotency_key: None,
        digest: None,
        cannot: Vec::new(),
        playbook: None,
        limit: DeviceLimit::NONE,
        at_device: None,
        good_for_ms: 1_000_000,
    })
}

pub(crate) fn source(jti: usize) -> Source {
    Source { device: device_id(), epoch: 1, jti: Jti::parse(format!("up-{jti}")).unwrap() }
}

pub(crate) fn console(who: usize, jti: usize, since: u64) -> Command {
    let id = SessionId::parse(format!("console-{jti}")).unwrap();
    Command::DeviceSession(DeviceSession {
        from: source(jti),
        subject: subject(who),
        session: SessionHash::of("occ-07", &id),
        kind: SessionKind::Console,
        proof: Proof::Account,
        since: Timestamp(since),
        ended: false,
        good_for_ms: 1_000_000,
    })
}

pub(crate) fn enrolment() -> [Command; 2] {
    let (device, agent) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let mint = MintToken {
        actor: "admin:test".into(),
        secret: [7; 32],
        name: Some(device_id()),
        group: None,
        tenant: None,
        approvers: None,
        expires: Timestamp(u64::MAX >> 1),
    };
    let enrol = Enrol {
        secret: [7; 32],
        jti: Jti::parse("enrol").unwrap(),
        name: device_id(),
        device_key: device.jwk().clone(),
        agent_key: agent.jwk().clone(),
        mode: Mode::Installed,
    };
    [Command::MintToken(mint), Command::Enrol(Box::new(enrol))]
}
