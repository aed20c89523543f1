//! Sockets that others connect to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use crate::error::Error;
use crate::net::listener;
use crate::transport::zeromq::address::Address;

/// Connections that may be in their handshake at a time. More wait in the system's queue.
const PENDING_CONNECTIONS_MAX: usize = 256;

/// Connections that a listener serves at a time. A cluster of Zeek has some hundred nodes.
pub(crate) const CONNECTIONS_MAX: usize = 4096;

/// A listener that is bound and not served yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// Binds, on the caller's thread, which waits while a name is resolved.
pub(crate) fn bind(runtime: &Handle, address: &Address) -> Result<Bound, Error> {
    let _entered = runtime.enter();
    let bound = bind_address(address);
    bound.map_err(|cause| Error::Listen {
        address: address.host.clone(),
        port: address.port,
        cause: Arc::new(cause),
    })
}

fn bind_address(address: &Address) -> io::Result<Bound> {
    let listener = listener::bind_now(&address.host, address.port)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

/// Counts down when a connection ends, and says whether there is room for it.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Given back at the end of the handshake.
    pub(crate) pending: Option<OwnedSemaphorePermit>,
    _connection: OwnedSemaphorePermit,
}

/// Serves a listener: `start` makes the task of a connection. Aborting the task that is returned ends
/// all of them.
pub(crate) fn serve<F>(
    runtime: &Handle,
    bound: Bound,
    mut start: impl FnMut(TcpStream, SocketAddr, Admission) -> F + Send + 'static,
) -> AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    let pending = Arc::new(Semaphore::new(PENDING_CONNECTIONS_MAX));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    let task = runtime.spawn(listener::accept(
        bound.listener,
        pending,
        Duration::ZERO,
        move |stream, remote, pending| {
            while tasks.try_join_next().is_some() {}
            let Ok(connection) = connections.clone().try_acquire_owned() else {
                tracing::warn!(
                    event = "zeromq-refused",
                    %remote,
                    "there are {CONNECTIONS_MAX} connections already"
                );
                return;
            };
            let admission = Admission {
                pending: Some(pending),
                _connection: connection,
            };
            tasks.spawn(start(stream, remote, admission));
        },
    ));
    task.abort_handle()
}
