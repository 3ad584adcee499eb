//! `exeunt admin connector`, and what each kind of provider wants to be told.
//!
//! It refuses a secret on the command line: other users of the machine could read it there.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// One kind of provider.
pub(crate) struct Kind {
    /// The word for it.
    pub(crate) name: &'static str,
    /// What it is, and who can make its credentials.
    pub(crate) teaches: &'static str,
    /// What must be given.
    pub(crate) fields: &'static [&'static str],
    /// What may be given.
    pub(crate) optional: &'static [&'static str],
    /// What must come from a file.
    pub(crate) secrets: &'static [&'static str],
    /// What may be given, and then from a file.
    pub(crate) optional_secrets: &'static [&'static str],
}

const KIND: Kind =
    Kind { name: "", teaches: "", fields: &[], optional: &[], secrets: &[], optional_secrets: &[] };

/// Every kind; a test holds them to the hub's own document.
pub(crate) const KINDS: [Kind; 15] = [
    Kind {
        name: "oauth",
        teaches: "any authorization server by RFC 7009 and 7662; ends tokens that services hand over",
        fields: &["revocation_endpoint", "client_id"],
        optional: &["introspection_endpoint", "token_endpoint"],
        secrets: &["client_secret"],
        ..KIND
    },
    Kind {
        name: "global-revocation",
        teaches: "any party that takes Global Token Revocation, such as another hub; signed by this \
                  hub, whose keys are at /.well-known/jwks.json",
        fields: &["endpoint", "client_id"],
        optional: &["okta_shape"],
        ..KIND
    },
    Kind {
        name: "keycloak",
        teaches: "a client with a service account that has the role manage-users",
        fields: &["url", "realm", "client_id"],
        secrets: &["client_secret"],
        ..KIND
    },
    Kind {
        name: "okta",
        teaches: "an API token of an administrator who may end sessions",
        fields: &["url"],
        secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "entra",
        teaches: "an application with User.RevokeSessions.All; login_url \
                  https://login.microsoftonline.com, graph_url https://graph.microsoft.com, scope \
                  https://graph.microsoft.com/.default",
        fields: &["login_url", "graph_url", "scope", "tenant", "client_id"],
        secrets: &["client_secret"],
        ..KIND
    },
    Kind {
        name: "auth0",
        teaches: "a machine-to-machine application of the Management API",
        fields: &["url", "audience", "client_id"],
        secrets: &["client_secret"],
        ..KIND
    },
    Kind {
        name: "google",
        teaches: "Google Workspace: a service account with domain-wide delegation for \
                  https://www.googleapis.com/auth/admin.directory.user.security; url \
                  https://admin.googleapis.com, login_url https://oauth2.googleapis.com",
        fields: &["url", "login_url", "service_account", "administrator"],
        secrets: &["private_key"],
        ..KIND
    },
    Kind {
        name: "authentik",
        teaches: "an API token of a user who may delete sessions and tokens",
        fields: &["url"],
        secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "zitadel",
        teaches: "a service user's personal access token with session.read, session.delete, user.read",
        fields: &["url"],
        secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "kratos",
        teaches: "Ory Kratos' admin interface",
        fields: &["url"],
        optional_secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "hydra",
        teaches: "Ory Hydra's admin interface",
        fields: &["url", "issuer"],
        optional_secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "github",
        teaches: "an organization with SAML sign-on: an owner's token with admin:org; url \
                  https://api.github.com",
        fields: &["url", "organization"],
        secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "gitlab",
        teaches: "a GitLab of your own: an administrator's token with the scope api",
        fields: &["url"],
        secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "slack",
        teaches: "an Enterprise organization: a user token with admin.users:read, admin.users:write \
                  and users:read.email; url https://slack.com",
        fields: &["url", "team"],
        secrets: &["token"],
        ..KIND
    },
    Kind {
        name: "aws",
        teaches: "IAM Identity Center: an access key that may identitystore:GetUserId, \
                  organizations:DescribePolicy and organizations:UpdatePolicy of one service control \
                  policy that is the hub's to change; identity_store_url \
                  https://identitystore.REGION.amazonaws.com, organizations_url \
                  https://organizations.us-east-1.amazonaws.com",
        fields: &[
            "identity_store_url",
            "organizations_url",
            "region",
            "identity_store_id",
            "policy_id",
            "access_key_id",
        ],
        secrets: &["secret_access_key"],
        ..KIND
    },
];

