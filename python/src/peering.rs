//! A peering that `Endpoint.peer` asks for: where the peer is, and the options of its protocol.

use broker::proto::peer_url::{PeerUrl, Scheme};
use broker::{Endpoint, Error, NatsPeerOptions, Pending, Retry, ZeroMqPeerOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::from_broker;
use crate::nats;

/// Where a peer is, and how it is spoken with.
pub(crate) enum Peering {
    /// With the options of the endpoint, if any.
    Plain(PeerUrl),
    ZeroMq(PeerUrl, ZeroMqPeerOptions),
    Nats(PeerUrl, NatsPeerOptions),
}

impl Peering {
    /// # Errors
    ///
    /// `ValueError` for options of another protocol than that of the address.
    pub(crate) fn new(
        url: PeerUrl,
        zeromq: Option<ZeroMqPeerOptions>,
        nats: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        match (zeromq, nats) {
            (Some(_), Some(_)) => Err(PyValueError::new_err(
                "an address is one of ZeroMQ or of NATS: `nats` goes without the other options",
            )),
            (Some(options), None) if url.scheme == Scheme::ZeroMq => Ok(Self::ZeroMq(url, options)),
            (Some(_), None) => Err(PyValueError::new_err(format!(
                "`{}` is no `zmq://` address: membership, name, curve and unify_topics are for those",
                url.host()
            ))),
            (None, Some(given)) if url.scheme == Scheme::Nats => {
                Ok(Self::Nats(url, nats::options(given)?))
            }
            (None, Some(_)) => Err(PyValueError::new_err(format!(
                "`{}` is no `nats://` address: the options in `nats` are for those",
                url.host()
            ))),
            (None, None) => Ok(Self::Plain(url)),
        }
    }

    /// Begins it; the answer tells how it went.
    pub(crate) fn join(self, endpoint: &Endpoint, retry: Retry) -> Pending<Result<(), Error>> {
        match self {
            Self::Plain(url) => endpoint.peer_url(url, retry),
            Self::ZeroMq(url, options) => endpoint.peer_zeromq(url, retry, options),
            Self::Nats(url, options) => endpoint.peer_nats(url, retry, options),
        }
    }

    /// Begins it; events tell how it went.
    ///
    /// # Errors
    ///
    /// When the endpoint was shut down, or cannot have such a peer.
    pub(crate) fn begin(self, endpoint: &Endpoint, retry: Retry) -> PyResult<()> {
        if let Self::Plain(url) = self {
            let begun = endpoint.peer_url_nosync(url, retry);
            return begun.map_err(|error| from_broker(&error));
        }
        let _nobody_waits = self.join(endpoint, retry);
        Ok(())
    }
}
