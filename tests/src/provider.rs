//! A certified OpenID provider (npm `oidc-provider`), really running on loopback.
//!
//! It refuses the network: what it is made of is installed beforehand, by its lockfile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::blocking::{Client, Response};
use serde_json::Value;

use crate::process::{self, Started};

/// The provider and its one client.
#[derive(Debug)]
pub struct Provider {
    /// Its issuer and base URL.
    pub issuer: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    http: Client,
    _op: Started,
    _log: tempfile::TempDir,
}

impl Provider {
    /// Why the provider cannot run here; None when it can.
    #[must_use]
    pub fn missing() -> Option<String> {
        let installed = place().join("node_modules/oidc-provider/package.json");
        if installed.is_file() {
            return None;
        }
        Some(format!("not installed: npm ci --prefix {}", place().display()))
    }

    /// Starts it.
    ///
    /// # Errors
    /// Node is missing, or it ended early; the message has its log.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// The same, where its client hears of log-outs at `logout` (OpenID Connect Back-Channel Logout).
    ///
    /// # Errors
    /// Node is missing, or it ended early; the message has its log.
    pub fn start_with(logout: Option<&str>) -> Result<Self> {
        Self::launch(logout.as_slice())
    }

    /// The same, where `party` hears of log-outs, and the hub at `hub` may order a revocation of all
    /// that a person has there.
    ///
    /// # Errors
    /// As [`Provider::start`].
    pub fn start_before(hub: &str, party: &RelyingParty) -> Result<Self> {
        Self::launch(&[&party.url, hub])
    }

    fn launch(arguments: &[&str]) -> Result<Self> {
        let log = tempfile::tempdir()?;
        let mut command = Command::new("node");
        command.arg(place().join("op.mjs")).args(arguments);
        let (op, line) = Started::announce("the provider", &mut command, &log.path().join("log"))?;
        let said: Value = serde_json::from_str(&line)?;
        Ok(Self {
            issuer: text(&said, "issuer")?,
            client_id: text(&said, "client_id")?,
            client_secret: text(&said, "client_secret")?,
            http: crate::http::client(Duration::from_secs(30))?,
            _op: op,
            _log: log,
        })
    }

    /// Signs `person` in through its own pages; the refresh token.
    ///
    /// # Errors
    /// It did not let them in; the message says what it answered.
    pub fn sign_in(&self, person: &str) -> Result<String> {
        let mut command = Command::new("node");
        command.arg(place().join("sign-in.mjs"));
        command.args([&self.issuer, &self.client_id, &self.client_secret, person]);
        text(&serde_json::from_str(&process::output(&mut command)?)?, "refresh_token")
    }

    /// Signs `person` in through its own pages, in a browser that stays open.
    ///
    /// # Errors
    /// It did not let them in.
    pub fn browse(&self, person: &str) -> Result<Browsing> {
        let mut command = Command::new("node");
        command.arg(place().join("sign-out.mjs"));
        command.args([&self.issuer, &self.client_id, &self.client_secret, person]);
        let mut browser = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = browser.stdout.take().context("standard output was piped")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let claims = serde_json::from_str(&line).context("no ID token")?;
        Ok(Browsing { claims, browser })
    }

    /// Signs `person` in, in a browser that comes back as often as it is told.
    ///
    /// # Errors
    /// It did not let them in.
    pub fn visit(&self, person: &str) -> Result<Visitor> {
        let mut command = Command::new("node");
        command.arg(place().join("visit.mjs"));
        command.args([&self.issuer, &self.client_id, &self.client_secret, person]);
        let mut browser = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = browser.stdout.take().context("standard output was piped")?;
        let mut visitor = Visitor { browser, out: BufReader::new(out), first: Value::Null };
        visitor.first = visitor.line()?;
        Ok(visitor)
    }

    /// Goes through its own pages as `person`, from the address that a program printed back to that
    /// program.
    ///
    /// # Errors
    /// It did not let them in.
    pub fn come_back(&self, url: &str, person: &str) -> Result<()> {
        let mut command = Command::new("node");
        command.arg(place().join("come-back.mjs")).args([url, person]);
        process::output(&mut command).map(drop)
    }

