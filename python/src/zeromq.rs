//! Arguments of `Endpoint.peer` for a Zeek cluster that uses ZeroMQ, and the classes that tell of it.

use std::collections::HashMap;

use broker::proto::zmtp::{CurveKeys, KEY_FILES};
use broker::zeek::zeromq::{ClusterTopics, Node, NodeKind, NodeState};
use broker::{ZeroMqMembership, ZeroMqPeerOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::argument::Flag;
use crate::error::from_broker;
use crate::log_receiver;
use crate::options::OptionMapping;
use crate::websocket::dicts;

/// The keywords of `peer` that are for ZeroMQ; `None` where none is given.
pub(crate) fn options(
    membership: Option<&str>,
    name: Option<String>,
    curve: Option<&Bound<'_, PyAny>>,
    unify_topics: Option<Flag>,
) -> PyResult<Option<ZeroMqPeerOptions>> {
    if membership.is_none() && name.is_none() && curve.is_none() && unify_topics.is_none() {
        return Ok(None);
    }
    let membership = match (membership, name) {
        (None | Some("observer"), None) => ZeroMqMembership::Observer,
        (Some("node"), Some(name)) => ZeroMqMembership::Node { name },
        (Some("node"), None) => {
            return Err(PyValueError::new_err(
                "a node of a cluster needs a name: `name` is one of the layout, such as proxy-1",
            ));
        }
        (None | Some("observer"), Some(_)) => {
            return Err(PyValueError::new_err(
                "`name` is for nodes of a cluster: give membership=\"node\" with it",
            ));
        }
        (Some(other), _) => {
            return Err(PyValueError::new_err(format!(
                "expected `membership` to be observer or node, found `{other}`"
            )));
        }
    };
    let options = ZeroMqPeerOptions {
        curve: curve
            .map(log_receiver::curve)
            .transpose()?
            .unwrap_or_default(),
        membership,
        unifies_topics: unify_topics.is_some_and(|flag| flag.0),
    };
    options.check().map_err(|error| from_broker(&error))?;
    Ok(Some(options))
}

/// Keys by the names that zeekctl's files have.
pub(crate) fn keys(mapping: &Bound<'_, PyAny>) -> PyResult<CurveKeys> {
    let given = OptionMapping::new(mapping, "curve", &KEY_FILES)?;
    let mut named = HashMap::new();
    for name in KEY_FILES {
        named.insert(name, given.text(name)?);
    }
    CurveKeys::find(KEY_FILES, |name| named.get(name).cloned().flatten())
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The counters of proxies, by URL.
pub(crate) fn counts(endpoint: &broker::Endpoint, py: Python<'_>) -> PyResult<Py<PyDict>> {
    let dict = dicts(py, &endpoint.zeromq_peer_counts(), |it| {
        [
            ("peered", it.peered),
            ("connects", it.connects),
            ("reconnects", it.reconnects),
            ("received", it.received),
            ("sent", it.sent),
            ("own", it.own),
            ("bad", it.bad),
            ("refused", it.refused),
            ("dropped", it.dropped),
            ("failures", it.failures),
        ]
    })?;
    Ok(dict.unbind())
}

/// A node of a Zeek cluster, as it is seen over ZeroMQ.
#[pyclass(frozen, eq, hash, module = "broker._broker.zeek")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterNode {
    /// Its name in the layout, such as `worker-1`; a guess by its id before it said hello.
    #[pyo3(get)]
    name: String,
    /// Its id, which is another after each start.
    #[pyo3(get)]
    id: String,
    /// What it is for, by its name: manager, logger, proxy, worker or other.
    #[pyo3(get)]
    kind: &'static str,
    /// "seen" by its subscription, or "up": it said hello, and its name is exact.
    #[pyo3(get)]
    state: &'static str,
}

#[pymethods]
impl ClusterNode {
    fn __repr__(&self) -> String {
        format!(
            "ClusterNode(name={:?}, id={:?}, kind={:?}, state={:?})",
            self.name, self.id, self.kind, self.state
        )
    }
}

impl From<Node> for ClusterNode {
    fn from(node: Node) -> Self {
        Self {
            name: node.name,
            id: node.id,
            kind: node.kind.name(),
            state: match node.state {
                NodeState::Seen => "seen",
                NodeState::Up => "up",
            },
        }
    }
}

/// The topics of a cluster that reach a kind of nodes, a pool of them, or one node by its name.
///
/// `kind` is "manager", "logger", "proxy" or "worker"; with `pool` it is the topic of which one node
/// of the kind gets each message that is hashed to it; `node` is a name instead. `backend` is "zeromq"
/// or "broker", which spell topics in different ways.
#[pyfunction(name = "topics")]
#[pyo3(signature = (kind = None, *, node = None, pool = Flag(false), backend = "zeromq"),
       text_signature = "(kind=None, *, node=None, pool=False, backend='zeromq')")]
pub(crate) fn cluster_topic(
    kind: Option<&str>,
    node: Option<&str>,
    pool: Flag,
    backend: &str,
) -> PyResult<String> {
    let topics = match backend {
        "zeromq" => ClusterTopics::ZEROMQ,
        "broker" => ClusterTopics::BROKER,
        other => {
            return Err(PyValueError::new_err(format!(
                "expected `backend` to be zeromq or broker, found `{other}`"
            )));
        }
    };
    match (kind, node) {
        (None, Some(name)) if !pool.0 => Ok(topics.node(name)),
        (Some(kind), None) => {
            let known = [
                NodeKind::Manager,
                NodeKind::Logger,
                NodeKind::Proxy,
                NodeKind::Worker,
            ];
            let found = known.into_iter().find(|known| known.name() == kind);
            let found = found.ok_or_else(|| {
                PyValueError::new_err(format!(
                    "expected manager, logger, proxy or worker, found `{kind}`"
                ))
            })?;
            if !pool.0 {
                Ok(topics.kind(found))
            } else if found == NodeKind::Manager {
                Err(PyValueError::new_err("managers have no pool"))
            } else {
                Ok(topics.pool(found))
            }
        }
        (Some(_), Some(_)) | (None, _) => Err(PyValueError::new_err(
            "expected a kind of nodes, with or without `pool`, or the name of one in `node`",
        )),
    }
}
