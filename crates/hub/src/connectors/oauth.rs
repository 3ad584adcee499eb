//! Any authorization server: token revocation (RFC 7009), looked at again by introspection
//! (RFC 7662) and by a refresh that must fail.
//!
//! It refuses to take a revocation's 200 for proof: RFC 7009 §2.2 gives it for unknown tokens too.

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::call::{Failed, Http, address, answered, ask, json, send};
use super::{ACCESS_TOKENS, Call, Connector, NotCovered, Person, Probe};

/// An authorization server.
#[derive(Clone, schemars::JsonSchema, Serialize, Deserialize)]
#[schemars(rename = "OauthSettings")]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// RFC 7009.
    revocation_endpoint: String,
    /// RFC 7662; without it and the next, nothing is ever verified.
    #[serde(default)]
    introspection_endpoint: Option<String>,
    /// Where a refresh is tried that must fail.
    #[serde(default)]
    token_endpoint: Option<String>,
    /// The client that the tokens were issued to.
    client_id: String,
    /// Its secret, for `client_secret_basic`.
    client_secret: String,
}

/// RFC 7009 §2.1: a token is revoked by itself, and its grant where the server follows the advice.
const NOT_COVERED: [NotCovered; 3] = [
    NotCovered::until(
        "the provider's own sign-in session, which can start new sessions without asking",
        "until it expires at the provider",
    ),
    ACCESS_TOKENS,
    NotCovered::until("tokens that no relying service handed to the hub", "until they expire"),
];

impl Connector for Settings {
    fn mechanism(&self) -> &'static str {
        "RFC 7009 token revocation"
    }

    fn does_not_cover(&self) -> &'static [NotCovered] {
        &NOT_COVERED
    }

    fn renewal(&self) -> &'static str {
        "have the authorization server give this client a new secret, and register the connector again"
    }

    fn addresses(&self) -> Vec<&str> {
        let mut all = vec![self.revocation_endpoint.as_str()];
        all.extend(self.introspection_endpoint.as_deref());
        all.extend(self.token_endpoint.as_deref());
        all
    }

    fn revoke<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, String> {
        Box::pin(async move {
            let all = person.tokens.len();
            if all == 0 {
                let say = "no relying service handed over a token of this subject";
                return Err(Failed::Never(say.into()));
            }
            let (mut done, mut failed) = (0, None);
            for token in &person.tokens {
                let form = [("token", token.as_str()), ("token_type_hint", "refresh_token")];
                let url = address(&self.revocation_endpoint)?;
                let request = self.proved(http.post(url)).form(&form);
                match send("a token revocation", request).await {
                    Ok(_) => done += 1,
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                None => Ok(format!("the provider answered the revocation of {done} tokens")),
                Some(failed) if done == 0 => Err(failed),
                Some(failed) => Err(failed.having(&format!("{done} of {all} revoked"))),
            }
        })
    }

    fn probe<'a>(&'a self, http: &'a Http, person: &'a Person) -> Call<'a, Probe> {
        Box::pin(async move {
            let mut shown = Vec::new();
            if let Some(endpoint) = &self.introspection_endpoint {
                for token in &person.tokens {
                    if self.is_active(http, address(endpoint)?, token).await? {
                        return Ok(Probe::Accepted("introspection says active".into()));
                    }
                }
                shown.push("introspection says inactive");
            }
            if let Some(endpoint) = &self.token_endpoint {
                for token in &person.tokens {
                    if !self.refresh_fails(http, address(endpoint)?, token).await? {
                        return Ok(Probe::Accepted("a refresh was answered with tokens".into()));
                    }
                }
                shown.push("a refresh is refused with invalid_grant");
            }
            if shown.is_empty() {
                return Err(Failed::Never("no endpoint to look again is registered".into()));
            }
            Ok(Probe::Rejected(format!("{}, for all {}", shown.join(" and "), person.tokens.len())))
        })
    }

    fn test<'a>(&'a self, http: &'a Http) -> Call<'a, String> {
        Box::pin(async move {
            // A made-up token: its revocation ends nothing (RFC 7009 §2.2), and proves the client.
            if let Some(endpoint) = &self.introspection_endpoint {
                self.is_active(http, address(endpoint)?, "no-such-token").await?;
                return Ok("introspection took the client's credentials".into());
            }
            let form = [("token", "no-such-token")];
            let url = address(&self.revocation_endpoint)?;
            send("a token revocation", self.proved(http.post(url)).form(&form)).await?;
            Ok("revocation took the client's credentials; no token was there to revoke".into())
        })
    }
}

impl Settings {
    fn proved(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(encoded(&self.client_id), Some(encoded(&self.client_secret)))
    }

    async fn is_active(&self, http: &Http, url: Url, token: &str) -> Result<bool, Failed> {
        let request = self.proved(http.post(url)).form(&[("token", token)]);
        let answer = ask("introspection", request).await?;
        let unsaid = || Failed::Never("introspection does not say whether it is active".into());
        answer["active"].as_bool().ok_or_else(unsaid)
    }

    async fn refresh_fails(&self, http: &Http, url: Url, token: &str) -> Result<bool, Failed> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let answer = answered("a refresh", self.proved(http.post(url)).form(&form)).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(false);
        }
        if status == StatusCode::BAD_REQUEST
            && json("a refresh", answer).await?["error"] == "invalid_grant"
        {
            return Ok(true);
        }
        // Wrong credentials or a broken server say nothing of the token.
        Err(Failed::Never(format!("a refresh was answered with {status}, which proves nothing")))
    }
}

/// `application/x-www-form-urlencoded`, as RFC 6749 §2.3.1 has it within Basic.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_credentials_before_they_are_joined_by_a_colon() {
        assert_eq!(encoded("a:b c-1"), "a%3Ab%20c-1");
    }
}
