//! One connection as the control plane sees it: a mailbox and a few flags beside its task.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use broker_proto::endpoint::Closed;
use broker_proto::link_rules::LinkRules;
use broker_proto::{EndpointId, Filter};

use crate::core::gate::{PeerFilter, PeerPass};
use crate::flow::counters::Received;
use crate::flow::mailbox::Mailbox;
use crate::flow::target::TargetKind;
use crate::lock::Lock;
use crate::net::socket::is_end;
#[cfg(feature = "tls")]
use crate::net::tls_session::Agreed;

/// The shared half of a connection; its task owns the socket, the control plane tells it what to do.
#[derive(Debug)]
pub(crate) struct Link {
    /// What is to be written, handshake frames included.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Set when the handshake is over and data frames are routed.
    peer: OnceLock<EndpointId>,
    paused: AtomicBool,
    closing: AtomicBool,
    /// What stands behind the mailbox in the routing table.
    pub(crate) kind: TargetKind,
    /// Which side of the connection this endpoint is.
    pub(crate) side: Side,
    /// Peerings with the same peer that were there before.
    reconnects: AtomicU64,
    /// What came from there.
    pub(crate) received: Received,
    pub(crate) round_trip: RoundTrip,
    /// What the peer may do, if it is judged, until its task takes it.
    pass: Lock<Option<Box<PeerPass>>>,
    /// What crosses it; `None`: everything.
    pub(crate) rules: Option<Arc<LinkRules>>,
    /// What both ends agreed on, under TLS.
    #[cfg(feature = "tls")]
    pub(crate) tls: OnceLock<Agreed>,
}

impl Link {
    pub(crate) fn new(mailbox: Arc<Mailbox>, kind: TargetKind, side: Side) -> Self {
        Self {
            mailbox,
            kind,
            side,
            reconnects: AtomicU64::new(0),
            #[cfg(feature = "tls")]
            tls: OnceLock::new(),
            peer: OnceLock::new(),
            pass: Lock::default(),
            rules: None,
            paused: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            received: Received::default(),
            round_trip: RoundTrip::default(),
        }
    }

    /// Has the peer judged.
    pub(crate) fn judged_by(self, pass: Option<PeerPass>) -> Self {
        Self {
            pass: Lock::new(pass.map(Box::new)),
            ..self
        }
    }

    /// Has only what the rules list cross it, if there are any.
    pub(crate) fn with_rules(self, rules: Option<Arc<LinkRules>>) -> Self {
        Self { rules, ..self }
    }

    /// What the peer is to be asked for when this endpoint wants so much.
    #[cfg(any(feature = "http", feature = "zeromq", feature = "nats"))]
    pub(crate) fn wanted(&self, filter: Filter) -> Filter {
        match &self.rules {
            Some(rules) => rules.wanted(&filter),
            None => filter,
        }
    }

    /// What the peer may have of what it asked for in its handshake; `None` if it is not judged.
    pub(crate) fn grant(&self, wanted: &Filter) -> Option<PeerFilter> {
        let mut pass = self.pass.lock();
        pass.as_mut().map(|pass| pass.ask(wanted.clone()))
    }

    /// What the peer may do, for its task alone.
    pub(crate) fn take_pass(&self) -> Option<Box<PeerPass>> {
        self.pass.lock().take()
    }

    /// The peer at the other end, once the handshake is over.
    pub(crate) fn peer(&self) -> Option<EndpointId> {
        self.peer.get().copied()
    }

    /// Peerings with the same peer that were there before this one.
    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Ends the handshake; there were that many with the peer before.
    pub(crate) fn install(&self, peer: EndpointId, reconnects: u64) {
        self.reconnects.store(reconnects, Ordering::Relaxed);
        // A connection is installed once; the state machine guarantees it.
        let _ = self.peer.set(peer);
        self.mailbox.nudge();
    }

    /// Whether reading is suspended. Spec: wire 7.5.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.mailbox.nudge();
    }

    /// Whether the control plane is done with the connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Resolves when the control plane is done with the connection; for the time before its task
    /// serves it.
    pub(crate) async fn closing(&self) {
        poll_fn(|cx| {
            // In this order, so that a close in between wakes.
            self.mailbox.register(cx);
            if self.is_closing() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Has the task write what is queued, then close the socket.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.mailbox.finish();
        self.mailbox.nudge();
    }
}

/// How long a ping to the peer and its answer took, the last time somebody measured it.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    /// Nanoseconds; 0 before the first answer.
    last: AtomicU64,
    #[cfg(feature = "status")]
    is_asked: AtomicBool,
}

impl RoundTrip {
    pub(crate) fn last(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| Duration::from_nanos(last))
    }

    /// Whether a ping may be sent: the answer to the one before is there.
    #[cfg(feature = "status")]
    pub(crate) fn begin(&self) -> bool {
        !self.is_asked.swap(true, Ordering::AcqRel)
    }

    /// Notes an answer.
    #[cfg(feature = "status")]
    pub(crate) fn end(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last.store(took.max(1), Ordering::Relaxed);
        self.is_asked.store(false, Ordering::Release);
    }
}

/// Which side of the TCP connection this endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Acceptor,
    Connector,
}

/// The end of an established connection, by the error of its socket.
pub(crate) fn ended(error: &io::Error) -> Closed {
    if is_end(error) {
        Closed::Remote
    } else {
        Closed::Broken(error.to_string())
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use std::io::{Read, Write};

    use openssl::ssl::{HandshakeError, SslConnector, SslMethod};

    use super::*;

    /// A stream that takes nothing and has nothing, as one that has failed before.
    struct Over;

    impl Read for Over {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl Write for Over {
        fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_encrypted_stream_that_failed_before_is_over() {
        let connector = SslConnector::builder(SslMethod::tls()).unwrap().build();
        let Err(HandshakeError::Failure(failed)) = connector.connect("x", Over) else {
            panic!("it cannot connect");
        };
        let error = io::Error::other(failed.into_error());
        assert_eq!(error.to_string(), "unexpected EOF");
        assert!(matches!(ended(&error), Closed::Remote));
        let other = io::Error::other("something else");
        assert!(matches!(ended(&other), Closed::Broken(text) if text == "something else"));
    }
}
