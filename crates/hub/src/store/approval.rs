//! What can be asked of the store about approvers, proposals and approvals.
//!
//! It refuses to take a caller's word for a quorum: signatures are held against the set that is in
//! force when they are counted.

use exeunt_api::{Matter, NewApprover};
use exeunt_domain::{Act, Approval, Subject, Targets, Tier, Txn};

/// One command about approvals.
#[derive(Clone, Debug)]
pub enum ApprovalCommand {
    /// Change the set: at once before it is in force, by a proposal afterwards.
    Set(SetApprovers),
    /// Propose something that needs a quorum.
    Propose(Propose),
    /// One approver agrees.
    Approve(Approve),
    /// Take a proposal back.
    Withdraw {
        /// Who.
        by: By,
        /// Which.
        txn: Txn,
        /// They may take back another's.
        may_any: bool,
    },
}

/// The operator who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// `admin:NAME`.
    pub actor: String,
    /// `NAME`.
    pub name: String,
}

/// Change the set of approvers.
#[derive(Clone, Debug)]
pub struct SetApprovers {
    /// Who joins.
    pub add: Vec<NewApprover>,
    /// Who leaves, by name.
    pub remove: Vec<String>,
    /// How many it takes; the first time, the set is in force from then on.
    pub needed: Option<u32>,
    /// How a proposal is made of it, if one has to be.
    pub terms: Terms,
}

/// How something is proposed.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who proposes.
    pub by: By,
    /// The hub's issuer name.
    pub hub: String,
    /// The transaction-to-be.
    pub txn: Txn,
    /// Words for the record.
    pub reason: Option<String>,
    /// How long from now on devices take it, in milliseconds.
    pub good_for_ms: u64,
}

/// Propose something.
#[derive(Clone, Debug)]
pub struct Propose {
    /// How.
    pub terms: Terms,
    /// What.
    pub wish: Wish,
}

/// What is wished for.
#[derive(Clone, Debug)]
pub enum Wish {
    /// An order.
    Order {
        /// How much ends.
        tier: Tier,
        /// Whose sessions. None: whoever is there.
        user: Option<Subject>,
        /// Where. None: wherever that subject is signed in, which signs them out everywhere.
        targets: Option<Targets>,
    },
    /// A change at every device.
    Change {
        /// Of what.
        act: Act,
        /// What the act names by a digest only.
        matter: Matter,
    },
}

/// One approver agrees.
#[derive(Clone, Debug)]
pub struct Approve {
    /// Who sends it.
    pub by: By,
    /// To what.
    pub txn: Txn,
    /// Their signature.
    pub approval: Approval,
    /// How long an order is good for that only the hub vouches for, in milliseconds.
    pub good_for_ms: u64,
}
