//! Frames: the parts of messages, and commands. Spec: zeromq 2.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use super::{Error, Limits};

/// More parts follow.
pub(super) const MORE: u8 = 1;
/// The length has eight bytes.
pub(super) const LONG: u8 = 2;
/// It is a command.
pub(super) const COMMAND: u8 = 4;

/// What stands before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) flags: u8,
    /// Bytes of the head.
    pub(super) length: usize,
    /// Bytes of the body.
    pub(super) body: usize,
}

impl Head {
    /// Reads a head; `None` while it is incomplete. A body that is too long is refused with its head.
    pub(super) fn read(bytes: &[u8], limits: &BodyLimit) -> Result<Option<Self>, Error> {
        let Some(flags) = bytes.first().copied() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(Error::Malformed("a frame with reserved flags"));
        }
        if flags & COMMAND != 0 && flags & MORE != 0 {
            return Err(Error::Malformed("a command with more parts"));
        }
        let (length, body) = match flags & LONG {
            0 => match bytes.get(1) {
                Some(body) => (2, u64::from(*body)),
                None => return Ok(None),
            },
            _ => match bytes.get(1..).and_then(<[u8]>::first_chunk) {
                Some(body) => (9, u64::from_be_bytes(*body)),
                None => return Ok(None),
            },
        };
        match usize::try_from(body)
            .ok()
            .filter(|body| *body <= limits.max)
        {
            Some(body) => Ok(Some(Self {
                flags,
                length,
                body,
            })),
            None => Err(Error::Limit {
                what: limits.what,
                found: body,
                max: limits.max,
                limit: limits.name,
            }),
        }
    }
}

/// How long a body may be, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    pub(super) max: usize,
    what: &'static str,
    name: &'static str,
}

impl BodyLimit {
    /// For what was taken in before, and lies in a queue.
    pub(super) const UNLIMITED: Self = Self {
        max: usize::MAX,
        what: "a part",
        name: "part_bytes_max",
    };

    pub(super) const fn of_handshake(limits: &Limits) -> Self {
        Self {
            max: limits.handshake_bytes_max,
            what: "a command of the handshake",
            name: "handshake_bytes_max",
        }
    }

    /// `overhead`: what encryption adds to a part.
    pub(super) const fn of_traffic(limits: &Limits, overhead: usize) -> Self {
        Self {
            max: limits.part_bytes_max.saturating_add(overhead),
            what: "a part",
            name: "part_bytes_max",
        }
    }
}

/// Writes the head of a frame.
pub(super) fn write_head(flags: u8, body: usize, out: &mut Vec<u8>) {
    match u8::try_from(body) {
        Ok(short) => out.extend([flags, short]),
        Err(_) => {
            out.push(flags | LONG);
            out.extend((body as u64).to_be_bytes());
        }
    }
}

/// Writes a frame.
pub(super) fn write(flags: u8, body: &[u8], out: &mut Vec<u8>) {
    out.reserve(body.len().saturating_add(9));
    write_head(flags, body.len(), out);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> BodyLimit {
        BodyLimit::of_traffic(
            &Limits {
                part_bytes_max: 1000,
                ..Limits::default()
            },
            0,
        )
    }

    #[test]
    fn heads_are_read_as_they_are_written() {
        for (body, length) in [(0, 2), (255, 2), (256, 9), (1000, 9)] {
            let mut bytes = Vec::new();
            write_head(COMMAND, body, &mut bytes);
            assert_eq!(bytes.len(), length);
            let head = Head::read(&bytes, &limit()).unwrap().unwrap();
            assert_eq!((head.length, head.body), (length, body));
            assert_eq!(head.flags & COMMAND, COMMAND);
            for end in 0..length {
                assert_eq!(Head::read(&bytes[..end], &limit()), Ok(None));
            }
        }
    }

    #[test]
    fn heads_that_no_peer_sends_are_refused() {
        assert!(Head::read(&[8], &limit()).is_err());
        assert!(Head::read(&[MORE | COMMAND], &limit()).is_err());
        let error = Head::read(&[LONG, 255, 255, 255, 255, 255, 255, 255, 255], &limit());
        assert_eq!(
            error.unwrap_err().to_string(),
            "the peer sent a part of 18446744073709551615: at most 1000 are taken (`part_bytes_max`)"
        );
    }
}
