//! Direct writes: the thread that sends a message writes it to the socket of an idle connection itself.
//!
//! Waking the task costs more than writing a small message. So when the task has written everything
//! and has been idle for a moment, the next sender offers its message to the socket.
//! The socket never blocks: what it does not take goes to the task, and while it is asked the task
//! leaves the socket alone, so that the order stays. Busy connections are not concerned: there one
//! system call of the task moves many messages. See ADR 0090.

use std::time::Duration;

use crate::net::socket::SocketWriter;
use crate::sync::Instant;

/// How long a connection must have been idle. Shorter pauses are part of a stream of messages,
/// which is better off with a task that collects them.
const IDLE_MIN: Duration = Duration::from_micros(20);

/// The most messages at once after which a pause counts. Behind more of them, the next message is
/// likely to be the first of as many.
const BURST_MAX: usize = 4;

/// The socket of a mailbox, for those who fill it.
#[derive(Debug, Default)]
pub(crate) struct DirectWrite {
    socket: Option<SocketWriter>,
    /// Since when everything is written and the task waits.
    idle_since: Option<Instant>,
    /// The task has just written more than a few messages.
    is_dense: bool,
    /// Somebody asks the socket to take a message; what comes meanwhile stays behind it.
    is_taken: bool,
}

impl DirectWrite {
    pub(crate) fn open(&mut self, socket: SocketWriter) {
        self.socket = Some(socket);
    }

    /// The task is gone.
    pub(crate) fn close(&mut self) {
        self.socket = None;
    }

    /// Whether the task must leave the socket alone.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Everything is written.
    pub(crate) fn idle(&mut self) {
        let is_idle = !self.is_taken && !self.is_dense;
        if is_idle && self.socket.is_some() && self.idle_since.is_none() {
            self.idle_since = Some(Instant::now());
        }
    }

    /// The task has so many messages to write.
    pub(crate) fn busy(&mut self, messages: usize) {
        self.is_dense = messages > BURST_MAX;
        self.idle_since = None;
    }

    /// The socket, if it may be used: for one message, until [`release`](Self::release).
    pub(crate) fn take(&mut self) -> Option<SocketWriter> {
        let idle_since = self.idle_since.filter(|_| !self.is_taken)?;
        if idle_since.elapsed() < IDLE_MIN {
            return None;
        }
        let socket = self.socket.clone()?;
        self.is_taken = true;
        Some(socket)
    }

    pub(crate) fn release(&mut self, is_written: bool) {
        self.is_taken = false;
        self.idle_since = is_written.then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{self, Read};
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use broker_proto::{Filter, Topic};
    use bytes::Bytes;
    use tokio::net::tcp::OwnedWriteHalf;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Overflow;
    use crate::flow::mailbox::run::Run;
    use crate::flow::mailbox::{Limits, Mailbox, Patience, Pushed, Taken};

    /// A mailbox whose task is idle, its socket, and the other end.
    async fn idle() -> (Mailbox, Arc<OwnedWriteHalf>, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_, socket) = stream.unwrap().into_split();
        socket.writable().await.unwrap();
        let socket = Arc::new(socket);
        let mailbox = Mailbox::new(Limits {
            bytes_max: 1 << 20,
            messages_max: 1000,
            overflow: Overflow::Disconnect,
            stall_limit: Duration::ZERO,
            strict: false,
            translated: false,
        });
        mailbox.allow_direct_write(SocketWriter::Plain(socket.clone()));
        become_idle(&mailbox);
        let other = accepted.unwrap().0.into_std().unwrap();
        other.set_nonblocking(false).unwrap();
        (mailbox, socket, other)
    }

    /// Does what a task does that has written everything, and lets the time pass that counts.
    fn become_idle(mailbox: &Mailbox) {
        let taken = mailbox.poll_take(
            &mut Context::from_waker(Waker::noop()),
            usize::MAX,
            &mut VecDeque::new(),
        );
        assert_eq!(taken, Taken::Empty);
        let since = Instant::now();
        while since.elapsed() < 2 * IDLE_MIN {
            std::hint::spin_loop();
        }
    }

    fn frame(text: &str) -> Vec<u8> {
        let mut frame = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(text.as_bytes());
        frame
    }

    fn push(mailbox: &Mailbox, text: &str) {
        let frame = frame(text);
        let run = Run::copied(&frame, 1).alone_if(true);
        assert_eq!(mailbox.push(run, Patience::Waits), Pushed::Accepted);
    }

