//! What is refused, and whether the error names the cause.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use broker::{Endpoint, Error, Options, Retry};

/// Nothing here takes that long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// For tests whose handshakes come to an end: a busy machine takes its time.
fn options(disable_ssl: bool) -> Options {
    Options {
        disable_ssl,
        handshake_timeout: DEADLINE,
        ..Options::default()
    }
}

/// For tests in which the other side says nothing: a deadline that a test can wait for.
fn impatient() -> Options {
    Options {
        handshake_timeout: Duration::from_millis(300),
        ..options(true)
    }
}

fn endpoint(options: Options) -> Endpoint {
    Endpoint::builder().options(options).build().unwrap()
}

/// How many bytes of a connection are there: none yet, or 0 at its end.
fn arrived(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    stream.set_nonblocking(true).unwrap();
    match stream.read(buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        // A reset is an end too.
        read => Some(read.unwrap_or(0)),
    }
}

/// The text of the failure when peering with what listens there.
fn refusal(endpoint: &Endpoint, port: u16) -> String {
    match endpoint.peer("127.0.0.1", port, Retry::Never).wait() {
        Err(Error::PeerUnavailable { text, .. }) => text,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Serves one connection and returns the port.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    port
}

fn assert_names(text: &str, cause: &str) {
    assert!(
        text.starts_with("unable to connect to remote peer: "),
        "{text}"
    );
    assert!(text.contains(cause), "`{text}` does not say `{cause}`");
}

#[test]
fn a_web_server_is_recognised() {
    let port = server(|mut stream| {
        let mut request = [0; 64];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    assert_names(
        &refusal(&endpoint(options(true)), port),
        "is not a Broker endpoint",
    );
}

#[test]
fn a_silent_server_times_out_and_says_so() {
    let port = server(|mut stream| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let started = Instant::now();
    let text = refusal(&endpoint(impatient()), port);
    assert!(started.elapsed() < DEADLINE);
    assert_names(&text, "no answer");
}

#[test]
fn another_version_is_named() {
    let port = server(|mut stream| {
        let hello = [&[0, 0, 0, 23, 6][..], b"ZEEK", &[0x50; 16], &[7, 9]].concat();
        let _ = stream.write_all(&hello);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    assert_names(
        &refusal(&endpoint(options(true)), port),
        "unsupported versions offered",
    );
}

#[test]
fn a_stranger_that_stays_silent_is_cut_off() {
    let endpoint = endpoint(impatient());
    let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stranger.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut heard = Vec::new();
    stranger.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, [&[0, 0, 0, 5, 7][..], b"ZEEK"].concat());
}

#[test]
fn unfinished_handshakes_have_a_cap_that_honest_peers_survive() {
    let endpoint_options = Options {
        pending_connections_max: 4,
        ..impatient()
    };
    let listening = endpoint(endpoint_options);
    let port = listening.listen("127.0.0.1", 0).wait().unwrap();
    let mut waiting: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    // A connection that is served hears a probe at once. Those beyond the cap hear it only when
    // others have been cut off, after the time that a handshake may take.
    let mut served: Vec<TcpStream> = Vec::new();
    let begun = Instant::now();
    while !waiting.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "{} still wait", waiting.len());
        let heard = waiting
            .iter_mut()
            .position(|stranger| arrived(stranger, &mut [0; 9]) == Some(9));
        if let Some(position) = heard {
            served.push(waiting.swap_remove(position));
            // Who made place for it was cut off before.
            served.retain_mut(|stranger| arrived(stranger, &mut [0; 1]) != Some(0));
            assert!(served.len() <= 4, "{} at a time", served.len());
        }
        thread::yield_now();
    }
    let honest = Endpoint::builder().disable_ssl(true).build().unwrap();
    honest.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
}

#[test]
fn idle_listeners_do_not_use_up_the_cap() {
    let listening = endpoint(Options {
        pending_connections_max: 1,
        ..options(true)
    });
    let ports: Vec<u16> = (0..3)
        .map(|_| listening.listen("127.0.0.1", 0).wait().unwrap())
        .collect();
    for port in ports.into_iter().rev() {
        let peer = endpoint(options(true));
        peer.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::path::{Path, PathBuf};

    use broker::{ErrorCode, TlsOptions};
    use openssl::asn1::Asn1Time;
    use openssl::bn::BigNum;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::symm::Cipher;
    use openssl::x509::{X509, X509NameBuilder};

    use super::*;

    #[test]
    fn tls_against_plain_is_named() {
        let plain = endpoint(options(true));
        let port = plain.listen("127.0.0.1", 0).wait().unwrap();
        let text = refusal(&endpoint(options(false)), port);
        assert_names(&text, "is a Broker endpoint without TLS");
    }

    /// Asks to peer with a server that never answers the TLS handshake, then gives up. Returns when
    /// the server has seen the end of the connection.
    fn abandoned(give_up: impl FnOnce(&Endpoint, u16)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // The handshake itself has more time than the test.
        let endpoint = endpoint(Options {
            handshake_timeout: 10 * DEADLINE,
            ..options(false)
        });
        endpoint.peer_nosync("127.0.0.1", port, Retry::Never);
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut hello = [0; 1];
        stream.read_exact(&mut hello).unwrap();
        give_up(&endpoint, port);
        // A reset is an end too.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it is still there");
        }
    }

    #[test]
    fn an_unfinished_handshake_ends_with_the_wish_for_it() {
        abandoned(|endpoint, port| endpoint.unpeer("127.0.0.1", port).wait());
        abandoned(|endpoint, _| endpoint.shutdown().wait());
    }

    #[test]
    fn plain_against_tls_is_named() {
        let encrypted = endpoint(options(false));
        let port = encrypted.listen("127.0.0.1", 0).wait().unwrap();
        assert_names(&refusal(&endpoint(options(true)), port), "TLS");
    }

    /// A key and a certificate that is its own authority.
    fn identity(folder: &Path, name: &str, passphrase: Option<&str>) -> TlsOptions {
        let key: PKey<Private> = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        certificate.set_serial_number(&serial).unwrap();
        certificate.set_subject_name(&subject).unwrap();
        certificate.set_issuer_name(&subject).unwrap();
        certificate.set_pubkey(&key).unwrap();
        let (from, to) = (Asn1Time::days_from_now(0), Asn1Time::days_from_now(2));
        certificate.set_not_before(&from.unwrap()).unwrap();
        certificate.set_not_after(&to.unwrap()).unwrap();
        certificate.sign(&key, MessageDigest::sha256()).unwrap();
        let pem = certificate.build().to_pem().unwrap();
        let key = match passphrase {
            None => key.private_key_to_pem_pkcs8().unwrap(),
            Some(passphrase) => key
                .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase.as_bytes())
                .unwrap(),
        };
        let write = |suffix: &str, content: &[u8]| -> PathBuf {
            let path = folder.join(format!("{name}.{suffix}"));
            std::fs::write(&path, content).unwrap();
            path
        };
        let certificate = write("crt", &pem);
        TlsOptions {
            certificate: Some(certificate.clone()),
            key: Some(write("key", &key)),
            passphrase: passphrase.map(str::to_owned),
            ca_file: Some(certificate),
            ca_path: None,
        }
    }

    fn build(tls: TlsOptions) -> Result<Endpoint, Error> {
        Endpoint::builder().tls(tls).build()
    }

    #[test]
    fn authenticated_endpoints_peer_with_each_other_only() {
        let folder = tempfile::tempdir().unwrap();
        let ours = identity(folder.path(), "ours", Some("secret"));
        let listening = build(ours.clone()).unwrap();
        let port = listening.listen("127.0.0.1", 0).wait().unwrap();
        let friend = build(ours).unwrap();
        friend.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
        let session = friend.peer_tls(listening.id()).unwrap();
        let certificate = session.certificate.as_ref().unwrap();
        assert_eq!(certificate.subject, "CN=ours");
        assert_eq!(certificate.issuer, "CN=ours");
        assert!(matches!(certificate.days_left, Some(1 | 2)), "{session:?}");
        assert!(session.version.starts_with("TLSv1."), "{session:?}");
        let foreign = build(identity(folder.path(), "foreign", None)).unwrap();
        assert_names(&refusal(&foreign, port), "trust");
        let anonymous = endpoint(options(false));
        assert_names(&refusal(&anonymous, port), "certificate");
    }

    #[test]
    fn certificates_are_exchanged_while_the_endpoint_runs() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| identity(folder.path(), name, None));
        let path = |name: &str| folder.path().join(name);
        let pem = |options: &TlsOptions| std::fs::read(options.ca_file.as_ref().unwrap()).unwrap();
        std::fs::write(path("all"), [pem(&first), pem(&second)].concat()).unwrap();
        // As tools do it: beside, then in place.
        let place = |from: &str, to: &str| {
            std::fs::copy(path(from), path("new")).unwrap();
            std::fs::rename(path("new"), path(to)).unwrap();
        };
        place("first.crt", "own.crt");
        place("first.key", "own.key");
        let ca_file = Some(path("all"));
        let own = TlsOptions {
            certificate: Some(path("own.crt")),
            key: Some(path("own.key")),
            ca_file: ca_file.clone(),
            ..TlsOptions::default()
        };
        let listening = build(own).unwrap();
        let port = listening.listen("127.0.0.1", 0).wait().unwrap();
        let shown = || {
            let caller = build(TlsOptions {
                ca_file: ca_file.clone(),
                ..second.clone()
            })
            .unwrap();
            caller.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
            let session = caller.peer_tls(listening.id()).unwrap();
            session.certificate.unwrap().subject
        };
        assert_eq!(shown(), "CN=first");
        let expiry = listening.certificate_expiry().unwrap();
        assert!(expiry > broker::Timestamp::try_from(std::time::SystemTime::now()).unwrap());
        // A pair that does not fit leaves the one before.
        place("second.crt", "own.crt");
        listening.reload_certificates();
        assert_eq!(shown(), "CN=first");
        place("second.key", "own.key");
        assert_eq!(shown(), "CN=first", "within a minute nothing is looked at");
        listening.reload_certificates();
        assert_eq!(shown(), "CN=second");
        std::fs::remove_file(path("own.crt")).unwrap();
        listening.reload_certificates();
        assert_eq!(shown(), "CN=second");
    }

    #[test]
    fn a_folder_of_authorities_serves_as_well_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let ours = identity(folder.path(), "ours", None);
        let foreign = identity(folder.path(), "foreign", None);
        let authorities = folder.path().join("authorities");
        std::fs::create_dir(&authorities).unwrap();
        let pem = std::fs::read(ours.ca_file.as_ref().unwrap()).unwrap();
        let hash = X509::from_pem(&pem).unwrap().subject_name_hash();
        std::fs::write(authorities.join(format!("{hash:08x}.0")), &pem).unwrap();
        let by_folder = |identity: &TlsOptions| TlsOptions {
            ca_file: None,
            ca_path: Some(authorities.clone()),
            ..identity.clone()
        };
        let listening = build(by_folder(&ours)).unwrap();
        let port = listening.listen("127.0.0.1", 0).wait().unwrap();
        let friend = build(by_folder(&ours)).unwrap();
        friend.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
        let stranger = build(by_folder(&foreign)).unwrap();
        assert_names(&refusal(&stranger, port), "trust");
        let nowhere = TlsOptions {
            ca_path: Some(folder.path().join("nowhere")),
            ..by_folder(&ours)
        };
        let error = build(nowhere).unwrap_err();
        assert!(error.to_string().contains("CA directory"), "{error}");
    }

    #[test]
    fn an_incomplete_set_up_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let whole = identity(folder.path(), "whole", Some("secret"));
        let other = identity(folder.path(), "other", None);
        let cases = [
            (
                TlsOptions {
                    certificate: None,
                    ..whole.clone()
                },
                "certificate",
            ),
            (
                TlsOptions {
                    key: None,
                    ..whole.clone()
                },
                "private key",
            ),
            (
                TlsOptions {
                    passphrase: None,
                    ..whole.clone()
                },
                "passphrase",
            ),
            (
                TlsOptions {
                    passphrase: Some("wrong".to_owned()),
                    ..whole.clone()
                },
                "wrong passphrase",
            ),
            (
                TlsOptions {
                    passphrase: Some("x".repeat(128)),
                    ..whole.clone()
                },
                "longer than 127",
            ),
            (
                TlsOptions {
                    ca_file: Some("/nowhere/ca.pem".into()),
                    ..whole.clone()
                },
                "/nowhere",
            ),
            (
                TlsOptions {
                    key: other.key,
                    ..whole.clone()
                },
                "does not belong",
            ),
            (
                TlsOptions {
                    passphrase: Some("only".to_owned()),
                    ..TlsOptions::default()
                },
                "certificate",
            ),
        ];
        for (tls, cause) in cases {
            let error = build(tls).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CannotOpenResource);
            assert!(
                error.to_string().contains(cause),
                "`{error}` does not say `{cause}`"
            );
        }
        build(whole).unwrap();
    }
}
