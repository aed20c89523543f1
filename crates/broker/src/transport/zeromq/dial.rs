//! From a URL to the two sockets of a participant.

use broker_proto::endpoint::{DialFault, PeerFailure};
use broker_proto::peer_url::PeerUrl;
use broker_proto::zmtp::ProxySocket;
use tokio::time::{Instant, timeout_at};

use crate::config::deadline;
use crate::core::shared::Shared;
use crate::net::connector::{self, ConnectFailure};
use crate::net::socket::{self, Socket};

/// Connects to both ports of a proxy: XPUB, XSUB.
pub(super) async fn open(shared: &Shared, url: &PeerUrl) -> Result<[Socket; 2], DialFault> {
    let xsub = url.xsub_port().unwrap_or_default();
    let (first, second) = tokio::join!(
        connect(shared, url, ProxySocket::Xpub, url.port),
        connect(shared, url, ProxySocket::Xsub, xsub),
    );
    Ok([first?, second?])
}

async fn connect(
    shared: &Shared,
    url: &PeerUrl,
    which: ProxySocket,
    port: u16,
) -> Result<Socket, DialFault> {
    let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
    let connecting = connector::connect(&url.name, port, shared.options.connect_timeout);
    let failure = match timeout_at(deadline, connecting).await {
        Ok(Ok(stream)) => {
            socket::configure(&stream, shared.liveness());
            return Ok(Socket::Plain(stream));
        }
        Ok(Err(failure)) => failure,
        Err(_) => {
            let cause = format!("`{}` was not resolved and reached in time", url.name);
            ConnectFailure::Absent(cause)
        }
    };
    tracing::debug!(event = "dial-failed", cause = failure.log());
    let cause = match failure {
        ConnectFailure::Unreachable(cause)
        | ConnectFailure::Absent(cause)
        | ConnectFailure::Refused(cause) => cause,
    };
    let hint = match which {
        ProxySocket::Xpub => "",
        ProxySocket::Xsub => "; `?xsub=PORT` says where it is if not at the next port",
    };
    Err(DialFault {
        failure: PeerFailure::Unreachable,
        text: format!("the proxy's {which}, port {port}: {cause}{hint}"),
    })
}
