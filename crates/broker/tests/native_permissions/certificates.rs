//! Principals by the certificates of native peers and WebSocket clients.

use std::path::{Path, PathBuf};

use broker::policy::PolicyFile;
use broker::{
    Endpoint, Options, PolicyOptions, Retry, TlsOptions, WebSocketOptions, WebSocketPeerOptions,
    WebSocketTls, WebSocketTrust,
};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use crate::{DEADLINE, eventually, got};

const POLICY: &str = r#"
[roles.responder]
publish = ["/netcontrol/"]
[roles.reader]
publish = ["/read/"]
[roles.talker]
publish = ["/chat/"]
[principals."spiffe://corp/soar"]
roles = ["responder"]
[principals.reader]
certificates = ["cn:reader", "dns:reader.corp"]
roles = ["reader"]
[principals.anonymous]
roles = ["talker"]
"#;

/// A certificate with its key.
struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

/// How long a certificate holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    Now,
    Over,
}

impl Identity {
    /// Signed by an authority, or by itself.
    fn new(common: &str, alternatives: &[&str], time: Time, authority: Option<&Self>) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
        let name = name.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name).unwrap();
        let issuer = authority.map_or(&*name, |it| it.certificate.subject_name());
        builder.set_issuer_name(issuer).unwrap();
        builder.set_pubkey(&key).unwrap();
        let second = |unix: i64| Asn1Time::from_unix(unix).unwrap();
        let begin = second(1_600_000_000);
        let end = match time {
            Time::Now => Asn1Time::days_from_now(2).unwrap(),
            Time::Over => second(1_600_000_100),
        };
        builder.set_not_before(&begin).unwrap();
        builder.set_not_after(&end).unwrap();
        if !alternatives.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in alternatives {
                match name.split_once(':') {
                    Some(("dns", name)) => names.dns(name),
                    Some(("ip", name)) => names.ip(name),
                    _ => names.uri(name),
                };
            }
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        if authority.is_none() {
            let may_sign = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(may_sign).unwrap();
        }
        let signer = authority.map_or(&key, |it| &it.key);
        builder.sign(signer, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    /// Options of an endpoint with this certificate, which trusts an authority.
    fn options(&self, folder: &Path, authority: &Self) -> TlsOptions {
        let write = |name: &str, bytes: Vec<u8>| -> Option<PathBuf> {
            let mut random = [0; 8];
            openssl::rand::rand_bytes(&mut random).unwrap();
            let path = folder.join(format!("{}-{name}.pem", u64::from_be_bytes(random)));
            std::fs::write(&path, bytes).unwrap();
            Some(path)
        };
        TlsOptions {
            certificate: write("certificate", self.certificate.to_pem().unwrap()),
            key: write("key", self.key.private_key_to_pem_pkcs8().unwrap()),
            ca_file: write("authority", authority.certificate.to_pem().unwrap()),
            ..TlsOptions::default()
        }
    }
}

fn endpoint(tls: TlsOptions, policy: Option<PolicyOptions>) -> Endpoint {
    let options = Options {
        tls,
        policy,
        web_socket_peer: WebSocketPeerOptions {
            trust: WebSocketTrust::Certificate,
            ..WebSocketPeerOptions::default()
        },
        ..Options::default()
    };
    Endpoint::builder().options(options).build().unwrap()
}

