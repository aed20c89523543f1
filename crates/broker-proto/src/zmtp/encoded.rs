//! Messages as they lie in queues: their frames, one behind the other, as on a connection without
//! encryption.
//!
//! What is forwarded to several connections is written once in this form and shared. It is this
//! program's own: where it is cut off or malformed, reading it ends.

use super::frame::{self, BodyLimit, Head, MORE};

/// Appends a message; one without parts appends nothing.
pub fn write_message<'a>(parts: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { MORE } else { 0 };
        frame::write(flags, part, out);
    }
}

/// A frame: its flags and its body.
fn split_frame<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let head = Head::read(bytes, &BodyLimit::UNLIMITED).ok()??;
    let body = bytes.get(head.length..)?;
    let (body, rest) = body.split_at_checked(head.body)?;
    *bytes = rest;
    Some((head.flags, body))
}

/// Visits the frames of messages: whether more parts follow, and the part.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || split_frame(&mut bytes).map(|(flags, body)| (flags & MORE, body)))
}

/// One message in that form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedMessage<'a>(&'a [u8]);

impl<'a> EncodedMessage<'a> {
    /// Takes the bytes of one message.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Visits its parts.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut bytes = self.0;
        std::iter::from_fn(move || split_frame(&mut bytes).map(|(_, body)| body))
    }
}

/// Visits messages that lie one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct EncodedMessages<'a>(&'a [u8]);

impl<'a> EncodedMessages<'a> {
    /// Takes the bytes of messages.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for EncodedMessages<'a> {
    type Item = EncodedMessage<'a>;

    fn next(&mut self) -> Option<EncodedMessage<'a>> {
        let start = self.0;
        loop {
            let (flags, _) = split_frame(&mut self.0)?;
            if flags & MORE == 0 {
                let size = start.len().saturating_sub(self.0.len());
                return start.get(..size).map(EncodedMessage);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_read_as_they_were_written(
            messages in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
                0..5,
            ),
        ) {
            let mut bytes = Vec::new();
            for parts in &messages {
                write_message(parts.iter().map(Vec::as_slice), &mut bytes);
            }
            let read: Vec<Vec<Vec<u8>>> = EncodedMessages::new(&bytes)
                .map(|message| message.parts().map(<[u8]>::to_vec).collect())
                .collect();
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn what_is_cut_off_ends(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let size: usize = EncodedMessages::new(&bytes).map(|message| message.bytes().len()).sum();
            prop_assert!(size <= bytes.len());
            prop_assert!(frames(&bytes).count() <= bytes.len());
        }
    }
}
