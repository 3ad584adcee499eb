//! AWS Signature Version 4 for a JSON call (AWS, "Create a signed AWS API request").
//!
//! It refuses queries and paths: the calls that it signs have neither.

use exeunt_domain::Timestamp;
use exeunt_domain::session::hex;
use reqwest::{RequestBuilder, Url};
use ring::hmac;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::super::call::Http;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MEDIA: &str = "application/x-amz-json-1.1";

/// An access key.
pub(super) struct Keys<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
}

/// What is asked, of whom.
pub(super) struct Request<'a> {
    pub(super) url: Url,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) target: &'a str,
    pub(super) body: &'a Value,
}

/// The request, signed at `at`.
pub(super) fn signed(
    http: &Http,
    keys: &Keys<'_>,
    to: &Request<'_>,
    at: Timestamp,
) -> RequestBuilder {
    let (body, date) = (to.body.to_string(), date(at));
    let host = match (to.url.host_str().unwrap_or_default(), to.url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let headers = [
        ("content-type", MEDIA),
        ("host", &host),
        ("x-amz-date", &date),
        ("x-amz-target", to.target),
    ];
    let scope = Scope { date: &date, region: to.region, service: to.service };
    let authorization = authorization(keys, &scope, &headers, &body);
    let request = http.post(to.url.clone()).header("content-type", MEDIA);
    let request = request.header("x-amz-date", &date).header("x-amz-target", to.target);
    request.header("authorization", authorization).body(body)
}

struct Scope<'a> {
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

/// The `authorization` of a POST to `/` with these headers, which are in order.
fn authorization(
    keys: &Keys<'_>,
    scope: &Scope<'_>,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let hashed = |text: &str| hex(&Sha256::digest(text));
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hashed(body));
    let day = scope.date.get(..8).unwrap_or_default();
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("{ALGORITHM}\n{}\n{within}\n{}", scope.date, hashed(&canonical));
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, scope.region, scope.service, "aws4_request", &to_sign] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes());
        key = tag.as_ref().to_vec();
    }
    let (id, signature) = (keys.id, hex(&key));
    format!("{ALGORITHM} Credential={id}/{within}, SignedHeaders={names}, Signature={signature}")
}

/// `20231114T221320Z`.
fn date(at: Timestamp) -> String {
    let at = i64::try_from(at.as_secs()).ok();
    let at = at.and_then(|secs| jiff::Timestamp::from_second(secs).ok()).unwrap_or_default();
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-vanilla` of AWS's own test suite for Signature Version 4.
    #[test]
    fn signs_as_the_test_suite_of_aws_has_it() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let keys = Keys { id: "AKIDEXAMPLE", secret };
        let at = Timestamp(1_440_938_160_000);
        assert_eq!(date(at), "20150830T123600Z");
        let scope = Scope { date: &date(at), region: "us-east-1", service: "service" };
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        assert_eq!(
            authorization(&keys, &scope, &headers, ""),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }
}