/// What `add --help` says after its arguments.
pub(crate) fn after_add() -> String {
    let mut text =
        "Kinds, what each wants as FIELD=VALUE, and as --secret FIELD=FILE:\n".to_owned();
    for kind in &KINDS {
        let plain = kind.fields.iter().map(|field| (*field).to_owned());
        let optional = kind.optional.iter().map(|field| format!("[{field}]"));
        let secret = kind.secrets.iter().map(|field| format!("--secret {field}"));
        let maybe = kind.optional_secrets.iter().map(|field| format!("[--secret {field}]"));
        let all: Vec<_> = plain.chain(optional).chain(secret).chain(maybe).collect();
        text.push_str(&format!("\n  {}: {}\n      {}\n", kind.name, kind.teaches, all.join(", ")));
    }
    text.push_str(
        "\nExamples:
  exeunt admin connector add okta corp url=https://corp.okta.com --secret token=okta.token
  exeunt admin connector add keycloak staff url=https://id.example realm=staff \\
    client_id=exeunt --secret client_secret=-
  exeunt admin connector add oauth op revocation_endpoint=https://op.example/revoke \\
    introspection_endpoint=https://op.example/introspect client_id=exeunt \\
    --secret client_secret=op.secret --audience shop
  exeunt admin connector test corp

The same name again replaces the settings. What a provider cannot be made to end is printed, shown in
each preview and kept with each sign-out.",
    );
    text
}

/// What is done with providers.
#[derive(Debug, Subcommand)]
pub(crate) enum Connector {
    /// Register an identity provider, or replace the settings of one.
    #[command(after_help = after_add())]
    Add(Add),
    /// List registered providers, and what each cannot be made to end.
    List,
    /// Forget a provider, its credentials and the tokens that services handed over for it.
    Remove {
        /// Which.
        name: String,
    },
    /// Try a provider's credentials. Ends nothing.
    #[command(
        after_help = "Exit code 0: the provider took them. 1: it did not, and the output says \
                            why and how to renew them."
    )]
    Test {
        /// Which.
        name: String,
    },
}

/// What `add` takes.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What it is; see below.
    pub(crate) kind: String,
    /// What you call it: letters, digits, '-', '_', '.'.
    pub(crate) name: String,
    /// Its settings.
    #[arg(value_name = "FIELD=VALUE", value_parser = pair)]
    pub(crate) fields: Vec<(String, String)>,
    /// A setting that is secret, from a file; `-` reads standard input. May be given several times.
    #[arg(long, value_name = "FIELD=FILE", value_parser = secret)]
    pub(crate) secret: Vec<(String, PathBuf)>,
    /// An audience whose service may hand over tokens for this provider. May be given several times.
    #[arg(long, value_name = "AUD")]
    pub(crate) audience: Vec<String>,
}

/// The text names no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has the form FIELD=VALUE")]
struct NoField;

fn pair(text: &str) -> Result<(String, String), NoField> {
    match text.split_once('=') {
        Some((field, value)) if !field.is_empty() => Ok((field.to_owned(), value.to_owned())),
        Some(_) | None => Err(NoField),
    }
}

fn secret(text: &str) -> Result<(String, PathBuf), NoField> {
    pair(text).map(|(field, file)| (field, file.into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The hub's document says which kinds there are, and which fields each has.
    #[test]
    fn teaches_every_kind_and_field_that_the_hub_has() {
        let text = include_str!("../../../../docs/openapi.json");
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let kinds = document["components"]["schemas"]["ConnectorSettings"]["oneOf"].as_array();
        let mut names = BTreeSet::new();
        for kind in kinds.unwrap() {
            let name = kind["properties"]["kind"]["const"].as_str().unwrap();
            let ours = KINDS.iter().find(|one| one.name == name);
            let ours = ours.unwrap_or_else(|| panic!("{name} is not taught"));
            names.insert(name);
            let set = |parts: &[&[&'static str]]| -> BTreeSet<&str> {
                parts.concat().into_iter().collect()
            };
            let known: BTreeSet<&str> =
                kind["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let taught =
                set(&[ours.fields, ours.optional, ours.secrets, ours.optional_secrets, &["kind"]]);
            assert_eq!(taught, known, "{name}");
            let required: BTreeSet<&str> = kind["required"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one.as_str().unwrap())
                .collect();
            assert_eq!(set(&[ours.fields, ours.secrets, &["kind"]]), required, "{name}");
            for field in &taught {
                let is_secret = field.ends_with("secret")
                    || field.ends_with("token")
                    || field.ends_with("private_key")
                    || *field == "secret_access_key";
                let from_file =
                    ours.secrets.contains(field) || ours.optional_secrets.contains(field);
                assert_eq!(is_secret, from_file, "{name} {field}");
            }
        }
        assert_eq!(names.len(), KINDS.len());
    }
}
