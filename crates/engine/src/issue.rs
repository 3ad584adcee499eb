//! The last stage: a receipt, signed and chained. The only issuer.
//!
//! It refuses to judge: the outcome follows from what was checked, and from nothing else.

use exeunt_catalogue::Catalogue;
use exeunt_domain::order::RECEIPT_EVENT;
use exeunt_domain::receipt::{Mode, ReceiptBody};
use exeunt_domain::session::hex;
use exeunt_domain::{Jti, Timestamp};
use exeunt_ssf::{Set, SetError, SigningKey};
use sha2::{Digest, Sha256};

use crate::check::Checked;

/// Who issues.
pub struct Device<'a> {
    /// The device's name, or `unenrolled`.
    pub name: &'a str,
    /// The audience of its receipts: the hub, or the device itself when it has none.
    pub audience: &'a str,
    /// Its key.
    pub key: &'a SigningKey,
    /// Whether a hub knows the key.
    pub pinned: bool,
    /// Root warden or user mode.
    pub mode: Mode,
}

/// Where the device's chain of receipts stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The number of receipts so far.
    pub seq: u64,
    /// SHA-256, hexadecimal, of the last one's compact form; empty before the first.
    pub last: String,
}

impl Chain {
    /// The chain after one more receipt.
    #[must_use]
    pub fn after(&self, compact: &str) -> Self {
        Self { seq: self.seq + 1, last: hex(&Sha256::digest(compact)) }
    }
}

/// A receipt: what is sworn, and its signed form.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// What is sworn.
    pub body: ReceiptBody,
    /// The compact SET.
    pub compact: String,
}

/// Signs what was checked, as the next link of the device's chain.
///
/// # Errors
/// [`SetError::Unsignable`].
pub fn issue(
    checked: Checked,
    catalogue: &Catalogue,
    device: &Device<'_>,
    chain: &Chain,
    jti: Jti,
    now: Timestamp,
) -> Result<Receipt, SetError> {
    let txn = checked.demand.txn.clone();
    let body = ReceiptBody {
        device: device.name.to_owned(),
        txn: txn.clone(),
        seq: chain.seq + 1,
        previous: chain.last.clone(),
        outcome: ReceiptBody::judge(&checked.stores, &checked.lock),
        authority: checked.demand.authority,
        subject: checked.demand.subject,
        tier: checked.tier,
        pinned: device.pinned,
        mode: device.mode,
        accepted: checked.accepted,
        checked: checked.checked,
        stores: checked.stores,
        steps: checked.steps,
        lock: checked.lock,
        catalogue: catalogue.version().to_owned(),
        coverage: catalogue.coverage_hash().to_owned(),
        not_covered: checked.not_covered,
        remarks: checked.remarks,
    };
    let set = Set::new(device.name, device.audience, jti, now, RECEIPT_EVENT, &body)?.with_txn(txn);
    let compact = device.key.sign(&set)?;
    Ok(Receipt { body, compact })
}
