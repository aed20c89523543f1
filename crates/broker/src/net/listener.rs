//! Incoming connections: bind, accept, TLS, then the connection's task.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker_proto::NetworkAddress;
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::net::connector::resolve;

/// Connections the system keeps for us while we are busy with others.
const BACKLOG: i32 = 1024;

/// First and longest pause after the system refused to accept. The spare descriptor already keeps
/// the queue moving, so the pause only bounds the processor time of a starved process.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Connections of that time are let in at once where their rate is limited.
const BURST: Duration = Duration::from_secs(1);

/// Binds a listener. An empty address means all interfaces. Spec: endpoint 2.
pub(crate) async fn bind(address: &str, port: u16) -> io::Result<TcpListener> {
    match address {
        "" => bind_everywhere(port),
        name => bind_one_of(resolve(name, port).await?),
    }
}

/// As [`bind`], on the caller's thread, which waits while a name is resolved. Call it within the
/// runtime.
#[cfg(any(feature = "http", feature = "zeromq"))]
pub(crate) fn bind_now(address: &str, port: u16) -> io::Result<TcpListener> {
    match address {
        "" => bind_everywhere(port),
        name => {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            bind_one_of(std::net::ToSocketAddrs::to_socket_addrs(&(name, port))?.collect())
        }
    }
}

/// What stands for the address of a socket that the program was given, where it cannot be used.
pub(crate) const GIVEN: &str = "a given socket";

/// Takes over a socket that is bound already. Call it within the runtime.
pub(crate) fn take_over(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn bind_everywhere(port: u16) -> io::Result<TcpListener> {
    let v6 = bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true);
    v6.or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        // A system without IPv6.
        _ => bind_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false),
    })
}

fn bind_one_of(mut candidates: Vec<SocketAddr>) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    // Who listens on a name like `localhost` expects to be found under 127.0.0.1 too; those who
    // connect to the name try all of its addresses.
    candidates.sort_by_key(SocketAddr::is_ipv6);
    for candidate in candidates {
        match bind_to(candidate, candidate.ip() == Ipv6Addr::UNSPECIFIED) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_to(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if dual_stack {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A listener that stops to listen when it is dropped, even where a forked process holds a copy of
/// its descriptor: the copy alone would keep the port, and connections that nobody serves.
struct Listening(TcpListener);

impl Drop for Listening {
    fn drop(&mut self) {
        // Systems that refuse it have closed the listener's own descriptor all the same.
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Both);
    }
}

/// The address of a remote socket as events show it.
pub(crate) fn network_address(remote: SocketAddr) -> NetworkAddress {
    NetworkAddress::new(remote.ip().to_string(), remote.port())
}

/// Accepts until the task is aborted: one connection per `pace`, after a burst.
pub(crate) async fn accept(
    listener: TcpListener,
    pending: Arc<Semaphore>,
    pace: Duration,
    mut start: impl FnMut(TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    let mut due = Instant::now();
    let Listening(listener) = &Listening(listener);
    let mut spare = Spare::new();
    let mut backoff = BACKOFF_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                backoff = BACKOFF_MIN;
                // While too many others have not finished their handshake one waits here, and the
                // rest in the system's queue, where they cost us nothing. Not before the accept:
                // idle listeners would use up the permits.
                let Ok(permit) = pending.clone().acquire_owned().await else {
                    return;
                };
                if !pace.is_zero() {
                    tokio::time::sleep_until(due).await;
                    // Time that nobody used is saved up for a burst.
                    let saved = Instant::now().checked_sub(BURST).unwrap_or(due);
                    due = due.max(saved) + pace;
                }
                start(stream, remote, permit);
            }
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(event = "accept-failed", %error, "out of descriptors or memory");
                spare.turn_away(listener).await;
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            // The connection was gone before we looked.
            Err(error) => tracing::debug!(event = "accept-failed", %error),
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| codes.iter().any(|e| e.raw_os_error() == code))
}

/// A descriptor kept for the moment when there is no other: given up, it lets one waiting connection
/// be accepted and closed, so that its client learns at once what it would otherwise wait for.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    async fn turn_away(&mut self, listener: &TcpListener) {
        if self.0.take().is_some() {
            let refused = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
            drop(refused);
        }
        *self = Self::new();
    }
}
