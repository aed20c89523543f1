//! What speaks at a port, by the first bytes that come from it.
//!
//! Spec: wire 2 and 7 for native peers, zeromq 2 for ZeroMQ, websocket 1 for WebSockets.

use broker::EndpointId;
use broker::ErrorCode;
use broker::proto::frame::{FRAME_LEN_SIZE, frame_size};
use broker::proto::message::{Handshake, MAGIC};

/// Characters of a stranger's first line that are repeated.
const BANNER_MAX: usize = 60;

/// Bytes of the first part of a ZMTP greeting, which comes by itself. Spec: zeromq 2.
const ZMTP_SIGNATURE: usize = 10;

/// Bytes of a whole ZMTP greeting. Spec: zeromq 2.
pub(super) const ZMTP_GREETING: usize = 64;

/// Tag of a hello, the first message of a native peer. Spec: wire 7.
const HELLO: u8 = 6;

/// What speaks at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Speaker {
    /// A native peer.
    Broker,
    /// A ZeroMQ socket.
    ZeroMq,
    /// A WebSocket server, by its answer to a request for one.
    WebSocket,
    /// A web server that has no WebSocket there.
    Http {
        /// Status and reason.
        status: String,
        /// What it calls itself.
        server: Option<String>,
    },
    /// TLS, whatever is inside.
    Tls,
    /// An SSH server.
    Ssh(String),
    /// Something else, and how it begins.
    Other(String),
}

/// Judges the first bytes that came; `None` if there are none.
pub(super) fn judge(bytes: &[u8]) -> Option<Speaker> {
    Some(match bytes {
        [] => return None,
        // Of the signature eight bytes may have any value; those of ZeroMQ are 0 and 0 or 1.
        [0xff, rest @ ..] if rest.get(8).is_none_or(|last| last & 1 == 1) => Speaker::ZeroMq,
        // A short frame whose tag is one of the handshake.
        [0, _, _, _, 6..=12, ..] => Speaker::Broker,
        [0x14..=0x17, 3, ..] => Speaker::Tls,
        _ if bytes.starts_with(b"SSH-") => Speaker::Ssh(banner(bytes)),
        _ if bytes.starts_with(b"HTTP/1.") => http(bytes),
        _ => Speaker::Other(banner(bytes)),
    })
}

/// Whether enough came to judge it.
pub(super) fn is_enough(bytes: &[u8]) -> bool {
    match judge(bytes) {
        None => false,
        Some(Speaker::Http { .. } | Speaker::WebSocket) => {
            bytes.windows(4).any(|end| end == b"\r\n\r\n")
        }
        Some(Speaker::ZeroMq) => bytes.len() >= ZMTP_SIGNATURE,
        Some(Speaker::Broker | Speaker::Tls) => true,
        Some(Speaker::Ssh(_) | Speaker::Other(_)) => bytes.contains(&b'\n'),
    }
}

fn http(bytes: &[u8]) -> Speaker {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.split_once(' ').map_or("", |(_, status)| status);
    let fields: Vec<_> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |name: &str| {
        let mut found = fields.iter().filter(|(it, _)| it == name);
        found.next().map(|(_, value)| *value)
    };
    let upgrades = field("upgrade").is_some_and(|it| it.eq_ignore_ascii_case("websocket"));
    if status.starts_with("101") && upgrades {
        Speaker::WebSocket
    } else {
        Speaker::Http {
            status: banner(status.as_bytes()),
            server: field("server").map(|server| banner(server.as_bytes())),
        }
    }
}

/// The first line of a stranger, without what a terminal would act on.
fn banner(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_text = !line.is_empty() && line.iter().all(|byte| (b' '..0x7f).contains(byte));
    if is_text {
        String::from_utf8_lossy(line)
            .chars()
            .take(BANNER_MAX)
            .collect()
    } else {
        let hex = bytes.iter().take(BANNER_MAX / 4);
        let hex: Vec<_> = hex.map(|byte| format!("{byte:02x}")).collect();
        format!("bytes {}", hex.join(" "))
    }
}

