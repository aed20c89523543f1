//! One task per connection: it owns the socket both ways, so that failure, overflow and back-pressure
//! stay with that peer.
//!
//! A turn writes what the mailbox holds, reads what the socket holds and routes it, each within a
//! budget, and yields when a budget is used up. Reading stops while a target of what was read is full
//! and still moves: that is how back-pressure reaches the one socket that feeds it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::message::routing_update;
use bytes::{Buf, BytesMut};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep_until};

use crate::core::link::{Link, Side};
use crate::core::shared::Shared;
use crate::flow::buffers;
use crate::flow::mailbox::{Chunk, Taken};
use crate::net::socket::Socket;
#[cfg(feature = "tls")]
use crate::net::tls_session::Agreed;
use crate::peer::reader::{Reader, Verdict};
use crate::store::Node;

/// Bytes taken from the mailbox at once: one system call's worth.
const WRITE_BATCH: usize = 256 * 1024;

/// Bytes moved in one direction before the other gets its turn and the task yields: at loopback speed
/// under a millisecond.
const TURN_BUDGET: usize = 1024 * 1024;

/// Buffers in one vectored write; the system takes at most 1024, and more than a few dozen gain
/// nothing.
const IO_SLICES_MAX: usize = 64;

/// How long a closed connection may take to write what is queued and to end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// After our end of stream, how long what the other side still sends is read and dropped. Closing
/// with unread input makes the system reset the connection, and the reset can overtake our last
/// frame.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// The task of one connection.
pub(crate) struct PeerTask {
    shared: Arc<Shared>,
    connection: ConnectionId,
    link: Arc<Link>,
    socket: Socket,
    reader: Reader,
    /// Bound: `WRITE_BATCH` and one routing update; nothing is taken before it is written.
    outgoing: VecDeque<Chunk>,
    /// The mailbox said that nothing more will come.
    finished: bool,
}

/// How a connection's turn ended it.
#[derive(Debug)]
enum End {
    /// The control plane closed it; everything queued is written.
    Flushed,
    Because(Closed),
}

impl PeerTask {
    pub(crate) fn new(
        node: Node,
        connection: ConnectionId,
        link: Arc<Link>,
        socket: Socket,
        side: Side,
    ) -> Self {
        let shared = node.shared.clone();
        let reader = Reader::new(node, connection, side);
        #[cfg(feature = "tls")]
        if let Socket::Tls(stream) = &socket {
            // Set once: a connection has one socket.
            let _ = link.tls.set(Agreed::of(stream.ssl()));
        }
        let (socket, direct_write) = socket.share();
        if let Some(direct_write) = direct_write {
            link.mailbox.allow_direct_write(direct_write);
        }
        Self {
            shared,
            connection,
            link,
            socket,
            reader,
            outgoing: VecDeque::new(),
            finished: false,
        }
    }