    /// Uses a refresh token; the status and the answer.
    ///
    /// # Errors
    /// The provider did not answer.
    pub fn refresh(&self, token: &str) -> Result<(u16, Value)> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.ask("/token", &form)
    }

    /// Whether the provider calls a token active (RFC 7662).
    ///
    /// # Errors
    /// The provider did not answer, or with no such answer.
    pub fn is_active(&self, token: &str) -> Result<bool> {
        let (status, said) = self.ask("/token/introspection", &[("token", token)])?;
        ensure!(status == 200, "introspection was answered with {status}");
        said["active"].as_bool().context("introspection does not say whether it is active")
    }

    fn ask(&self, path: &str, form: &[(&str, &str)]) -> Result<(u16, Value)> {
        // RFC 6749 §2.3.1: encoded before they are joined.
        let secret = self.client_secret.replace(':', "%3A").replace('+', "%2B").replace(' ', "+");
        let ask = self.http.post(format!("{}{path}", self.issuer)).form(form);
        let answer: Response = ask.basic_auth(&self.client_id, Some(secret)).send()?;
        Ok((answer.status().as_u16(), answer.json()?))
    }
}

/// A person who is signed in at the provider.
#[derive(Debug)]
pub struct Browsing {
    /// The claims of their ID token.
    pub claims: Value,
    browser: Child,
}

impl Browsing {
    /// Signs out at the provider, by its own page.
    ///
    /// # Errors
    /// It did not let them.
    pub fn sign_out(mut self) -> Result<()> {
        let mut ask = self.browser.stdin.take().context("standard input was piped")?;
        ask.write_all(b"\n")?;
        drop(ask);
        let ended = self.browser.wait()?;
        ensure!(ended.success(), "the provider's page did not sign out: {ended}");
        Ok(())
    }
}

impl Drop for Browsing {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

/// A relying party that takes logout tokens, and verifies them by itself.
#[derive(Debug)]
pub struct RelyingParty {
    /// Where it takes them.
    pub url: String,
    http: Client,
    _rp: Started,
    _log: tempfile::TempDir,
}

impl RelyingParty {
    /// Starts one that is the client `client`.
    ///
    /// # Errors
    /// Node is missing, or it ended early; the message has its log.
    pub fn start(client: &str) -> Result<Self> {
        let log = tempfile::tempdir()?;
        let mut command = Command::new("node");
        command.arg(place().join("rp.mjs")).arg(client);
        let (rp, line) =
            Started::announce("the relying party", &mut command, &log.path().join("log"))?;
        let url = text(&serde_json::from_str(&line)?, "url")?;
        let http = crate::http::client(Duration::from_secs(30))?;
        Ok(Self { url, http, _rp: rp, _log: log })
    }

    /// The claims of every logout token that it verified.
    ///
    /// # Errors
    /// It did not answer.
    pub fn received(&self) -> Result<Vec<Value>> {
        Ok(self.http.get(&self.url).send()?.error_for_status()?.json()?)
    }
}

/// A browser with a live session at the provider.
#[derive(Debug)]
pub struct Visitor {
    browser: Child,
    out: BufReader<ChildStdout>,
    /// The claims of the ID token of its sign-in.
    pub first: Value,
}

impl Visitor {
    /// Goes to the provider again where nobody may be asked anything: the claims of a new ID token,
    /// or the `error`.
    ///
    /// # Errors
    /// The browser ended.
    pub fn silently(&mut self) -> Result<Value> {
        self.go("silently")
    }

    /// Signs in again with a password.
    ///
    /// # Errors
    /// The browser ended.
    pub fn anew(&mut self) -> Result<Value> {
        self.go("anew")
    }

    fn go(&mut self, how: &str) -> Result<Value> {
        let stdin = self.browser.stdin.as_mut().context("standard input was piped")?;
        writeln!(stdin, "{how}")?;
        self.line()
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the browser ended");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        // It ends by itself once nobody writes to it any more.
        drop(self.browser.stdin.take());
        let _ended = self.browser.wait();
    }
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("op")
}

fn text(said: &Value, name: &str) -> Result<String> {
    said[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {said}"))
}