/// What a ZeroMQ socket says of itself. Spec: zeromq 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ZmtpGreeting {
    /// Version of ZMTP.
    pub(super) version: (u8, u8),
    /// How it secures connections: `NULL`, `CURVE`.
    pub(super) mechanism: String,
    /// What kind of socket it is: `XPUB`, `XSUB`; only said without encryption.
    pub(super) socket: Option<String>,
}

impl ZmtpGreeting {
    /// Reads a whole greeting, and the command behind it if it came.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (greeting, commands) = bytes.split_at_checked(ZMTP_GREETING)?;
        let version = (*greeting.get(10)?, *greeting.get(11)?);
        let mechanism = greeting.get(12..32)?;
        let mechanism = mechanism.split(|byte| *byte == 0).next()?;
        let key = b"\x0bSocket-Type";
        let at = commands.windows(key.len()).position(|it| it == key);
        let value = at.and_then(|at| commands.get(at + key.len()..));
        let socket = value.and_then(|value| match value {
            [0, 0, 0, length, rest @ ..] => rest.get(..usize::from(*length)),
            _ => None,
        });
        Some(Self {
            version,
            mechanism: banner(mechanism),
            socket: socket.map(banner),
        })
    }
}

/// How a native peer answers a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// As it should: that is its id.
    Goes(EndpointId),
    /// It wants no such connection.
    Dropped {
        id: EndpointId,
        code: ErrorCode,
        text: String,
    },
    /// It speaks other versions of the protocol, from the first to the second.
    Versions(u8, u8),
    /// It begins with other bytes than the protocol does.
    Magic([u8; 4]),
    /// It says something that is no message of the handshake; what that is called.
    Nonsense(String),
}

/// The latest answer in what a native peer sent.
pub(super) fn answer(mut bytes: &[u8]) -> Option<Answer> {
    let mut latest = None;
    while let Some(size) = frame_size(bytes) {
        let (Some(payload), Some(rest)) = (bytes.get(FRAME_LEN_SIZE..size), bytes.get(size..))
        else {
            break;
        };
        bytes = rest;
        match Handshake::parse(payload) {
            Ok(Handshake::Hello { id, .. } | Handshake::VersionSelect { id, .. }) => {
                latest = Some(Answer::Goes(id));
            }
            Ok(Handshake::DropConn { id, code, text }) => {
                return Some(Answer::Dropped { id, code, text });
            }
            // What comes before the answer, and behind it.
            Ok(
                Handshake::Probe
                | Handshake::OriginatorSyn(_)
                | Handshake::ResponderSynAck(_)
                | Handshake::OriginatorAck,
            ) => {}
            Err(refusal) => return Some(misfit(payload, refusal.code, refusal.text)),
        }
    }
    latest
}

