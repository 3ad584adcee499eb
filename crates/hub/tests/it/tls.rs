//! TLS with an authority of the test's own: who is believed, who is not, and what is said of it.
//!
//! It refuses a handshake that is only simulated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use exeunt_api::path;
use exeunt_guard::{ConnectError, Guard, HubError, Options};
use exeunt_hub::Config;
use exeunt_hub::ssf::outbound::{OutboundError, Reach};
use exeunt_hub::tls::{Certificate, Files};
use exeunt_signal::Trust;
use exeunt_signal::http::{client, root_cause};
use exeunt_signal::tls::{client_config, provider};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::rig::Rig;

/// An authority, and a directory for what it issues.
struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // Two authorities of one name would be told apart by their signatures only.
        let name = exeunt_ssf::new_id(exeunt_hub::sequencer::now()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), own.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn trust(&self) -> Trust {
        Trust::Only(self.ca())
    }

    /// A certificate for `name`, good until the first day of `until`.
    fn issue(&self, name: &str, until: i32) -> Files {
        let files =
            Files { cert: self.dir.path().join("cert.pem"), key: self.dir.path().join("key.pem") };
        self.issue_into(&files, name, until);
        files
    }

    fn issue_into(&self, files: &Files, name: &str, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(&files.cert, cert.pem()).unwrap();
        write_key(&files.key, &key.serialize_pem());
    }
}

fn write_key(path: &Path, pem: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, pem).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn serving(authority: &Authority, name: &str, until: i32) -> Rig {
    let files = authority.issue(name, until);
    let mut rig = Rig::with(|config: &mut Config| {
        config.tls = Some(files);
        config.limits.read_timeout = Duration::from_millis(300);
    })
    .await;
    rig.http = client(&authority.trust()).unwrap();
    rig
}

async fn refusal(rig: &Rig, trust: &Trust) -> String {
    let asked = client(trust).unwrap().get(rig.url(path::HEALTH)).send().await;
    root_cause(&asked.unwrap_err())
}

#[tokio::test]
async fn serves_over_tls_and_is_believed_only_by_who_trusts_its_authority() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let rig = serving(&authority, "127.0.0.1", 2090).await;
    assert!(rig.hub.url.starts_with("https://127.0.0.1:"), "{}", rig.hub.url);
    assert_eq!(rig.get(path::HEALTH, "").await.status, 200);
    assert_eq!(rig.get(path::DEVICES, &rig.admin).await.status, 200);
    for trust in [stranger.trust(), Trust::Platform] {
        assert!(refusal(&rig, &trust).await.contains("UnknownIssuer"), "{trust:?}");
    }
    let both = Trust::Also(authority.ca());
    let asked = client(&both).unwrap().get(rig.url(path::HEALTH)).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    rig.hub.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_and_one_for_another_name_are_refused_by_the_client() {
    let authority = Authority::new();
    for (name, until, why) in [("127.0.0.1", 2021, "xpired"), ("hub.example", 2090, "name")] {
        let rig = serving(&authority, name, until).await;
        let said = refusal(&rig, &authority.trust()).await;
        assert!(said.contains(why), "{said}");
        rig.hub.stop().await;
    }
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_answered_with_what_to_do() {
    let authority = Authority::new();
    let rig = serving(&authority, "127.0.0.1", 2090).await;
    let clear = rig.url(path::DEVICES).replace("https://", "http://");
    let answer = crate::rig::answer(rig.http.get(clear).bearer_auth(&rig.admin)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "tls_required"));
    assert!(answer.body["error"]["hint"].as_str().unwrap().contains("https://"));
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_handshake_is_cut_off() {
    let authority = Authority::new();
    let rig = serving(&authority, "127.0.0.1", 2090).await;
    // Nothing, half a record's head, a request in the clear without an end.
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1], b"GET / HTTP/1.1\r\nhost: "] {
        let mut slow = TcpStream::connect(rig.hub.addr).await.unwrap();
        slow.write_all(begun).await.unwrap();
        let mut heard = Vec::new();
        // Ends only because the hub hangs up.
        let _ = slow.read_to_end(&mut heard).await;
        assert!(heard.len() < 20, "{heard:?}");
    }
    assert_eq!(rig.get(path::HEALTH, "").await.status, 200);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let rig = serving(&old, "127.0.0.1", 2090).await;
    assert_eq!(rig.get(path::HEALTH, "").await.status, 200);
    let files =
        Files { cert: old.dir.path().join("cert.pem"), key: old.dir.path().join("key.pem") };
    new.issue_into(&files, "127.0.0.1", 2090);
    rig.hub.reload();
    let fresh = || async { client(&new.trust()).unwrap().get(rig.url(path::HEALTH)).send().await };
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while fresh().await.is_err() {
        assert!(std::time::Instant::now() < until, "the new certificate is not shown");
        tokio::task::yield_now().await;
    }
    assert!(refusal(&rig, &old.trust()).await.contains("UnknownIssuer"));
    rig.hub.stop().await;
}

