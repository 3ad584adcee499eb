//! Any party that takes Global Token Revocation (draft-parecki-oauth-global-token-revocation-06):
//! another hub, or an application that was built for Okta's Universal Logout.
//!
//! It refuses to call it verified: 204 means that the revocation began, and there is nothing to look
//! at.

use exeunt_domain::Subject;
use exeunt_ssf::new_id;
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Failed, Http, address, answered, judged};
use super::{Call, Connector, NotCovered, Person};
use crate::sequencer::now;

/// The `typ` of the JWT that proves the caller, as Okta's Universal Logout has it.
const TYP: &str = "global-token-revocation+jwt";
/// How long a proof is good for, in seconds, either way: clocks differ.
const GOOD_FOR: u64 = 300;

/// A party's endpoint.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "GlobalRevocationSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its `global_token_revocation_endpoint`.
    endpoint: String,
    /// What it calls this hub: the `sub` of the proof.
    client_id: String,
    /// Name the person in `subject`, as Okta's first version does, instead of the draft's `sub_id`.
    #[serde(default)]
    okta_shape: bool,
}

/// The draft, §3: access tokens SHOULD be revoked, refresh tokens MUST; nothing is said of the end.
const NOT_COVERED: [NotCovered; 2] = [
    NotCovered::until(
        "access tokens and sessions that the party does not end at once: its answer says only that \
         it began",
        "until they expire there",
    ),
    NotCovered::until("whatever is not revoked there, which nobody can look at", "unknown"),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "Global Token Revocation, proved by a JWT of this hub"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "have the party take this hub's issuer and keys (/.well-known/jwks.json), with client_id as \
         it is registered here and the endpoint's exact URL as audience"
    }

    fn addresses(&self) -> Vec<&str> {
        vec![&self.endpoint]
    }

    fn signs(&self) -> bool {
        true
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let what = "a global token revocation";
            let answer = self.ask(http, &person.subject).await?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Err(Failed::Never("the party knows no such person".into()));
            }
            judged(what, answer)?;
            Ok("the party began to revoke the person's tokens".into())
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            // Of somebody who is nobody: what is not there cannot be revoked.
            let nobody = Subject::Opaque { id: format!("exeunt-test-{}", fresh()?) };
            let answer = self.ask(http, &nobody).await?;
            if answer.status() != StatusCode::NOT_FOUND {
                judged("a revocation of nobody's tokens", answer)?;
            }
            Ok("the party took this hub's proof, for a person who does not exist".into())
        })
    }
}

impl Settings {
    /// One call; the proof serves once.
    async fn ask(&self, http: &Http, subject: &Subject) -> Result<Response, Failed> {
        let (issuer, key) = http.signer()?;
        let now = now().as_secs();
        let claims = json!({
            "iss": issuer, "sub": self.client_id, "aud": self.endpoint, "jti": fresh()?,
            "iat": now, "nbf": now.saturating_sub(GOOD_FOR), "exp": now + GOOD_FOR,
        });
        let proof = key.sign_jwt(TYP, &claims);
        let proof = proof.map_err(|error| Failed::Never(error.to_string()))?;
        let member = if self.okta_shape { "subject" } else { "sub_id" };
        let request = http.post(address(&self.endpoint)?).bearer_auth(proof);
        answered("a global token revocation", request.json(&json!({ member: subject }))).await
    }
}

fn fresh() -> Result<String, Failed> {
    new_id(now()).map_err(|_| Failed::Later("the system gives no randomness".into(), None))
}
