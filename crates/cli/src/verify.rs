//! Offline verification of a receipt.
//!
//! It refuses to trust a key because it lies beside the receipt: only keys that the caller brought
//! make a receipt pinned.

use exeunt_domain::order::RECEIPT_EVENT;
use exeunt_domain::{Outcome, ReceiptBody};
use exeunt_ssf::{Expected, Jwks, PublicJwk, Set, SetError, read_unverified, verify};
use serde_json::Value;

use crate::fault::{EXIT_ERROR, EXIT_UNREACHABLE, Fault};

/// What a file held.
#[derive(Debug, PartialEq)]
pub(crate) struct Bundle {
    /// The compact SET.
    pub(crate) receipt: String,
    /// The key that lay beside it.
    pub(crate) jwk: Option<PublicJwk>,
}

/// What was found.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    /// The signature matches, the chain fields and the body are sound.
    pub(crate) verified: bool,
    /// The key that signed it, when a known one did.
    pub(crate) kid: Option<String>,
    /// The key is one of those that the caller trusts, and came with an enrolment.
    pub(crate) pinned: bool,
    /// Why not, in one sentence.
    pub(crate) reason: Option<String>,
    /// What it says, once verified.
    pub(crate) body: Option<ReceiptBody>,
}

impl Finding {
    /// 0 verified and pinned, 4 by a key that nobody vouches for, 1 broken.
    pub(crate) fn exit(&self) -> u8 {
        match (self.verified, self.pinned) {
            (true, true) => 0,
            (true, false) => EXIT_UNREACHABLE,
            (false, _) if self.kid.is_none() => EXIT_UNREACHABLE,
            (false, _) => EXIT_ERROR,
        }
    }
}

impl Bundle {
    /// Reads a compact SET, a bundle, or what a command printed with `--json`.
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if !text.starts_with('{') {
            return Ok(Self { receipt: text.to_owned(), jwk: None });
        }
        let json: Value = serde_json::from_str(text)
            .map_err(|error| Fault::new("malformed", format!("the bundle is no JSON: {error}")))?;
        let member = |names: [&str; 2]| names.iter().find_map(|name| json.get(name));
        let receipt = member(["receipt", "compact"]).and_then(Value::as_str).ok_or_else(|| {
            Fault::new("malformed", "the JSON has no \"receipt\"")
                .hint("make a bundle with `exeunt receipt show ID --bundle`")
        })?;
        let jwk = member(["jwk", "device_jwk"])
            .map(|jwk| serde_json::from_value::<PublicJwk>(jwk.clone()))
            .transpose()
            .map_err(|error| Fault::new("malformed", format!("the bundle's key: {error}")))?;
        Ok(Self { receipt: receipt.trim().to_owned(), jwk })
    }
}

/// Reads the keys that a caller trusts: a JWKS, one JWK, or a list of devices.
pub(crate) fn read_keys(text: &str) -> Result<Jwks, Fault> {
    let malformed =
        |error: serde_json::Error| Fault::new("malformed", format!("the trusted keys: {error}"));
    let json: Value = serde_json::from_str(text).map_err(malformed)?;
    if json.get("keys").is_some() {
        return serde_json::from_value(json).map_err(malformed);
    }
    let Some(devices) = json.get("devices").and_then(Value::as_array) else {
        let key: PublicJwk = serde_json::from_value(json).map_err(malformed)?;
        return Ok(Jwks::of(&key));
    };
    let keys = devices
        .iter()
        .map(|device| serde_json::from_value(device["device_jwk"].clone()))
        .collect::<Result<Vec<PublicJwk>, _>>()
        .map_err(malformed)?;
    Ok(Jwks { keys })
}

