//! Commands: a name, and what it carries. Spec: zeromq 2.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use super::{Error, SocketType, frame};

pub(super) const READY: &[u8] = b"READY";
pub(super) const ERROR: &[u8] = b"ERROR";
pub(super) const SUBSCRIBE: &[u8] = b"SUBSCRIBE";
pub(super) const CANCEL: &[u8] = b"CANCEL";
pub(super) const PING: &[u8] = b"PING";
pub(super) const PONG: &[u8] = b"PONG";

/// Longest context of a ping, which its answer repeats.
const CONTEXT_MAX: usize = 16;
/// Characters of a reason that are kept.
const REASON_MAX: usize = 200;

const SOCKET_TYPE: &[u8] = b"Socket-Type";

/// Takes a command apart: its name, and where what it carries begins.
pub(super) fn split(body: &[u8]) -> Result<(&[u8], usize), Error> {
    const ERROR: Error = Error::Malformed("a command without a name");
    let (length, rest) = body.split_first().ok_or(ERROR)?;
    let length = usize::from(*length);
    let name = rest.get(..length).filter(|name| !name.is_empty());
    Ok((name.ok_or(ERROR)?, length.saturating_add(1)))
}

/// Writes a command's body.
pub(super) fn write_body(name: &[u8], data: &[u8], out: &mut Vec<u8>) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
    out.extend_from_slice(data);
}

/// Writes a command as a frame of its own.
pub(super) fn write(name: &[u8], data: &[u8], out: &mut Vec<u8>) {
    let body = name.len().saturating_add(data.len()).saturating_add(1);
    frame::write_head(frame::COMMAND, body, out);
    write_body(name, data, out);
}

/// What a socket says about itself at the end of a handshake.
pub(super) fn metadata(socket_type: SocketType) -> Vec<u8> {
    let name = socket_type.name();
    let mut out = Vec::with_capacity(
        SOCKET_TYPE
            .len()
            .saturating_add(name.len().saturating_add(5)),
    );
    out.push(u8::try_from(SOCKET_TYPE.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(SOCKET_TYPE);
    out.extend(u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    out
}

/// Reads what the peer says about itself, and checks that it fits.
pub(super) fn read_metadata(mut bytes: &[u8], ours: SocketType) -> Result<SocketType, Error> {
    let mut theirs: Option<&[u8]> = None;
    while !bytes.is_empty() {
        let (name, value, rest) =
            property(bytes).ok_or(Error::Malformed("metadata that is cut off"))?;
        bytes = rest;
        // Names are compared without case, and the rest of them tells nothing to this end.
        if name.eq_ignore_ascii_case(SOCKET_TYPE) {
            theirs = Some(value);
        }
    }
    let theirs = theirs.ok_or(Error::Malformed("metadata without a socket type"))?;
    let known = SocketType::ALL
        .into_iter()
        .find(|kind| kind.name().as_bytes() == theirs);
    known
        .filter(|kind| ours.fits(*kind))
        .ok_or_else(|| Error::SocketType {
            ours,
            theirs: text(theirs),
        })
}

fn property(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((name, value, rest))
}

/// Reads the reason of an error command.
pub(super) fn read_reason(data: &[u8]) -> Result<String, Error> {
    const ERROR: Error = Error::Malformed("an error command that is cut off");
    let (length, rest) = data.split_first().ok_or(ERROR)?;
    rest.get(..usize::from(*length)).map(text).ok_or(ERROR)
}

/// Writes an error command.
pub(super) fn write_error(reason: &str, out: &mut Vec<u8>) {
    let mut data = vec![u8::try_from(reason.len()).unwrap_or(u8::MAX)];
    data.extend_from_slice(reason.as_bytes());
    write(ERROR, &data, out);
}

/// What a ping carries to be sent back: all of it but its time to live.
pub(super) fn read_ping(data: &[u8]) -> Result<&[u8], Error> {
    let context = data.get(2..);
    context
        .filter(|context| context.len() <= CONTEXT_MAX)
        .ok_or(Error::Malformed("a ping of another length"))
}

/// Text of a peer for an error, without what a terminal would obey.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.escape_debug().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_command_is_that_of_recordings() {
        for (kind, expected) in [
            (
                SocketType::Push,
                "041a0552454144590b536f636b65742d547970650000000450555348",
            ),
            (
                SocketType::Sub,
                "0419055245414459 0b536f636b65742d5479706500000003535542",
            ),
        ] {
            let mut out = Vec::new();
            write(READY, &metadata(kind), &mut out);
            assert_eq!(hex::encode(&out), expected.replace(' ', ""));
            let (name, at) = split(&out[2..]).unwrap();
            assert_eq!(name, READY);
            let ours = match kind {
                SocketType::Push => SocketType::Pull,
                _ => SocketType::Xpub,
            };
            assert_eq!(read_metadata(&out[2..][at..], ours), Ok(kind));
        }
    }

    #[test]
    fn unknown_properties_are_passed_over() {
        let mut bytes = b"\x08Identity\x00\x00\x00\x02id".to_vec();
        bytes.extend(b"\x0bSOCKET-TYPE\x00\x00\x00\x04XPUB");
        bytes.extend(b"\x08X-Custom\x00\x00\x00\x00");
        assert_eq!(read_metadata(&bytes, SocketType::Sub), Ok(SocketType::Xpub));
        for end in 1..bytes.len() {
            // Cut off, or whole properties with nothing else behind them.
            match read_metadata(&bytes[..end], SocketType::Sub) {
                Err(Error::Malformed(_)) => {}
                Ok(SocketType::Xpub) => assert_eq!(end, 35),
                other => panic!("{end}: {other:?}"),
            }
        }
    }

    #[test]
    fn sockets_that_do_not_fit_are_named() {
        let error = read_metadata(&metadata(SocketType::Xsub), SocketType::Sub).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the peer is a socket of kind `XSUB`, which does not fit SUB here: the ports of the \
             proxy's XPUB and XSUB are the other way round"
        );
        let error = read_metadata(b"\x0bSocket-Type\0\0\0\x03RE\n", SocketType::Pull);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the peer is a socket of kind `RE\\n`, which does not fit PULL here"
        );
    }

    #[test]
    fn reasons_and_pings() {
        assert_eq!(read_reason(b"\x03400").as_deref(), Ok("400"));
        assert!(read_reason(b"\x04400").is_err());
        assert_eq!(read_ping(b"\0\0abc"), Ok(&b"abc"[..]));
        assert!(read_ping(b"\0").is_err());
        assert!(read_ping(&[0; 19]).is_err());
    }
}
