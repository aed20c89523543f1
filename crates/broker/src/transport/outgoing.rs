//! The reader of a mailbox that takes messages out one by one.
//!
//! For transports that write each message in a form of their own. A native connection writes what is
//! in its mailbox as it is, and one of a WebSocket server reads translations that are shared.

use std::collections::VecDeque;
use std::task::Context;

use crate::flow::buffers;
use crate::flow::mailbox::{Chunk, Mailbox, Taken};
use crate::message::MessageRef;

/// Messages handed on before others get their turn.
const TURN_MESSAGES: usize = 256;

/// Bytes taken from the mailbox at once.
const TAKE_BATCH: usize = 64 * 1024;

/// Bytes that wait for the socket, beyond which messages stay in the mailbox, which has the limits.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// What became of the messages in the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// They are on their way, as far as there was room.
    All,
    /// There may be more.
    Some,
    /// The mailbox was given up: the peer did not take what was in it.
    Overflowed,
}

/// The reader of one mailbox.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Bound: `TAKE_BATCH`; nothing is taken before it is sent.
    chunks: VecDeque<Chunk>,
    /// Where the next message in the first of them begins.
    start: usize,
    is_finished: bool,
}

impl Outgoing {
    /// Whether the mailbox said that nothing more will come.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Hands on messages as long as there is room. `send` takes one and returns how many bytes wait
    /// for the socket then; `waiting` is how many do now. The task is woken when there are more
    /// messages, not when there is more room.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        mailbox: &Mailbox,
        mut waiting: usize,
        mut send: impl FnMut(MessageRef<'_>) -> usize,
    ) -> Written {
        for _ in 0..TURN_MESSAGES {
            if waiting >= OUTPUT_BYTES_MAX {
                return Written::All;
            }
            let Some(chunk) = self.chunks.front() else {
                match mailbox.poll_take(cx, TAKE_BATCH, &mut self.chunks) {
                    Taken::Messages(_) => continue,
                    Taken::Empty => return Written::All,
                    Taken::Closed => {
                        self.is_finished = true;
                        return Written::All;
                    }
                    Taken::Overflowed => return Written::Overflowed,
                }
            };
            match MessageRef::at(&chunk.bytes, self.start) {
                Some(message) => {
                    self.start = self.start.saturating_add(message.frame_len());
                    waiting = send(message);
                }
                None => {
                    self.start = 0;
                    if let Some(chunk) = self.chunks.pop_front() {
                        buffers::give(chunk.bytes);
                    }
                }
            }
        }
        Written::Some
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use broker_proto::EndpointId;
    use broker_proto::frame::{EnvelopeError, Tag, write_envelope};
    use bytes::Bytes;

    use super::*;
    use crate::config::Overflow;
    use crate::flow::mailbox::{Limits, Patience, Pushed, Run};

    fn mailbox(messages_max: usize) -> Mailbox {
        Mailbox::new(Limits {
            bytes_max: 1 << 20,
            messages_max,
            overflow: Overflow::Disconnect,
            stall_limit: Duration::ZERO,
            strict: true,
            translated: false,
        })
    }

    fn push(mailbox: &Mailbox, payload: &[u8]) -> Pushed {
        let (mut frame, id) = (Vec::new(), EndpointId::NIL);
        write_envelope::<EnvelopeError>(&mut frame, id, id, Tag::Data, b"/t", |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        mailbox.push(Run::shared(&Bytes::from(frame), 1), Patience::Waits)
    }

    /// Sends what it may, each message as so many bytes; returns the payloads.
    fn send(outgoing: &mut Outgoing, mailbox: &Mailbox, size: usize) -> (Written, Vec<Vec<u8>>) {
        let (mut sent, mut waiting) = (Vec::new(), 0);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let written = outgoing.poll_send(cx, mailbox, 0, |message| {
            sent.push(message.payload().to_vec());
            waiting += size;
            waiting
        });
        (written, sent)
    }

    #[test]
    fn messages_stay_while_the_socket_has_no_room_and_go_on_in_order() {
        let (mailbox, mut outgoing) = (mailbox(100), Outgoing::default());
        for payload in [b"a", b"b", b"c"] {
            assert_eq!(push(&mailbox, payload), Pushed::Accepted);
        }
        let half = OUTPUT_BYTES_MAX / 2;
        let sent = send(&mut outgoing, &mailbox, half);
        assert_eq!(sent, (Written::All, vec![b"a".to_vec(), b"b".to_vec()]));
        mailbox.finish();
        let sent = send(&mut outgoing, &mailbox, half);
        assert_eq!(sent, (Written::All, vec![b"c".to_vec()]));
        assert!(outgoing.is_finished());
    }

    #[test]
    fn others_get_their_turn_after_some_messages() {
        let (mailbox, mut outgoing) = (mailbox(2 * TURN_MESSAGES), Outgoing::default());
        for _ in 0..TURN_MESSAGES {
            push(&mailbox, b"x");
        }
        let (written, first) = send(&mut outgoing, &mailbox, 0);
        assert_eq!(written, Written::Some);
        let (written, second) = send(&mut outgoing, &mailbox, 0);
        assert_eq!(written, Written::All);
        assert_eq!(first.len() + second.len(), TURN_MESSAGES);
        assert!(!outgoing.is_finished());
    }

    #[test]
    fn a_mailbox_that_was_given_up_is_told() {
        let (mailbox, mut outgoing) = (mailbox(1), Outgoing::default());
        assert_eq!(push(&mailbox, b"x"), Pushed::Accepted);
        assert_eq!(push(&mailbox, b"x"), Pushed::Closed);
        let (written, _) = send(&mut outgoing, &mailbox, 0);
        assert_eq!(written, Written::Overflowed);
    }
}
