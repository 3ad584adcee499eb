//! AWS IAM Identity Center: denies, by a service control policy, what a person's role sessions began
//! before the sign-out.
//!
//! It refuses the inline policy `AWSRevokeOlderSessions`, which ends every user's sessions of a role,
//! and to call a policy proof: sessions cannot be listed.

mod sign;

use exeunt_domain::Timestamp;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::sign::{Keys, Request, signed};
use super::call::{Failed, Http, below, json as read, text};
use super::user::Known;
use super::{Call, Connector, NotCovered, Person, Probe};
use crate::sequencer::now;

/// The Organizations interface is in one region for all of AWS (but for China and GovCloud).
const ORGANIZATIONS_REGION: &str = "us-east-1";
/// Longest role session (AWS, "Set session duration"), in milliseconds: an older denial denies none.
const LONGEST_MS: u64 = 12 * 3_600_000;
/// What the hub's own statements are called.
const OURS: &str = "Exeunt";
/// One change of the policy at a time: each reads it and writes it whole.
static CHANGING: Mutex<()> = Mutex::const_new(());

/// An organization, its identity store, and a policy that is the hub's to change.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "AwsSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the identity store is: `https://identitystore.REGION.amazonaws.com`.
    identity_store_url: String,
    /// Where Organizations is: `https://organizations.us-east-1.amazonaws.com`.
    organizations_url: String,
    /// The identity store's region.
    region: String,
    /// The identity store: `d-…`.
    identity_store_id: String,
    /// The service control policy: `p-…`, attached to the root or to the accounts that matter.
    policy_id: String,
    /// An access key's id.
    access_key_id: String,
    /// The access key.
    secret_access_key: String,
}

/// AWS, "Revoke active IAM role sessions created by permission sets".
const NOT_COVERED: [NotCovered; 4] = [
    NotCovered::within(
        "the AWS access portal's session, which can begin new role sessions; no public call ends it",
        "until it expires, 8 hours unless set otherwise, or is deleted in the console",
        8 * 3600,
    ),
    NotCovered::within("role sessions, until AWS has spread the policy", "some minutes", 15 * 60),
    NotCovered::within(
        "role sessions in the management account, which no service control policy reaches",
        "up to 12 hours",
        12 * 3600,
    ),
    NotCovered::within(
        "applications of Identity Center that keep sessions of their own",
        "until they ask again, up to 2 hours",
        2 * 3600,
    ),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "AWS Organizations UpdatePolicy: deny by identitystore:userId and aws:TokenIssueTime"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "AWS IAM, Users, this user, Security credentials: make an access key of a user who may \
         identitystore:GetUserId, organizations:DescribePolicy and organizations:UpdatePolicy; then \
         register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.identity_store_url, &self.organizations_url]
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let user = self.user(http, person).await?;
            let _alone = CHANGING.lock().await;
            let policy = self.policy(http).await?;
            let content = denying(&policy, &user, now())?;
            let body = json!({ "PolicyId": self.policy_id, "Content": content });
            self.organizations(http, "UpdatePolicy", &body).await?;
            Ok("AWS denies the user's role sessions that began before now".into())
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let user = self.user(http, person).await?;
            let policy = self.policy(http).await?;
            if !policy.contains(&sid(&user)) {
                return Ok(Probe::Accepted("the policy does not deny the user".into()));
            }
            let say = "the policy denies the user, and AWS lists no role sessions to look at";
            Err(Failed::Never(say.into()))
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            let policy = self.policy(http).await?;
            denying(&policy, "test", now())?;
            Ok("AWS took the access key, and the policy can be changed as it is".into())
        })
    }
}

impl Settings {
    async fn user(&self, http: &Http, person: &Person) -> Result<String, Failed> {
        let (path, value) = match person.known_at(&self.identity_store_url)? {
            Known::Id(id) => return Ok(id.to_owned()),
            Known::Email(email) => ("emails.value", email),
            Known::Name(name) => ("userName", name),
        };
        let attribute = json!({ "AttributePath": path, "AttributeValue": value });
        let body = json!({
            "IdentityStoreId": self.identity_store_id,
            "AlternateIdentifier": { "UniqueAttribute": attribute },
        });
        let to = Request {
            url: below(&self.identity_store_url, &[""])?,
            region: &self.region,
            service: "identitystore",
            target: "AWSIdentityStore.GetUserId",
            body: &body,
        };
        text("the user", &self.ask(http, "a user search", to).await?, "/UserId")
    }

    async fn policy(&self, http: &Http) -> Result<String, Failed> {
        let body = json!({ "PolicyId": self.policy_id });
        let answer = self.organizations(http, "DescribePolicy", &body).await?;
        text("the policy", &answer, "/Policy/Content")
    }

