//! TLS over real sockets: whom requests trust. The certificates are made for each test.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::http::says;
use crate::place::{Answer, Place, message};

/// A certificate authority that nobody knows yet.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { pem: pem(&der), issuer: Issuer::new(params, key) }
    }

    /// A server's side of TLS, with a certificate for this name.
    pub(crate) fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
        Arc::new(config)
    }
}

fn pem(der: &[u8]) -> String {
    let digits = BASE64.encode(der);
    let lines: Vec<&str> =
        digits.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Answers one connection; tells what was understood of it.
struct Listening {
    port: u16,
    heard: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Listening {
    fn with(config: Arc<ServerConfig>) -> Self {
        Self::start(move |stream, tell| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, stream);
            let mut buffer = [0; 4096];
            // Whoever does not trust us goes before they say anything.
            if let Ok(n) = tls.read(&mut buffer) {
                tell(String::from_utf8_lossy(&buffer[..n]).into_owned());
                drop(tls.write_all(says("200 OK", "{\"ok\":true}").as_bytes()));
                tls.conn.send_close_notify();
                drop(tls.flush());
            }
        })
    }

    fn start(serve: impl FnOnce(std::net::TcpStream, &dyn Fn(String)) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, heard) = channel();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            serve(stream, &|text| drop(tell.send(text)));
        });
        Self { port, heard, thread }
    }

    /// What it understood of the request.
    fn ended(self) -> Option<String> {
        self.thread.join().unwrap();
        self.heard.try_recv().ok()
    }
}

const POLICY: &str = "version: 1\ndefault: deny\nnetwork: { private: [localhost] }\n\
    rules:\n  - { name: here, when: { effect: net, host: localhost }, verdict: allow }\n\
    risk: { low: allow, medium: allow, high: allow, critical: deny }\n";

fn post(place: &Place, port: u16, ca: Option<&str>) -> Answer {
    let url = format!("url=https://localhost:{port}/v1");
    place.run_with(&["call", "http.post", &url, "text=hello"], trusting(ca))
}

/// Has a command trust the authorities of a file, if there is one.
pub(crate) fn trusting(ca: Option<&str>) -> impl FnOnce(&mut Command) {
    move |command| {
        if let Some(ca) = ca {
            command.env("LICTOR_CA_FILE", ca);
        }
    }
}

#[test]
fn an_authority_that_is_named_is_trusted_and_another_is_not() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let place = Place::with_policy(POLICY);
    let ca = place.document("ca.pem", &ours.pem);
    let server = Listening::with(ours.server("localhost"));
    let done = post(&place, server.port, Some(&ca)).done();
    assert_eq!(done["output"]["body"]["ok"], true);
    assert!(server.ended().unwrap().starts_with("POST /v1 HTTP/1.1\r\n"));

    // The public authorities, and another private one: neither has signed this.
    for trusted in [None, Some(place.document("other.pem", &other.pem))] {
        let server = Listening::with(ours.server("localhost"));
        let refused = post(&place, server.port, trusted.as_deref()).ends(1, "failed");
        assert!(message(&refused).contains("UnknownIssuer"), "{refused}");
        assert_eq!(server.ended(), None, "nothing was sent, and so nothing is in doubt");
    }
    // Several in one file count all.
    let both = place.document("both.pem", format!("{}{}", other.pem, ours.pem));
    let server = Listening::with(ours.server("localhost"));
    post(&place, server.port, Some(&both)).done();
    assert!(server.ended().is_some());
    place.verify();
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let ours = Authority::new("ours");
    let place = Place::with_policy(POLICY);
    let ca = place.document("ca.pem", &ours.pem);
    for name in ["other.example", "127.0.0.1", "localhost.other.example"] {
        let server = Listening::with(ours.server(name));
        let refused = post(&place, server.port, Some(&ca)).ends(1, "failed");
        assert!(message(&refused).contains("not valid for"), "{name}: {refused}");
        assert_eq!(server.ended(), None);
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_refused() {
    let place = Place::with_policy(POLICY);
    let server = Listening::start(|mut stream, tell| {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).unwrap_or(0);
        tell(String::from_utf8_lossy(&buffer[..n]).into_owned());
        drop(stream.write_all(says("200 OK", "{}").as_bytes()));
    });
    post(&place, server.port, None).ends(1, "failed");
    let heard = server.ended().unwrap();
    assert!(!heard.contains("POST") && !heard.contains("hello"), "nothing of it in clear: {heard}");
}

#[test]
fn a_redirect_from_https_to_http_is_not_followed() {
    let ours = Authority::new("ours");
    let place = Place::with_policy(POLICY);
    let ca = place.document("ca.pem", &ours.pem);
    let config = ours.server("localhost");
    let server = Listening::start(move |stream, tell| {
        let port = stream.local_addr().unwrap().port();
        let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut buffer = [0; 4096];
        let n = tls.read(&mut buffer).unwrap();
        tell(String::from_utf8_lossy(&buffer[..n]).into_owned());
        let to = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://localhost:{port}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        tls.write_all(to.as_bytes()).unwrap();
        drop(tls.flush());
    });
    let url = format!("url=https://localhost:{}/", server.port);
    let refused = place.run_with(&["call", "http.get", &url], trusting(Some(&ca)));
    let refused = refused.ends(1, "failed");
    assert!(message(&refused).contains("another host"), "{refused}");
    assert!(server.ended().is_some());
}

#[test]
fn authorities_that_cannot_be_read_open_nothing() {
    let place = Place::with_policy(POLICY);
    let empty = place.document("empty.pem", "");
    let missing = place.beside("missing.pem").to_str().unwrap().to_owned();
    for (file, why) in [(empty, "no certificate"), (missing, "No such file")] {
        let refused = post(&place, 1, Some(&file)).ends(2, "invalid_input");
        let refused: &Value = &refused;
        assert!(message(refused).contains(why), "{refused}");
    }
}