#[test]
fn a_name_of_a_certificate_makes_a_principal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let record = path.join("audit.jsonl");
    let authority = Identity::new("authority", &[], Time::Now, None);
    let other = Identity::new("authority", &[], Time::Now, None);
    let mut policy: PolicyOptions = PolicyFile::parse(POLICY, "policy.toml").unwrap().into();
    policy.audit.file = Some(record.clone());
    let names = ["dns:localhost", "ip:127.0.0.1"];
    let server = Identity::new("gateway", &names, Time::Now, Some(&authority));
    let server = server.options(path, &authority);
    let gateway = endpoint(server.clone(), Some(policy));
    let port = gateway.listen("127.0.0.1", 0).wait().unwrap();
    let options = WebSocketOptions {
        tls: WebSocketTls::Enabled(server),
        ..WebSocketOptions::default()
    };
    let clients = gateway.listen_ws_with("127.0.0.1", 0, options);
    let clients = clients.wait().unwrap();
    let all = gateway.subscriber([""]).unwrap();
    let topics = ["/netcontrol/", "/read/", "/chat/"];
    let client = |common: &str, alternatives: &[&str], time, signer: &Identity| {
        let identity = Identity::new(common, alternatives, time, Some(signer));
        endpoint(identity.options(path, &authority), None)
    };
    let cases: [(&str, &[&str], &str); 9] = [
        ("x", &["spiffe://corp/soar"], "/netcontrol/"),
        ("reader", &[], "/read/"),
        ("x", &["dns:reader.corp"], "/read/"),
        // A URI counts more; what is like a URI in the common name is none.
        (
            "reader",
            &["dns:reader.corp", "spiffe://corp/soar"],
            "/netcontrol/",
        ),
        ("spiffe://corp/soar", &[], "/chat/"),
        ("READER", &[], "/chat/"),
        ("reader", &["dns:other.corp"], "/chat/"),
        ("reader ", &[], "/chat/"),
        ("nobody", &[], "/chat/"),
    ];
    for (common, alternatives, allowed) in cases {
        for way in ["native", "web socket"] {
            let peer = client(common, alternatives, Time::Now, &authority);
            let subscriber = peer.subscriber(["/answer"]).unwrap();
            if way == "native" {
                let peering = peer.peer("127.0.0.1", port, Retry::Never);
                peering.wait().unwrap();
            } else {
                let url = format!("wss://127.0.0.1:{clients}/v1/messages/json");
                peer.peer_url(url.as_str(), Retry::Never).wait().unwrap();
            }
            let what = format!("{way} {common:?} {alternatives:?}");
            for topic in topics {
                if way == "native" {
                    assert!(peer.await_subscriber(topic, DEADLINE).wait(), "{what}");
                }
                peer.publish(topic, &1u64).unwrap();
            }
            let first = loop {
                let next = all.recv_timeout(DEADLINE).unwrap().expect(&what);
                if !next.topic().starts_with(b"<$>") {
                    break next;
                }
            };
            assert_eq!(first.topic(), allowed.as_bytes(), "{what}");
            drop(subscriber);
            peer.shutdown().wait();
            assert!(got(&all).is_empty(), "{what}");
        }
    }
    // Names that are no plain text, and certificates that TLS refuses.
    for (common, time, signer) in [
        ("reader\0.evil", Time::Now, &authority),
        ("reader", Time::Over, &authority),
        ("reader", Time::Now, &other),
    ] {
        let peer = client(common, &[], time, signer);
        let peering = peer.peer("127.0.0.1", port, Retry::Never);
        assert!(peering.wait().is_err(), "{common:?}");
    }
    eventually("all are counted", || gateway.policy_failures() == 3);
    gateway.shutdown().wait();
    let text = std::fs::read_to_string(&record).unwrap();
    let refused: Vec<_> = text
        .lines()
        .filter(|line| line.contains(r#""action":"connect""#) && line.contains(r#""deny""#))
        .collect();
    for cause in ["no plain text", "expired", "signature"] {
        assert!(
            refused.iter().any(|it| it.contains(cause)),
            "{cause}: {text}"
        );
    }
    assert!(
        text.contains(r#""principal":"spiffe://corp/soar""#),
        "{text}"
    );
}

/// Status of the answer to a request over HTTPS, with a certificate or without one.
#[cfg(feature = "status")]
fn https(port: u16, path: &str, client: Option<&Identity>, authority: &Identity) -> String {
    use openssl::ssl::{SslConnector, SslMethod};
    use std::io::{Read as _, Write as _};

    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    let trusted = builder.cert_store_mut();
    trusted.add_cert(authority.certificate.clone()).unwrap();
    if let Some(client) = client {
        builder.set_certificate(&client.certificate).unwrap();
        builder.set_private_key(&client.key).unwrap();
    }
    let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // What TLS refuses may be told at the handshake or after it.
    let Ok(mut stream) = builder.build().connect("localhost", stream) else {
        return "refused".to_owned();
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut start = [0; 12];
    let asked = stream.write_all(head.as_bytes());
    match asked.and_then(|()| stream.read_exact(&mut start)) {
        Ok(()) => String::from_utf8_lossy(&start[9..]).into_owned(),
        Err(_) => "refused".to_owned(),
    }
}

#[cfg(feature = "status")]
#[test]
fn a_certificate_is_a_principal_over_https() {
    const RIGHTS: &str = r#"
[roles.metrics]
http = ["/metrics"]
[roles.stats]
http = ["/v1/stats"]
[principals."spiffe://corp/grafana"]
roles = ["metrics"]
[principals.operator]
certificates = ["cn:operator"]
roles = ["metrics", "stats"]
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let authority = Identity::new("authority", &[], Time::Now, None);
    let other = Identity::new("authority", &[], Time::Now, None);
    let names = ["dns:localhost", "ip:127.0.0.1"];
    let server = Identity::new("gateway", &names, Time::Now, Some(&authority));
    let server = server.options(path, &authority);
    let policy: PolicyOptions = PolicyFile::parse(RIGHTS, "policy.toml").unwrap().into();
    let gateway = endpoint(server.clone(), Some(policy));
    let options = broker::HttpOptions {
        tls: Some(server),
        ..broker::HttpOptions::default()
    };
    let port = gateway.serve_http("127.0.0.1", 0, options).wait().unwrap();
    let identity = |common, alternatives: &[&str], time, signer| {
        Identity::new(common, alternatives, time, Some(signer))
    };
    let grafana = identity("x", &["spiffe://corp/grafana"], Time::Now, &authority);
    let operator = identity("operator", &[], Time::Now, &authority);
    let stranger = identity("stranger", &[], Time::Now, &authority);
    for (client, metrics, stats) in [
        (&grafana, "200", "403"),
        (&operator, "200", "200"),
        (&stranger, "401", "401"),
    ] {
        assert_eq!(https(port, "/metrics", Some(client), &authority), metrics);
        assert_eq!(https(port, "/v1/stats", Some(client), &authority), stats);
    }
    for bad in [
        Some(identity("operator", &[], Time::Over, &authority)),
        Some(identity("operator", &[], Time::Now, &other)),
        None,
    ] {
        let answer = https(port, "/v1/stats", bad.as_ref(), &authority);
        assert!(answer == "refused" || answer == "401", "{answer}");
    }
    // The right goes with the policy, and the principal with its name.
    let without = RIGHTS.replace("cn:operator", "cn:other");
    let policy: PolicyOptions = PolicyFile::parse(&without, "policy.toml").unwrap().into();
    gateway.set_policy(&policy).unwrap();
    assert_eq!(https(port, "/v1/stats", Some(&operator), &authority), "401");
}
