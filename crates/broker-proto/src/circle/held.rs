//! Copies of messages that are not passed on while it is found out whether they circle.

use std::collections::BTreeMap;

use crate::duplicates::Key;
use crate::id::EndpointId;

/// Messages held per topic, each once however many copies came.
const MESSAGES_MAX: usize = 256;

/// Bytes of these. Messages of the largest size are not held at all.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Copies held per topic, 32 bytes each: 200,000 per second for the time of a test.
const COPIES_MAX: usize = 100_000;

/// One copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldCopy {
    /// The peer that it came from.
    pub from: EndpointId,
    /// The receiver field it had: nil, or a mark.
    pub receiver: EndpointId,
}

/// A message and its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldMessage {
    /// The complete frame of the first copy.
    pub frame: Vec<u8>,
    /// In the order in which they came.
    pub copies: Vec<HeldCopy>,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    messages: BTreeMap<u64, HeldMessage>,
    bytes: usize,
    copies: usize,
}

impl Held {
    /// Keeps a copy; `false`: there is no room.
    pub(super) fn add(&mut self, Key(key): Key, frame: &[u8], copy: HeldCopy) -> bool {
        if self.copies >= COPIES_MAX {
            return false;
        }
        if let Some(message) = self.messages.get_mut(&key) {
            message.copies.push(copy);
        } else {
            let bytes = self.bytes.saturating_add(frame.len());
            if self.messages.len() >= MESSAGES_MAX || bytes > BYTES_MAX {
                return false;
            }
            self.bytes = bytes;
            let message = HeldMessage {
                frame: frame.to_vec(),
                copies: vec![copy],
            };
            self.messages.insert(key, message);
        }
        self.copies += 1;
        true
    }

    /// Gives back everything that came from peers that are wanted.
    pub(super) fn release(
        self,
        wants: impl Fn(EndpointId) -> bool,
    ) -> impl Iterator<Item = HeldMessage> {
        self.messages.into_values().filter_map(move |mut message| {
            message.copies.retain(|copy| wants(copy.from));
            (!message.copies.is_empty()).then_some(message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: HeldCopy = HeldCopy {
        from: EndpointId::from_bytes([1; 16]),
        receiver: EndpointId::NIL,
    };

    #[test]
    fn a_message_is_kept_once() {
        let mut held = Held::default();
        for _ in 0..3 {
            assert!(held.add(Key(1), b"one", COPY));
        }
        assert!(held.add(Key(2), b"two", COPY));
        let released: Vec<_> = held.release(|_| true).collect();
        assert_eq!(released.len(), 2);
        assert_eq!(
            (&*released[0].frame, released[0].copies.len()),
            (&b"one"[..], 3)
        );
        let mut held = Held::default();
        assert!(held.add(Key(1), b"one", COPY));
        assert_eq!(held.release(|_| false).count(), 0);
    }

    #[test]
    fn everything_is_bounded() {
        let mut held = Held::default();
        assert!(!held.add(Key(1), &vec![0; BYTES_MAX + 1], COPY));
        for key in 0..MESSAGES_MAX as u64 {
            assert!(held.add(Key(key), b"x", COPY));
        }
        assert!(!held.add(Key(u64::MAX), b"x", COPY));
        for _ in MESSAGES_MAX..COPIES_MAX {
            assert!(held.add(Key(0), b"x", COPY));
        }
        assert!(!held.add(Key(0), b"x", COPY));
    }
}
