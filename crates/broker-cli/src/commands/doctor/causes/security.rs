//! What is wrong with TLS and the handshake of peers.

use std::time::Duration;

use broker::{EndpointId, ErrorCode};

use super::super::report::Finding;
use super::super::speech::Answer;
use crate::outcome::Exit;

/// How one side encrypts native connections. Spec: wire 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mode {
    Plain,
    Anonymous,
    Certificates,
}

impl Mode {
    const fn text(self) -> &'static str {
        match self {
            Self::Plain => "plain TCP",
            Self::Anonymous => "TLS without certificates",
            Self::Certificates => "TLS with certificates",
        }
    }
}

/// Both sides encrypt in different ways; there is no negotiation.
pub(in super::super) fn other_mode(ours: Mode, theirs: Mode) -> Finding {
    let code = match theirs {
        Mode::Plain => "peer-is-plain",
        Mode::Anonymous if ours == Mode::Plain => "peer-is-encrypted",
        Mode::Anonymous => "peer-has-no-certificates",
        Mode::Certificates => "peer-has-certificates",
    };
    let finding = Finding::new(
        code,
        Exit::Refused,
        format!(
            "the peer speaks {}, and this side {}",
            theirs.text(),
            ours.text()
        ),
        "Native peers do not negotiate: both sides have to be set up in the same way.",
        &[],
    );
    match (ours, theirs) {
        (_, Mode::Plain) => finding
            .remedy("use --no-tls here")
            .remedy("better, have the peer encrypt: `Broker::disable_ssl = F` in Zeek"),
        (Mode::Plain, Mode::Anonymous) => finding
            .remedy("leave out --no-tls here (in a context: no_tls)")
            .remedy("have the peer not encrypt: `Broker::disable_ssl = T` in Zeek"),
        (_, Mode::Anonymous) => finding
            .remedy("leave out --cert, --key and --cafile here")
            .remedy(
                "better, give the peer certificates: `Broker::ssl_certificate`, `ssl_keyfile` and \
                 `ssl_cafile` in Zeek",
            ),
        (_, Mode::Certificates) => {
            finding.remedy("give --cert, --key and --cafile, of an authority that the peer trusts")
        }
    }
}

pub(in super::super) fn own_set_up(cause: &str) -> Finding {
    Finding::new(
        "own-setup",
        Exit::Refused,
        format!("the certificates of this side cannot be used: {cause}"),
        "Nothing was sent: the files that were given here do not work.",
        &["check the files, and whether key, certificate and passphrase belong together"],
    )
}

#[cfg(not(feature = "tls"))]
pub(in super::super) fn no_tls_here() -> Finding {
    Finding::new(
        "no-tls-here",
        Exit::Refused,
        "the peer speaks TLS, and this build has none",
        "The command was built without TLS, so it can only speak plain TCP.",
        &["use a build with the feature `tls`, which is on by default"],
    )
}

pub(in super::super) fn expires_soon(days: i64) -> Finding {
    Finding::new(
        "expires-soon",
        Exit::Done,
        match days {
            0 => "the peer's certificate expires today".to_owned(),
            1 => "the peer's certificate expires in a day".to_owned(),
            days => format!("the peer's certificate expires in {days} days"),
        },
        "From then on nothing that checks certificates connects to it.",
        &["renew it before"],
    )
}

/// What a native peer answered to a hello, if that is a reason not to get on with it.
pub(in super::super) fn answered(answer: &Answer, asked_as: EndpointId) -> Option<Finding> {
    Some(match answer {
        Answer::Goes(id) if *id == asked_as => Finding::new(
            "own-id",
            Exit::Refused,
            format!("the address leads to the endpoint `{id}` itself"),
            "An endpoint does not peer with itself: the address in its configuration is its own, \
             or two processes run with the same id.",
            &[
                "take its own address out of its list of peers",
                "if it is another process, give it another id, or none, so that it makes one",
            ],
        ),
        Answer::Goes(_) => return None,
        Answer::Dropped { id, code, text } => dropped(*id, *code, text, asked_as),
        Answer::Versions(min, max) => {
            let versions = if min == max {
                format!("version {min}")
            } else {
                format!("versions {min} to {max}")
            };
            Finding::new(
                "version",
                Exit::Refused,
                format!("the peer speaks {versions} of the protocol, and this side version 1"),
                "Every release of Broker so far speaks version 1. The peer is of another kind, or \
                 newer than this program.",
                &[
                    "update the older side",
                    "use the peer's WebSocket server, if it has one",
                ],
            )
        }
        Answer::Magic(magic) => Finding::new(
            "magic",
            Exit::Refused,
            format!(
                "the peer introduces itself with `{}` instead of `ZEEK`",
                magic.escape_ascii()
            ),
            "It speaks something that looks like Broker and is not: another program, or something \
             on the way that changes what it says.",
            &["check the address and the port"],
        ),
        Answer::Nonsense(what) => Finding::new(
            "nonsense",
            Exit::Refused,
            format!("the peer says something that does not belong there: {what}"),
            "It began like a Broker peer and went on like none.",
            &[
                "check the address and the port",
                "look into the log of the peer",
            ],
        ),
    })
}

