//! Ids of apps and stores: short lowercase names that receipts, logs and people share.
//! It refuses anything but lowercase letters, digits and single inner hyphens.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: use 1 to 64 lowercase letters, digits and single inner hyphens")]
pub struct IdError(String);

macro_rules! kebab_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text as an id.
            ///
            /// # Errors
            /// [`IdError`] when the text is not 1 to 64 bytes of lowercase kebab case.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if is_kebab(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError(text.to_owned()))
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

kebab_id! {
    /// The name of one app in the catalogue, such as `google-chrome`.
    AppId
}

kebab_id! {
    /// The name of one store or keyring rule within its app, such as `cookies`.
    StoreId
}

fn is_kebab(text: &str) -> bool {
    text.len() <= 64
        && text.split('-').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_kebab_and_refuses_the_rest() {
        for good in ["aws", "google-chrome", "1password", "k8s-oidc"] {
            assert_eq!(AppId::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in ["", "-a", "a-", "a--b", "Aws", "a_b", "a/b", "a b", "é", long.as_str()] {
            assert!(StoreId::parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
