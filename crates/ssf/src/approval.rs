//! Approvals: an approver's signature over a proposal, and whether enough of them agree.
//!
//! It refuses to count one key twice, the requester's own, and any that was not pinned.

use std::collections::BTreeSet;

use exeunt_domain::Kid;
use exeunt_domain::approval::{Approval, Approvers, Proposal, Quorum};
use exeunt_domain::session::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::key::{Jwks, PublicJwk, SigningKey};
use crate::set::SetError;
use crate::verify::checked;

/// The `typ` of an approval (RFC 8725 §3.11): no other signature of the key can stand for one.
pub const APPROVAL_TYP: &str = "exeunt-approval+jwt";

/// Most approvals that are looked at.
const MOST_APPROVALS: usize = 64;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    /// The hub that the proposal is for.
    aud: String,
    /// The proposal's digest, lowercase hexadecimal.
    digest: String,
}

/// Why a quorum is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoQuorum {
    /// Nobody can approve here.
    #[error("no approver is known here: this needs a quorum, and none was pinned at enrolment")]
    NoApprovers,
    /// Not enough approvers signed this.
    #[error("{valid} of {needed} needed approvers signed this")]
    TooFew {
        /// How many did.
        valid: usize,
        /// How many it takes.
        needed: u32,
    },
    /// A set of approvers that contradicts itself.
    #[error("the set of approvers can never agree")]
    Unsound,
}

/// SHA-256 over the proposal: the members in their order, each under its length.
///
/// # Errors
/// [`SetError::Unsignable`] when it cannot be written.
pub fn digest(proposal: &Proposal) -> Result<String, SetError> {
    let mut hasher = Sha256::new_with_prefix(APPROVAL_TYP.as_bytes());
    put(&mut hasher, &proposal.hub)?;
    put(&mut hasher, &proposal.txn)?;
    put(&mut hasher, &proposal.targets)?;
    put(&mut hasher, &proposal.act)?;
    put(&mut hasher, &proposal.requester)?;
    put(&mut hasher, &proposal.requester_key)?;
    put(&mut hasher, &proposal.proposed)?;
    put(&mut hasher, &proposal.deadline)?;
    Ok(hex(&hasher.finalize()))
}

fn put(hasher: &mut Sha256, member: &impl Serialize) -> Result<(), SetError> {
    let text =
        serde_json::to_vec(member).map_err(|error| SetError::Unsignable(error.to_string()))?;
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
    Ok(())
}

/// Signs a proposal with an approver's key.
///
/// # Errors
/// [`SetError::Unsignable`].
pub fn approve(key: &SigningKey, proposal: &Proposal) -> Result<Approval, SetError> {
    let claims = Claims { aud: proposal.hub.clone(), digest: digest(proposal)? };
    let jws = key.sign_jwt(APPROVAL_TYP, &claims)?;
    Ok(Approval { x: key.jwk().x().to_owned(), jws })
}

/// The key that approved `proposal`.
///
/// # Errors
/// [`SetError`] when the approval is not of this proposal, or not signed by its own key.
pub fn approver(approval: &Approval, proposal: &Proposal) -> Result<Kid, SetError> {
    let key =
        PublicJwk::from_x(&approval.x).map_err(|error| SetError::UnknownKey(error.to_string()))?;
    let (claims, kid) = checked::<Claims>(&approval.jws, &Jwks::of(&key), APPROVAL_TYP)?;
    if claims.aud != proposal.hub {
        return Err(SetError::WrongAudience);
    }
    if claims.digest != digest(proposal)? {
        return Err(SetError::Malformed("an approval of something else".into()));
    }
    Ok(kid)
}