    async fn organizations(&self, http: &Http, name: &str, body: &Value) -> Result<Value, Failed> {
        let to = Request {
            url: below(&self.organizations_url, &[""])?,
            region: ORGANIZATIONS_REGION,
            service: "organizations",
            target: &format!("AWSOrganizationsV20161128.{name}"),
            body,
        };
        self.ask(http, name, to).await
    }

    async fn ask(&self, http: &Http, what: &str, to: Request<'_>) -> Result<Value, Failed> {
        let keys = Keys { id: &self.access_key_id, secret: &self.secret_access_key };
        let answer = super::call::answered(what, signed(http, &keys, &to, now())).await?;
        let status = answer.status();
        if status.is_success() {
            return read(what, answer).await;
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Failed::Later(format!("{what} was answered with {status}"), None));
        }
        let said = read(what, answer).await?;
        let kind = said["__type"].as_str().unwrap_or_default();
        let kind: String = kind.rsplit('#').next().unwrap_or_default().chars().take(64).collect();
        Err(meaning(what, &kind))
    }
}

/// What AWS's name of an error means.
fn meaning(what: &str, kind: &str) -> Failed {
    let say = format!("{what} was refused with {kind}");
    match kind {
        "ResourceNotFoundException" => Failed::Never("the provider knows no such user".into()),
        "ThrottlingException"
        | "TooManyRequestsException"
        | "ConcurrentModificationException"
        | "PolicyChangesInProgressException"
        | "ServiceException" => Failed::Later(say, None),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "InvalidClientTokenId"
        | "IncompleteSignature" => Failed::Denied(say),
        _ => Failed::Never(say),
    }
}

/// What a statement about a user is called: letters and digits only.
fn sid(user: &str) -> String {
    let word: String = user.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{OURS}{word}")
}

/// The policy with a denial of everything that a user's role sessions from before `at` do. Other
/// people's statements stay; the hub's own go once they can deny nothing more.
///
/// # Errors
/// [`Failed::Never`] when the policy is none.
fn denying(policy: &str, user: &str, at: Timestamp) -> Result<String, Failed> {
    let no_policy = || Failed::Never("the policy's content is no policy document".into());
    let mut document: Value = serde_json::from_str(policy).map_err(|_| no_policy())?;
    let sid = sid(user);
    let stays = |one: &Value| {
        let name = one["Sid"].as_str().unwrap_or_default();
        let began = super::instant(&one["Condition"]["DateLessThan"]["aws:TokenIssueTime"]);
        let is_over = began.is_some_and(|began| at.since_ms(began) > LONGEST_MS);
        name != sid && !(name.starts_with(OURS) && is_over)
    };
    let statements = document.get_mut("Statement").and_then(Value::as_array_mut);
    let statements = statements.ok_or_else(no_policy)?;
    statements.retain(stays);
    statements.push(json!({
        "Sid": sid, "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {
            "StringEquals": { "identitystore:userId": user },
            "DateLessThan": { "aws:TokenIssueTime": rfc3339(at) },
        },
    }));
    Ok(document.to_string())
}

fn rfc3339(at: Timestamp) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn denies_one_user_and_leaves_everybody_elses_statements() {
        let at = Timestamp(1_700_000_000_000);
        let first = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Base","Effect":"Deny"}]}"#;
        let first = denying(first, "a-1", at).unwrap();
        let second = denying(&first, "b-2", at.plus_ms(HOUR)).unwrap();
        let again: Value =
            serde_json::from_str(&denying(&second, "a-1", at.plus_ms(2 * HOUR)).unwrap()).unwrap();
        let of = |document: &Value| -> Vec<String> {
            let all = document["Statement"].as_array().unwrap().iter();
            all.map(|one| one["Sid"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(of(&again), ["Base", "Exeuntb2", "Exeunta1"]);
        let condition = &again["Statement"][2]["Condition"];
        assert_eq!(condition["StringEquals"]["identitystore:userId"], "a-1");
        assert_eq!(condition["DateLessThan"]["aws:TokenIssueTime"], "2023-11-15T00:13:20Z");
        let later = denying(&again.to_string(), "c", at.plus_ms(14 * HOUR)).unwrap();
        let later: Value = serde_json::from_str(&later).unwrap();
        assert_eq!(of(&later), ["Base", "Exeunta1", "Exeuntc"], "what denies nothing more is gone");
        for wrong in ["", "[]", r#"{"Statement":{}}"#] {
            assert!(denying(wrong, "a", at).is_err(), "{wrong}");
        }
    }
}