/// Looks at a receipt. `trusted` are the keys that the caller brought.
pub(crate) fn examine(bundle: &Bundle, trusted: Option<&Jwks>) -> Finding {
    let beside = bundle.jwk.as_ref().map(Jwks::of);
    let Some(keys) = trusted.or(beside.as_ref()) else {
        return broken(None, "there is no key to verify it with: name one with --jwks");
    };
    let set = match read_unverified(&bundle.receipt) {
        Ok(set) => set,
        Err(error) => return broken(None, &error.to_string()),
    };
    let expected =
        Expected { issuer: None, audience: set.aud.first().cloned().unwrap_or_default() };
    let set = match verify(&bundle.receipt, keys, &expected) {
        Ok(set) => set,
        Err(SetError::UnknownKey(kid)) => {
            return broken(None, &format!("it is signed by {kid}, which is not among the keys"));
        }
        Err(error) => return broken(keys_name(keys), &error.to_string()),
    };
    let kid = set.kid().as_str().to_owned();
    match sound_body(&set) {
        Err(reason) => broken(Some(kid), &reason),
        Ok(body) => {
            let (pinned, reason) = pinned(trusted.is_some(), &body);
            Finding { verified: true, kid: Some(kid), pinned, reason, body: Some(body) }
        }
    }
}

fn broken(kid: Option<String>, reason: &str) -> Finding {
    Finding { verified: false, kid, pinned: false, reason: Some(reason.to_owned()), body: None }
}

/// The only key there was to try.
fn keys_name(keys: &Jwks) -> Option<String> {
    keys.keys.first().map(|key| key.kid().as_str().to_owned())
}

fn pinned(trusted: bool, body: &ReceiptBody) -> (bool, Option<String>) {
    let reason = match (trusted, body.pinned) {
        (true, true) => None,
        (true, false) => Some("the device was not enrolled: no hub vouches for its key"),
        (false, _) => Some("the key came with the receipt: bring trusted keys with --jwks"),
    };
    (reason.is_none(), reason.map(str::to_owned))
}

