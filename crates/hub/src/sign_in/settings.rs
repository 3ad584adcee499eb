//! The identity provider of the operators, and which of its claims means which role.
//!
//! It refuses a settings file that maps nobody, and a person whom it does not map.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use exeunt_api::Role;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{DataError, read_secret};

/// As the file has them, TOML.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The issuer, as its discovery document names it.
    pub issuer: String,
    /// This hub's client id there.
    pub client_id: String,
    /// A file with the client's secret, which only the hub's user reads; absent for a public client.
    client_secret_file: Option<PathBuf>,
    /// Its secret.
    #[serde(skip)]
    pub secret: Option<String>,
    /// What is asked for.
    #[serde(default = "openid")]
    pub scopes: Vec<String>,
    /// The claim that names the person in the audit.
    #[serde(default = "sub")]
    name_claim: String,
    /// The claim, with dots for members within, whose values mean roles.
    roles_claim: String,
    /// How long a sign-in lasts, in minutes.
    #[serde(default = "a_shift")]
    pub session_minutes: u64,
    /// Which values of the claim mean which role.
    roles: BTreeMap<Role, Vec<String>>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

fn openid() -> Vec<String> {
    vec!["openid".into()]
}

fn sub() -> String {
    "sub".into()
}

fn a_shift() -> u64 {
    480
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The client's secret cannot be read, or others can.
    #[error(transparent)]
    Secret(#[from] DataError),
    /// A value is of no use.
    #[error("{path}: {why}")]
    Useless {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
}

/// The person may not operate this hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMapped {
    /// The provider did not say who they are.
    #[error("the identity provider gives no usable {0:?}")]
    Nameless(String),
    /// No role is mapped to any of their claims.
    #[error("no role of this hub is mapped to {0}: ask its administrator")]
    NoRole(String),
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let failed = |why: String| SettingsError::Unreadable { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let mut it: Self = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let useless = |why| SettingsError::Useless { path: path.to_owned(), why };
        if !it.scopes.iter().any(|scope| scope == "openid") {
            return Err(useless("scopes must have openid among them"));
        }
        if it.roles.values().all(Vec::is_empty) {
            return Err(useless("[roles] maps nobody"));
        }
        if !(5..=1440).contains(&it.session_minutes) {
            return Err(useless("session_minutes is between 5 and 1,440"));
        }
        if let Some(secret) = &it.client_secret_file {
            let secret = read_secret(secret)?.ok_or(useless("client_secret_file is not there"))?;
            it.secret = Some(secret.trim().to_owned());
        }
        Ok(it)
    }

    /// How the audit names a person, and what they may do.
    ///
    /// # Errors
    /// [`NotMapped`].
    pub fn person(&self, claims: &Value) -> Result<(String, Vec<Role>), NotMapped> {
        let name = claim(claims, &self.name_claim).and_then(Value::as_str).map(str::trim);
        let fine = |name: &&str| {
            !name.is_empty() && name.len() <= 256 && !name.chars().any(char::is_control)
        };
        let nameless = || NotMapped::Nameless(self.name_claim.clone());
        let name = name.filter(fine).ok_or_else(nameless)?;
        let given = claim(claims, &self.roles_claim);
        let holds = |value: &String| match given {
            Some(Value::String(one)) => one == value,
            Some(Value::Array(all)) => all.iter().any(|one| one == value),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        };
        let roles = self.roles.iter().filter(|(_, values)| values.iter().any(holds));
        let roles: Vec<_> = roles.map(|(role, _)| *role).collect();
        if roles.is_empty() {
            return Err(NotMapped::NoRole(name.to_owned()));
        }
        Ok((name.to_owned(), roles))
    }
}

/// A claim by its name, or by a path of members with dots.
fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims
        .get(name)
        .or_else(|| name.split('.').try_fold(claims, |within, member| within.get(member)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const GOOD: &str = r#"
        issuer = "https://id.example"
        client_id = "exeunt"
        name_claim = "email"
        roles_claim = "realm_access.roles"
        [roles]
        responder = ["soc", "ir"]
        viewer = ["staff"]
    "#;

    fn read(text: &str) -> Result<Settings, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sign-in.toml");
        std::fs::write(&path, text).unwrap();
        Settings::read(&path)
    }

    #[test]
    fn maps_claims_to_roles_and_refuses_whoever_is_not_mapped() {
        let it = read(GOOD).unwrap();
        let person = |roles: Value| {
            it.person(&json!({ "email": "o@corp.example", "realm_access": { "roles": roles } }))
        };
        let (name, roles) = person(json!(["staff", "soc", "x"])).unwrap();
        assert_eq!((name.as_str(), roles), ("o@corp.example", vec![Role::Viewer, Role::Responder]));
        assert_eq!(person(json!("staff")).unwrap().1, [Role::Viewer]);
        for nothing in [json!([]), json!("soc staff"), json!(["SOC"]), json!(true), json!(null)] {
            assert!(matches!(person(nothing), Err(NotMapped::NoRole(_))));
        }
        assert!(matches!(it.person(&json!({ "email": "" })), Err(NotMapped::Nameless(_))));
    }

    #[test]
    fn refuses_settings_that_map_nobody_or_misspell_a_role() {
        for (from, to) in [
            ("viewer", "veiwer"),
            ("[\"soc\", \"ir\"]\n        viewer = [\"staff\"]", "[]"),
            ("client_id", "client"),
            ("[roles]", "session_minutes = 0\n[roles]"),
            ("[roles]", "scopes = [\"email\"]\n[roles]"),
            ("[roles]", "client_secret_file = \"/nowhere\"\n[roles]"),
        ] {
            assert!(read(&GOOD.replace(from, to)).is_err(), "{from}");
        }
    }
}