    fn take(mailbox: &Mailbox) -> Vec<u8> {
        let mut chunks = VecDeque::new();
        while let Taken::Messages(_) = mailbox.take(usize::MAX, &mut chunks) {}
        chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.to_vec())
            .collect()
    }

    fn read(socket: &mut std::net::TcpStream, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        socket.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_message_for_an_idle_connection_needs_no_task() {
        let (mailbox, _socket, mut other) = idle().await;
        push(&mailbox, "first");
        assert_eq!(mailbox.messages(), 0);
        assert_eq!(read(&mut other, 9), frame("first"));
        // Part of a stream: too soon after the first, however long this thread was interrupted.
        mailbox.with_direct_write(|direct_write| {
            assert!(direct_write.idle_since.is_some());
            direct_write.idle_since = Some(Instant::now() + Duration::from_secs(600));
        });
        push(&mailbox, "second");
        assert_eq!(take(&mailbox), frame("second"));
        become_idle(&mailbox);
        push(&mailbox, "third");
        assert_eq!(read(&mut other, 9), frame("third"));
    }

    #[tokio::test]
    async fn what_a_full_socket_does_not_take_comes_first() {
        let (mailbox, socket, mut other) = idle().await;
        let filler = [0; 64 * 1024];
        let mut filled = 0;
        loop {
            match socket.try_write(&filler) {
                Ok(bytes) => filled += bytes,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        push(&mailbox, "refused");
        push(&mailbox, "behind");
        assert_eq!(take(&mailbox), [frame("refused"), frame("behind")].concat());
        read(&mut other, filled);
        other.set_nonblocking(true).unwrap();
        let nothing = other.read(&mut [0; 1]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn the_task_leaves_the_socket_alone_while_somebody_writes() {
        let (mailbox, _socket, _other) = idle().await;
        let mut chunks = VecDeque::new();
        mailbox.with_direct_write(|direct_write| assert!(direct_write.take().is_some()));
        push(&mailbox, "meanwhile");
        mailbox.push_control(Bytes::from_static(b"\0\0\0\x01x"));
        assert_eq!(mailbox.take(usize::MAX, &mut chunks), Taken::Empty);
        mailbox.finish();
        assert_eq!(mailbox.take(usize::MAX, &mut chunks), Taken::Empty);
        mailbox.with_direct_write(|direct_write| direct_write.release(true));
        assert_eq!(take(&mailbox), [frame("meanwhile"), frame("x")].concat());
    }

    #[tokio::test]
    async fn bursts_large_runs_and_many_targets_are_for_the_task() {
        let (mailbox, _socket, _other) = idle().await;
        let large = Bytes::from(frame(&"x".repeat(8 * 1024)));
        let run = Run::shared(&large, 1).alone_if(true);
        assert_eq!(mailbox.push(run, Patience::Waits), Pushed::Accepted);
        assert_eq!(take(&mailbox).len(), large.len());

        become_idle(&mailbox);
        let small = frame("for several");
        let run = Run::copied(&small, 1);
        assert_eq!(mailbox.push(run, Patience::Waits), Pushed::Accepted);
        assert_eq!(take(&mailbox), small);

        become_idle(&mailbox);
        mailbox.with_direct_write(|direct_write| direct_write.busy(BURST_MAX + 1));
        become_idle(&mailbox);
        push(&mailbox, "behind a burst");
        assert_eq!(take(&mailbox), frame("behind a burst"));
    }

    #[tokio::test]
    async fn nothing_overtakes_what_the_endpoint_wants() {
        let wanted = |topic: &str| -> Filter { [Topic::from(topic)].into_iter().collect() };
        let (mailbox, _socket, mut other) = idle().await;
        mailbox.set_interest(wanted("/first"));
        become_idle(&mailbox);
        push(&mailbox, "behind");
        assert_eq!(mailbox.messages(), 1);
        mailbox.set_interest(wanted("/second"));
        // The last word only, and what was pushed before it was taken.
        assert_eq!(take(&mailbox), frame("behind"));
        assert_eq!(mailbox.take_interest(), Some(wanted("/second")));
        assert_eq!(mailbox.take_interest(), None);
        become_idle(&mailbox);
        push(&mailbox, "directly");
        assert_eq!(read(&mut other, 12), frame("directly"));

        // While a message is being written, the task waits with it, and is told of it afterwards.
        become_idle(&mailbox);
        mailbox.with_direct_write(|direct_write| assert!(direct_write.take().is_some()));
        mailbox.set_interest(wanted("/third"));
        assert_eq!(mailbox.take_interest(), None);
        mailbox.with_direct_write(|direct_write| direct_write.release(true));
        assert_eq!(mailbox.take_interest(), Some(wanted("/third")));
    }

    #[tokio::test]
    async fn nothing_is_written_once_the_task_is_gone() {
        let (mailbox, socket, _other) = idle().await;
        mailbox.close();
        assert_eq!(Arc::strong_count(&socket), 1);
        let frame = frame("late");
        let run = Run::copied(&frame, 1).alone_if(true);
        assert_eq!(mailbox.push(run, Patience::Waits), Pushed::Closed);
    }
}