/// The body, when it does not contradict itself.
fn sound_body(set: &Set) -> Result<ReceiptBody, String> {
    let body: ReceiptBody = set.event_as(RECEIPT_EVENT).map_err(|error| error.to_string())?;
    if set.iss != body.device {
        return Err(format!("issued by {}, but it speaks of device {}", set.iss, body.device));
    }
    if set.txn.as_ref() != Some(&body.txn) {
        return Err("its transaction is not the one it speaks of".into());
    }
    let is_hash = body.previous.len() == 64
        && body.previous.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match body.seq {
        0 => return Err("receipts are numbered from 1".into()),
        1 if !body.previous.is_empty() => {
            return Err("the first receipt of a chain names one before it".into());
        }
        2.. if !is_hash => return Err("it does not name the receipt before it".into()),
        1.. => {}
    }
    if !body.outcome.is_final() {
        return Err(format!("{} is no end", body.outcome));
    }
    let shown = ReceiptBody::judge(&body.stores, &body.lock);
    if body.outcome.severity() < shown.severity() {
        return Err(format!("it claims {}, but its stores show {shown}", body.outcome));
    }
    if body.outcome == Outcome::Verified && body.checked < body.accepted {
        return Err("it was checked before it was accepted".into());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exeunt_domain::receipt::{Before, LockReport, Mode, StoreReport};
    use exeunt_domain::{Authority, Jti, Tier, Timestamp, Txn, Verdict};
    use exeunt_ssf::SigningKey;

    fn body() -> ReceiptBody {
        ReceiptBody {
            device: "occ-07".into(),
            txn: Txn::parse("t1").unwrap(),
            seq: 1,
            previous: String::new(),
            authority: Authority::LocalRequest { uid: 1000, surface: "cli".into() },
            subject: None,
            tier: Tier::SignOut,
            pinned: true,
            mode: Mode::User,
            outcome: Outcome::Verified,
            accepted: Timestamp(1),
            checked: Timestamp(2),
            stores: vec![StoreReport {
                app: "aws".into(),
                profile: String::new(),
                store: "sso".into(),
                place: ".aws/sso/cache".into(),
                before: Before::Present,
                verdict: Some(Verdict::Gone),
                detail: None,
            }],
            steps: vec![],
            lock: LockReport::NotAsked,
            catalogue: "1".into(),
            coverage: "00".into(),
            not_covered: vec![],
            remarks: vec![],
        }
    }

    fn signed(key: &SigningKey, body: &ReceiptBody) -> Bundle {
        let jti = Jti::parse("j1").unwrap();
        let set = Set::new("occ-07", "hub", jti, Timestamp(3), RECEIPT_EVENT, body).unwrap();
        let receipt = key.sign(&set.with_txn(Txn::parse("t1").unwrap())).unwrap();
        Bundle { receipt, jwk: Some(key.jwk().clone()) }
    }

    fn key() -> SigningKey {
        SigningKey::generate().unwrap()
    }

    #[test]
    fn a_good_receipt_by_a_trusted_key_is_verified_and_pinned() {
        let key = key();
        let found = examine(&signed(&key, &body()), Some(&Jwks::of(key.jwk())));
        assert_eq!((found.verified, found.pinned, found.exit()), (true, true, 0), "{found:?}");
        assert_eq!(found.kid.as_deref(), Some(key.kid().as_str()));
    }

    #[test]
    fn a_key_that_lies_beside_the_receipt_never_pins_it() {
        let found = examine(&signed(&key(), &body()), None);
        assert_eq!((found.verified, found.pinned, found.exit()), (true, false, 4), "{found:?}");
    }

    #[test]
    fn a_device_that_was_not_enrolled_is_not_pinned() {
        let key = key();
        let local = ReceiptBody { pinned: false, ..body() };
        let found = examine(&signed(&key, &local), Some(&Jwks::of(key.jwk())));
        assert_eq!((found.verified, found.pinned, found.exit()), (true, false, 4), "{found:?}");
    }

    #[test]
    fn trusted_keys_win_over_the_key_beside_the_receipt() {
        let forger = key();
        let found = examine(&signed(&forger, &body()), Some(&Jwks::of(key().jwk())));
        assert_eq!((found.verified, found.exit()), (false, 4), "{found:?}");
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let key = key();
        let mut bundle = signed(&key, &body());
        let mut parts: Vec<String> = bundle.receipt.split('.').map(str::to_owned).collect();
        let forged = key.sign_jwt("secevent+jwt", &serde_json::json!({"iss": "x"})).unwrap();
        parts[2] = forged.split('.').nth(2).unwrap().to_owned();
        bundle.receipt = parts.join(".");
        let found = examine(&bundle, None);
        assert_eq!((found.verified, found.exit()), (false, 1), "{found:?}");
    }

    #[test]
    fn a_body_that_contradicts_itself_is_an_error() {
        let key = key();
        let residual = |mut body: ReceiptBody| {
            body.stores[0].verdict = Some(Verdict::Residual);
            body
        };
        for (what, body) in [
            ("a claim better than its stores", residual(body())),
            ("another device", ReceiptBody { device: "occ-08".into(), ..body() }),
            ("another transaction", ReceiptBody { txn: Txn::parse("t2").unwrap(), ..body() }),
            ("a zeroth receipt", ReceiptBody { seq: 0, ..body() }),
            ("a second without a first", ReceiptBody { seq: 2, ..body() }),
            ("a first with one before", ReceiptBody { previous: "ab".repeat(32), ..body() }),
            ("no end", ReceiptBody { outcome: Outcome::Contained, ..body() }),
        ] {
            let found = examine(&signed(&key, &body), None);
            assert_eq!((found.verified, found.exit()), (false, 1), "{what}: {found:?}");
        }
    }

    #[test]
    fn reads_a_bare_receipt_a_bundle_and_a_hub_s_record() {
        let key = key();
        let bundle = signed(&key, &body());
        assert_eq!(Bundle::read(&bundle.receipt).unwrap().jwk, None);
        for names in [["receipt", "jwk"], ["compact", "device_jwk"]] {
            let json = serde_json::json!({names[0]: bundle.receipt, names[1]: key.jwk()});
            assert_eq!(Bundle::read(&json.to_string()).unwrap(), bundle);
        }
        assert!(Bundle::read("{}").is_err());
    }

    #[test]
    fn reads_trusted_keys_as_jwks_jwk_or_device_list() {
        let key = key();
        let jwk = serde_json::to_value(key.jwk()).unwrap();
        for json in [
            serde_json::json!({ "keys": [jwk] }),
            jwk.clone(),
            serde_json::json!({ "v": 1, "devices": [{ "id": "occ-07", "device_jwk": jwk }] }),
        ] {
            assert_eq!(read_keys(&json.to_string()).unwrap(), Jwks::of(key.jwk()));
        }
        assert!(read_keys("{}").is_err());
    }
}
