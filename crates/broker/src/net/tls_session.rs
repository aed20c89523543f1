//! The TLS session of a connection: version, cipher and certificate of the peer.

#[cfg(feature = "tls")]
pub(crate) use agreed::Agreed;

/// What both ends of a connection agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSession {
    /// Version of TLS, such as `TLSv1.2`.
    pub version: String,
    /// Cipher suite, as OpenSSL names it.
    pub cipher: String,
    /// Strength of the cipher in bits.
    pub cipher_bits: u32,
    /// The peer's certificate; `None` without authentication.
    pub certificate: Option<PeerCertificate>,
    /// The certificates that the peer sent behind its own, each the signer of the one before.
    pub issuers: Vec<PeerCertificate>,
}

/// What the certificate of a peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCertificate {
    /// For whom it is, as `CN=...`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The names it is for: DNS names and addresses.
    pub names: Vec<String>,
    /// When it ends, as OpenSSL writes it.
    pub not_after: String,
    /// Whole days until it ends, negative when it has; `None` if the date makes no sense.
    pub days_left: Option<i64>,
}

#[cfg(feature = "tls")]
mod agreed {
    use std::fmt;

    use openssl::nid::Nid;
    use openssl::ssl::SslRef;
    use openssl::x509::{X509, X509NameRef};

    use super::{PeerCertificate, TlsSession};

    /// The session as the connection keeps it: nothing is made of it until it is asked for.
    #[derive(Clone)]
    pub(crate) struct Agreed {
        version: &'static str,
        cipher: Option<(&'static str, i32)>,
        certificate: Option<X509>,
        issuers: Vec<X509>,
    }

    impl Agreed {
        pub(crate) fn of(session: &SslRef) -> Self {
            let cipher = session.current_cipher();
            // On the side that accepted, the peer's own certificate is not among them.
            let own = usize::from(!session.is_server());
            let sent = session.peer_cert_chain().into_iter().flatten();
            Self {
                version: session.version_str(),
                cipher: cipher.map(|cipher| (cipher.name(), cipher.bits().secret)),
                certificate: session.peer_certificate(),
                issuers: sent.skip(own).map(ToOwned::to_owned).collect(),
            }
        }

        /// All certificates, the peer's own first.
        pub(crate) fn chain(&self) -> Vec<PeerCertificate> {
            let all = self.certificate.iter().chain(&self.issuers);
            all.map(PeerCertificate::of).collect()
        }
    }

    impl fmt::Debug for Agreed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            TlsSession::from(self).fmt(f)
        }
    }

    impl From<&Agreed> for TlsSession {
        fn from(agreed: &Agreed) -> Self {
            let (cipher, bits) = agreed.cipher.unwrap_or_default();
            Self {
                version: agreed.version.to_owned(),
                cipher: cipher.to_owned(),
                cipher_bits: u32::try_from(bits).unwrap_or(0),
                certificate: agreed.certificate.as_ref().map(PeerCertificate::of),
                issuers: agreed.issuers.iter().map(PeerCertificate::of).collect(),
            }
        }
    }

    impl PeerCertificate {
        fn of(certificate: &X509) -> Self {
            let names = certificate.subject_alt_names();
            let names = names.iter().flatten().filter_map(|name| {
                let address = || name.ipaddress().and_then(address);
                name.dnsname().map(str::to_owned).or_else(address)
            });
            let today = openssl::asn1::Asn1Time::days_from_now(0).ok();
            let left = today.and_then(|today| today.diff(certificate.not_after()).ok());
            Self {
                subject: text(certificate.subject_name()),
                issuer: text(certificate.issuer_name()),
                names: names.collect(),
                not_after: certificate.not_after().to_string(),
                days_left: left.map(|left| i64::from(left.days)),
            }
        }
    }

    fn address(bytes: &[u8]) -> Option<String> {
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Some(std::net::Ipv4Addr::from(octets).to_string());
        }
        let octets = <[u8; 16]>::try_from(bytes).ok()?;
        Some(std::net::Ipv6Addr::from(octets).to_string())
    }

    /// `CN=a, O=b`, in the order of the name.
    fn text(name: &X509NameRef) -> String {
        let entries = name.entries().map(|entry| {
            let nid = entry.object().nid();
            let key = match nid {
                Nid::UNDEF => entry.object().to_string(),
                nid => nid.short_name().unwrap_or("?").to_owned(),
            };
            let bytes = entry.data().as_slice();
            format!("{key}={}", String::from_utf8_lossy(bytes))
        });
        entries.collect::<Vec<_>>().join(", ")
    }
}
