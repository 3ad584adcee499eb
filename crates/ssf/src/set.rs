//! One security event token's claims.
//!
//! It refuses what SSF 1.0 §4 forbids: `sub`, `exp`, and any number of events but one.

use std::collections::BTreeMap;

use exeunt_domain::{Jti, Timestamp, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a SET is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// It is no JWS, or its claims are no SET.
    #[error("not a security event token: {0}")]
    Malformed(String),
    /// The header's `typ` is not the one expected.
    #[error("the token's typ is {0:?}")]
    WrongType(String),
    /// No key of that name is known, or the algorithm is not the key's.
    #[error("signed by a key that is not known here: {0:?}")]
    UnknownKey(String),
    /// The signature does not match.
    #[error("the signature does not match")]
    BadSignature,
    /// Another issuer than expected.
    #[error("issued by {0:?}")]
    WrongIssuer(String),
    /// Meant for someone else.
    #[error("meant for another audience")]
    WrongAudience,
    /// Past its time, or from a time to come.
    #[error("not valid now")]
    NotNow,
    /// It could not be written.
    #[error("the claims cannot be signed: {0}")]
    Unsignable(String),
}

impl SetError {
    /// The error code of RFC 8935 §2.4.
    #[must_use]
    pub fn err_code(&self) -> &'static str {
        match self {
            SetError::Malformed(_)
            | SetError::WrongType(_)
            | SetError::NotNow
            | SetError::Unsignable(_) => "invalid_request",
            SetError::UnknownKey(_) => "invalid_key",
            SetError::BadSignature => "authentication_failed",
            SetError::WrongIssuer(_) => "invalid_issuer",
            SetError::WrongAudience => "invalid_audience",
        }
    }
}

/// The claims of a SET (RFC 8417 §2.2, SSF 1.0 §4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawSet")]
pub struct Set {
    /// Who signed it.
    pub iss: String,
    /// Whom it is for; one is written as a string, several as an array.
    #[serde(serialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Its identifier.
    pub jti: Jti,
    /// When it was signed, in seconds since the epoch.
    pub iat: u64,
    /// The cause that it shares with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_id: Option<Value>,
    /// Exactly one event, by its type URI.
    pub events: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct RawSet {
    iss: String,
    aud: OneOrMany,
    jti: Jti,
    iat: u64,
    txn: Option<Txn>,
    sub_id: Option<Value>,
    events: BTreeMap<String, Value>,
    sub: Option<Value>,
    exp: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<RawSet> for Set {
    type Error = SetError;
    fn try_from(raw: RawSet) -> Result<Self, SetError> {
        if raw.sub.is_some() || raw.exp.is_some() {
            return Err(SetError::Malformed("a SET carries neither sub nor exp".into()));
        }
        if raw.events.len() != 1 {
            return Err(SetError::Malformed(format!("{} events, not one", raw.events.len())));
        }
        let aud = match raw.aud {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        };
        let (iss, jti, iat, txn) = (raw.iss, raw.jti, raw.iat, raw.txn);
        Ok(Self { iss, aud, jti, iat, txn, sub_id: raw.sub_id, events: raw.events })
    }
}

fn one_or_many<S: serde::Serializer>(aud: &[String], to: S) -> Result<S::Ok, S::Error> {
    match aud {
        [one] => to.serialize_str(one),
        many => many.serialize(to),
    }
}

impl Set {
    /// A SET of one event for one audience.
    ///
    /// # Errors
    /// [`SetError::Unsignable`] when the event is no JSON object.
    pub fn new(
        iss: impl Into<String>,
        aud: impl Into<String>,
        jti: Jti,
        iat: Timestamp,
        event_type: &str,
        event: &impl Serialize,
    ) -> Result<Self, SetError> {
        let event =
            serde_json::to_value(event).map_err(|error| SetError::Unsignable(error.to_string()))?;
        Ok(Self {
            iss: iss.into(),
            aud: vec![aud.into()],
            jti,
            iat: iat.as_secs(),
            txn: None,
            sub_id: None,
            events: BTreeMap::from([(event_type.to_owned(), event)]),
        })
    }

    /// The same SET under a transaction.
    #[must_use]
    pub fn with_txn(mut self, txn: Txn) -> Self {
        self.txn = Some(txn);
        self
    }

    /// The same SET about a subject (RFC 9493).
    #[must_use]
    pub fn about(mut self, sub_id: Value) -> Self {
        self.sub_id = Some(sub_id);
        self
    }

    /// The type of its one event.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.events.keys().next().map_or("", String::as_str)
    }

    /// Its event, when that is of the type `event_type`, as `T`.
    ///
    /// # Errors
    /// [`SetError::Malformed`] for another type, or claims that are no `T`.
    pub fn event_as<T: DeserializeOwned>(&self, event_type: &str) -> Result<T, SetError> {
        let event = self
            .events
            .get(event_type)
            .ok_or_else(|| SetError::Malformed(format!("no {event_type} event")))?;
        T::deserialize(event).map_err(|error| SetError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Set, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn refuses_sub_exp_and_any_number_of_events_but_one() {
        let head = r#""iss":"i","aud":"a","jti":"j","iat":1"#;
        assert!(read(&format!(r#"{{{head},"events":{{"e":{{}}}}}}"#)).is_ok());
        assert!(read(&format!(r#"{{{head},"events":{{}}}}"#)).is_err());
        assert!(read(&format!(r#"{{{head},"events":{{"e":{{}},"f":{{}}}}}}"#)).is_err());
        assert!(read(&format!(r#"{{{head},"sub":"s","events":{{"e":{{}}}}}}"#)).is_err());
        assert!(read(&format!(r#"{{{head},"exp":2,"events":{{"e":{{}}}}}}"#)).is_err());
    }

    #[test]
    fn takes_an_audience_as_text_or_list_and_unknown_claims() {
        let set = read(
            r#"{"iss":"i","aud":["a","b"],"jti":"j","iat":1,"events":{"e":{}},"x_extra":true}"#,
        )
        .unwrap();
        assert_eq!(set.aud, ["a", "b"]);
    }
}
