//! What is wrong with the TLS of a server that was probed.

use super::super::report::Finding;
use super::listed;
use crate::outcome::Exit;

/// It speaks TLS, and ended the handshake before anything inside was seen.
pub(in super::super) fn tls_failed(place: &str, reason: &str) -> Finding {
    Finding::new(
        "tls-failed",
        Exit::Refused,
        format!("{place} speaks TLS, and the handshake failed: {reason}"),
        "Both sides found no way to encrypt: versions, ciphers or keys do not fit.",
        &[
            "look into the log of the peer",
            "compare the versions of OpenSSL and its policies",
        ],
    )
}

/// Why a certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Flaw {
    Expired { days_ago: Option<i64> },
    NotYetValid,
    UnknownAuthority { issuer: String },
    WrongName { asked: String, names: Vec<String> },
    Other(String),
}

pub(in super::super) fn distrusted(flaw: &Flaw) -> Finding {
    let finding = |code, what: String, means: &str, remedies: &[&str]| {
        Finding::new(code, Exit::Refused, what, means, remedies)
    };
    match flaw {
        Flaw::Expired { days_ago } => finding(
            "expired",
            match days_ago {
                Some(0) | None => "the peer's certificate has expired".to_owned(),
                Some(1) => "the peer's certificate expired a day ago".to_owned(),
                Some(days) => format!("the peer's certificate expired {days} days ago"),
            },
            "An expired certificate is accepted by no side.",
            &[
                "have the peer get a new certificate, and start it again so that it is read",
                "check the clock of this machine: `date -u`",
            ],
        ),
        Flaw::NotYetValid => finding(
            "not-yet-valid",
            "the peer's certificate is not valid yet".to_owned(),
            "Its time begins in the future: the clock of this machine is behind, or that of the \
             machine that signed it is ahead.",
            &["check the clocks of both machines: `date -u`"],
        ),
        Flaw::UnknownAuthority { issuer } => finding(
            "wrong-authority",
            format!("the peer's certificate is not trusted: it was signed by `{issuer}`"),
            "None of the authorities in --cafile or --capath signed it. Either the file here is \
             that of another authority, or this is not the peer that it should be.",
            &[
                "give the certificate of that authority with --cafile",
                "have the peer use a certificate of your authority, with those between them",
            ],
        ),
        Flaw::WrongName { asked, names } => finding(
            "wrong-name",
            format!(
                "the peer's certificate is for {}, not for `{asked}`",
                listed(names)
            ),
            "A WebSocket server must show a certificate for the name it is called by.",
            &[
                "use one of the names that the certificate has in the address",
                "have the server get a certificate with that name",
            ],
        ),
        Flaw::Other(reason) => finding(
            "untrusted",
            format!("the peer's certificate is not trusted: {reason}"),
            "The library that checks certificates does not accept it.",
            &["look at it with `openssl x509 -text`, and have the peer get another one"],
        ),
    }
}

pub(in super::super) fn certificate_demanded() -> Finding {
    Finding::new(
        "certificate-demanded",
        Exit::Refused,
        "the peer demands a certificate, and this side has none",
        "The peer authenticates whoever connects. Its own certificate is fine.",
        &["give --cert and --key, signed by an authority that the peer trusts"],
    )
}

pub(in super::super) fn certificate_refused(reason: &str) -> Finding {
    let (means, remedy) = match reason {
        "unknown ca" => (
            "The peer does not trust the authority that signed the certificate of this side.",
            "use a certificate of the peer's authority, or add yours to the CA file of the peer",
        ),
        "certificate expired" => (
            "The certificate of this side has expired, by the clock of the peer.",
            "get a new certificate, or set the clock of the peer",
        ),
        "certificate revoked" => (
            "The certificate of this side was revoked.",
            "get a new certificate",
        ),
        _ => (
            "The peer looked at the certificate of this side and does not accept it.",
            "look into the log of the peer, which says why",
        ),
    };
    Finding::new(
        "certificate-refused",
        Exit::Refused,
        format!("the peer refuses the certificate of this side: {reason}"),
        means,
        &[remedy],
    )
}
