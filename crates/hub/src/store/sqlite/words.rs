//! Domain words as the text in columns, and back.
//!
//! It refuses a text that is no such word: the database is then damaged.

use rusqlite::Connection;
use serde::Serialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde_json::Value;

use crate::store::StoreError;

/// The word that a unit enum is serialized as.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// The enum that a word stands for.
///
/// # Errors
/// [`StoreError::Damaged`].
pub(super) fn meaning<T: DeserializeOwned>(word: String) -> Result<T, StoreError> {
    let read: StrDeserializer<'_, serde_json::Error> = word.as_str().into_deserializer();
    T::deserialize(read)
        .map_err(|error| StoreError::Damaged(format!("{word:?} in a column: {error}")))
}

/// An object that was stored as JSON.
///
/// # Errors
/// [`StoreError::Damaged`].
pub(super) fn object<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Damaged(format!("a column's JSON: {error}")))
}

/// An identifier as it was stored.
///
/// # Errors
/// [`StoreError::Damaged`].
pub(super) fn id<T: TryFrom<String>>(text: String) -> Result<T, StoreError>
where
    T::Error: std::fmt::Display,
{
    T::try_from(text).map_err(|error| StoreError::Damaged(format!("an id: {error}")))
}

/// Whether a query finds any row.
///
/// # Errors
/// [`rusqlite::Error`].
pub(super) fn any(
    db: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<bool, rusqlite::Error> {
    db.prepare_cached(sql)?.exists(params)
}