#[test]
fn a_broken_certificate_does_not_take_the_place_of_a_good_one() {
    let authority = Authority::new();
    let files = authority.issue("127.0.0.1", 2090);
    let certificate = Certificate::open(files.clone()).unwrap();
    let shown = certificate.shown();
    let first = Arc::clone(&shown.borrow());
    std::fs::write(&files.cert, "broken").unwrap();
    assert!(certificate.renew().is_err());
    assert!(Arc::ptr_eq(&first, &shown.borrow()));
    authority.issue("127.0.0.1", 2090);
    certificate.renew().unwrap();
    assert!(!Arc::ptr_eq(&first, &shown.borrow()));
}

#[tokio::test]
async fn a_guard_follows_its_hub_over_tls() {
    let authority = Authority::new();
    let rig = serving(&authority, "127.0.0.1", 2090).await;
    let site = rig.service("site").await;
    let connect = |trust| {
        let options = Options { trust, ..Options::default() };
        Guard::connect(&rig.hub.url, &site.id, &site.secret, options)
    };
    let refused = connect(Trust::Platform).await.unwrap_err();
    assert!(matches!(&refused, ConnectError::Hub(HubError::Unreachable(_))), "{refused}");
    assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
    let guard = connect(authority.trust()).await.unwrap();
    let seq = site.register(&rig, "alice", "s").await;
    guard.at_least(seq, Duration::from_secs(5)).await.unwrap();
    drop(guard);
    rig.hub.stop().await;
}

#[tokio::test]
async fn a_hub_refuses_to_start_with_a_key_that_everyone_reads_or_that_fits_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.issue("127.0.0.1", 2090);
    let start = |files: Files| {
        let data = tempfile::tempdir().unwrap();
        let mut config = crate::rig::config(data.path());
        config.tls = Some(files);
        async move {
            let _data = data;
            exeunt_hub::start(config).await.unwrap_err().to_string()
        }
    };
    let unfit = Files { key: other.issue("127.0.0.1", 2090).key, ..files.clone() };
    assert!(start(unfit).await.contains("cannot be used together"));
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(start(files.clone()).await.contains("everyone can read"));
    let missing = Files { cert: "/nowhere.pem".into(), ..files };
    assert!(start(missing).await.contains("/nowhere.pem"));
}

/// A receiver of pushes that answers every request with 202.
async fn receiver(files: &Files) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cert = exeunt_signal::tls::certificates(&files.cert).unwrap();
    let key = rustls::pki_types::pem::PemObject::from_pem_file(&files.key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(cert, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    port
}

#[tokio::test]
async fn the_hub_calls_others_over_tls_and_believes_only_who_is_vouched_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = receiver(&authority.issue("127.0.0.1", 2090)).await;
    let ask = |trust: Trust| async move {
        let tls = Arc::new(client_config(&trust).unwrap());
        let reach = Reach::new("127.0.0.1:7443".parse().unwrap(), Default::default(), tls);
        let url = format!("https://127.0.0.1:{port}/in");
        reach.send(Method::POST, &url, HeaderMap::new(), "set".into()).await
    };
    assert_eq!(ask(authority.trust()).await.unwrap().status, 202);
    assert_eq!(ask(Trust::Also(authority.ca())).await.unwrap().status, 202);
    let refused = ask(stranger.trust()).await.unwrap_err();
    assert!(matches!(&refused, OutboundError::NoTls(why) if why.contains("UnknownIssuer")));
    assert!(matches!(ask(Trust::Platform).await, Err(OutboundError::NoTls(_))));
}
