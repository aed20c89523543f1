//! The byte stream of a connection: TCP, plain or under TLS.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

#[cfg(feature = "tls")]
use crate::lock::{Lock, Locked};

/// A TLS session over TCP.
#[cfg(feature = "tls")]
pub(crate) type Tls = tokio_openssl::SslStream<crate::net::tls::Sniffed>;

/// A connected stream, after the TLS handshake if there is one.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    /// Plain, and others than the connection's task may write to it; see `direct_write`.
    Shared(OwnedReadHalf, Arc<OwnedWriteHalf>),
    /// The same under TLS.
    #[cfg(feature = "tls")]
    SharedTls(Arc<Lock<Tls>>),
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
}

impl Socket {
    /// Lets others write to the socket, too.
    pub(crate) fn share(self) -> (Self, Option<SocketWriter>) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                let write = Arc::new(write);
                (
                    Self::Shared(read, write.clone()),
                    Some(SocketWriter::Plain(write)),
                )
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let stream = Arc::new(Lock::new(*stream));
                (
                    Self::SharedTls(stream.clone()),
                    Some(SocketWriter::Tls(stream)),
                )
            }
            other => (other, None),
        }
    }

    /// Whether several buffers in one write go out as one piece; a TLS write takes one buffer.
    pub(crate) fn is_vectored(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Shared(..) => true,
            #[cfg(feature = "tls")]
            Self::Tls(_) | Self::SharedTls(_) => false,
        }
    }

    /// Reads into the spare capacity; 0 says that the other side ended the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // The future holds no state between polls, so a fresh one per poll is the same read.
        match self {
            Self::Plain(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Self::Shared(stream, _) => pin!(stream.read_buf(buffer)).poll(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            #[cfg(feature = "tls")]
            Self::SharedTls(stream) => pin!(lock(stream).read_buf(buffer)).poll(cx),
        }
    }

    /// Writes one buffer.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buffer),
            Self::Shared(_, stream) => poll_shared(cx, stream, |stream| stream.try_write(buffer)),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buffer),
            #[cfg(feature = "tls")]
            Self::SharedTls(stream) => Pin::new(&mut *lock(stream)).poll_write(cx, buffer),
        }
    }

    /// Writes several buffers.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
            Self::Shared(_, stream) => {
                poll_shared(cx, stream, |stream| stream.try_write_vectored(buffers))
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, buffers),
            #[cfg(feature = "tls")]
            Self::SharedTls(stream) => {
                Pin::new(&mut *lock(stream)).poll_write_vectored(cx, buffers)
            }
        }
    }

    /// Ends the sending direction.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Shared(_, stream) => {
                Poll::Ready(SockRef::from(plain(stream)).shutdown(Shutdown::Write))
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::SharedTls(stream) => Pin::new(&mut *lock(stream)).poll_shutdown(cx),
        }
    }
}

/// The writing side of a socket, for others than the connection's task.
#[derive(Debug, Clone)]
pub(crate) enum SocketWriter {
    Plain(Arc<OwnedWriteHalf>),
    #[cfg(feature = "tls")]
    Tls(Arc<Lock<Tls>>),
}

impl SocketWriter {
    /// Writes what the socket takes at once. `task` is the task that owns the connection: a TLS
    /// session that has to wait for the socket wakes it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing was taken, and what the socket reports.
    pub(crate) fn try_write(&self, task: &Waker, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(not(feature = "tls"))]
        let _no_session = task;
        match self {
            Self::Plain(half) => half.try_write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                // Whoever has it reads, and is at it for as long as this would wait.
                let Some(mut stream) = stream.try_lock() else {
                    return Err(io::ErrorKind::WouldBlock.into());
                };
                match Pin::new(&mut *stream).poll_write(&mut Context::from_waker(task), bytes) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        }
    }
}

#[cfg(feature = "tls")]
fn lock(stream: &Lock<Tls>) -> Locked<'_, Tls> {
    stream.lock()
}

fn plain(half: &OwnedWriteHalf) -> &TcpStream {
    half.as_ref()
}

/// Writes through a shared reference as soon as the socket takes something.
fn poll_shared(
    cx: &mut Context<'_>,
    half: &OwnedWriteHalf,
    write: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(plain(half).poll_write_ready(cx))?;
        match write(plain(half)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
    }
}

/// Whether an error of the stream only says that it is over.
pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    #[cfg(feature = "tls")]
    if crate::net::tls::is_end(error) {
        return true;
    }
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

