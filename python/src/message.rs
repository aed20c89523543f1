//! `Message`: one received message as `broker.aio` and `broker.sync` hand it out, decoded when it is read.

use std::fmt;

use broker::EndpointId;
use broker::data::View;
use broker::proto::frame::FRAME_LEN_SIZE;
use broker::zeek;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::data::{Data, Encoded};
use crate::decode::{Flavour, decode, timestamp};

/// Larger messages are not copied when they are handed out: nothing else lies in the buffer of one that
/// fills it, so keeping the message keeps no other.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// A received message: `topic` (str), `value`, `event` (a broker.zeek.SafeEvent, or None when the
/// value is no event), `time` (a datetime, or None), `peer` (str, or None).
///
/// Value and event are made when they are first asked for. A set within a set and within a key is a
/// frozenset, a table there an ImmutableData.HashableReadOnlyDict: no message fails.
#[pyclass(frozen, weakref, module = "broker._broker")]
pub(crate) struct Message {
    topic: Py<PyString>,
    message: broker::Message,
    /// The endpoint that received it.
    receiver: EndpointId,
    value: PyOnceLock<Py<PyAny>>,
    event: PyOnceLock<Py<PyAny>>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.message).finish()
    }
}

impl Message {
    pub(crate) fn new(
        topic: Py<PyString>,
        message: &broker::Message,
        receiver: EndpointId,
    ) -> Self {
        // A message that is kept must not keep the buffer that it came in.
        let message = if message.frame().len() <= COPIED_BYTES_MAX {
            message.detach()
        } else {
            message.clone()
        };
        Self {
            topic,
            message,
            receiver,
            value: PyOnceLock::new(),
            event: PyOnceLock::new(),
        }
    }

    fn parsed(&self) -> Option<zeek::Event<'_>> {
        match zeek::Message::parse(self.view()) {
            zeek::Message::Event(event) => Some(event),
            _ => None,
        }
    }

    fn view(&self) -> View<'_> {
        self.message.view()
    }
}

#[pymethods]
impl Message {
    /// The topic it was published under.
    #[getter]
    fn topic(&self, py: Python<'_>) -> Py<PyString> {
        self.topic.clone_ref(py)
    }

    /// Its value.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let value = self.value.get_or_try_init(py, || {
            decode(py, self.message.payload(), Flavour::Mixed).map(Bound::unbind)
        })?;
        Ok(value.clone_ref(py))
    }

    /// The value as an event of Zeek, whose arguments are hashable and read-only; None when it is none.
    #[getter]
    fn event(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if self.parsed().is_none() {
            return Ok(None);
        }
        let event = self.event.get_or_try_init(py, || -> PyResult<_> {
            let data = Data::new(Encoded::trusted(self.message.payload()));
            let class = CLASS.import(py, "broker.zeek", "SafeEvent")?;
            Ok(class.call1((data,))?.unbind())
        })?;
        Ok(Some(event.clone_ref(py)))
    }

    /// When it happened, in terms of the traffic that Zeek looks at: the network timestamp of an event
    /// that carries one, a datetime in UTC. None otherwise.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let time = self.parsed().and_then(|event| event.network_time());
        time.map(|time| timestamp(py, time.ns())).transpose()
    }

    /// The id of the peer that it came from, the last one on its way, as PeerInfo has it. None where it
    /// is not known: of messages that went on to other peers, too, and of those from WebSocket clients and
    /// this process. Of a ZeroMQ cluster and of servers of NATS it is the id that they have here together.
    #[getter]
    fn peer(&self) -> Option<String> {
        // Spec: wire 6. The sender is what an envelope begins with.
        let envelope = self.message.frame().get(FRAME_LEN_SIZE..)?;
        let sender = EndpointId::from_bytes(*envelope.first_chunk()?);
        (sender != self.receiver).then(|| sender.to_string())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (topic, text) = (self.topic.bind(py).repr()?, self.view().to_string());
        Ok(format!("<Message {topic} {text}>"))
    }
}
