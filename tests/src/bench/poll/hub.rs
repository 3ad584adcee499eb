//! The real hub with a certificate of the bench's own, started again and again over one record.
//!
//! It refuses to answer for a hub that has ended.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::blocking::Client;
use rustix::process::Signal;

use crate::gateway::{built, free_port, listening};
use crate::process::Started;

const LIMIT: Duration = Duration::from_secs(60);
/// More than any bench asks for.
const MANY: &str = "4000000";

/// A certificate for this machine's loopback address, and the authority that issued it.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificate {
    pub(super) fn issue(dir: &Path) -> Result<Self> {
        let own =
            Self { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        let authority_key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "the bench's authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(&own.ca, params.self_signed(&authority_key)?.pem())?;
        let authority = rcgen::Issuer::new(params, authority_key);
        let key = rcgen::KeyPair::generate()?;
        let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        std::fs::write(&own.cert, leaf.signed_by(&key, &authority)?.pem())?;
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(&own.key)?;
        std::io::Write::write_all(&mut file, key.serialize_pem().as_bytes())?;
        Ok(own)
    }
}

/// One record, and the hub that serves it now.
#[derive(Debug)]
pub(super) struct Hub {
    /// Its base URL and its issuer name.
    pub(super) url: String,
    port: u16,
    dir: PathBuf,
    certificate: Certificate,
    pub(super) http: Client,
    serving: Option<Started>,
}

impl Hub {
    pub(super) fn over(dir: &Path, certificate: &Certificate) -> Result<Self> {
        let port = free_port()?;
        let http = crate::http::trusting(LIMIT, &certificate.ca)?;
        let (dir, certificate) = (dir.to_owned(), certificate.clone());
        let url = format!("https://127.0.0.1:{port}");
        Ok(Self { url, port, dir, certificate, http, serving: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts it in the clear, which enrols faster; its base URL until it ends.
    pub(super) fn start_clear(&mut self) -> Result<String> {
        self.start(&[])?;
        let base = format!("http://{}", self.address());
        // It listens before it has written its first token, and answers after.
        self.http.get(format!("{base}/healthz")).send()?.error_for_status()?;
        Ok(base)
    }

    /// Starts it with its certificate.
    pub(super) fn start_tls(&mut self) -> Result<()> {
        let Certificate { cert, key, .. } = &self.certificate;
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        self.start(&["--tls-cert", &cert, "--tls-key", &key])?;
        // It listens before it has read its record, and answers after.
        self.http.get(format!("{}/healthz", self.url)).send()?.error_for_status()?;
        Ok(())
    }

    fn start(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(built("exeunt-hub")?);
        command.args(["serve", "--listen", &self.address().to_string(), "--data"]);
        command.arg(self.dir.join("hub")).args(["--public-url", &self.url]);
        command.args(["--calls-per-minute", MANY]).args(arguments);
        let mut hub = Started::start("exeunt-hub", &mut command, &self.dir.join("hub.log"))?;
        listening("the hub", &mut hub, self.port)?;
        self.serving = Some(hub);
        Ok(())
    }

    /// Ends it, and waits until it is gone.
    pub(super) fn end(&mut self, signal: Signal) -> Result<()> {
        self.serving()?.end(signal, LIMIT)?;
        self.serving = None;
        Ok(())
    }

    pub(super) fn id(&mut self) -> Result<u32> {
        Ok(self.serving()?.id())
    }

    fn serving(&mut self) -> Result<&mut Started> {
        self.serving.as_mut().context("the hub does not serve")
    }

    /// The first operator's token.
    pub(super) fn operator(&self) -> Result<String> {
        let token = std::fs::read_to_string(self.dir.join("hub/admin-token"))?;
        Ok(token.trim().to_owned())
    }
}
