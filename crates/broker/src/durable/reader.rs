//! Readers of a stream in order: last values and what becomes of them, and replays of what is stored.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bad_messages::BadMessages;
use super::{DurableError, DurableTopics};
use crate::core::completion::{CompletionQueue, OperationId};
use crate::core::jet_stream::message::DurableMessage;
use crate::core::jet_stream::queue::{ReadQueue, Taken};

/// Receives messages of a stream in their order, each once and without acknowledgements; made by
/// [`DurableTopics::retained`] and [`DurableTopics::replay`].
///
/// All methods take `&self`; each message goes to one of the threads that ask. Connections to the servers
/// come and go without an error, a gap or a message that comes twice.
pub struct StreamReader {
    topics: DurableTopics,
    stream: String,
    queue: Arc<ReadQueue>,
    bad: BadMessages,
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl StreamReader {
    pub(super) fn new(topics: DurableTopics, stream: String, queue: Arc<ReadQueue>) -> Self {
        Self {
            topics,
            stream,
            queue,
            bad: BadMessages::default(),
        }
    }

    /// The stream that is read.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Takes the next message if there is one, and if it is due.
    ///
    /// # Errors
    ///
    /// [`DurableError::Closed`] when this was closed, or the endpoint is shut down, and
    /// [`DurableError::CutShort`] when the stream is gone or was made anew; for a replay also when the
    /// endpoint is shut down.
    pub fn try_recv(&self) -> Result<Option<DurableMessage>, DurableError> {
        loop {
            let (taken, is_free) = self.queue.take();
            if is_free {
                let now = self.topics.shared.now();
                self.topics.client.make_room(now, &self.queue);
            }
            match taken {
                Taken::Message(message) => return Ok(Some(message)),
                Taken::Bad(_, text) => self.bad.report(&self.topics.shared.data, text),
                Taken::Other(_) => {}
                Taken::Empty | Taken::Finished => return Ok(None),
                Taken::Closed(None) => return Err(DurableError::Closed),
                Taken::Closed(Some(_)) if self.topics.client.is_over() && !self.queue.has_end() => {
                    return Err(DurableError::Closed);
                }
                Taken::Closed(Some(cause)) => {
                    let name = self.stream.clone();
                    return Err(DurableError::CutShort { name, cause });
                }
            }
        }
    }

    /// Takes the next message, and waits at most for `timeout` until there is one. Nothing also at the end
    /// of a replay, see [`is_finished`](Self::is_finished).
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<DurableMessage>, DurableError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(message) = self.try_recv()? {
                return Ok(Some(message));
            }
            let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
            if self.is_finished() || !self.queue.wait(left) {
                return Ok(None);
            }
        }
    }

    /// Takes the next message, and waits until there is one; nothing at the end of a replay.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn recv(&self) -> Result<Option<DurableMessage>, DurableError> {
        loop {
            let message = self.recv_timeout(Duration::from_secs(3600))?;
            if message.is_some() || self.is_finished() {
                return Ok(message);
            }
        }
    }

    /// As [`recv`](Self::recv), waiting as a future. One that is dropped loses nothing.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub async fn recv_async(&self) -> Result<Option<DurableMessage>, DurableError> {
        loop {
            let message = self.try_recv()?;
            if message.is_some() || self.is_finished() {
                return Ok(message);
            }
            self.queue.ready().await;
        }
    }

    /// Takes up to `max` messages that are there.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), unless there are messages.
    pub fn take(&self, max: usize, into: &mut Vec<DurableMessage>) -> Result<(), DurableError> {
        for taken in 0..max {
            match self.try_recv() {
                Ok(Some(message)) => into.push(message),
                Ok(None) => return Ok(()),
                Err(_) if taken > 0 => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts messages back in front of those that wait, in the order given.
    pub fn put_back(&self, messages: Vec<DurableMessage>) {
        self.queue.put_back(messages);
    }

    /// Blocks until there is something to take or nothing will come any more; `false` when the time is
    /// over.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.queue.wait(timeout)
    }

    /// How many messages wait here; those of a batch may count as one.
    pub fn available(&self) -> usize {
        self.queue.available()
    }

    /// Whether a replay is at its end: everything was taken.
    pub fn is_finished(&self) -> bool {
        self.queue.is_finished()
    }

    /// Whether the last values that there were at the beginning are taken, all of them; what comes from
    /// then on are changes.
    pub fn is_current(&self) -> bool {
        self.queue.is_state_taken()
    }

    /// Whether nothing is left and nothing will come, as it was closed or cannot go on.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// A descriptor that is readable exactly while there is something to take, or the end is to be told.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub fn fd(&self) -> io::Result<RawFd> {
        self.queue.fd()
    }

    /// Has a queue tell when there is something to take, or the end to be told; see
    /// [`CompletionQueue::resume`].
    pub fn watch<T: Send + 'static>(&self, queue: &CompletionQueue<T>) -> OperationId {
        queue.watch_stream(self.queue.clone())
    }

    /// Ends it. Nothing is left behind on the servers.
    pub fn close(&self) {
        self.queue.close(None);
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.close();
    }
}
