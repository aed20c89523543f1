//! Renewals step by step, and TLS.
use broker::{ErrorCode, Value};

use crate::checklist::renewed;
use crate::script::{ACK, DEADLINE, Script, data};
use crate::{endpoint, joined, next, next_fault};

#[test]
fn a_connection_is_renewed_when_subscriptions_change() {
    let script = Script::listen();
    let endpoint = endpoint();
    let first = endpoint.subscriber(["/a"]).unwrap();
    let (mut old, _) = joined(&endpoint, &script);
    let second = endpoint.subscriber(["/b"]).unwrap();
    let mut new = script.accept();
    // The old one goes on until the new one is acknowledged.
    old.send_text(&data("/a", 1));
    assert_eq!(next(&first).1, Value::Count(1));
    // Nothing is published meanwhile: it would come back on the other connection.
    endpoint.publish("/c", &9_u64).unwrap();
    old.answer_ping();
    assert_eq!(new.read_text(), r#"["/a","/b"]"#);
    old.send_text(&data("/a", 2));
    assert_eq!(next(&first).1, Value::Count(2));
    new.send_text(ACK);
    // What comes on both counts once, whichever comes first; what is equal and comes twice on
    // each counts twice.
    for number in [2, 3, 3] {
        new.send_text(&data("/a", number));
    }
    for number in [3, 3, 4] {
        old.send_text(&data("/a", number));
    }
    new.send_text(&data("/a", 4));
    new.send_text(&data("/b", 5));
    assert_eq!(next(&second).1, Value::Count(5));
    assert_eq!(old.read_close(), 1000);
    new.send_text(&data("/a", 6));
    let got: Vec<Value> = (0..4).map(|_| next(&first).1).collect();
    assert_eq!(got, [3, 3, 4, 6].map(Value::Count));
    assert_eq!(new.read_text(), data("/c", 9));
    assert_eq!(endpoint.peers().len(), 1);
}

#[test]
fn topics_that_are_covered_need_no_renewal() {
    let script = Script::listen();
    let endpoint = endpoint();
    let _first = endpoint.subscriber(["/a"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    let _second = endpoint.subscriber(["/a/b"]).unwrap();
    // Neither do those that a server cannot be asked for.
    let _events = endpoint.status_subscriber(true).unwrap();
    endpoint.forward(["store/<$>/data/clone"]);
    endpoint.publish("/c", &9_u64).unwrap();
    assert_eq!(served.read_text(), data("/c", 9));
}

#[test]
fn subscriptions_during_a_renewal_lead_to_another() {
    let script = Script::listen();
    let endpoint = endpoint();
    let (mut first, _) = joined(&endpoint, &script);
    let _a = endpoint.subscriber(["/a"]).unwrap();
    let mut second = script.accept();
    first.answer_ping();
    assert_eq!(second.read_text(), r#"["/a"]"#);
    let _b = endpoint.subscriber(["/b"]).unwrap();
    second.send_text(ACK);
    assert_eq!(first.read_close(), 1000);
    let mut third = script.accept();
    second.answer_ping();
    assert_eq!(third.read_text(), r#"["/a","/b"]"#);
    third.send_text(ACK);
    assert_eq!(second.read_close(), 1000);
    endpoint.publish("/c", &9_u64).unwrap();
    assert_eq!(third.read_text(), data("/c", 9));
}

#[test]
fn a_renewal_that_fails_leaves_what_there_is() {
    let script = Script::listen();
    let endpoint = endpoint();
    let events = endpoint.status_subscriber(false).unwrap();
    let first = endpoint.subscriber(["/a"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    let _second = endpoint.subscriber(["/b"]).unwrap();
    let mut refused = script.accept_tcp();
    refused.read_request();
    refused.send(b"HTTP/1.1 503 Full\r\n\r\n");
    drop(refused);
    let fault = next_fault(&events);
    assert_eq!(fault.code, ErrorCode::PeerUnavailable);
    assert!(
        fault.text.contains("could not be renewed"),
        "{}",
        fault.text
    );
    assert!(fault.text.contains("503 Full"), "{}", fault.text);
    served.send_text(&data("/a", 1));
    assert_eq!(next(&first).1, Value::Count(1));
    endpoint.publish("/c", &2_u64).unwrap();
    assert_eq!(served.read_text(), data("/c", 2));
    // It is tried again after a second or so.
    let mut new = renewed(&script, &mut served);
    endpoint.publish("/c", &3_u64).unwrap();
    assert_eq!(new.read_text(), data("/c", 3));
}

#[test]
fn what_is_published_before_an_unpeering_is_sent() {
    let script = Script::listen();
    let endpoint = endpoint();
    let (mut served, _) = joined(&endpoint, &script);
    for number in 0..100_u64 {
        endpoint.publish("/t", &number).unwrap();
    }
    endpoint.unpeer(&script.url(), script.port).wait();
    for number in 0..100_u64 {
        assert_eq!(served.read_text(), data("/t", number));
    }
    assert_eq!(served.read_close(), 1000);
}

#[test]
fn what_is_published_before_a_shutdown_is_sent() {
    let script = Script::listen();
    let endpoint = endpoint();
    let (mut served, _) = joined(&endpoint, &script);
    endpoint.publish("/t", &1_u64).unwrap();
    let mut ending = endpoint.shutdown();
    assert_eq!(served.read_text(), data("/t", 1));
    assert_eq!(served.read_close(), 1000);
    assert!(ending.wait_timeout(DEADLINE).is_some());
}

#[cfg(feature = "tls")]
mod tls {
    use std::path::{Path, PathBuf};

    use broker::{
        Endpoint, Options, Retry, TlsOptions, Value, WebSocketOptions, WebSocketPeerOptions,
        WebSocketTls, WebSocketTrust,
    };
    use openssl::asn1::Asn1Time;
    use openssl::bn::BigNum;
    use openssl::hash::MessageDigest;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
    use openssl::x509::{X509, X509NameBuilder};

    use crate::{failure, next};

    /// A certificate and its key, as objects that can sign others and as files.
    struct Identity {
        certificate: X509,
        key: PKey<Private>,
        certificate_file: PathBuf,
        key_file: PathBuf,
    }

    /// Makes a certificate for a host, signed by an authority or by itself.
    fn identity(directory: &Path, host: &str, authority: Option<&Identity>) -> Identity {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", host).unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        let issuer = authority.map_or(&*name, |it| it.certificate.subject_name());
        builder.set_issuer_name(issuer).unwrap();
        builder.set_pubkey(&key).unwrap();
        let from = Asn1Time::days_from_now(0).unwrap();
        let to = Asn1Time::days_from_now(2).unwrap();
        builder.set_not_before(&from).unwrap();
        builder.set_not_after(&to).unwrap();
        let names = SubjectAlternativeName::new()
            .dns(host)
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(names).unwrap();
        if authority.is_none() {
            let may_sign = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(may_sign).unwrap();
        }
        let signer = authority.map_or(&key, |it| &it.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        let made = Identity {
            certificate: builder.build(),
            certificate_file: directory.join(format!("{host}.pem")),
            key_file: directory.join(format!("{host}.key")),
            key,
        };
        let certificate = made.certificate.to_pem().unwrap();
        std::fs::write(&made.certificate_file, certificate).unwrap();
        let key = made.key.private_key_to_pem_pkcs8().unwrap();
        std::fs::write(&made.key_file, key).unwrap();
        made
    }

    fn server(tls: TlsOptions) -> (Endpoint, u16) {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let options = WebSocketOptions {
            tls: WebSocketTls::Enabled(tls),
            ..WebSocketOptions::default()
        };
        let port = endpoint
            .listen_ws_with("127.0.0.1", 0, options)
            .wait()
            .unwrap();
        (endpoint, port)
    }

    /// A server that has a certificate and wants none.
    fn server_as(identity: &Identity) -> (Endpoint, u16) {
        server(TlsOptions {
            certificate: Some(identity.certificate_file.clone()),
            key: Some(identity.key_file.clone()),
            ..TlsOptions::default()
        })
    }

    fn client(trust: WebSocketTrust, ca_file: Option<PathBuf>) -> Endpoint {
        let options = Options {
            disable_ssl: ca_file.is_some(),
            tls: TlsOptions {
                ca_file,
                ..TlsOptions::default()
            },
            web_socket_peer: WebSocketPeerOptions {
                trust,
                ..WebSocketPeerOptions::default()
            },
            ..Options::default()
        };
        Endpoint::builder().options(options).build().unwrap()
    }

    fn exchange(server: &Endpoint, client: &Endpoint, url: &str) {
        let messages = client.subscriber(["/t"]).unwrap();
        client.peer_url(url, Retry::Never).wait().unwrap();
        server.publish("/t", &1_u64).unwrap();
        assert_eq!(next(&messages).1, Value::Count(1));
    }

    #[test]
    fn certificates_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let identity = identity(directory.path(), "localhost", None);
        let certificate = identity.certificate_file.clone();
        let (server, port) = server_as(&identity);
        let by_name = format!("wss://localhost:{port}");
        let by_address = format!("wss://127.0.0.1:{port}");
        let trusting = client(WebSocketTrust::Certificate, Some(certificate));
        exchange(&server, &trusting, &by_name);
        // The right authority, the wrong name.
        let error = failure(&trusting, &by_address);
        assert!(error.contains("not trusted"), "{error}");
        // The right name, an authority the system does not know.
        let error = failure(&client(WebSocketTrust::Certificate, None), &by_name);
        assert!(error.contains("not trusted"), "{error}");
        exchange(&server, &client(WebSocketTrust::Anybody, None), &by_address);
    }

    #[test]
    fn servers_may_have_authorities_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let authority = identity(directory.path(), "authority", None);
        let other = identity(directory.path(), "other", None);
        let (server, port) = server_as(&identity(directory.path(), "localhost", Some(&authority)));
        let url = format!("wss://localhost:{port}");
        // Native peers go on without certificates, encrypted or not.
        let client = |ca_file: &Path, disable_ssl| {
            let options = Options {
                disable_ssl,
                web_socket_peer: WebSocketPeerOptions {
                    ca_file: Some(ca_file.to_owned()),
                    ..WebSocketPeerOptions::default()
                },
                ..Options::default()
            };
            Endpoint::builder().options(options).build()
        };
        let trusting = client(&authority.certificate_file, false).unwrap();
        exchange(&server, &trusting, &url);
        let native = Endpoint::builder().build().unwrap();
        let port = native.listen("127.0.0.1", 0).wait().unwrap();
        let peered = trusting.peer("127.0.0.1", port, Retry::Never).wait();
        peered.unwrap();
        let plain = client(&authority.certificate_file, true).unwrap();
        exchange(&server, &plain, &url);
        let error = failure(&client(&other.certificate_file, false).unwrap(), &url);
        assert!(error.contains("not trusted"), "{error}");
        // A file that is not there is found at once.
        let error = client(&directory.path().join("none.pem"), true).unwrap_err();
        assert!(error.to_string().contains("none.pem"), "{error}");
    }

    #[test]
    fn anonymous_servers_must_be_asked_for() {
        let (server, port) = server(TlsOptions::default());
        let url = format!("wss://localhost:{port}");
        let error = failure(&client(WebSocketTrust::Certificate, None), &url);
        assert!(error.contains("TLS") || error.contains("cipher"), "{error}");
        exchange(&server, &client(WebSocketTrust::Anonymous, None), &url);
    }

    #[test]
    fn a_plain_server_is_told_from_one_with_tls() {
        let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
        let options = WebSocketOptions {
            tls: WebSocketTls::Disabled,
            ..WebSocketOptions::default()
        };
        let port = endpoint
            .listen_ws_with("127.0.0.1", 0, options)
            .wait()
            .unwrap();
        let error = failure(
            &client(WebSocketTrust::Certificate, None),
            &format!("wss://127.0.0.1:{port}"),
        );
        assert!(error.contains("TLS"), "{error}");
        let (_server, port) = server(TlsOptions::default());
        let error = failure(
            &client(WebSocketTrust::Certificate, None),
            &format!("ws://127.0.0.1:{port}"),
        );
        assert!(error.contains("wss://"), "{error}");
    }
}
