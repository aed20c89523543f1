//! The first 64 bytes of a connection, and what other protocols send instead. Spec: zeromq 2.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use super::{Error, Foreign, Security};

/// Bytes of a greeting.
pub(super) const GREETING_BYTES: usize = 64;
/// Bytes that are sent before the peer's version is known: a libzmq that got all of a greeting it does
/// not like would close the connection before it said what it is itself.
pub(super) const VERSION_END: usize = 11;
/// Bytes by which another protocol is recognised: a native hello up to the end of its magic.
pub(super) const FOREIGN_BYTES: usize = 9;

const SIGNATURE_END: usize = 9;
const MAJOR: usize = 10;
const MINOR: usize = 11;
const MECHANISM: std::ops::Range<usize> = 12..32;
const AS_SERVER: usize = 32;

/// What the peer's greeting says that this end did not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) major: u8,
    pub(super) minor: u8,
}

pub(super) fn write(security: &Security, out: &mut Vec<u8>) {
    out.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]);
    let mut mechanism = [0; 20];
    for (to, from) in mechanism.iter_mut().zip(security.mechanism().bytes()) {
        *to = from;
    }
    out.extend(mechanism);
    out.push(u8::from(security.is_server()));
    out.extend([0; 31]);
}

/// Reads what came so far; `None` while more is needed. The same bytes give the same answer in
/// whatever pieces they come.
pub(super) fn read(bytes: &[u8], security: &Security) -> Result<Option<Greeting>, Error> {
    if let Some(first) = bytes.first()
        && *first != 0xff
    {
        return match bytes.get(..FOREIGN_BYTES) {
            Some(start) => Err(Error::NotZmtp(foreign(start))),
            None => Ok(None),
        };
    }
    // The lowest bit tells signatures from messages of version 1 with a long length.
    if let Some(end) = bytes.get(SIGNATURE_END)
        && end & 1 == 0
    {
        return Err(Error::NotZmtp(Foreign::Unknown));
    }
    if let Some(major) = bytes.get(MAJOR)
        && *major < 3
    {
        return Err(Error::Version(*major));
    }
    let Some(bytes) = bytes.get(..GREETING_BYTES) else {
        return Ok(None);
    };
    let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
    let name = bytes.get(MECHANISM).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0);
    let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
    if name != security.mechanism().as_bytes() {
        return Err(Error::Mechanism {
            ours: security.mechanism(),
            theirs: String::from_utf8_lossy(name).escape_debug().collect(),
        });
    }
    let is_server = at(AS_SERVER) & 1 == 1;
    // Servers of libzmq do not say that they are: only who says it can be believed.
    if is_server && security.is_server() {
        return Err(Error::SameRole("server"));
    }
    Ok(Some(Greeting {
        major: at(MAJOR),
        minor: at(MINOR),
    }))
}

/// Judges a protocol by its first bytes, of which there may be few.
pub(super) fn foreign(bytes: &[u8]) -> Foreign {
    match bytes {
        // A frame of native Broker: a length, a kind, "ZEEK". Spec: wire 8.2.
        [0, 0, 0, _, 6..=9, b'Z', b'E', b'E', b'K', ..] => Foreign::Broker,
        // A record of TLS: an alert or a handshake.
        [0x15 | 0x16, 3, 0..=4, ..] => Foreign::Tls,
        [b'H', b'T', b'T', b'P', b'/', ..] => Foreign::Http,
        _ => Foreign::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_that_of_recordings() {
        let mut greeting = Vec::new();
        write(&Security::Null, &mut greeting);
        let mut expected = hex::decode("ff00000000000000017f03014e554c4c").unwrap();
        expected.resize(GREETING_BYTES, 0);
        assert_eq!(greeting, expected);
        let read = |bytes: &[u8]| read(bytes, &Security::Null);
        assert_eq!(read(&greeting), Ok(Some(Greeting { major: 3, minor: 1 })));
        assert_eq!(read(&greeting[..63]), Ok(None));
        // What a client of version 3.0 sends. Spec: zeromq 2.
        greeting[8] = 0;
        greeting[11] = 0;
        assert_eq!(read(&greeting), Ok(Some(Greeting { major: 3, minor: 0 })));
    }

    #[test]
    fn other_protocols_are_recognised() {
        let cases: &[(&[u8], Option<Error>)] = &[
            (
                b"HTTP/1.1 400 Bad Request\r\n",
                Some(Error::NotZmtp(Foreign::Http)),
            ),
            (b"\x15\x03\x01\x00\x02\x02\x46", None),
            (
                b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76",
                Some(Error::NotZmtp(Foreign::Tls)),
            ),
            (
                b"\x00\x00\x00\x05\x07ZEEK",
                Some(Error::NotZmtp(Foreign::Broker)),
            ),
            (
                b"220 mail.example.org",
                Some(Error::NotZmtp(Foreign::Unknown)),
            ),
            (
                b"\xff\0\0\0\0\0\0\0\x01\x7e",
                Some(Error::NotZmtp(Foreign::Unknown)),
            ),
            (b"\xff\0\0\0\0\0\0\0\x01\x7f\x02", Some(Error::Version(2))),
            (b"", None),
        ];
        for (bytes, error) in cases {
            match (read(bytes, &Security::Null), error) {
                (Err(found), Some(expected)) => assert_eq!(found, *expected),
                (Ok(None), None) => {}
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
        // An alert of TLS is shorter than what is waited for, and the end of the connection behind it.
        assert_eq!(foreign(b"\x15\x03\x01\x00\x02\x02\x46"), Foreign::Tls);
    }

    #[test]
    fn another_mechanism_is_named() {
        let mut greeting = Vec::new();
        write(&Security::Null, &mut greeting);
        greeting.splice(12..17, *b"CURVE");
        let error = read(&greeting, &Security::Null).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the peer is encrypted with CURVE: give the keys of the cluster"
        );
        greeting.splice(12..17, *b"PL\x1bIN");
        let error = read(&greeting, &Security::Null).unwrap_err().to_string();
        assert_eq!(
            error,
            "the peer uses the mechanism `PL\\u{1b}IN`, here it is NULL"
        );
    }
}