/// The pinned approvers who agree, if they are enough.
///
/// # Errors
/// [`NoQuorum`].
pub fn agreed(pinned: Option<&Approvers>, quorum: &Quorum) -> Result<BTreeSet<Kid>, NoQuorum> {
    let pinned = pinned.ok_or(NoQuorum::NoApprovers)?;
    if !pinned.is_sound() {
        return Err(NoQuorum::Unsound);
    }
    let proposal = &quorum.proposal;
    let signed = quorum.approvals.iter().take(MOST_APPROVALS);
    let valid: BTreeSet<Kid> = signed
        .filter_map(|approval| approver(approval, proposal).ok())
        .filter(|kid| pinned.keys.contains(kid) && proposal.requester_key.as_ref() != Some(kid))
        .collect();
    if (valid.len() as u64) < u64::from(pinned.needed) {
        return Err(NoQuorum::TooFew { valid: valid.len(), needed: pinned.needed });
    }
    Ok(valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::approval::{Act, Targets};
    use exeunt_domain::{DeviceId, Tier, Timestamp, Txn};
    use proptest::prelude::*;

    fn proposal() -> Proposal {
        Proposal {
            hub: "https://hub.example".into(),
            txn: Txn::parse("t1").unwrap(),
            targets: Targets::Devices { ids: [DeviceId::parse("occ-07").unwrap()].into() },
            act: Act::Order { tier: Tier::Purge, user: None },
            requester: "admin:carol".into(),
            requester_key: None,
            proposed: Timestamp(1_000),
            deadline: Timestamp(10_000),
        }
    }

    fn keys() -> [SigningKey; 3] {
        std::array::from_fn(|_| SigningKey::generate().unwrap())
    }

    fn pinned(keys: &[SigningKey]) -> Approvers {
        Approvers { keys: keys.iter().map(|key| key.kid().clone()).collect(), needed: 2 }
    }

    fn signed(by: &[&SigningKey], proposal: &Proposal) -> Quorum {
        let approvals = by.iter().map(|key| approve(key, proposal).unwrap()).collect();
        Quorum { proposal: proposal.clone(), approvals }
    }

    #[test]
    fn two_of_three_pinned_approvers_agree() {
        let keys = keys();
        let quorum = signed(&[&keys[0], &keys[2]], &proposal());
        assert_eq!(agreed(Some(&pinned(&keys)), &quorum).unwrap().len(), 2);
    }

    #[test]
    fn one_approver_twice_a_stranger_and_the_requester_do_not_count() {
        let keys = keys();
        let too_few = |quorum: &Quorum, valid| {
            let found = agreed(Some(&pinned(&keys)), quorum);
            assert_eq!(found, Err(NoQuorum::TooFew { valid, needed: 2 }));
        };
        too_few(&signed(&[&keys[0], &keys[0]], &proposal()), 1);
        let stranger = SigningKey::generate().unwrap();
        too_few(&signed(&[&keys[0], &stranger], &proposal()), 1);
        let own = Proposal { requester_key: Some(keys[1].kid().clone()), ..proposal() };
        too_few(&signed(&[&keys[0], &keys[1]], &own), 1);
    }

    #[test]
    fn nobody_agrees_where_nobody_was_pinned_or_the_set_is_unsound() {
        let keys = keys();
        let quorum = signed(&[&keys[0], &keys[1]], &proposal());
        assert_eq!(agreed(None, &quorum), Err(NoQuorum::NoApprovers));
        let nobody = Approvers { keys: BTreeSet::new(), needed: 0 };
        assert_eq!(agreed(Some(&nobody), &quorum), Err(NoQuorum::Unsound));
    }

    /// Whatever is changed after the signature, the approval is one of something else.
    #[test]
    fn an_approval_holds_for_its_very_proposal_only() {
        let keys = keys();
        let quorum = signed(&[&keys[0], &keys[1]], &proposal());
        let changes: [fn(&mut Proposal); 8] = [
            |p| p.hub = "https://evil.example".into(),
            |p| p.txn = Txn::parse("t2").unwrap(),
            |p| p.targets = Targets::Everyone,
            |p| p.act = Act::Order { tier: Tier::SignOut, user: None },
            |p| p.requester = "admin:mallory".into(),
            |p| p.requester_key = Some(Kid::parse("k").unwrap()),
            |p| p.proposed = Timestamp(1_001),
            |p| p.deadline = Timestamp(10_001),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut other = quorum.clone();
            change(&mut other.proposal);
            assert!(agreed(Some(&pinned(&keys)), &other).is_err(), "change {at}");
        }
    }

    #[test]
    fn another_signature_of_the_same_key_is_no_approval() {
        let key = SigningKey::generate().unwrap();
        let claims = Claims { aud: proposal().hub, digest: digest(&proposal()).unwrap() };
        let jws = key.sign_jwt("JWT", &claims).unwrap();
        let approval = Approval { x: key.jwk().x().to_owned(), jws };
        assert!(approver(&approval, &proposal()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_in_an_approval_is_refused_and_never_a_panic(x in ".{0,60}", jws in ".{0,200}") {
            let approval = Approval { x, jws };
            prop_assert!(approver(&approval, &proposal()).is_err());
        }
    }
}
