//! Access tokens that carry their own grant under the hub's seal, and assertions that were used.
//!
//! It refuses to keep a token: after a restart each is as good as before, and none is good past its
//! time. The seal has a secret of its own, for who stole the key that signs orders is no service.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_domain::{DeviceId, Timestamp};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::{Agent, hash};
use crate::config::{DataDir, DataError};
use crate::publish::lock;
use crate::sequencer::now;

/// Where the seal's secret lies in the data directory. Without the file, every token is void.
const FILE: &str = "token-key";
/// Length of the seal (RFC 2104 with SHA-256), in bytes.
const SEAL: usize = 32;

/// What a token was granted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// A device's agent.
    Agent(Agent),
    /// A relying service.
    Service(String),
    /// A relying service, for its stream only.
    Stream(String),
}

/// Makes and reads access tokens.
pub struct Tokens {
    seal: Hmac<Sha256>,
    used: Mutex<HashMap<[u8; 32], u64>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens under the secret in `data`, which is made at first use.
    ///
    /// # Errors
    /// [`DataError`].
    pub fn open(data: &DataDir) -> Result<Self, DataError> {
        if let Some(secret) = data.secret(FILE)? {
            return Ok(Self::under(secret.trim()));
        }
        let failed = |source| DataError::Key { path: data.file(FILE), source };
        let secret = exeunt_ssf::random_token().map_err(failed)?;
        data.write_secret(FILE, &secret)?;
        Ok(Self::under(&secret))
    }

    fn under(secret: &str) -> Self {
        let secret = Sha256::digest(secret.as_bytes());
        // A block of the hash is a key of the one length that needs no answer.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(secret) {
            *to = from;
        }
        Self { seal: hmac::digest::KeyInit::new(&block), used: Mutex::default() }
    }

    /// A token: what it grants, until when, and the seal over both.
    pub(super) fn grant(&self, to: &Grant, scope: &str, expires: Timestamp) -> String {
        let (kind, id, epoch) = match to {
            Grant::Agent(agent) => ("agent", agent.device.as_str(), agent.epoch),
            Grant::Service(id) => ("service", id.as_str(), 0),
            Grant::Stream(id) => ("stream", id.as_str(), 0),
        };
        let mut bytes = format!("{kind}\n{id}\n{epoch}\n{}\n{scope}", expires.0).into_bytes();
        let seal = self.seal.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn holder(&self, token: &str) -> Option<Grant> {
        self.scoped(token).map(|(grant, _)| grant)
    }

    /// The client id of the relying service that holds a token.
    pub(crate) fn service(&self, token: &str) -> Option<String> {
        match self.holder(token)? {
            Grant::Service(id) => Some(id),
            Grant::Agent(_) | Grant::Stream(_) => None,
        }
    }

    /// What a token that is good now grants, and its scope.
    pub(super) fn scoped(&self, token: &str) -> Option<(Grant, String)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (text, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
        self.seal.clone().chain_update(text).verify_slice(seal).ok()?;
        let mut parts = std::str::from_utf8(text).ok()?.splitn(5, '\n');
        let (kind, id, epoch) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
        let (expires, scope) = (Timestamp(parts.next()?.parse().ok()?), parts.next()?);
        let grant = match kind {
            "agent" => Grant::Agent(Agent { device: DeviceId::parse(id).ok()?, epoch }),
            "service" => Grant::Service(id.to_owned()),
            "stream" => Grant::Stream(id.to_owned()),
            _ => return None,
        };
        (expires > now()).then(|| (grant, scope.to_owned()))
    }

    /// False: this assertion was used before (RFC 7523 §3).
    pub(super) fn first_use(&self, client: &str, jti: &str, exp: u64) -> bool {
        let mut used = lock(&self.used);
        let now = now().as_secs();
        if used.len().is_multiple_of(1024) {
            used.retain(|_, exp| *exp + 60 >= now);
        }
        used.insert(hash(&format!("{client} {jti}")), exp).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::under(&exeunt_ssf::random_token().unwrap())
    }

    #[test]
    fn a_token_outlives_the_process_and_not_the_seal_s_secret() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::hold(dir.path()).unwrap();
        let tokens = Tokens::open(&data).unwrap();
        let agent = Agent { device: DeviceId::parse("occ-07").unwrap(), epoch: 3 };
        for grant in [Grant::Agent(agent), Grant::Service("a".into()), Grant::Stream("b".into())] {
            let token = tokens.grant(&grant, "ssf.read more", now().plus_ms(60_000));
            let read = Some((grant, "ssf.read more".to_owned()));
            assert_eq!(Tokens::open(&data).unwrap().scoped(&token), read);
            assert_eq!(self::tokens().scoped(&token), None);
        }
    }

    #[test]
    fn a_token_is_good_until_its_time_and_only_to_the_letter() {
        let tokens = tokens();
        let grant = Grant::Service("a".into());
        assert_eq!(tokens.holder(&tokens.grant(&grant, "s", now())), None);
        let token = tokens.grant(&grant, "s", now().plus_ms(60_000));
        assert_eq!(tokens.service(&token), Some("a".into()));
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(tokens.scoped(&URL_SAFE_NO_PAD.encode(&bytes)), None, "byte {at}");
            assert_eq!(tokens.scoped(&URL_SAFE_NO_PAD.encode(&bytes[..at])), None, "cut at {at}");
        }
        for token in ["", "x", "\u{e9}", &format!("{token}="), &format!(" {token}")] {
            assert_eq!(tokens.scoped(token), None, "{token:?}");
        }
    }

    #[test]
    fn an_assertion_is_used_once() {
        let tokens = tokens();
        let later = now().as_secs() + 60;
        assert!(tokens.first_use("a", "j", later) && !tokens.first_use("a", "j", later));
        assert!(tokens.first_use("b", "j", later));
    }
}