/// What the other side said against us, if an error of the stream tells.
pub(crate) fn alert(error: &io::Error) -> Option<String> {
    #[cfg(feature = "tls")]
    return crate::net::tls::alert(error);
    #[cfg(not(feature = "tls"))]
    {
        let _no_tls = error;
        None
    }
}

#[cfg(feature = "http")]
impl tokio::io::AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Shared(stream, _) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Self::SharedTls(stream) => Pin::new(&mut *lock(stream)).poll_read(cx, buffer),
        }
    }
}

/// For servers of HTTP, which read and write through the same handle.
#[cfg(feature = "status")]
impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Shared(..) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::SharedTls(stream) => Pin::new(&mut *lock(stream)).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write_vectored(self.get_mut(), cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.is_vectored()
    }
}

#[cfg(feature = "status")]
impl Socket {
    /// Sets anew how soon it is noticed that the other side vanished.
    pub(crate) fn set_liveness(&self, liveness: Liveness) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Shared(_, stream) => plain(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().tcp(),
            // Others write to it: it is that of a native peer, for whom this was decided.
            #[cfg(feature = "tls")]
            Self::SharedTls(_) => return,
        };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(None) {
            tracing::debug!(event = "socket-option-refused", %error);
        }
        configure(stream, liveness);
    }
}

/// How long a refused or closed connection may take to read the last bytes and to end.
#[cfg(any(feature = "http", feature = "nats", feature = "zeromq"))]
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes all of it.
#[cfg(any(feature = "http", feature = "nats"))]
pub(crate) async fn write_all(socket: &mut Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::future::poll_fn(|cx| socket.poll_write(cx, bytes)).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Ends the stream and reads what still comes for a moment: closing with unread input makes the
/// system reset the connection, and the reset can overtake our last bytes.
#[cfg(any(feature = "http", feature = "nats", feature = "zeromq"))]
pub(crate) async fn linger(socket: &mut Socket) {
    let bye = async {
        std::future::poll_fn(|cx| socket.poll_shutdown(cx)).await?;
        let mut sink = BytesMut::new();
        loop {
            sink.clear();
            sink.reserve(4096);
            if std::future::poll_fn(|cx| socket.poll_read(cx, &mut sink)).await? == 0 {
                return Ok::<(), io::Error>(());
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIMEOUT, bye).await;
}

/// How soon a peer that vanished without a word is noticed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Liveness {
    /// Time after which a silent peer is given up.
    pub(crate) dead_after: Duration,
    /// Whether data that the peer does not take counts as death too.
    pub(crate) unread_counts: bool,
}

/// Probes sent to a silent peer before it is given up.
const KEEPALIVE_PROBES: u32 = 3;

/// Sets the options every connection has. Options the system refuses are left at their default.
pub(crate) fn configure(stream: &TcpStream, liveness: Liveness) {
    let socket = SockRef::from(stream);
    let outcome = socket
        .set_tcp_nodelay(true)
        .and_then(|()| keepalive(&socket, liveness));
    if let Err(error) = outcome {
        tracing::debug!(event = "socket-option-refused", %error);
    }
}

fn keepalive(socket: &SockRef<'_>, liveness: Liveness) -> io::Result<()> {
    if liveness.dead_after.is_zero() {
        return Ok(());
    }
    // Half the time in silence, the other half shared by the probes.
    let silence = (liveness.dead_after / 2).max(Duration::from_secs(1));
    let interval = (silence / KEEPALIVE_PROBES).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(interval);
    #[cfg(not(any(target_os = "openbsd", target_os = "windows")))]
    let keepalive = keepalive.with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // Probes are not sent while data is unacknowledged, and retransmission alone would take a
    // quarter of an hour to give up.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if liveness.unread_counts {
        socket.set_tcp_user_timeout(Some(liveness.dead_after))?;
    }
    Ok(())
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_peer_is_given_up_in_the_configured_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let dead_after = Duration::from_secs(30);
        configure(
            &stream,
            Liveness {
                dead_after,
                unread_counts: true,
            },
        );
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        let silence = socket.tcp_keepalive_time().unwrap();
        let probes = socket.tcp_keepalive_interval().unwrap() * KEEPALIVE_PROBES;
        assert!(silence + probes <= dead_after, "{silence:?} and {probes:?}");
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(dead_after));
    }
}
