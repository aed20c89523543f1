//! Certificates: what the options do, what `ping` shows, how refusals end.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use broker::{Endpoint, TlsOptions, WebSocketOptions, WebSocketTls};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use crate::process::{Ended, run};
use crate::schema;

/// An authority and its certificate's file.
pub(crate) struct Authority {
    folder: PathBuf,
    pub(crate) file: String,
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate and its key, as files.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

fn certificate(
    name: &str,
    key: &PKey<Private>,
    days: std::ops::Range<i64>,
    issuer: Option<&Authority>,
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    certificate.set_serial_number(&serial).unwrap();
    certificate.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(&*subject, |it| it.certificate.subject_name());
    certificate.set_issuer_name(issuer_name).unwrap();
    certificate.set_pubkey(key).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let at = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
    certificate.set_not_before(&at(days.start)).unwrap();
    certificate.set_not_after(&at(days.end)).unwrap();
    match issuer {
        None => {
            let basic = BasicConstraints::new().critical().ca().build().unwrap();
            certificate.append_extension(basic).unwrap();
        }
        Some(issuer) => {
            let context = certificate.x509v3_context(Some(&issuer.certificate), None);
            let names = SubjectAlternativeName::new()
                .ip("127.0.0.1")
                .dns(name)
                .build(&context);
            let names = names.unwrap();
            certificate.append_extension(names).unwrap();
        }
    }
    let signer = issuer.map_or(key, |it| &it.key);
    certificate.sign(signer, MessageDigest::sha256()).unwrap();
    certificate.build()
}

fn new_key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let key = new_key();
        let certificate = certificate(name, &key, -30..30, None);
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, certificate.to_pem().unwrap()).unwrap();
        Self {
            folder: folder.to_owned(),
            file: file.to_str().unwrap().to_owned(),
            certificate,
            key,
        }
    }

    pub(crate) fn issue(&self, name: &str, days: i64, passphrase: Option<&str>) -> Identity {
        self.issue_for(name, -30..days, passphrase)
    }

    /// A certificate that is valid from one day to the other, counted from now.
    pub(crate) fn issue_for(
        &self,
        name: &str,
        days: std::ops::Range<i64>,
        passphrase: Option<&str>,
    ) -> Identity {
        let key = new_key();
        let pem = certificate(name, &key, days, Some(self)).to_pem().unwrap();
        let key = match passphrase {
            None => key.private_key_to_pem_pkcs8(),
            Some(it) => {
                key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), it.as_bytes())
            }
        };
        let write = |suffix: &str, content: &[u8]| {
            let path = self.folder.join(format!("{name}.{suffix}"));
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Identity {
            certificate: write("crt", &pem),
            key: write("key", &key.unwrap()),
        }
    }

    /// An endpoint with such a certificate, listening.
    pub(crate) fn endpoint(&self, identity: &Identity) -> (Endpoint, String) {
        let tls = TlsOptions {
            certificate: Some(identity.certificate.clone().into()),
            key: Some(identity.key.clone().into()),
            ca_file: Some(self.file.clone().into()),
            ..TlsOptions::default()
        };
        let endpoint = Endpoint::builder().tls(tls).build().unwrap();
        let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
        (endpoint, format!("127.0.0.1:{port}"))
    }
}

/// `ping` with a certificate.
fn ping(url: &str, identity: &Identity, authority: &Authority, more: &[&str]) -> Ended {
    let mut arguments = vec!["ping", url, "-n", "1", "--cert", &identity.certificate];
    arguments.extend(["--key", &identity.key, "--cafile", &authority.file]);
    arguments.extend(more);
    run(&arguments)
}