fn dropped(id: EndpointId, code: ErrorCode, text: &str, asked_as: EndpointId) -> Finding {
    let is_redundant = code == ErrorCode::RedundantConnection || text.contains("redundant");
    if is_redundant {
        return Finding::new(
            "duplicate-id",
            Exit::Refused,
            format!("the peer is connected to an endpoint with the id `{asked_as}` already"),
            "Two connections of one id are one too many. If the endpoint of that id is not peered \
             with it, two processes run with the same id, and only one of them gets through.",
            &[
                "give every process its own id, or none, so that it makes one",
                "if the process was started again, wait until the peer has noticed that the old \
                 connection is gone",
            ],
        );
    }
    let (means, remedy) = match code {
        ErrorCode::ShuttingDown => (
            "The peer is about to end.",
            "try again once it has started anew",
        ),
        ErrorCode::PeerIncompatible => (
            "The peer speaks another version of the protocol.",
            "update the older side",
        ),
        _ => (
            "The peer answered the handshake with a refusal.",
            "look into the log of the peer, which says why",
        ),
    };
    Finding::new(
        "refused",
        Exit::Refused,
        format!("the peer `{id}` refuses: {text} ({code})"),
        means,
        &[remedy],
    )
}

pub(in super::super) fn no_answer(place: &str, limit: Duration) -> Finding {
    Finding::new(
        "no-answer",
        Exit::Unreachable,
        format!(
            "{place} began like a native peer and did not answer the handshake within {} s",
            limit.as_secs_f64()
        ),
        "The process there is stopped or too busy, or something on the way lets only the first \
         bytes through.",
        &[
            "look at the state and load of the peer",
            "try again with a longer --timeout",
        ],
    )
}

/// Keys of CURVE are missing, too many, or not those of the cluster. Spec: zeromq 8.
pub(in super::super) fn curve_keys(text: &str) -> Finding {
    let finding = Finding::new(
        "zeromq-keys",
        Exit::Refused,
        format!("the keys of CURVE are not right: {text}"),
        "An encrypted cluster has one key pair for its servers and one that all others share; who has \
         other keys, or none, does not get in.",
        &[],
    );
    if text.contains("not encrypted, but CURVE keys are given") {
        return finding.remedy("leave `--curve` out, or give `--curve off`");
    }
    finding
        .remedy(
            "give `--curve DIRECTORY`, that of zeekctl is <SpoolDir>/zeromq/curve on the manager",
        )
        .remedy("compare the public keys; after new ones all nodes have to be started again")
}

/// The handshake failed for a reason that only the library knows.
pub(in super::super) fn handshake_failed(text: &str) -> Finding {
    Finding::new(
        "handshake-failed",
        Exit::Refused,
        format!("the handshake failed: {text}"),
        "The port, the protocol and the encryption are right, and yet no peering came about.",
        &[
            "look into the log of the peer",
            "try again: it may have been starting or ending",
        ],
    )
}

pub(in super::super) fn same_endpoint(url: &str, other: &str, id: EndpointId) -> Finding {
    Finding::new(
        "duplicate-id",
        Exit::Failed,
        format!("`{url}` and `{other}` are both the endpoint `{id}`"),
        "Either the two addresses lead to one process, and one peering is enough; or two processes \
         run with the same id, and no endpoint can peer with both.",
        &["give every process its own id, or none, so that it makes one"],
    )
}
