//! The address of a hub, checked before anything secret is sent to it.
//!
//! It refuses plain HTTP to any host but this one.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// A hub's base URL, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubUrl(String);

/// The text is no address of a hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHubUrl {
    /// It is no absolute URL with a host, or carries a query, a fragment or credentials.
    #[error("{0:?} is no hub address: write it as https://hub.example:7443")]
    Malformed(String),
    /// Plain HTTP would show tokens to the network.
    #[error(
        "{0:?} is another machine, and tokens must not cross a network in the clear: use https"
    )]
    NotLoopback(String),
}

impl HubUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`InvalidHubUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidHubUrl> {
        let malformed = || InvalidHubUrl::Malformed(text.to_owned());
        let url = Url::parse(text.trim()).map_err(|_| malformed())?;
        let host = url.host_str().ok_or_else(malformed)?;
        let bare = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !bare {
            return Err(malformed());
        }
        match url.scheme() {
            "http" if !is_loopback(host) => Err(InvalidHubUrl::NotLoopback(text.to_owned())),
            "http" | "https" => Ok(Self(url.as_str().trim_end_matches('/').to_owned())),
            _ => Err(malformed()),
        }
    }

    /// The address of one of the hub's doors; `path` begins with a slash.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The base address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_loopback_and_drops_the_last_slash() {
        for text in ["http://127.0.0.1:7443/", "http://localhost:1", "http://[::1]:7443"] {
            let url = HubUrl::parse(text).unwrap();
            assert!(!url.as_str().ends_with('/'), "{url}");
        }
        assert_eq!(HubUrl::parse("http://127.0.0.1:1").unwrap().at("/x"), "http://127.0.0.1:1/x");
    }

    #[test]
    fn refuses_to_send_tokens_in_clear_to_another_machine() {
        for text in ["http://hub.example", "http://10.0.0.1", "http://127.0.0.1.evil.example"] {
            assert!(matches!(HubUrl::parse(text), Err(InvalidHubUrl::NotLoopback(_))), "{text}");
        }
        assert_eq!(HubUrl::parse("https://hub.example/").unwrap().as_str(), "https://hub.example");
    }

    #[test]
    fn refuses_what_is_no_base_address() {
        for text in ["", "hub", "file:///etc", "http://u:p@127.0.0.1", "http://127.0.0.1/?x=1"] {
            assert!(matches!(HubUrl::parse(text), Err(InvalidHubUrl::Malformed(_))), "{text}");
        }
    }
}
