//! A hub alone, and the real nginx in front of a page, set up by the configuration in the
//! documentation.
//!
//! It refuses the machine's own nginx: prefix, ports and process are this rig's.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::blocking::Client;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::Started;
use crate::waiting;

const LIMIT: Duration = Duration::from_secs(30);
/// Where Debian puts it.
const NGINX: &str = "/usr/sbin/nginx";
/// The configuration that the documentation offers.
const DOCUMENTED: &str = include_str!("../../docs/gateways/nginx.conf");

/// A hub by itself, over a throwaway directory.
#[derive(Debug)]
pub struct LoneHub {
    /// Its base URL.
    pub url: String,
    /// For asking it.
    pub http: Client,
    admin: String,
    hub: Started,
    /// Its directory; last, for the hub must end first.
    pub data: tempfile::TempDir,
}

/// A relying service's credentials.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Its client id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl LoneHub {
    /// Starts the built `exeunt-hub`.
    ///
    /// # Errors
    /// It is not built, or ended early.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// It is not built, or ended early.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(built("exeunt-hub")?);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"]);
        command.arg(data.path().join("hub")).args(arguments);
        command.arg("--connectors-key").arg(data.path().join("connectors-key"));
        let mut hub = Started::start("exeunt-hub", &mut command, &data.path().join("hub.log"))?;
        listening("the hub", &mut hub, port)?;
        let (url, http) = (format!("http://127.0.0.1:{port}"), crate::http::client(LIMIT)?);
        // It listens before it has written its first token, and answers after.
        http.get(format!("{url}/healthz")).send()?.error_for_status()?;
        let admin = std::fs::read_to_string(data.path().join("hub/admin-token"))?;
        Ok(Self { url, http, admin: admin.trim().to_owned(), hub, data })
    }

    /// What an operator posts, and the answer.
    ///
    /// # Errors
    /// The hub refused; the message has its answer.
    pub fn operate(&self, path: &str, body: &Value) -> Result<Value> {
        let ask = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.admin);
        read(ask.json(body).send()?)
    }

    /// What an operator gets.
    ///
    /// # Errors
    /// The hub refused; the message has its answer.
    pub fn look(&self, path: &str) -> Result<Value> {
        read(self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.admin).send()?)
    }

    /// Registers a relying service.
    ///
    /// # Errors
    /// The hub refused.
    pub fn service(&self, aud: &str) -> Result<Credentials> {
        let made = self.operate("/v1/services", &json!({ "name": aud, "aud": aud }))?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).context("no credentials");
        Ok(Credentials { id: text("client_id")?, secret: text("client_secret")? })
    }

    /// A relying service's access token.
    ///
    /// # Errors
    /// The hub refused.
    pub fn token(&self, who: &Credentials) -> Result<String> {
        let form = [("grant_type", "client_credentials")];
        let ask = self.http.post(format!("{}/oauth/token", self.url)).form(&form);
        let token = read(ask.basic_auth(&who.id, Some(&who.secret)).send()?)?;
        Ok(token["access_token"].as_str().context("no token")?.to_owned())
    }

    /// The operator's token.
    #[must_use]
    pub fn operator(&self) -> String {
        self.admin.clone()
    }

    /// What a relying service posts, and the answer.
    ///
    /// # Errors
    /// The hub refused.
    pub fn as_service(&self, who: &Credentials, path: &str, body: &Value) -> Result<Value> {
        let token = self.token(who)?;
        read(self.http.post(format!("{}{path}", self.url)).bearer_auth(token).json(body).send()?)
    }

    /// What the hub wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.hub.log()
    }
}

/// The real nginx before a page of its own.
#[derive(Debug)]
pub struct Nginx {
    /// Its base URL.
    pub url: String,
    nginx: Started,
    _prefix: tempfile::TempDir,
}

impl Nginx {
    /// Whether this machine has one.
    #[must_use]
    pub fn is_here() -> bool {
        Path::new(NGINX).is_file()
    }

    /// Starts nginx with the documented configuration, its addresses and credential filled in.
    ///
    /// # Errors
    /// It ended early; the message has its log.
    pub fn before(hub: &LoneHub, service: &Credentials) -> Result<Self> {
        let prefix = tempfile::tempdir()?;
        let (port, page) = (free_port()?, free_port()?);
        let hub = hub.url.trim_start_matches("http://");
        let documented = replaced(DOCUMENTED, "127.0.0.1:8080", &format!("127.0.0.1:{port}"))?;
        let documented = replaced(&documented, "127.0.0.1:3000", &format!("127.0.0.1:{page}"))?;
        let documented = replaced(&documented, "127.0.0.1:7443", hub)?;
        let credential = format!("{}:{}", service.id, service.secret);
        let documented =
            replaced(&documented, "CLIENT_ID:CLIENT_SECRET\"", &format!("{credential}\""))?;
        let settings = format!(
            "daemon off; pid nginx.pid; error_log stderr warn;
             events {{ worker_connections 64; }}
             http {{
               access_log off;
               client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
               uwsgi_temp_path t4; scgi_temp_path t5;
               server {{ listen 127.0.0.1:{page};
                 location / {{ return 200 \"page of $http_x_exeunt_subject\\n\"; }} }}
               {documented}
             }}"
        );
        let file = prefix.path().join("nginx.conf");
        std::fs::write(&file, settings)?;
        let mut command = Command::new(NGINX);
        command.arg("-p").arg(prefix.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
        let mut nginx = Started::start("nginx", &mut command, &prefix.path().join("log"))?;
        listening("nginx", &mut nginx, port)?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), nginx, _prefix: prefix })
    }

    /// Ends it, and with it its workers.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<()> {
        self.nginx.end(Signal::TERM, LIMIT).map(drop)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed outright, it would leave its workers; a second end is none.
        let _ended = self.nginx.end(Signal::TERM, LIMIT);
    }
}

/// A port that nobody held a moment ago.
///
/// # Errors
/// The machine has none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until `started` listens on `port`.
///
/// # Errors
/// It ended; the message has its log.
pub fn listening(what: &str, started: &mut Started, port: u16) -> Result<()> {
    waiting::until(&format!("the start of {what}"), LIMIT, || {
        ensure!(started.is_running()?, "{what} ended:\n{}", started.log());
        Ok(TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()))
    })
}

/// A program that `cargo build` made beside this one; a test lies one directory deeper.
///
/// # Errors
/// It is not there.
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut near = own.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    near.find(|path| path.is_file()).with_context(|| format!("{name} is missing: build it first"))
}

fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "the documented configuration lacks {from}");
    Ok(text.replace(from, to))
}

fn read(answer: reqwest::blocking::Response) -> Result<Value> {
    let status = answer.status();
    let text = answer.text()?;
    ensure!(status.is_success(), "{status} {text}");
    Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
}
