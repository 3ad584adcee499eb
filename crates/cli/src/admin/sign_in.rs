//! Signing in through the organisation's own identity provider, in the operator's browser
//! (RFC 8252: a native app, loopback, PKCE).
//!
//! It refuses an answer that does not belong to the sign-in that it began.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use exeunt_api::{SignInFinish, SignInRequest, SignInResponse, SignedIn, path};
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::hub::Hub;
use crate::fault::Fault;

/// How long the person may take in the browser.
const WITHIN: Duration = Duration::from_secs(300);
/// Longest request of a browser that is read, in bytes.
const LONGEST: usize = 16 << 10;

/// Sends the person to their identity provider, and waits until they are back.
pub(crate) async fn sign_in(hub: &Hub) -> Result<SignedIn, Fault> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let redirect_uri = format!("http://{}/callback", listener.local_addr()?);
    let verifier = exeunt_ssf::random_token()
        .map_err(|error| Fault::new("no_randomness", error.to_string()))?;
    let code_challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let request = SignInRequest { redirect_uri, code_challenge };
    let begun: SignInResponse = hub.post(path::SIGN_IN, &request).await?;
    eprintln!("Sign in with your browser, on this machine:\n  {}", begun.authorization_url);
    show(&begun.authorization_url);
    let came = tokio::time::timeout(WITHIN, back(&listener, &begun.state)).await;
    let Back { code, iss } =
        came.map_err(|_| Fault::new("timeout", "nobody came back from the browser"))??;
    let finish = SignInFinish { state: begun.state, code, code_verifier: verifier, iss };
    hub.post(path::SIGN_IN_FINISH, &finish).await
}

/// Opens the address where there is a desktop. It was printed all the same.
fn show(url: &str) {
    let has_desktop =
        ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if has_desktop {
        let mut open = Command::new("xdg-open");
        // Without it the person opens the address themselves.
        let _ = open.arg(url).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

/// What the browser brought.
#[derive(Debug, PartialEq, Eq)]
struct Back {
    code: String,
    iss: Option<String>,
}

/// Waits for the browser. Other requests, such as for an icon, are answered and passed over.
async fn back(listener: &TcpListener, state: &str) -> Result<Back, Fault> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let Some(target) = target(&mut stream).await else { continue };
        let Some(read) = read(&target, state) else {
            answer(&mut stream, "404 Not Found", "There is nothing here.").await;
            continue;
        };
        let say = match &read {
            Ok(_) => "You can close this window: the terminal goes on.",
            Err(_) => "The sign-in failed: the terminal says why.",
        };
        answer(&mut stream, "200 OK", say).await;
        return read;
    }
}

/// What a request asks for; None when it breaks off, is too long or dawdles.
async fn target(stream: &mut TcpStream) -> Option<String> {
    let head = async {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > LONGEST || stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let text = String::from_utf8(head).ok()?;
        let mut words = text.lines().next()?.split(' ');
        (words.next()? == "GET").then(|| words.next().map(str::to_owned))?
    };
    tokio::time::timeout(Duration::from_secs(5), head).await.ok()?
}

/// Reads where the browser was sent; None when it is another page, or another sign-in's.
fn read(target: &str, state: &str) -> Option<Result<Back, Fault>> {
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    let one = |name: &str| {
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    if url.path() != "/callback" || one("state").as_deref() != Some(state) {
        return None;
    }
    let error = one("error").map(|error| match one("error_description") {
        Some(why) => format!("{error}: {why}"),
        None => error,
    });
    Some(match (one("code"), error) {
        (Some(code), None) => Ok(Back { code, iss: one("iss") }),
        (_, Some(error)) => {
            let printable: String = error.chars().filter(|c| !c.is_control()).take(300).collect();
            Err(Fault::new("access_denied", format!("the identity provider says {printable}")))
        }
        (None, None) => Err(Fault::new("access_denied", "the browser brought no code")),
    })
}

async fn answer(stream: &mut TcpStream, status: &str, say: &str) {
    let body = format!("<!doctype html><title>Exeunt</title><p>{say}</p>\n");
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // The browser may be gone; what it brought was read.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_code_of_its_own_sign_in_alone() {
        let took = read("/callback?code=c&state=s&iss=https%3A%2F%2Fid.example", "s");
        let iss = Some("https://id.example".to_owned());
        assert_eq!(took.unwrap().unwrap(), Back { code: "c".into(), iss });
        for other in ["/callback?code=c&state=t", "/callback?code=c", "/favicon.ico", "/?state=s"] {
            assert!(read(other, "s").is_none(), "{other}");
        }
        let denied = read("/callback?error=access_denied&error_description=no%0a&state=s", "s");
        assert_eq!(
            denied.unwrap().unwrap_err().message(),
            "the identity provider says access_denied: no"
        );
        assert!(read("/callback?state=s", "s").unwrap().is_err());
    }
}
