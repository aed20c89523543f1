//! Where peers are, and who: what the arguments of calls name.

use std::time::Duration;

use broker::proto::peer_url::PeerUrl;
use broker::{EndpointId, Retry};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::argument::{Seconds, port as port_number};
use crate::error::expected;
use crate::status::EndpointInfo;
use crate::text::octets;

/// Pause between attempts to peer when none is asked for.
pub(crate) const RETRY: Seconds = Seconds(10.0);

/// Longest pause between attempts to peer that can be asked for, in seconds: a century.
const RETRY_MAX_S: f64 = 3_155_760_000.0;

/// A host or listening address as text.
pub(crate) fn host(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(String::from_utf8_lossy(&octets(value)?).into_owned())
}

/// Where a peer is: a host and a port, or a URL, which has its port itself.
pub(crate) fn peer_url(
    addr: &Bound<'_, PyAny>,
    port: Option<&Bound<'_, PyAny>>,
) -> PyResult<PeerUrl> {
    let addr = host(addr)?;
    let port = port.map(port_number).transpose()?;
    PeerUrl::parse(&addr, port).map_err(|error| {
        if error.is_port_missing() {
            PyTypeError::new_err("expected a port: only a URL can do without")
        } else {
            PyValueError::new_err(error.to_string())
        }
    })
}

/// Seconds between attempts, truncated to whole ones; less than one means one attempt. With `jitter`
/// they are that on average.
pub(crate) fn retry(seconds: f64, jitter: bool) -> PyResult<Retry> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err(
            "expected seconds between attempts, found nan",
        ));
    }
    Ok(match seconds.clamp(0.0, RETRY_MAX_S).trunc() {
        0.0 => Retry::Never,
        whole if jitter => Retry::Around(Duration::from_secs_f64(whole)),
        whole => Retry::After(Duration::from_secs_f64(whole)),
    })
}

pub(crate) fn endpoint_id(text: &str) -> PyResult<EndpointId> {
    text.parse()
        .map_err(|_| PyValueError::new_err(format!("not an endpoint id: `{text}`")))
}

/// The id that a `to` argument names: an `EndpointInfo`, a `PeerInfo`'s peer, or text.
pub(crate) fn receiver(value: &Bound<'_, PyAny>) -> PyResult<EndpointId> {
    if let Ok(info) = value.cast::<EndpointInfo>() {
        return Ok(info.get().id());
    }
    match value.cast::<PyString>() {
        Ok(id) => endpoint_id(&id.to_cow()?),
        Err(_) => Err(expected("an EndpointInfo or the id of an endpoint", value)),
    }
}