    /// Serves the connection to its end. The permit is returned when it has become a peer or is closed.
    pub(crate) async fn run(mut self, deadline: Instant, permit: Option<OwnedSemaphorePermit>) {
        let mut handshake = Handshake {
            deadline: Box::pin(sleep_until(deadline.into())),
            permit,
        };
        let mut flush_deadline: Option<Pin<Box<Sleep>>> = None;
        let end = poll_fn(|cx| {
            if let Poll::Ready(end) = self.poll(cx) {
                return Poll::Ready(end);
            }
            if self.link.is_closing() {
                let timer = flush_deadline
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(FLUSH_TIMEOUT)));
                return timer.as_mut().poll(cx).map(|()| End::Flushed);
            }
            if self.link.peer().is_some() {
                handshake.permit = None;
                return Poll::Pending;
            }
            handshake
                .deadline
                .as_mut()
                .poll(cx)
                .map(|()| End::Because(Closed::TimedOut))
        })
        .await;
        let permit = handshake.permit;
        match end {
            End::Flushed => self.close().await,
            End::Because(why) => {
                tracing::debug!(
                    event = "connection-ended",
                    connection = self.connection.0,
                    ?why
                );
                self.shared.connection_ended(self.connection, why);
                // What the machine had to say about it (a refusal) may be in the mailbox now.
                let flush = poll_fn(|cx| self.poll_write(cx));
                let _ = tokio::time::timeout(LINGER_TIMEOUT, flush).await;
                self.close().await;
            }
        }
        // A stranger counts until its connection is closed, so that there are never more than the limit.
        drop(self);
        drop(permit);
    }

    /// Ends the stream and waits a moment for the other side to do so.
    async fn close(&mut self) {
        let bye = async {
            poll_fn(|cx| self.socket.poll_shutdown(cx)).await?;
            let mut sink = BytesMut::with_capacity(4096);
            loop {
                sink.clear();
                sink.reserve(1024);
                if poll_fn(|cx| self.socket.poll_read(cx, &mut sink)).await? == 0 {
                    return Ok::<(), io::Error>(());
                }
            }
        };
        let _ = tokio::time::timeout(LINGER_TIMEOUT, bye).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let mut written = 0;
        let mut read = 0;
        loop {
            let wrote = match self.poll_write_some(cx) {
                Poll::Ready(Ok(Some(bytes))) => bytes,
                Poll::Ready(Ok(None)) => return Poll::Ready(End::Flushed),
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => 0,
            };
            let got = match self.poll_read_some(cx) {
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(why)) => return Poll::Ready(End::Because(why)),
                Poll::Pending => 0,
            };
            if wrote == 0 && got == 0 {
                return Poll::Pending;
            }
            written += wrote;
            read += got;
            if written >= TURN_BUDGET || read >= TURN_BUDGET {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Writes once. `None`: everything is written and nothing more will come.
    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<usize>, End>> {
        if self.outgoing.is_empty() {
            if self.finished {
                return Poll::Ready(Ok(None));
            }
            let mailbox = &self.link.mailbox;
            let taken = mailbox.poll_take(cx, WRITE_BATCH, &mut self.outgoing);
            let update = self.routing_update();
            match taken {
                Taken::Empty if update.is_none() => return Poll::Pending,
                Taken::Messages(_) | Taken::Empty => {
                    if let Some((place, update)) = update {
                        self.outgoing.insert(place, update);
                    }
                }
                Taken::Closed => {
                    self.finished = true;
                    return Poll::Ready(Ok(None));
                }
                Taken::Overflowed => return Poll::Ready(Err(End::Because(Closed::Overflow))),
            }
        } else if self.link.mailbox.peek() == Taken::Overflowed {
            return Poll::Ready(Err(End::Because(Closed::Overflow)));
        }
        let written = match self.write_front(cx) {
            // A socket that is full does not say when the mailbox overflows; the mailbox does.
            Poll::Pending => {
                self.link.mailbox.register(cx);
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            Poll::Ready(outcome) => outcome,
        };
        match written {
            Ok(bytes) => {
                self.link.mailbox.moved();
                self.advance(bytes);
                Poll::Ready(Ok(Some(bytes)))
            }
            Err(error) => {
                let why = self.reader.failure(&self.link, &error);
                Poll::Ready(Err(End::Because(why)))
            }
        }
    }

    /// What this endpoint wants from now on, if the peer has not been told yet, and its place among
    /// what was taken. It is made here because it may be large, and because only the last one of
    /// several counts.
    fn routing_update(&self) -> Option<(usize, Chunk)> {
        let place = place_of_update(&self.outgoing)?;
        let filter = self.link.mailbox.take_interest()?;
        let peer = self.link.peer()?;
        let frame = routing_update(self.shared.data.id, peer, &filter);
        Some((place, Chunk::of_frame(frame.into())))
    }

    /// Writes until nothing is left or the socket fails.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.poll_write_some(cx)) {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    fn write_front(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(front) = self.outgoing.front() else {
            return Poll::Pending;
        };
        if self.outgoing.len() == 1 || !self.socket.is_vectored() {
            return self.socket.poll_write(cx, &front.bytes);
        }
        let mut slices = [IoSlice::new(&[]); IO_SLICES_MAX];
        let mut count = 0;
        for (slot, chunk) in slices.iter_mut().zip(&self.outgoing) {
            *slot = IoSlice::new(&chunk.bytes);
            count += 1;
        }
        self.socket
            .poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    fn advance(&mut self, mut bytes: usize) {
        while let Some(front) = self.outgoing.front_mut() {
            if bytes < front.bytes.len() {
                front.bytes.advance(bytes);
                return;
            }
            bytes -= front.bytes.len();
            if let Some(chunk) = self.outgoing.pop_front() {
                buffers::give(chunk.bytes);
            }
        }
    }

    /// Reads once and routes what came.
    fn poll_read_some(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Closed>> {
        if self.link.is_closing() || self.link.is_paused() {
            self.reader.release_marking_lock();
            self.link.mailbox.register(cx);
            return Poll::Pending;
        }
        let mut handled = 0;
        // What is buffered comes first: a pause or a full target may have left complete frames.
        match self.reader.process(cx, &self.shared, &self.link) {
            Verdict::Consumed(bytes) => handled += bytes,
            Verdict::Blocked => return Poll::Pending,
            Verdict::Failed(why) => return Poll::Ready(Err(why)),
        }
        if handled > 0 {
            // Something changed (a handshake step, a close): look at the flags again first.
            return Poll::Ready(Ok(handled));
        }
        match ready!(self.reader.poll_fill(cx, &mut self.socket)) {
            Ok(0) => Poll::Ready(Err(self.reader.end_of_stream(&self.link))),
            Ok(bytes) => Poll::Ready(Ok(bytes)),
            Err(error) => Poll::Ready(Err(self.reader.failure(&self.link, &error))),
        }
    }
}

/// Where a routing update goes: before messages, which may have been published because of it, and
/// behind control frames before them, which may be the end of the handshake or of a message that the
/// peer has the beginning of. Where there are only such frames, more of them may follow.
fn place_of_update(taken: &VecDeque<Chunk>) -> Option<usize> {
    let first = taken.iter().position(|chunk| !chunk.control);
    first.or_else(|| taken.is_empty().then_some(0))
}

/// However the task ends, nobody is to keep its socket and what was to be written to it.
impl Drop for PeerTask {
    fn drop(&mut self) {
        self.link.mailbox.close();
    }
}

/// What only matters until the handshake is over.
struct Handshake {
    deadline: Pin<Box<Sleep>>,
    permit: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routing_update_goes_behind_what_was_begun_and_before_messages() {
        let chunks = |kinds: &str| -> VecDeque<Chunk> {
            let chunk = |kind| Chunk {
                control: kind == 'c',
                ..Chunk::of_frame(bytes::Bytes::new())
            };
            kinds.chars().map(chunk).collect()
        };
        for (taken, place) in [
            ("", Some(0)),
            ("m", Some(0)),
            ("ccm", Some(2)),
            ("cmcm", Some(1)),
            ("cc", None),
        ] {
            assert_eq!(place_of_update(&chunks(taken)), place, "{taken}");
        }
    }
}