#[test]
fn ping_shows_the_certificate_of_the_other_side() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let node = authority.issue("node-1", 12, None);
    let own = authority.issue("own", 20, Some("secret"));
    let (_endpoint, url) = authority.endpoint(&node);
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "secret\nmore\n").unwrap();
    let passphrase = ["--passphrase-file", passphrase.to_str().unwrap()];
    let out = ping(&url, &own, &authority, &passphrase).expect(0).out;
    let row = |name: &str| {
        let line = out.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {out}")).trim_start()[name.len()..]
            .trim()
            .to_owned()
    };
    assert_eq!(row("certificate"), "CN=node-1");
    assert_eq!(row("issuer"), "CN=authority");
    let left = row("valid until");
    assert!(
        left.ends_with("11 days left") || left.ends_with("12 days left"),
        "{left}"
    );
    assert!(row("names").contains("node-1"), "{out}");
    assert!(row("encryption").starts_with("TLSv1."), "{out}");
    let mut json = passphrase.to_vec();
    json.push("--json");
    let lines = ping(&url, &own, &authority, &json).expect(0).json();
    schema::check("ping", &lines[0]);
    let certificate = &lines[0]["tls"]["certificate"];
    assert_eq!(certificate["subject"], "CN=node-1");
    assert!(
        matches!(certificate["days_left"].as_i64(), Some(11 | 12)),
        "{certificate}"
    );
}

#[test]
fn who_is_not_accepted_is_told_with_code_5() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let node = authority.issue("node", 12, None);
    let own = authority.issue("own", 20, Some("secret"));
    let plain_key = authority.issue("plain-key", 20, None);
    let foreign = other.issue("foreign", 20, None);
    let expired = authority.issue("expired", -1, None);
    let (_endpoint, url) = authority.endpoint(&node);
    let (_expired, expired_url) = authority.endpoint(&expired);
    // Without a certificate.
    let ended = run(&["ping", &url]).expect(5);
    assert!(ended.err.contains("--cert"), "{ended:?}");
    run(&["ping", &url, "--no-tls"]).expect(5);
    // The other side does not know our authority, and we do not know theirs.
    ping(&url, &foreign, &authority, &[]).expect(5);
    let ended = ping(&url, &plain_key, &other, &[]).expect(5);
    assert!(ended.err.contains("not trusted"), "{ended:?}");
    let ended = ping(&expired_url, &plain_key, &authority, &[]).expect(5);
    assert!(ended.err.contains("expired"), "{ended:?}");
    // Our own key cannot be read without its passphrase.
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "wrong\n").unwrap();
    let wrong = ["--passphrase-file", wrong.to_str().unwrap()];
    let ended = ping(&url, &own, &authority, &wrong).expect(5);
    assert!(ended.err.contains("own.key"), "{ended:?}");
}

#[test]
fn a_websocket_server_is_trusted_by_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let other = Authority::new(folder.path(), "other");
    let node = authority.issue("node", 12, None);
    let (endpoint, _) = authority.endpoint(&node);
    let tls = TlsOptions {
        certificate: Some(node.certificate.into()),
        key: Some(node.key.into()),
        ..TlsOptions::default()
    };
    let options = WebSocketOptions {
        tls: WebSocketTls::Enabled(tls),
        ..WebSocketOptions::default()
    };
    let port = endpoint
        .listen_ws_with("127.0.0.1", 0, options)
        .wait()
        .unwrap();
    let url = format!("wss://127.0.0.1:{port}");
    run(&["ping", &url, "--cafile", &authority.file]).expect(0);
    run(&["ping", &url, "--cafile", &other.file]).expect(5);
    // What speaks there is not what was asked for.
    run(&["ping", &format!("ws://127.0.0.1:{port}")]).expect(5);
}

/// A server that answers whatever comes with that.
pub(crate) fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(answer);
        }
    });
    url
}

#[test]
fn whether_somebody_was_reached_decides_between_codes_3_and_5() {
    let http = server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    run(&["ping", &http]).expect(5);
    run(&["ping", &http, "--no-tls"]).expect(5);
    run(&["ping", &format!("ws://{http}")]).expect(5);
    for url in ["nowhere.invalid:9999", "ws://nowhere.invalid:9999"] {
        let ended = run(&["ping", url]).expect(3);
        assert!(ended.err.contains("nowhere.invalid"), "{ended:?}");
    }
    // Whose words are those of a refusal, and nobody is there.
    let ended = run(&["ping", "certificate-tls-refuse.invalid:1"]).expect(3);
    assert!(ended.err.contains("certificate-tls-refuse"), "{ended:?}");
}