/// Why a message of the handshake was not understood. Spec: wire 5.
fn misfit(payload: &[u8], code: ErrorCode, text: String) -> Answer {
    let magic = payload.get(1..5).and_then(|it| it.first_chunk::<4>());
    match (code, magic) {
        (ErrorCode::WrongMagicNumber, Some(magic)) if *magic != MAGIC => Answer::Magic(*magic),
        (ErrorCode::PeerIncompatible, _) => match (payload.first(), payload.get(21..)) {
            (Some(&HELLO), Some([min, max, ..])) => Answer::Versions(*min, *max),
            (_, Some([version, ..])) => Answer::Versions(*version, *version),
            _ => Answer::Nonsense(text),
        },
        _ => Answer::Nonsense(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever speaks there, it is judged and nothing of it is repeated that a line cannot have.
        #[test]
        fn any_bytes_are_judged(
            start in prop_oneof![
                Just(Vec::new()),
                Just(b"SSH-".to_vec()),
                Just(b"HTTP/1.1 101 ".to_vec()),
                Just(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01".to_vec()),
                Just(b"\0\0\0\x17\x06ZEEK".to_vec()),
            ],
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, rest].concat();
            let _ = is_enough(&bytes);
            let _ = answer(&bytes);
            let _ = ZmtpGreeting::parse(&bytes);
            if let Some(Speaker::Other(said) | Speaker::Ssh(said)) = judge(&bytes) {
                prop_assert!(said.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
            }
        }
    }

    #[test]
    fn each_protocol_is_known_by_its_first_bytes() {
        let probe = Handshake::Probe.encode();
        let signature = b"\xff\0\0\0\0\0\0\0\x01\x7f";
        let cases: [(&[u8], Option<Speaker>); 8] = [
            (b"", None),
            (&probe, Some(Speaker::Broker)),
            (signature, Some(Speaker::ZeroMq)),
            (b"\x15\x03\x01\0\x02\x02\x28", Some(Speaker::Tls)),
            (
                b"SSH-2.0-OpenSSH_9.6\r\n",
                Some(Speaker::Ssh("SSH-2.0-OpenSSH_9.6".to_owned())),
            ),
            (
                b"220 mail ready\r\n",
                Some(Speaker::Other("220 mail ready".to_owned())),
            ),
            (
                b"\x1b[2J\x01",
                Some(Speaker::Other("bytes 1b 5b 32 4a 01".to_owned())),
            ),
            (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n",
                Some(Speaker::WebSocket),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(judge(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_web_server_is_named() {
        let answer = b"HTTP/1.1 404 Not Found\r\nServer: nginx/1.24\r\n\r\nno";
        let expected = Speaker::Http {
            status: "404 Not Found".to_owned(),
            server: Some("nginx/1.24".to_owned()),
        };
        assert_eq!(judge(answer), Some(expected));
        assert!(is_enough(answer) && !is_enough(&answer[..30]));
    }

    #[test]
    fn a_zeromq_socket_says_version_mechanism_and_kind() {
        let mut bytes = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL".to_vec();
        bytes.resize(ZMTP_GREETING, 0);
        let greeting = ZmtpGreeting::parse(&bytes).expect("a greeting");
        assert_eq!((greeting.version, greeting.socket), ((3, 1), None));
        assert_eq!(greeting.mechanism, "NULL");
        bytes.extend_from_slice(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04XPUB");
        let greeting = ZmtpGreeting::parse(&bytes).expect("a greeting");
        assert_eq!(greeting.socket.as_deref(), Some("XPUB"));
        assert_eq!(ZmtpGreeting::parse(&bytes[..63]), None);
    }

    #[test]
    fn answers_to_a_hello_are_told_apart() {
        let id = EndpointId::from_random([7; 16]);
        let after_probe = |message: &[u8]| [Handshake::Probe.encode(), message.to_vec()].concat();
        let hello = Handshake::Hello { id, min: 1, max: 1 }.encode();
        assert_eq!(answer(&after_probe(&hello)), Some(Answer::Goes(id)));
        assert_eq!(answer(&Handshake::Probe.encode()), None);
        assert_eq!(answer(&hello[..9]), None);
        let newer = Handshake::Hello { id, min: 3, max: 4 }.encode();
        assert_eq!(answer(&newer), Some(Answer::Versions(3, 4)));
        let newer = Handshake::VersionSelect { id, version: 2 }.encode();
        assert_eq!(answer(&newer), Some(Answer::Versions(2, 2)));
        let mut other = hello.clone();
        other[5..9].copy_from_slice(b"BROK");
        assert_eq!(answer(&other), Some(Answer::Magic(*b"BROK")));
        let (code, text) = (ErrorCode::ShuttingDown, "shutting down".to_owned());
        let drop = Handshake::DropConn {
            id,
            code,
            text: text.clone(),
        };
        let dropped = Answer::Dropped { id, code, text };
        assert_eq!(answer(&drop.encode()), Some(dropped.clone()));
        let late = [hello, drop.encode()].concat();
        assert_eq!(answer(&late), Some(dropped));
    }
}
